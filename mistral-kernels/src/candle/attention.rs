//! Causal attention over whole sequences.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor};

use super::access::{expect_f32, failed, output, values};
use super::gradient::gradients;
use crate::{
    Attention, AttentionScratch, CacheBuffer, CacheShape, CacheType, Cpu, KernelError, KvCache,
    append,
};

const OP: &str = "attention";

/// Causal attention of `q [b, t, n_heads, d]` over `k [b, t, n_kv_heads, d]` and
/// `v [b, t, n_kv_heads, dv]`: `[b, t, n_heads, dv]`, see [`attention`](crate::attention()).
///
/// # Errors
/// When shapes or head counts don't fit, or an input isn't f32.
pub fn attention(
    cpu: &Arc<Cpu>,
    attention: &Attention,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
) -> Result<Tensor> {
    for (name, x) in [("q", q), ("k", k), ("v", v)] {
        expect_f32(OP, name, x)?;
    }
    let (b, t, n_heads, d) = q.dims4()?;
    let (_, _, n_kv_heads, dv) = v.dims4()?;
    if n_heads != attention.n_heads {
        candle_core::bail!(
            "{OP}: q has {n_heads} heads, expected {}",
            attention.n_heads
        );
    }
    if n_kv_heads == 0 || !n_heads.is_multiple_of(n_kv_heads) {
        candle_core::bail!("{OP}: {n_heads} heads of q, expected a multiple of v's {n_kv_heads}");
    }
    if k.dims() != [b, t, n_kv_heads, d] || v.dims() != [b, t, n_kv_heads, dv] {
        candle_core::bail!(
            "{OP}: k has shape {:?} and v {:?}, expected {:?} and {:?}",
            k.dims(),
            v.dims(),
            [b, t, n_kv_heads, d],
            [b, t, n_kv_heads, dv]
        );
    }
    let op = Causal {
        cpu: cpu.clone(),
        attention: *attention,
    };
    q.contiguous()?
        .apply_op3(&k.contiguous()?, &v.contiguous()?, op)
}

struct Causal {
    cpu: Arc<Cpu>,
    attention: Attention,
}

impl Causal {
    /// One sequence: `q [t, n_heads, d]`, `k [t, n_kv_heads, d]`, `v [t, n_kv_heads, dv]`.
    fn sequence(
        &self,
        [q, k, v]: [&[f32]; 3],
        (t, n_kv_heads): (usize, usize),
        (d, dv): (usize, usize),
        out: &mut [f32],
    ) -> std::result::Result<(), KernelError> {
        let side = |x: &[f32], width: usize| {
            let shape = CacheShape {
                heads: n_kv_heads,
                capacity: t,
                width,
            };
            let mut buffer = CacheBuffer::new(CacheType::F32, &shape)?;
            append(&shape, buffer.data_mut(), 0, x).map(|()| buffer)
        };
        let (k, v) = (side(k, d)?, side(v, dv)?);
        let cache = KvCache::new((n_kv_heads, t), (d, dv), k.data(), v.data())?;
        let threads = self.cpu.threads();
        let mut scratch = AttentionScratch::new(threads, d, dv);
        crate::attention(&self.cpu, &self.attention, q, 0, &cache, out, &mut scratch)
    }

    /// The same in plain operations.
    fn composed(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let (b, t, h, d) = q.dims4()?;
        let (_, _, g, dv) = v.dims4()?;
        let by_head = |x: &Tensor| x.transpose(1, 2)?.contiguous();
        // The queries that share a key head become its rows.
        let rows = h / g * t;
        let q = by_head(q)?.reshape((b, g, rows, d))?;
        let scores = q
            .matmul(&by_head(k)?.t()?)?
            .affine(f64::from(self.attention.scale), 0.0)?;
        let mut mask = vec![f32::NEG_INFINITY; rows * t];
        for (row, line) in mask.chunks_mut(t).enumerate() {
            let i = row % t;
            line[self.attention.first_visible(i)..=i].fill(0.0);
        }
        let mask = Tensor::from_vec(mask, (1, 1, rows, t), q.device())?;
        let scores = scores.broadcast_add(&mask)?;
        let powers = scores
            .broadcast_sub(&scores.detach().max_keepdim(D::Minus1)?)?
            .exp()?;
        let weights = powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)?;
        weights
            .matmul(&by_head(v)?)?
            .reshape((b, h, t, dv))?
            .transpose(1, 2)
    }
}

impl CustomOp3 for Causal {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (b, t, h, d) = q_layout.shape().dims4()?;
        let (_, _, g, dv) = v_layout.shape().dims4()?;
        let q = values(OP, q, q_layout)?;
        let (k, v) = (values(OP, k, k_layout)?, values(OP, v, v_layout)?);
        let mut out = vec![0.0; b * t * h * dv];
        if !q.is_empty() && !v.is_empty() {
            let sequences = q.chunks_exact(t * h * d).zip(k.chunks_exact(t * g * d));
            let sequences = sequences.zip(v.chunks_exact(t * g * dv));
            for (((q, k), v), out) in sequences.zip(out.chunks_exact_mut(t * h * dv)) {
                self.sequence([q, k, v], (t, g), (d, dv), out)
                    .map_err(failed)?;
            }
        }
        Ok(output(out, (b, t, h, dv)))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [q, k, v] = gradients([q, k, v], grad, |[q, k, v]| self.composed(q, k, v))?;
        Ok((q, k, v))
    }
}
