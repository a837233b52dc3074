//! The indexer of sparse attention: scores every key, keeps the best `topk`.

use candle_core::{DType, Result, Tensor};
use mistral_core::model::{IndexerSpec, ModelSpec};

use super::Parameters;
use super::attention::{Context, QueryScale, heads};
use super::norm::{LayerNorm, Linear};

/// The keys that each query may attend to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// For query `i` of sequence `s`, row `s · t + i`: the chosen positions, rising, none later
    /// than `i`; all of them while there are at most `topk`.
    pub positions: Vec<Vec<u32>>,
}

/// The indexer of one layer (DeepSeek-V3.2's lightning indexer, with queries from the hidden
/// state).
///
/// The choice is discrete: no gradient of the model's loss reaches these parameters.
#[derive(Debug, Clone)]
pub(super) struct TopKIndexer {
    spec: IndexerSpec,
    rope_dim: Option<usize>,
    q_input_norm: LayerNorm,
    wq_b: Linear,
    scale: QueryScale,
    wk: Linear,
    k_norm: LayerNorm,
    weights_proj: Linear,
}

/// Epsilon of the indexer's layer norms, whatever the config says.
const EPS: f64 = 1e-6;

impl TopKIndexer {
    /// Reads the indexer below `prefix`.
    pub(super) fn new(
        p: &Parameters,
        prefix: &str,
        model: &ModelSpec,
        spec: &IndexerSpec,
        rope: bool,
    ) -> Result<Self> {
        let (n, d) = (spec.n_heads, spec.head_dim);
        let linear =
            |name: &str, rows| Linear::new(p, &format!("{prefix}.{name}.weight"), rows, model.dim);
        let ssmax = format!("{prefix}.ssmax_scaling");
        Ok(Self {
            spec: *spec,
            rope_dim: rope.then_some(model.rope.dim),
            q_input_norm: LayerNorm::new(p, &format!("{prefix}.q_input_norm"), model.dim, EPS)?,
            wq_b: linear("wq_b", n * d)?,
            scale: QueryScale::new(p, &ssmax, n, &model.position_scale)?,
            wk: linear("wk", d)?,
            k_norm: LayerNorm::new(p, &format!("{prefix}.k_norm"), d, EPS)?,
            weights_proj: linear("weights_proj", n)?,
        })
    }

    /// The choice for `x` `[b·t, dim]`.
    pub(super) fn select(&self, x: &Tensor, context: &Context) -> Result<Selection> {
        let (b, t) = (context.b, context.t);
        let x = x.detach();
        let scores = self.scores(&x, context)?.to_vec3::<f32>()?;
        let mut positions = Vec::with_capacity(b * t);
        for row in scores
            .iter()
            .flat_map(|sequence| sequence.iter().enumerate())
        {
            let (i, row) = row;
            if row[..=i].iter().any(|s| !s.is_finite()) {
                candle_core::bail!("index scores of position {i} aren't finite");
            }
            let mut order: Vec<u32> = (0..=i as u32).collect();
            order.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]).then(a.cmp(&b)));
            order.truncate(self.spec.topk);
            order.sort_unstable();
            positions.push(order);
        }
        Ok(Selection { positions })
    }

    /// `Σ_h w_h(i) · relu(q_h(i) · k(j)) / √d / √heads`: `[b, t, t]` in f32.
    fn scores(&self, x: &Tensor, context: &Context) -> Result<Tensor> {
        let (b, t, n) = (context.b, context.t, self.spec.n_heads);
        let q = self.wq_b.forward(&self.q_input_norm.forward(x)?)?;
        let q = self.rotate(&self.scale.apply(&heads(&q, context, n)?)?, context)?;
        let k = self.k_norm.forward(&self.wk.forward(x)?)?;
        let k = self.rotate(&heads(&k, context, 1)?, context)?;
        let (q, k) = (q.to_dtype(DType::F32)?, k.to_dtype(DType::F32)?);
        let d = self.spec.head_dim;
        // All heads against the one key head: [b, n·t, d] x [b, d, t].
        let products = q
            .reshape((b, n * t, d))?
            .matmul(&k.reshape((b, t, d))?.t()?)?;
        let products = (products * (d as f64).powf(-0.5))?
            .relu()?
            .reshape((b, n, t, t))?;
        let weights = self.weights_proj.forward(x)?.to_dtype(DType::F32)?;
        let weights = (weights * (n as f64).powf(-0.5))?;
        products
            .broadcast_mul(&heads(&weights, context, n)?)?
            .sum(1)
    }

    /// Rotates the first elements of each head, in layers that rotate.
    fn rotate(&self, x: &Tensor, context: &Context) -> Result<Tensor> {
        let Some(dim) = self.rope_dim else {
            return Ok(x.clone());
        };
        let rotated = context.angles.rotate(&x.narrow(3, 0, dim)?.contiguous()?)?;
        let rest = self.spec.head_dim - dim;
        if rest == 0 {
            return Ok(rotated);
        }
        Tensor::cat(&[rotated, x.narrow(3, dim, rest)?], 3)
    }
}
