//! What may follow: a seam between drawing tokens and whoever knows a grammar.

use crate::error::InferError;

/// Decides which tokens may come next in one sequence.
///
/// It is asked before each token is drawn and told which one was, in turns.
pub trait Constraint: Send {
    /// Forbids tokens by setting their `logits [vocab_size]` to negative infinity. At least one has
    /// to be left.
    ///
    /// # Errors
    /// When it can't say what may follow; the sequence fails with that.
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), InferError>;

    /// Takes the token that was drawn; not called for one that ends the sequence.
    ///
    /// # Errors
    /// For a token that may not come next.
    fn accept(&mut self, token: u32) -> Result<Progress, InferError>;
}

/// Whether anything may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The text may go on.
    Open,
    /// It is complete: the sequence ends.
    Complete,
}
