//! Products with few tokens: weights are read once, in the order they lie in.

#![expect(unsafe_code, reason = "the innermost loop works on pointers")]

use std::ops::Range;

use super::product::{OutRows, Rows};
use crate::simd::{Element, Kernel, Simd};

/// Rows of weights that are read side by side.
const ROWS: usize = 4;

/// Bytes that prefetching runs ahead of a row's reads.
const AHEAD: usize = 1024;

/// Some rows of one product, for all of its tokens.
pub(super) struct DotRows<'a, E> {
    /// `[.., cols]`
    pub(super) w: &'a [E],
    pub(super) cols: usize,
    pub(super) rows: Range<usize>,
    pub(super) x: Rows<'a>,
    pub(super) y: OutRows<'a>,
}

impl<E: Element> Kernel for DotRows<'_, E> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        assert!(self.rows.end * self.cols <= self.w.len());
        let tokens = self.x.count();
        let mut r = self.rows.start;
        while r < self.rows.end {
            let step = if r + ROWS <= self.rows.end { ROWS } else { 1 };
            let mut t = 0;
            while t < tokens {
                let left = (tokens - t).min(S::DOT_TOKENS);
                // SAFETY: the rows are inside `w` by the assertion above, tokens inside `x`, and
                // this task alone writes these columns of `y`.
                unsafe {
                    match (step, left) {
                        (1, _) => self.block::<S, 1, 1>(s, r, t),
                        (_, 1) => self.block::<S, ROWS, 1>(s, r, t),
                        (_, 2) => self.block::<S, ROWS, 2>(s, r, t),
                        (_, 3) => self.block::<S, ROWS, 3>(s, r, t),
                        _ => self.block::<S, ROWS, 4>(s, r, t),
                    }
                }
                t += if step == 1 { 1 } else { left };
            }
            r += step;
        }
    }
}

impl<E: Element> DotRows<'_, E> {
    /// # Safety
    /// Rows `r .. r + R` are inside `w`, tokens `t .. t + T` inside `x` and `y`, and no other
    /// task writes these elements of `y`.
    #[inline(always)]
    unsafe fn block<S: Simd, const R: usize, const T: usize>(&self, s: S, r: usize, t: usize) {
        let cols = self.cols;
        let mut sums = [[s.splat(0.0); T]; R];
        // SAFETY: offsets stay inside rows and tokens.
        unsafe {
            let w = self.w.as_ptr().add(r * cols);
            let x: [*const f32; T] = std::array::from_fn(|i| self.x.row(t + i));
            let mut c = 0;
            while c + S::LANES <= cols {
                let x: [S::F; T] = std::array::from_fn(|i| s.load(x[i].add(c)));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let p = w.add(i * cols + c);
                    s.prefetch(p.cast::<u8>().wrapping_add(AHEAD));
                    let v = E::load(s, p);
                    for (sum, x) in sums.iter_mut().zip(x) {
                        *sum = s.mul_add(v, x, *sum);
                    }
                }
                c += S::LANES;
            }
            for (i, sums) in sums.iter().enumerate() {
                for (j, &sum) in sums.iter().enumerate() {
                    let mut sum = s.reduce_add(sum);
                    for c in c..cols {
                        sum += (*w.add(i * cols + c)).widen() * *x[j].add(c);
                    }
                    *self.y.at(t + j, r + i) = sum;
                }
            }
        }
    }
}
