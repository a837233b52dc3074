//! Which tensors a model consists of: canonical names and shapes, derived from [`ModelSpec`].
//!
//! Canonical names are those of Mistral's consolidated files. They are listed one by one to a
//! visitor and never collected, so that a specification that claims absurd counts costs nothing
//! before its first missing tensor.

use mistral_core::model::{AttentionKind, FeedForward, Indexer, MlaSpec, ModelSpec, PositionScale};

/// What [`for_each_tensor`] calls with a canonical name and a shape.
pub type Visit<'a, E> = dyn FnMut(&str, &[usize]) -> Result<(), E> + 'a;

/// Calls `visit` with the canonical name and the shape of every tensor of `spec`, in layer order,
/// and stops at its first error.
///
/// # Errors
/// Whatever `visit` returns.
pub fn for_each_tensor<E>(spec: &ModelSpec, visit: &mut Visit<'_, E>) -> Result<(), E> {
    visit("tok_embeddings.weight", &[spec.vocab_size, spec.dim])?;
    if spec.rope.learned_scale {
        visit("lerope.alpha", &[spec.rope.dim / 2])?;
    }
    for layer in 0..spec.n_layers {
        layer_tensors(spec, layer, &mut |name, shape| {
            visit(&format!("layers.{layer}.{name}"), shape)
        })?;
    }
    visit("norm.weight", &[spec.dim])?;
    if !spec.tied_embeddings {
        visit("output.weight", &[spec.vocab_size, spec.dim])?;
    }
    Ok(())
}

fn layer_tensors<E>(spec: &ModelSpec, layer: usize, visit: &mut Visit<'_, E>) -> Result<(), E> {
    visit("attention_norm.weight", &[spec.dim])?;
    match &spec.attention {
        AttentionKind::Gqa(g) => {
            let (q, kv) = (spec.n_heads * g.head_dim, g.n_kv_heads * g.head_dim);
            visit("attention.wq.weight", &[q, spec.dim])?;
            visit("attention.wk.weight", &[kv, spec.dim])?;
            visit("attention.wv.weight", &[kv, spec.dim])?;
            visit("attention.wo.weight", &[spec.dim, q])?;
        }
        AttentionKind::Mla(m) => mla_tensors(spec, m, layer, visit)?,
    }
    indexer_tensors(spec, layer, visit)?;
    visit("ffn_norm.weight", &[spec.dim])?;
    match (spec.layers[layer].feed_forward, &spec.moe) {
        (FeedForward::Moe, Some(moe)) => {
            visit("gate.weight", &[moe.num_experts, spec.dim])?;
            for e in 0..moe.num_experts {
                swiglu_tensors(
                    &format!("experts.{e}"),
                    spec.dim,
                    moe.expert_hidden_dim,
                    visit,
                )?;
            }
            if moe.num_shared_experts > 0 {
                let hidden = moe.expert_hidden_dim * moe.num_shared_experts;
                swiglu_tensors("shared_experts", spec.dim, hidden, visit)?;
            }
            Ok(())
        }
        _ => swiglu_tensors("feed_forward", spec.dim, spec.hidden_dim, visit),
    }
}

fn mla_tensors<E>(
    spec: &ModelSpec,
    m: &MlaSpec,
    layer: usize,
    visit: &mut Visit<'_, E>,
) -> Result<(), E> {
    let (nope, rope) = m.split(spec.layers[layer].rope);
    let q = spec.n_heads * m.qk_head_dim();
    match m.q_lora_rank {
        Some(rank) => {
            visit("attention.wq_a.weight", &[rank, spec.dim])?;
            visit("attention.q_a_norm.weight", &[rank])?;
            visit("attention.wq_b.weight", &[q, rank])?;
        }
        None => visit("attention.wq.weight", &[q, spec.dim])?,
    }
    if spec.owns_kv(layer) {
        visit(
            "attention.wkv_a_with_mqa.weight",
            &[m.kv_lora_rank + rope, spec.dim],
        )?;
        visit("attention.kv_a_norm.weight", &[m.kv_lora_rank])?;
    }
    let expanded = spec.n_heads * (nope + m.v_head_dim);
    visit("attention.wkv_b.weight", &[expanded, m.kv_lora_rank])?;
    visit(
        "attention.wo.weight",
        &[spec.dim, spec.n_heads * m.v_head_dim],
    )?;
    if spec.position_scale == PositionScale::SsMax {
        visit("attention.ssmax_scaling.s", &[spec.n_heads])?;
        visit("attention.ssmax_scaling.b", &[spec.n_heads])?;
    }
    Ok(())
}

fn indexer_tensors<E>(spec: &ModelSpec, layer: usize, visit: &mut Visit<'_, E>) -> Result<(), E> {
    let (Indexer::Full, Some(x)) = (spec.layers[layer].indexer, &spec.indexer) else {
        return Ok(());
    };
    visit("attention.indexer.q_input_norm.weight", &[spec.dim])?;
    visit("attention.indexer.q_input_norm.bias", &[spec.dim])?;
    visit(
        "attention.indexer.wq_b.weight",
        &[x.n_heads * x.head_dim, spec.dim],
    )?;
    visit("attention.indexer.wk.weight", &[x.head_dim, spec.dim])?;
    visit("attention.indexer.k_norm.weight", &[x.head_dim])?;
    visit("attention.indexer.k_norm.bias", &[x.head_dim])?;
    visit(
        "attention.indexer.weights_proj.weight",
        &[x.n_heads, spec.dim],
    )?;
    visit("attention.indexer.ssmax_scaling.s", &[x.n_heads])?;
    visit("attention.indexer.ssmax_scaling.b", &[x.n_heads])
}

fn swiglu_tensors<E>(
    prefix: &str,
    dim: usize,
    hidden: usize,
    visit: &mut Visit<'_, E>,
) -> Result<(), E> {
    visit(&format!("{prefix}.w1.weight"), &[hidden, dim])?;
    visit(&format!("{prefix}.w2.weight"), &[dim, hidden])?;
    visit(&format!("{prefix}.w3.weight"), &[hidden, dim])
}
