//! Panels of weights in blocks, unpacked to f32.

#![expect(unsafe_code, reason = "the innermost loop works on pointers")]

use std::ops::Range;

use super::gemm::{PANEL, Panels, STEPS};
use super::pack;
use crate::quant::{Blocks, unpack};
use crate::simd::Simd;

/// Weights that a thread unpacks at once for a panel.
pub(super) const UNPACKED: usize = PANEL;

/// Panels of unpacked blocks.
pub(super) struct BlockPanels<'a> {
    pub(super) w: Blocks<'a>,
    pub(super) cols: usize,
    /// [`UNPACKED`] weights.
    pub(super) unpacked: &'a mut [f32],
}

impl BlockPanels<'_> {
    /// Bytes of `steps` weights of row `r` from `k0` on.
    fn bytes(&self, r: usize, k0: usize, steps: usize) -> Range<usize> {
        let block = self.w.format().block();
        let start = (r * self.cols + k0) / block.items * block.bytes;
        start..start + steps / block.items * block.bytes
    }
}

impl Panels for BlockPanels<'_> {
    #[inline(always)]
    unsafe fn pack<S: Simd>(
        &mut self,
        s: S,
        (r0, rows): (usize, usize),
        (k0, steps): (usize, usize),
        width: usize,
        out: *mut f32,
    ) {
        for r in 0..rows {
            let bytes = &self.w.bytes()[self.bytes(r0 + r, k0, steps)];
            let row = &mut self.unpacked[r * STEPS..r * STEPS + steps];
            unpack(self.w.format(), bytes, row);
        }
        let unpacked = self.unpacked.as_ptr();
        // SAFETY: these rows were unpacked above; `out` by this function's contract.
        unsafe {
            let row = |r: usize| unpacked.wrapping_add(r * STEPS);
            pack::panel(s, row, (rows, steps), width, out);
        }
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&self, s: S, rows: Range<usize>, k0: usize) {
        for r in rows {
            let bytes = self.bytes(r, k0, STEPS);
            let row = self.w.bytes().as_ptr();
            for line in bytes.step_by(64) {
                s.prefetch_second(row.wrapping_add(line));
            }
        }
    }
}
