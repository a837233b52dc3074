//! The gated activation of feed-forward layers.

use crate::cpu::SharedMut;
use crate::error::check_len;
use crate::{Cpu, KernelError};

/// `out = silu(gate) · up`, elementwise, with `silu(v) = v / (1 + e^-v)` (arXiv 2002.05202).
///
/// # Errors
/// When the lengths differ.
pub fn swiglu(cpu: &Cpu, gate: &[f32], up: &[f32], out: &mut [f32]) -> Result<(), KernelError> {
    check_len("swiglu", "up", up.len(), gate.len())?;
    check_len("swiglu", "out", out.len(), gate.len())?;
    let out = SharedMut::new(out);
    cpu.run_ranges(gate.len(), 8 * 1024, &|range| {
        // SAFETY: ranges of one call don't overlap.
        #[expect(unsafe_code, reason = "tasks write disjoint ranges")]
        let out = unsafe { out.slice(range.clone()) };
        swiglu_range(&gate[range.clone()], &up[range], out);
    });
    Ok(())
}

fn swiglu_range(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((o, g), u) in out.iter_mut().zip(gate).zip(up) {
        *o = g / (1.0 + (-g).exp()) * u;
    }
}
