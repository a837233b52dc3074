//! How weights are stored: the table of tensor formats, and the recipes that combine them.
//!
//! A [`Format`] is the storage of one tensor. A [`Precision`] is what a whole checkpoint is
//! called (`bf16`, `fp8`, `q4_k_m`): it names a format for each role of a tensor.

mod format;
mod mix;
mod recipe;

pub use format::{Block, Format};
pub use mix::TensorPlace;
pub use recipe::{Precision, Role, UnknownPrecision};
