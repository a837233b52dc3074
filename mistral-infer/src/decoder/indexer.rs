//! The indexer of sparse attention: chooses the positions that this layer's queries, and those of
//! the layers that share its choice, may attend to.

use mistral_core::model::IndexerSpec;
use mistral_kernels::{
    CacheShape, Indexer, KernelError, append, index_topk, layer_norm, linear, linear_many, rope,
    scale_ssmax,
};

use super::Pass;
use super::mla::rope_of;
use super::observe::Observer;
use super::state::State;
use super::weights::IndexerWeights;

/// Epsilon of the indexer's layer norms (transformers 5.23.0, `modeling_mistral_large4.py`).
const NORM_EPS: f32 = 1e-6;

/// Reads `h`, leaves each sequence's choice in its `selected`.
pub(super) fn run(
    pass: &Pass<'_>,
    i: usize,
    weights: &IndexerWeights,
    state: &mut State,
    observer: &mut dyn Observer,
) -> Result<(), KernelError> {
    let Some(x) = &pass.spec.indexer else {
        return Ok(());
    };
    project(pass, i, x, weights, state)?;
    let (heads, d) = (x.n_heads, x.head_dim);
    let (b, s) = (&state.buffers, &mut state.scratch);
    let Some(scratch) = &mut s.index else {
        return Ok(());
    };
    let params = Indexer {
        n_heads: heads,
        head_dim: d,
        topk: x.topk,
    };
    for span in pass.spans {
        let sequence = &mut state.sequences[span.sequence];
        let keys = &mut sequence.indexer_keys[i];
        let shape = CacheShape {
            heads: 1,
            capacity: state.sizes.seq_len,
            width: d,
        };
        append(
            &shape,
            keys.data_mut(),
            span.first_position,
            span.of(&b.index_k_normed, d),
        )?;
        let (q, w) = (
            span.of(&b.index_q, heads * d),
            span.of(&b.index_weights, heads),
        );
        let chosen = &mut sequence.selected;
        index_topk(
            pass.cpu,
            &params,
            q,
            w,
            span.first_position,
            keys.data(),
            chosen,
            scratch,
        )?;
        for row in 0..span.len {
            observer.selected(i, span.sequence, span.first_position + row, chosen.row(row));
        }
    }
    Ok(())
}

/// Queries, their weights and keys, normed, scaled and rotated, of the batch's tokens.
fn project(
    pass: &Pass<'_>,
    i: usize,
    x: &IndexerSpec,
    weights: &IndexerWeights,
    state: &mut State,
) -> Result<(), KernelError> {
    let (cpu, spec, t) = (pass.cpu, pass.spec, pass.tokens);
    let (heads, d) = (x.n_heads, x.head_dim);
    let (b, s) = (&mut state.buffers, &mut state.scratch);
    let h = &b.h[..t * spec.dim];
    let normed = &mut b.out[..t * spec.dim];
    layer_norm(
        cpu,
        h,
        &weights.q_norm.0,
        &weights.q_norm.1,
        NORM_EPS,
        normed,
    )?;
    let q = &mut b.index_q[..t * heads * d];
    linear(cpu, &weights.wq.matrix()?, normed, q, &mut s.linear)?;
    scale_ssmax(
        q,
        &b.positions[..t],
        &weights.ssmax.scale,
        &weights.ssmax.bias,
    )?;

    let (wk, wp) = (weights.wk.matrix()?, weights.weights.matrix()?);
    let raw = &mut b.index_k[..t * d];
    let head_weights = &mut b.index_weights[..t * heads];
    linear_many(
        cpu,
        &mut [(&wk, raw), (&wp, head_weights)],
        h,
        &mut s.linear,
    )?;
    let k = &mut b.index_k_normed[..t * d];
    let raw = &b.index_k[..t * d];
    layer_norm(cpu, raw, &weights.k_norm.0, &weights.k_norm.1, NORM_EPS, k)?;
    if spec.layers[i].rope {
        rope(cpu, &rope_of(spec, heads, d, 0), q, &s.angles)?;
        rope(cpu, &rope_of(spec, 1, d, 0), k, &s.angles)?;
    }
    Ok(())
}
