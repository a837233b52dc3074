//! Latent attention of one layer, by absorption: keys and values are never expanded.

use mistral_core::model::{AttentionKind, Indexer, MlaSpec, ModelSpec, PositionScale, RopeLayout};
use mistral_kernels::{
    Attention, CacheShape, KernelError, KvCache, Rope, append, attention, attention_selected,
    linear, mla_absorb_query, mla_project_value, rms_norm, rope, scale_llama4, scale_ssmax,
};

use super::Pass;
use super::state::{LayerCache, State, latent_shape};
use super::weights::{MlaWeights, QueryWeights};
use crate::weights::Tensor;

/// How `heads` heads of width `head_dim` rotate from element `offset` on.
pub(super) fn rope_of(spec: &ModelSpec, heads: usize, head_dim: usize, offset: usize) -> Rope {
    let layout = match spec.rope.layout {
        RopeLayout::Interleaved => mistral_kernels::RopeLayout::Interleaved,
        RopeLayout::HalfSplit => mistral_kernels::RopeLayout::HalfSplit,
    };
    Rope {
        layout,
        heads,
        head_dim,
        offset,
    }
}

/// Reads `h`, leaves the attention's output in `out`.
pub(super) fn run(
    pass: &Pass<'_>,
    i: usize,
    weights: &MlaWeights,
    state: &mut State,
) -> Result<(), KernelError> {
    let AttentionKind::Mla(m) = &pass.spec.attention else {
        return Ok(());
    };
    queries(pass, i, m, weights, state)?;
    if let Some((wkv_a, norm)) = &weights.latent {
        latents(pass, i, m, wkv_a, norm, state)?;
    }
    attend(pass, i, m, weights, state)?;
    let (spec, t) = (pass.spec, pass.tokens);
    let b = &mut state.buffers;
    let attended = &b.attended[..t * spec.n_heads * m.v_head_dim];
    let out = &mut b.out[..t * spec.dim];
    linear(
        pass.cpu,
        &weights.wo.matrix()?,
        attended,
        out,
        &mut state.scratch.linear,
    )
}

/// `q`: projected, rotated, scaled by position.
fn queries(
    pass: &Pass<'_>,
    i: usize,
    m: &MlaSpec,
    weights: &MlaWeights,
    state: &mut State,
) -> Result<(), KernelError> {
    let (cpu, spec, t) = (pass.cpu, pass.spec, pass.tokens);
    let (heads, qk) = (spec.n_heads, m.qk_head_dim());
    let (b, s) = (&mut state.buffers, &mut state.scratch);
    let h = &b.h[..t * spec.dim];
    let q = &mut b.q[..t * heads * qk];
    match &weights.query {
        QueryWeights::Direct(wq) => linear(cpu, &wq.matrix()?, h, q, &mut s.linear)?,
        QueryWeights::LowRank { wq_a, norm, wq_b } => {
            let low = &mut b.latent[..t * norm.len()];
            linear(cpu, &wq_a.matrix()?, h, low, &mut s.linear)?;
            let normed = &mut b.latent_normed[..t * norm.len()];
            rms_norm(cpu, low, norm, m.latent_norm_eps as f32, normed)?;
            linear(cpu, &wq_b.matrix()?, normed, q, &mut s.linear)?;
        }
    }
    let (nope, rotated) = m.split(spec.layers[i].rope);
    if rotated > 0 {
        rope(cpu, &rope_of(spec, heads, qk, nope), q, &s.angles)?;
    }
    let positions = &b.positions[..t];
    match (spec.position_scale, &weights.ssmax) {
        (
            PositionScale::Llama4 {
                beta,
                original_max_position_embeddings,
            },
            _,
        ) => scale_llama4(q, positions, beta as f32, original_max_position_embeddings),
        (_, Some(ssmax)) => scale_ssmax(q, positions, &ssmax.scale, &ssmax.bias),
        _ => Ok(()),
    }
}

