//! Mixture of experts.

use std::sync::Arc;

use candle_core::{D, DType, Result, Storage, Tensor};

use super::access::{expect_f32, failed, values, weights};
use super::{linear, swiglu};
use crate::{Cpu, ExpertWeights, Experts, ExpertsScratch, Matrix, Router, Routing, Scoring};

const ROUTE: &str = "route";
const EXPERTS: &str = "experts";

/// The experts of each token.
#[derive(Debug, Clone)]
pub struct RoutedTokens {
    /// `[t, k]` u32, heaviest first.
    pub experts: Tensor,
    /// `[t, k]` f32; carries the gradient of the logits.
    pub weights: Tensor,
    /// The same numbers outside of tensors, with the statistics of load.
    pub routing: Routing,
}

/// One expert's weights: `w1` (gate) and `w3` (up) `[hidden, dim]`, `w2` (down) `[dim, hidden]`,
/// in f32, f16 or bf16.
#[derive(Debug, Clone)]
pub struct Expert {
    /// Gate.
    pub w1: Tensor,
    /// Down.
    pub w2: Tensor,
    /// Up.
    pub w3: Tensor,
}

/// Routes each row of `logits [t, experts]` (f32), see [`route`](crate::route). A `bias` of
/// `[experts]` counts for the choice only and gets no gradient.
///
/// # Errors
/// When the shapes or the router's parameters don't fit, and on logits that aren't finite.
pub fn route(router: &Router, logits: &Tensor, bias: Option<&Tensor>) -> Result<RoutedTokens> {
    expect_f32(ROUTE, "logits", logits)?;
    let (t, found) = logits.dims2()?;
    if found != router.num_experts {
        candle_core::bail!(
            "{ROUTE}: logits for {found} experts, expected {}",
            router.num_experts
        );
    }
    let bias = bias.map(Tensor::to_vec1::<f32>).transpose()?;
    let mut routing = Routing::new(t, router.top_k);
    let flat = logits.flatten_all()?.to_vec1::<f32>()?;
    crate::route(router, &flat, bias.as_deref(), &mut routing).map_err(failed)?;
    let shape = (t, router.top_k);
    let experts = Tensor::from_slice(routing.experts(), shape, logits.device())?;
    let weights = if logits.track_op() {
        composed_weights(router, logits, &experts)?
    } else {
        Tensor::from_slice(routing.weights(), shape, logits.device())?
    };
    Ok(RoutedTokens {
        experts,
        weights,
        routing,
    })
}

/// The weights of the chosen `experts [t, k]` as differentiable operations on the logits.
fn composed_weights(router: &Router, logits: &Tensor, experts: &Tensor) -> Result<Tensor> {
    let scores = match router.scoring {
        Scoring::Softmax => {
            let powers = logits
                .broadcast_sub(&logits.detach().max_keepdim(D::Minus1)?)?
                .exp()?;
            powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)?
        }
        Scoring::Sigmoid => (logits.neg()?.exp()? + 1.0)?.recip()?,
    };
    let chosen = scores.gather(experts, 1)?;
    let weights = if router.normalize {
        chosen.broadcast_div(&(chosen.sum_keepdim(1)? + 1e-20)?)?
    } else {
        chosen
    };
    weights.affine(f64::from(router.routed_scale), 0.0)
}

/// `y[i] = Σ_j weights[i, j] · expert(experts[i, j])(x[i])` for `x [t, dim]` (f32), see
/// [`experts`](crate::experts()).
///
/// Without gradients to carry, all experts run in one kernel; with any, each expert runs on the
/// rows that chose it, in [`linear()`] and [`swiglu()`].
///
/// # Errors
/// When shapes don't fit, or a dtype isn't supported.
pub fn experts(
    cpu: &Arc<Cpu>,
    experts: &[Expert],
    x: &Tensor,
    routed: &RoutedTokens,
) -> Result<Tensor> {
    expect_f32(EXPERTS, "x", x)?;
    let (t, dim) = x.dims2()?;
    let Some(first) = experts.first() else {
        candle_core::bail!("{EXPERTS}: found none, expected at least one");
    };
    if routed.routing.tokens() != t {
        let found = routed.routing.tokens();
        candle_core::bail!("{EXPERTS}: {found} routed tokens, expected {t}");
    }
    let hidden = first.w1.dims2()?.0;
    for (e, expert) in experts.iter().enumerate() {
        let shapes = [(&expert.w1, [hidden, dim]), (&expert.w2, [dim, hidden])];
        for (w, shape) in shapes.into_iter().chain([(&expert.w3, [hidden, dim])]) {
            if w.dims() != shape {
                candle_core::bail!("expert {e}: weight {:?}, expected {shape:?}", w.dims());
            }
        }
    }
    let parts = |e: &Expert| [e.w1.clone(), e.w2.clone(), e.w3.clone()];
    let weights = experts.iter().flat_map(parts);
    if weights
        .chain([x.clone(), routed.weights.clone()])
        .any(|w| w.track_op())
    {
        composed_experts(cpu, experts, x, routed)
    } else {
        fast_experts(cpu, experts, x, routed, hidden)
    }
}

