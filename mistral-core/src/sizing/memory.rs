//! Bytes of weights, of keys and values, and of what is in between.

use super::counts::Counts;
use super::layers::{LayerKind, kinds, sum};
use super::product;
use crate::model::{AttentionKind, FeedForward, Indexer, ModelSpec};
use crate::plan::KvPrecision;
use crate::precision::{Precision, Role};

/// Bytes of a model's weights.
///
/// Recipes that mix formats are taken at their mean (see [`Precision::formats`]); the file is
/// within one percent of it for models of 24 layers and more.
#[must_use]
pub fn weight_bytes(spec: &ModelSpec, precision: Precision) -> u64 {
    Counts::new(spec).weight_bytes(precision)
}

/// A tied embedding is also the output, and recipes keep the wider of the two formats.
pub(super) fn role_bits(tied_embeddings: bool, precision: Precision, role: Role) -> f64 {
    let bits = precision.bits_per_weight(role);
    if role == Role::Embedding && tied_embeddings {
        bits.max(precision.bits_per_weight(Role::Output))
    } else {
        bits
    }
}

/// Mean number of different experts that `tokens` tokens choose in a layer, when every expert is
/// equally likely: `E (1 - (1 - k/E)^n)`.
#[must_use]
pub fn expected_experts(num_experts: usize, experts_per_token: usize, tokens: f64) -> f64 {
    let e = num_experts as f64;
    if num_experts == 0 {
        return 0.0;
    }
    e * (1.0
        - (1.0 - experts_per_token as f64 / e)
            .max(0.0)
            .powf(tokens.max(0.0)))
}

/// Bytes of weights that one decoding step of `batch` sequences reads: everything but the
/// embedding's rows, and of the experts those that some sequence chose.
#[must_use]
pub fn decode_read_bytes(spec: &ModelSpec, precision: Precision, batch: f64) -> f64 {
    Counts::new(spec).decode_read_bytes(precision, batch)
}

/// Values that layer `i` keeps for one token: keys, values or the latent, and the indexer's key.
fn kept_by_token(spec: &ModelSpec, i: usize) -> u64 {
    let mut values = 0u64;
    if spec.owns_kv(i) {
        values = match &spec.attention {
            AttentionKind::Gqa(g) => product(&[2, g.n_kv_heads, g.head_dim]),
            AttentionKind::Mla(m) => {
                let (_, rope) = m.split(spec.layers[i].rope);
                (m.kv_lora_rank as u64).saturating_add(rope as u64)
            }
        };
    }
    if let (Some(x), Indexer::Full) = (&spec.indexer, spec.layers[i].indexer) {
        values = values.saturating_add(x.head_dim as u64);
    }
    values
}

/// Bytes of keys and values that one more token adds, while no window is full.
///
/// Latent attention keeps its latent, not the expanded heads; a layer that reads another's cache
/// keeps nothing.
#[must_use]
pub fn kv_bytes_per_token(spec: &ModelSpec, kv: KvPrecision) -> f64 {
    (0..spec.layers.len())
        .map(|i| kept_by_token(spec, i) as f64)
        .sum::<f64>()
        * kv.bytes()
}

/// Bytes of keys and values of one sequence of `tokens` tokens; a layer with a window keeps no
/// more than the window.
#[must_use]
pub fn kv_bytes(spec: &ModelSpec, tokens: usize, kv: KvPrecision) -> f64 {
    kept_values(spec, &kinds(spec), tokens) * kv.bytes()
}

/// Values that all layers keep of a sequence of `tokens` tokens.
pub(super) fn kept_values(spec: &ModelSpec, kinds: &[LayerKind], tokens: usize) -> f64 {
    sum(kinds, |i| {
        let held = tokens.min(spec.layers[i].window.unwrap_or(tokens));
        kept_by_token(spec, i) as f64 * held as f64
    })
}

/// Bytes of keys and values that one decoding step of one sequence reads at `depth` tokens: a
/// sparse layer reads its indexer's keys and the chosen ones.
#[must_use]
pub fn kv_read_bytes(spec: &ModelSpec, depth: usize, kv: KvPrecision) -> f64 {
    read_values(spec, &kinds(spec), depth) * kv.bytes()
}

/// Values that all layers read at `depth` tokens.
pub(super) fn read_values(spec: &ModelSpec, kinds: &[LayerKind], depth: usize) -> f64 {
    sum(kinds, |i| read_by_layer(spec, i, depth))
}

fn read_by_layer(spec: &ModelSpec, i: usize, depth: usize) -> f64 {
    let layer = &spec.layers[i];
    let keys = depth.min(layer.window.unwrap_or(depth));
    let source = layer.kv_source.min(spec.layers.len() - 1);
    let (values, keys) = match (&spec.attention, &spec.indexer, layer.indexer) {
        (AttentionKind::Gqa(g), _, _) => (product(&[2, g.n_kv_heads, g.head_dim]), keys),
        (AttentionKind::Mla(m), indexer, choice) => {
            let (_, rope) = m.split(spec.layers[source].rope);
            let chosen = match (indexer, choice) {
                (Some(x), Indexer::Full | Indexer::Shared) => keys.min(x.topk),
                _ => keys,
            };
            ((m.kv_lora_rank as u64).saturating_add(rope as u64), chosen)
        }
    };
    let indexed = match (&spec.indexer, layer.indexer) {
        (Some(x), Indexer::Full) => x.head_dim as f64 * depth as f64,
        _ => 0.0,
    };
    values as f64 * keys as f64 + indexed
}

/// Bytes of what lies between the layers during one step: of `tokens` tokens the residual, the
/// normed input, queries, keys, values, attention's output and the feed-forward's inner values;
/// of `sequences` sequences the logits in f32. `bytes` is the size of one activation.
#[must_use]
pub fn activation_bytes(spec: &ModelSpec, tokens: usize, sequences: usize, bytes: usize) -> f64 {
    let heads = spec.n_heads as f64;
    let attention = heads * (spec.head_dim() + spec.v_head_dim()) as f64
        + match &spec.attention {
            AttentionKind::Gqa(g) => product(&[2, g.n_kv_heads, g.head_dim]) as f64,
            AttentionKind::Mla(m) => {
                (m.kv_lora_rank + m.qk_rope_head_dim + m.q_lora_rank.unwrap_or(0)) as f64
            }
        };
    let inner = spec
        .layers
        .iter()
        .map(|l| match (&spec.moe, l.feed_forward) {
            (Some(m), FeedForward::Moe) => {
                (m.num_experts_per_tok + m.num_shared_experts) as f64 * m.expert_hidden_dim as f64
            }
            _ => spec.hidden_dim as f64,
        })
        .fold(0.0, f64::max);
    let a_token = 3.0 * spec.dim as f64 + attention.max(2.0 * inner);
    a_token * tokens as f64 * bytes as f64 + spec.vocab_size as f64 * sequences as f64 * 4.0
}
