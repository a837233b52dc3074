//! Memory and arithmetic of a model: the only home of these formulas.
//!
//! Everything here is a function of [`ModelSpec`](crate::model::ModelSpec) alone. Parameter
//! counts are exact: they equal the element counts of the model's files. Amounts that can't be
//! represented saturate, so that a hostile specification gives a size that fits nowhere rather
//! than a small one.

mod counts;
mod flops;
mod layers;
mod memory;
mod parameters;

pub use counts::Counts;
pub use flops::{decode_flops, prefill_flops};
pub use memory::{
    activation_bytes, decode_read_bytes, expected_experts, kv_bytes, kv_bytes_per_token,
    kv_read_bytes, weight_bytes,
};
pub use parameters::{Group, Parameters, Part, groups, parameters};

/// The product as `u64`, or `u64::MAX` when it doesn't fit.
fn product(factors: &[usize]) -> u64 {
    factors
        .iter()
        .fold(1u64, |p, &f| p.saturating_mul(f as u64))
}

#[cfg(test)]
mod tests;
