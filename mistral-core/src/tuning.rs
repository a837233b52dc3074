//! A change of a plan or of a training run, with its reasons.

use serde::{Deserialize, Serialize};

use crate::reason::{Fact, Reason};

/// What one utterance asks to change. Deltas are applied in order; the result is a new plan or a
/// new training specification, never an edit of the old one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// Version of this type's serialised form.
    pub schema: u32,
    /// The user's words.
    pub text: String,
    /// The changes, in order.
    pub deltas: Vec<Delta>,
}

impl Tuning {
    /// Version of the serialised form that this code writes.
    pub const SCHEMA: u32 = 1;
}

/// One changed value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Dotted path of the value, such as `lora.rank`, `gen.temperature` or `train.lr`; amounts in
    /// base units (rows, tokens, GB, hours, fractions of 1).
    pub path: String,
    /// The value before; `None` when there was none.
    pub from: Option<Fact>,
    /// The value after; `None` removes it.
    pub to: Option<Fact>,
    /// Why.
    pub reason: Reason,
}
