//! Mixture of experts: the router's choice on the host, everything that carries a gradient in
//! candle operations.

use candle_core::{D, DType, Device, Result, Tensor};
use mistral_core::model::{MoeSpec, Scoring};

use super::Parameters;
use super::norm::Linear;

/// What a router decided for `n` tokens.
#[derive(Debug, Clone)]
pub struct Routing {
    /// `[n, experts]`, before any scoring; carries gradients.
    pub logits: Tensor,
    /// `[n, experts]`, the scores (softmax or sigmoid) in f32; carries gradients.
    pub scores: Tensor,
    /// `[n, k]` u32, the chosen experts by falling weight, the lower id first on ties.
    pub experts: Tensor,
    /// `[n, k]` f32, their weights; carries gradients.
    pub weights: Tensor,
    /// Tokens that chose each expert; their sum is `n · k`.
    pub tokens_per_expert: Vec<usize>,
}

/// One SwiGLU: `w2 · (silu(w1 · x) ⊙ w3 · x)` (arXiv 2002.05202).
#[derive(Debug, Clone)]
pub(super) struct SwiGlu {
    w1: Linear,
    w2: Linear,
    w3: Linear,
}

impl SwiGlu {
    /// Reads `prefix.w1`, `.w2`, `.w3`.
    pub(super) fn new(p: &Parameters, prefix: &str, dim: usize, hidden: usize) -> Result<Self> {
        Ok(Self {
            w1: Linear::new(p, &format!("{prefix}.w1.weight"), hidden, dim)?,
            w2: Linear::new(p, &format!("{prefix}.w2.weight"), dim, hidden)?,
            w3: Linear::new(p, &format!("{prefix}.w3.weight"), hidden, dim)?,
        })
    }

    /// `[n, dim]` to the same shape.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let gate = self.w1.forward(x)?.silu()?;
        self.w2.forward(&(gate * self.w3.forward(x)?)?)
    }
}

/// Routed and shared experts of one layer.
#[derive(Debug, Clone)]
pub(super) struct Moe {
    layer: usize,
    spec: MoeSpec,
    gate: Linear,
    experts: Vec<SwiGlu>,
    shared: Option<SwiGlu>,
}

impl Moe {
    /// Reads the experts of layer `layer`.
    pub(super) fn new(p: &Parameters, layer: usize, dim: usize, spec: &MoeSpec) -> Result<Self> {
        let hidden = spec.expert_hidden_dim;
        let experts = (0..spec.num_experts)
            .map(|e| SwiGlu::new(p, &format!("layers.{layer}.experts.{e}"), dim, hidden))
            .collect::<Result<_>>()?;
        let shared = match spec.num_shared_experts {
            0 => None,
            n => Some(SwiGlu::new(
                p,
                &format!("layers.{layer}.shared_experts"),
                dim,
                hidden * n,
            )?),
        };
        let gate = format!("layers.{layer}.gate.weight");
        Ok(Self {
            layer,
            spec: spec.clone(),
            gate: Linear::new(p, &gate, spec.num_experts, dim)?,
            experts,
            shared,
        })
    }

    /// `[n, dim]` to the same shape, and what the router decided.
    pub(super) fn forward(&self, x: &Tensor) -> Result<(Tensor, Routing)> {
        let (routing, chosen) = self.route(x)?;
        let mut out = self.combine(x, &routing, &chosen)?;
        if let Some(shared) = &self.shared {
            out = (out + shared.forward(x)?)?;
        }
        Ok((out, routing))
    }

    /// Scores in f32, the choice on the host, the weights by a differentiable gather.
    fn route(&self, x: &Tensor) -> Result<(Routing, Vec<u32>)> {
        let logits = self.gate.forward(x)?;
        let wide = logits.to_dtype(DType::F32)?;
        let scores = match self.spec.scoring {
            Scoring::Softmax => softmax(&wide)?,
            Scoring::Sigmoid => candle_nn::ops::sigmoid(&wide)?,
        };
        let (n, k) = (scores.dim(0)?, self.spec.num_experts_per_tok);
        let mut chosen = Vec::with_capacity(n * k);
        for (token, row) in scores.to_vec2::<f32>()?.iter().enumerate() {
            if row.iter().any(|s| !s.is_finite()) {
                candle_core::bail!(
                    "layer {}: router logits of token {token} aren't finite",
                    self.layer
                );
            }
            chosen.extend(choose(row, &self.spec));
        }
        let experts = Tensor::from_slice(&chosen, (n, k), x.device())?;
        let mut weights = scores.gather(&experts, 1)?;
        if self.spec.normalize {
            // 1e-20 as the reference has it: scores of chosen experts may underflow to zero.
            weights = weights.broadcast_div(&(weights.sum_keepdim(1)? + 1e-20)?)?;
        }
        if self.spec.routed_scale != 1.0 {
            weights = (weights * self.spec.routed_scale)?;
        }
        let mut tokens_per_expert = vec![0; self.spec.num_experts];
        chosen
            .iter()
            .for_each(|&e| tokens_per_expert[e as usize] += 1);
        Ok((
            Routing {
                logits,
                scores,
                experts,
                weights,
                tokens_per_expert,
            },
            chosen,
        ))
    }