/// Every expert in one kernel call.
fn fast_experts(
    cpu: &Cpu,
    experts: &[Expert],
    x: &Tensor,
    routed: &RoutedTokens,
    hidden: usize,
) -> Result<Tensor> {
    let (t, dim) = x.dims2()?;
    let mut tensors = Vec::with_capacity(experts.len() * 3);
    for expert in experts {
        for w in [&expert.w1, &expert.w2, &expert.w3] {
            tensors.push(w.contiguous()?);
        }
    }
    let guards: Vec<_> = tensors.iter().map(Tensor::storage_and_layout).collect();
    let mut matrices = Vec::with_capacity(guards.len());
    for ((storage, layout), w) in guards.iter().zip(&tensors) {
        let Storage::Cpu(storage) = &**storage else {
            candle_core::bail!("{EXPERTS}: weights on {:?}, expected the CPU", w.device());
        };
        let (rows, cols) = w.dims2()?;
        let data = weights(EXPERTS, storage, layout)?;
        matrices.push(Matrix::new(rows, cols, data).map_err(failed)?);
    }
    let all = Experts {
        count: experts.len(),
        weights: &|e| ExpertWeights {
            w1: matrices[3 * e],
            w2: matrices[3 * e + 1],
            w3: matrices[3 * e + 2],
        },
    };
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        candle_core::bail!("{EXPERTS}: x on {:?}, expected the CPU", x.device());
    };
    let input = values(EXPERTS, storage, layout)?;
    let mut y = vec![0.0; t * dim];
    let top_k = routed.routing.top_k();
    let mut scratch = ExpertsScratch::new(cpu.threads(), t, top_k, dim, hidden);
    crate::experts(cpu, &all, input, &routed.routing, &mut y, &mut scratch).map_err(failed)?;
    Tensor::from_vec(y, (t, dim), x.device())
}

/// Each expert on its rows, then the weighted sum a token.
fn composed_experts(
    cpu: &Arc<Cpu>,
    experts: &[Expert],
    x: &Tensor,
    routed: &RoutedTokens,
) -> Result<Tensor> {
    let (t, dim) = x.dims2()?;
    let (k, chosen) = (routed.routing.top_k(), routed.routing.experts());
    let slot_weights = routed.weights.to_dtype(DType::F32)?.reshape((t * k, 1))?;
    let mut y = x.zeros_like()?;
    for (e, expert) in experts.iter().enumerate() {
        let slots: Vec<u32> = (0..chosen.len())
            .filter(|&s| chosen[s] as usize == e)
            .map(|s| s as u32)
            .collect();
        if slots.is_empty() {
            continue;
        }
        let n = slots.len();
        let rows: Vec<u32> = slots.iter().map(|&s| s / k as u32).collect();
        let rows = Tensor::from_vec(rows, n, x.device())?;
        let slots = Tensor::from_vec(slots, n, x.device())?;
        let x = x.index_select(&rows, 0)?;
        let inner = swiglu(
            cpu,
            &linear(cpu, &x, &expert.w1)?,
            &linear(cpu, &x, &expert.w3)?,
        )?;
        let out = linear(cpu, &inner, &expert.w2)?;
        let out = out.broadcast_mul(&slot_weights.index_select(&slots, 0)?)?;
        y = y.index_add(&rows, &out, 0)?;
    }
    y.reshape((t, dim))
}

/// A whole layer of experts on `x [t, dim]`: logits by `gate [experts, dim]`, routing, experts.
///
/// # Errors
/// As [`route`] and [`experts`].
pub fn moe(
    cpu: &Arc<Cpu>,
    router: &Router,
    gate: &Tensor,
    weights: &[Expert],
    x: &Tensor,
) -> Result<(Tensor, RoutedTokens)> {
    if weights.len() != router.num_experts {
        let found = weights.len();
        candle_core::bail!("{EXPERTS}: found {found}, expected {}", router.num_experts);
    }
    let routed = route(router, &linear(cpu, x, gate)?, None)?;
    Ok((experts(cpu, weights, x, &routed)?, routed))
}
