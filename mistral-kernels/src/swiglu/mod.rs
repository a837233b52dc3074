//! The gated activation of feed-forward layers.

use crate::cpu::SharedMut;
use crate::error::check_len;
use crate::simd::row::{self, Binary};
use crate::simd::{Kernel, Simd, dispatch, silu};
use crate::{Cpu, KernelError};

/// Elements below which a second thread isn't worth its start.
const GRAIN: usize = 16 * 1024;

/// `out = silu(gate) · up`, elementwise, with `silu(v) = v / (1 + e^-v)` (arXiv 2002.05202).
///
/// # Errors
/// When the lengths differ.
pub fn swiglu(cpu: &Cpu, gate: &[f32], up: &[f32], out: &mut [f32]) -> Result<(), KernelError> {
    check_len("swiglu", "up", up.len(), gate.len())?;
    check_len("swiglu", "out", out.len(), gate.len())?;
    let out = SharedMut::new(out);
    cpu.run_ranges(gate.len(), GRAIN, &|range| {
        // SAFETY: ranges of one call don't overlap.
        #[expect(unsafe_code, reason = "tasks write disjoint ranges")]
        let out = unsafe { out.slice(range.clone()) };
        let (gate, up) = (&gate[range.clone()], &up[range]);
        dispatch(cpu.live(), Apart { gate, up, out });
    });
    Ok(())
}

/// [`swiglu`] that overwrites the gate; lengths are equal.
pub(crate) fn swiglu_in_place(cpu: &Cpu, gate: &mut [f32], up: &[f32]) {
    let n = gate.len();
    let gate = SharedMut::new(gate);
    cpu.run_ranges(n, GRAIN, &|range| {
        // SAFETY: ranges of one call don't overlap.
        #[expect(unsafe_code, reason = "tasks write disjoint ranges")]
        let gate = unsafe { gate.slice(range.clone()) };
        let up = &up[range];
        dispatch(cpu.live(), InPlace { gate, up });
    });
}

struct Apart<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Apart<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        row::map2(s, self.out, self.gate, self.up, &Gated);
    }
}

struct InPlace<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl Kernel for InPlace<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        row::update(s, self.gate, self.up, &Gated);
    }
}

struct Gated;

impl<S: Simd> Binary<S> for Gated {
    #[inline(always)]
    fn apply(&self, s: S, gate: S::F, up: S::F) -> S::F {
        s.mul(silu(s, gate), up)
    }
}
