//! Looking at what a forward pass computes.

use mistral_kernels::Routing;

/// A place in the forward pass whose values can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Point {
    /// Token embeddings, `[tokens, dim]`.
    Embedding,
    /// Output of a layer's attention before it joins the residual stream, `[tokens, dim]`.
    AttentionOut(usize),
    /// Output of a layer's feed-forward before it joins the residual stream, `[tokens, dim]`.
    FeedForwardOut(usize),
    /// The residual stream after a layer, `[tokens, dim]`.
    Layer(usize),
    /// After the final norm, `[tokens, dim]`.
    FinalNorm,
    /// A layer's router logits, `[tokens, experts]`.
    RouterLogits(usize),
}

/// Receives values of a forward pass. All methods do nothing by default.
pub trait Observer {
    /// Values at a place, for all tokens of the batch in its order.
    fn values(&mut self, point: Point, values: &[f32]) {
        let _ = (point, values);
    }

    /// A layer's choice of experts.
    fn routing(&mut self, layer: usize, routing: &Routing) {
        let _ = (layer, routing);
    }

    /// The positions that an indexer of `layer` chose for one token of `sequence`, ascending.
    fn selected(&mut self, layer: usize, sequence: usize, position: usize, chosen: &[u32]) {
        let _ = (layer, sequence, position, chosen);
    }
}

/// Looks at nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}