/// New rows of the latent cache: `[norm(latent) | rotated key part]`.
fn latents(
    pass: &Pass<'_>,
    i: usize,
    m: &MlaSpec,
    wkv_a: &Tensor,
    norm: &[f32],
    state: &mut State,
) -> Result<(), KernelError> {
    let (cpu, spec, t) = (pass.cpu, pass.spec, pass.tokens);
    let rotated = m.split(spec.layers[i].rope).1;
    let (lora, width) = (m.kv_lora_rank, m.kv_lora_rank + rotated);
    let (b, s) = (&mut state.buffers, &mut state.scratch);
    let rows = &mut b.latent[..t * width];
    linear(
        cpu,
        &wkv_a.matrix()?,
        &b.h[..t * spec.dim],
        rows,
        &mut s.linear,
    )?;
    let normed = &mut b.latent_normed[..t * width];
    for (row, out) in rows.chunks_exact(width).zip(normed.chunks_exact_mut(width)) {
        rms_norm(
            cpu,
            &row[..lora],
            norm,
            m.latent_norm_eps as f32,
            &mut out[..lora],
        )?;
        out[lora..].copy_from_slice(&row[lora..]);
    }
    if rotated > 0 {
        rope(cpu, &rope_of(spec, 1, width, lora), normed, &s.angles)?;
    }
    for span in pass.spans {
        let sequence = &mut state.sequences[span.sequence];
        let LayerCache::Latent { rows, width } = &mut sequence.caches[i] else {
            continue;
        };
        let shape = CacheShape {
            heads: 1,
            capacity: state.sizes.seq_len,
            width: *width,
        };
        let new = span.of(&b.latent_normed, *width);
        append(&shape, rows.data_mut(), span.first_position, new)?;
    }
    Ok(())
}

/// Attention over the latents of the layer that owns them.
fn attend(
    pass: &Pass<'_>,
    i: usize,
    m: &MlaSpec,
    weights: &MlaWeights,
    state: &mut State,
) -> Result<(), KernelError> {
    let (cpu, spec, t) = (pass.cpu, pass.spec, pass.tokens);
    let (heads, lora, layer) = (spec.n_heads, m.kv_lora_rank, &spec.layers[i]);
    let shape = latent_shape(m, heads, layer.rope);
    let wide = lora + shape.rope;
    let (b, s) = (&mut state.buffers, &mut state.scratch);
    let Some(scratch) = &mut s.mla else {
        return Ok(());
    };
    let wkv_b = weights.wkv_b.matrix()?;
    let absorbed = &mut b.absorbed[..t * heads * wide];
    let q = &b.q[..t * heads * m.qk_head_dim()];
    mla_absorb_query(cpu, &shape, &wkv_b, q, absorbed, scratch)?;
    let params = Attention {
        n_heads: heads,
        scale: spec.softmax_scale as f32,
        window: layer.window,
    };
    for span in pass.spans {
        let sequence = &state.sequences[span.sequence];
        let LayerCache::Latent { rows, width } = &sequence.caches[layer.kv_source] else {
            continue;
        };
        let cache = KvCache::latent(state.sizes.seq_len, *width, lora, rows.data())?;
        let q = span.of(&b.absorbed, heads * wide);
        let out = span.of_mut(&mut b.mixed, heads * lora);
        let first = span.first_position;
        match layer.indexer {
            Indexer::None => attention(cpu, &params, q, first, &cache, out, &mut s.attention)?,
            Indexer::Full | Indexer::Shared => {
                let chosen = &sequence.selected;
                let scratch = &mut s.attention;
                attention_selected(cpu, &params, q, first, &cache, chosen, out, scratch)?;
            }
        }
    }
    let mixed = &b.mixed[..t * heads * lora];
    let out = &mut b.attended[..t * heads * m.v_head_dim];
    mla_project_value(cpu, &shape, &wkv_b, mixed, out, scratch)
}
