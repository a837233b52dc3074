//! Products with weights in blocks, unpacked to f32: what every format and instruction set has.

#![expect(unsafe_code, reason = "the innermost loop works on pointers")]

use std::ops::Range;

use super::dot::dots;
use super::gemm::{PANEL, Panels, STEPS};
use super::pack;
use super::product::{OutRows, Rows};
use crate::quant::{Blocks, unpack};
use crate::simd::{Kernel, Simd};

/// Weights that a thread unpacks at once for a panel.
pub(super) const UNPACKED: usize = PANEL;

/// Some rows of one product, for few tokens.
pub(super) struct DotBlocks<'a> {
    pub(super) w: Blocks<'a>,
    pub(super) cols: usize,
    pub(super) rows: Range<usize>,
    pub(super) x: Rows<'a>,
    pub(super) y: OutRows<'a>,
    /// A piece of a row, unpacked; at least 256.
    pub(super) row: &'a mut [f32],
}

impl Kernel for DotBlocks<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (cols, x, y) = (self.cols, self.x, self.y);
        let block = self.w.format().block();
        let most = self.row.len() / 256 * 256;
        for r in self.rows {
            for start in (0..cols).step_by(most) {
                let len = most.min(cols - start);
                let from = (r * cols + start) / block.items * block.bytes;
                let bytes = &self.w.bytes()[from..from + len / block.items * block.bytes];
                unpack(self.w.format(), bytes, &mut self.row[..len]);
                let row = self.row.as_ptr();
                // SAFETY: tokens have `cols` elements; this task alone writes these columns.
                unsafe {
                    dots(
                        s,
                        (0..1, |_| row),
                        (x.count(), |t| x.row(t).add(start)),
                        len,
                        |_, t, sum| {
                            let y = y.at(t, r);
                            *y = if start == 0 { sum } else { *y + sum };
                        },
                    );
                }
            }
        }
    }
}

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
