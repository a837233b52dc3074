//! Floating-point operations; a multiplication and its addition count as two.

use super::counts::Counts;
use super::layers::{LayerKind, sum};
use crate::model::{AttentionKind, Indexer, ModelSpec};

/// Operations of attention for one query that may see `seen` keys, over all layers.
fn attention_flops(
    spec: &ModelSpec,
    kinds: &[LayerKind],
    seen: impl Fn(Option<usize>) -> f64,
    absorbed: bool,
) -> f64 {
    let heads = spec.n_heads as f64;
    sum(kinds, |i| {
        let layer = &spec.layers[i];
        let all = seen(None);
        let mut keys = seen(layer.window);
        let mut indexer = 0.0;
        if let Some(x) = &spec.indexer {
            if layer.indexer == Indexer::Full {
                indexer = 2.0 * x.n_heads as f64 * x.head_dim as f64 * all;
            }
            if layer.indexer != Indexer::None {
                keys = keys.min(seen(Some(x.topk)));
            }
        }
        let widths = match &spec.attention {
            AttentionKind::Gqa(g) => 2.0 * g.head_dim as f64,
            AttentionKind::Mla(m) if absorbed => {
                2.0 * m.kv_lora_rank as f64 + m.split(layer.rope).1 as f64
            }
            AttentionKind::Mla(m) => (m.qk_head_dim() + m.v_head_dim) as f64,
        };
        2.0 * heads * widths * keys + indexer
    })
}

/// Operations that generate one token after `depth` tokens.
///
/// Latent attention is counted in its absorbed form (scores against the latent), as decoding
/// runs it.
#[must_use]
pub fn decode_flops(spec: &ModelSpec, depth: usize) -> f64 {
    Counts::new(spec).decode_flops(spec, depth)
}

pub(super) fn attention_decode(spec: &ModelSpec, kinds: &[LayerKind], depth: usize) -> f64 {
    let keys = |window: Option<usize>| (depth + 1).min(window.unwrap_or(usize::MAX)) as f64;
    attention_flops(spec, kinds, keys, true)
}

/// Operations of a prompt of `tokens` tokens after `past` cached ones, with one row of logits.
///
/// Latent attention is counted with expanded keys and values, as prompts run it.
#[must_use]
pub fn prefill_flops(spec: &ModelSpec, tokens: usize, past: usize) -> f64 {
    Counts::new(spec).prefill_flops(spec, tokens, past)
}

pub(super) fn attention_prefill(
    spec: &ModelSpec,
    kinds: &[LayerKind],
    tokens: usize,
    past: usize,
) -> f64 {
    // Σ over queries of min(position + 1, window).
    let keys = |window: Option<usize>| {
        let (n, p) = (tokens as f64, past as f64);
        match window {
            None => n * p + n * (n + 1.0) / 2.0,
            Some(w) => {
                let w = w as f64;
                let growing = (w - p).clamp(0.0, n);
                growing * p + growing * (growing + 1.0) / 2.0 + (n - growing) * w
            }
        }
    };
    attention_flops(spec, kinds, keys, false)
}
