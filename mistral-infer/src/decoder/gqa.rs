//! Grouped-query attention of one layer.

use mistral_core::model::PositionScale;
use mistral_kernels::{
    Attention, CacheShape, KernelError, KvCache, append, attention, linear, linear_many, rope,
    scale_llama4,
};

use super::Pass;
use super::mla::rope_of;
use super::state::{LayerCache, State};
use super::weights::GqaWeights;

/// Reads `h`, leaves the attention's output in `out`.
pub(super) fn run(
    pass: &Pass<'_>,
    i: usize,
    weights: &GqaWeights,
    state: &mut State,
) -> Result<(), KernelError> {
    let (cpu, spec, t) = (pass.cpu, pass.spec, pass.tokens);
    let (heads, kv_heads, d) = (spec.n_heads, spec.n_kv_heads(), spec.head_dim());
    let (b, s) = (&mut state.buffers, &mut state.scratch);
    let q = &mut b.q[..t * heads * d];
    let k = &mut b.k[..t * kv_heads * d];
    let v = &mut b.v[..t * kv_heads * d];
    let h = &b.h[..t * spec.dim];
    let (mq, mk, mv) = (
        weights.wq.matrix()?,
        weights.wk.matrix()?,
        weights.wv.matrix()?,
    );
    linear_many(cpu, &mut [(&mq, q), (&mk, k), (&mv, v)], h, &mut s.linear)?;
    let q = &mut b.q[..t * heads * d];
    let k = &mut b.k[..t * kv_heads * d];
    if spec.layers[i].rope {
        rope(cpu, &rope_of(spec, heads, d, 0), q, &s.angles)?;
        rope(cpu, &rope_of(spec, kv_heads, d, 0), k, &s.angles)?;
    }
    if let PositionScale::Llama4 {
        beta,
        original_max_position_embeddings,
    } = spec.position_scale
    {
        scale_llama4(
            q,
            &b.positions[..t],
            beta as f32,
            original_max_position_embeddings,
        )?;
    }
    attend(pass, i, state)?;
    let (b, s) = (&mut state.buffers, &mut state.scratch);
    let attended = &b.attended[..t * heads * d];
    linear(
        cpu,
        &weights.wo.matrix()?,
        attended,
        &mut b.out[..t * spec.dim],
        &mut s.linear,
    )
}

/// Appends each sequence's new keys and values to its cache, and attends over it.
fn attend(pass: &Pass<'_>, i: usize, state: &mut State) -> Result<(), KernelError> {
    let spec = pass.spec;
    let (heads, kv_heads, d) = (spec.n_heads, spec.n_kv_heads(), spec.head_dim());
    let (b, s) = (&mut state.buffers, &mut state.scratch);
    let params = Attention {
        n_heads: heads,
        scale: spec.softmax_scale as f32,
        window: spec.layers[i].window,
    };
    for span in pass.spans {
        let LayerCache::Gqa {
            k: keys,
            v: values,
            capacity,
        } = &mut state.sequences[span.sequence].caches[i]
        else {
            continue;
        };
        let shape = CacheShape {
            heads: kv_heads,
            capacity: *capacity,
            width: d,
        };
        for (side, new) in [(&mut *keys, &b.k), (&mut *values, &b.v)] {
            let new = span.of(new, kv_heads * d);
            append(&shape, side.data_mut(), span.first_position, new)?;
        }
        let cache = KvCache::new((kv_heads, *capacity), (d, d), keys.data(), values.data())?;
        let out = span.of_mut(&mut b.attended, heads * d);
        let q = span.of(&b.q, heads * d);
        let first = span.first_position;
        attention(pass.cpu, &params, q, first, &cache, out, &mut s.attention)?;
    }
    Ok(())
}
