//! Layers that are alike: most models have one or two kinds, and counting each kind once makes sizes
//! cheap enough to ask for by the hundred thousand.

use crate::model::ModelSpec;

/// Layers with the same tensors, cache and attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LayerKind {
    /// One of them.
    pub(super) first: usize,
    /// How many.
    pub(super) layers: u64,
}

/// The kinds of layers, by all that tensors, cache and attention depend on.
pub(super) fn kinds(spec: &ModelSpec) -> Vec<LayerKind> {
    let what = |i: usize| {
        let l = &spec.layers[i];
        let source = l.kv_source.min(spec.layers.len() - 1);
        let rope = (l.rope, spec.layers[source].rope);
        (l.window, l.indexer, l.feed_forward, spec.owns_kv(i), rope)
    };
    let mut kinds: Vec<LayerKind> = Vec::new();
    for i in 0..spec.layers.len() {
        match kinds.iter_mut().find(|k| what(k.first) == what(i)) {
            Some(kind) => kind.layers += 1,
            None => kinds.push(LayerKind {
                first: i,
                layers: 1,
            }),
        }
    }
    kinds
}

/// The sum over all layers of what `of` says of one of each kind.
pub(super) fn sum(kinds: &[LayerKind], of: impl Fn(usize) -> f64) -> f64 {
    kinds.iter().map(|k| k.layers as f64 * of(k.first)).sum()
}