    /// Each expert on the rows that chose it, then the weighted sum a token.
    ///
    /// Choices are sorted by expert, so that each expert sees one dense block of rows; the inverse
    /// of that order brings the results back to `[n, k, dim]`.
    fn combine(&self, x: &Tensor, routing: &Routing, chosen: &[u32]) -> Result<Tensor> {
        let (n, dim) = x.dims2()?;
        let k = self.spec.num_experts_per_tok;
        let mut parts = Vec::new();
        let mut place = vec![0u32; n * k];
        let mut filled = 0;
        for (e, expert) in self.experts.iter().enumerate() {
            let slots: Vec<usize> = (0..n * k).filter(|&s| chosen[s] as usize == e).collect();
            if slots.is_empty() {
                continue;
            }
            for (i, &slot) in slots.iter().enumerate() {
                place[slot] = (filled + i) as u32;
            }
            filled += slots.len();
            let rows = slots.iter().map(|s| (s / k) as u32).collect();
            parts.push(expert.forward(&x.index_select(&index(rows, x.device())?, 0)?)?);
        }
        let by_slot = Tensor::cat(&parts, 0)?.index_select(&index(place, x.device())?, 0)?;
        let weights = routing
            .weights
            .to_dtype(by_slot.dtype())?
            .reshape((n * k, 1))?;
        by_slot
            .broadcast_mul(&weights)?
            .reshape((n, k, dim))?
            .sum(1)
    }
}

/// A one-dimensional u32 tensor.
fn index(ids: Vec<u32>, device: &Device) -> Result<Tensor> {
    let n = ids.len();
    Tensor::from_vec(ids, n, device)
}

/// Softmax over the last dimension. The row's maximum is a constant to the gradient: the result
/// doesn't depend on it.
pub(super) fn softmax(x: &Tensor) -> Result<Tensor> {
    let max = x.detach().max_keepdim(D::Minus1)?;
    let powers = x.broadcast_sub(&max)?.exp()?;
    powers.broadcast_mul(&powers.sum_keepdim(D::Minus1)?.recip()?)
}

/// The `k` experts of one token by falling score, ties to the lower id.
///
/// With groups, only the experts of the best groups compete; a group's score is the sum of its two
/// best (DeepSeek-V3, arXiv 2412.19437).
fn choose(scores: &[f32], spec: &MoeSpec) -> Vec<u32> {
    let size = scores.len() / spec.num_expert_groups;
    let group_scores: Vec<f32> = scores
        .chunks(size)
        .map(|group| descending(group).iter().take(2).map(|&i| group[i]).sum())
        .collect();
    let mut open = vec![false; group_scores.len()];
    for &g in descending(&group_scores)
        .iter()
        .take(spec.num_expert_groups_per_tok)
    {
        open[g] = true;
    }
    // A closed group's experts score 0, as in the reference: they may still be drawn when the open
    // groups have fewer than k.
    let competing: Vec<f32> = scores
        .iter()
        .enumerate()
        .map(|(i, &s)| if open[i / size] { s } else { 0.0 })
        .collect();
    let mut chosen = descending(&competing);
    chosen.truncate(spec.num_experts_per_tok);
    chosen.into_iter().map(|e| e as u32).collect()
}

/// Indices by falling value, ties to the lower index.
fn descending(values: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]).then(a.cmp(&b)));
    order
}

/// The auxiliary loss that keeps experts in use: the mean over layers of
/// `experts · Σₑ fₑ · Pₑ / k`, with `fₑ` the choices of expert `e` a token and `Pₑ` its mean score
/// (Switch Transformer, arXiv 2101.03961, equations 4 to 6; `/ k` makes perfect balance 1 for every
/// `k`). Layer by layer, where Hugging Face's Mixtral pools the layers: pooled, one layer's idle
/// expert hides behind another's busy one.
///
/// Returns a scalar in f32; gradients flow through the scores. Fails without routings.
pub fn load_balancing_loss<'a>(routings: impl IntoIterator<Item = &'a Routing>) -> Result<Tensor> {
    let mut losses = Vec::new();
    for routing in routings {
        let (n, experts) = routing.scores.dims2()?;
        let choices = (n * routing.experts.dim(1)?) as f32;
        let counts = routing.tokens_per_expert.iter();
        let fractions: Vec<f32> = counts.map(|&c| (c * experts) as f32 / choices).collect();
        let fractions = Tensor::from_vec(fractions, experts, routing.scores.device())?;
        losses.push((routing.scores.mean(0)? * fractions)?.sum_all()?);
    }
    if losses.is_empty() {
        candle_core::bail!("a load-balancing loss needs at least one layer of experts");
    }
    Tensor::stack(&losses, 0)?.mean_all()
}
