//! Slow, obvious references in f64, and what tests of this crate share.
//!
//! Not part of the stable interface.

pub mod oracle;
pub mod values;

use crate::{Cpu, Isa};

/// Every instruction set of this machine, alone and with three threads that share even the smallest
/// call.
#[must_use]
pub fn cpus() -> Vec<Cpu> {
    Isa::ALL
        .into_iter()
        .flat_map(|isa| [1, 3].map(|threads| Cpu::with_isa(threads, isa)))
        .filter_map(Result::ok)
        .map(Cpu::sharing_all)
        .collect()
}

/// Largest difference between `found` and `expected`, divided by `scale` where that is above 1.
///
/// A NaN on one side only counts as infinitely far.
#[must_use]
pub fn worst(found: &[f32], expected: &[f64], scale: Option<&[f64]>) -> f64 {
    assert_eq!(found.len(), expected.len(), "lengths of found and expected");
    let mut worst = 0.0f64;
    for (i, (&f, &e)) in found.iter().zip(expected).enumerate() {
        let f = f64::from(f);
        if (f.is_nan() && e.is_nan()) || f == e {
            continue;
        }
        let difference = (f - e).abs() / scale.map_or(1.0, |s| s[i].max(1e-30));
        worst = if difference.is_nan() {
            f64::INFINITY
        } else {
            worst.max(difference)
        };
    }
    worst
}
