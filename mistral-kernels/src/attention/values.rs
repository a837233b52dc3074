//! What a tile's values add to the sums, where products aren't made in bf16.

#![expect(unsafe_code, reason = "tiles read and write through pointers")]

use super::block::{Block, TILE, padded};
use super::cached::Cached;
use super::q8;
use super::widen::{widen, widen_scaled};
use crate::linear::{Mode, Out, row_tile, split, tile_cols};
use crate::simd::Simd;

impl<K: Cached, V: Cached> Block<'_, '_, K, V> {
    /// # Safety
    /// The first `n` pointers are rows of values, one behind the other when `run`.
    #[inline(always)]
    pub(super) unsafe fn add_values<S: Simd>(
        &mut self,
        s: S,
        n: usize,
        v: &[*const V; TILE],
        run: bool,
    ) {
        let (dv, rows, wide) = (self.values.width, self.rows.len(), tile_cols::<S>());
        let padded = padded(dv);
        assert!(self.memory.sums.len() >= rows * padded);
        let sums = self.memory.sums.as_mut_ptr();
        let direct = run && dv.is_multiple_of(wide);
        // SAFETY: rows of values have `dv` elements `stride` apart, or were copied; the buffers
        // hold what is named.
        unsafe {
            if !direct {
                self.copy_values(s, n, v);
            }
            for c in (0..dv).step_by(wide) {
                let weights = if direct && V::SCALED {
                    self.weigh(s, n, c / q8::BLOCK);
                    self.memory.weighted.as_ptr()
                } else {
                    self.memory.scores.as_ptr()
                };
                for i in 0..rows.div_ceil(S::TILE_ROWS) {
                    let (first, m) = split(rows, S::TILE_ROWS, i);
                    let a = weights.add(first * TILE);
                    let out = Out {
                        start: sums.add(first * padded + c),
                        stride: padded,
                        cols: wide,
                        mode: Mode::Add,
                    };
                    if direct {
                        let b = (v[0].add(c), self.values.stride);
                        row_tile::<S, V, TILE>(s, m, n, a, b, out);
                    } else {
                        let b = (self.memory.v.as_ptr().add(c), padded);
                        row_tile::<S, f32, TILE>(s, m, n, a, b, out);
                    }
                }
            }
        }
    }

    /// Copies rows of values as f32.
    ///
    /// # Safety
    /// The first `n` pointers are rows of values.
    #[inline(always)]
    unsafe fn copy_values<S: Simd>(&mut self, s: S, n: usize, v: &[*const V; TILE]) {
        let dv = self.values.width;
        let padded = padded(dv);
        assert!(self.memory.v.len() >= TILE * padded);
        let copy = self.memory.v.as_mut_ptr();
        for (i, &row) in v[..n].iter().enumerate() {
            // SAFETY: a row has `dv` elements by this function's contract, its copy by the
            // assertion.
            unsafe {
                let out = copy.add(i * padded);
                if V::SCALED {
                    widen_scaled(s, row, dv, &self.memory.scales[i..], out);
                } else {
                    widen(s, row, dv, out);
                }
            }
        }
    }

    /// Multiplies the scores with the scales of a block of values.
    #[inline(always)]
    fn weigh<S: Simd>(&mut self, s: S, n: usize, block: usize) {
        let scales = &self.memory.scales[block * TILE..][..TILE];
        let used = n.next_multiple_of(S::LANES);
        let rows = self.rows.len();
        let pairs = self.memory.weighted.chunks_exact_mut(TILE);
        for (out, scores) in pairs.zip(self.memory.scores.chunks_exact(TILE)).take(rows) {
            for c in (0..used).step_by(S::LANES) {
                // SAFETY: all three are `TILE` long, whole vectors.
                unsafe {
                    let v = s.mul(
                        s.load(scores.as_ptr().add(c)),
                        s.load(scales.as_ptr().add(c)),
                    );
                    s.store(out.as_mut_ptr().add(c), v);
                }
            }
        }
    }
}
