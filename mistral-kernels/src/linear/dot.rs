//! Products with few tokens: weights are read once, in the order they lie in.

#![expect(unsafe_code, reason = "the innermost loop works on pointers")]

use std::ops::Range;

use super::product::{OutRows, Rows};
use crate::simd::{Element, Kernel, Simd};

/// Bytes that prefetching into the first cache runs ahead of a row's reads.
const AHEAD: usize = 1024;
/// The same for the second cache, at most: where rows are shorter, it fetches the next ones.
const FAR_AHEAD: usize = 4096;

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
        let (cols, x, y) = (self.cols, self.x, self.y);
        // SAFETY: the rows are inside `w` by the assertion above, tokens inside `x`, and this
        // task alone writes these columns of `y`.
        unsafe {
            let w = self.w.as_ptr();
            dots(
                s,
                (self.rows, |r| w.add(r * cols)),
                (x.count(), |t| x.row(t)),
                cols,
                |r, t, sum| *y.at(t, r) = sum,
            );
        }
    }
}

/// Calls `put(r, t, a_r · x_t)` for all rows `r` and tokens `t`; sums of `cols` products.
///
/// # Safety
/// `a(r)` and `x(t)` are valid for reading `cols` elements.
#[inline(always)]
pub(crate) unsafe fn dots<S: Simd, E: Element>(
    s: S,
    (rows, a): (Range<usize>, impl Fn(usize) -> *const E),
    (tokens, x): (usize, impl Fn(usize) -> *const f32),
    cols: usize,
    put: impl Fn(usize, usize, f32),
) {
    let mut r = rows.start;
    while r < rows.end {
        let whole = r + 4 <= rows.end;
        let step = if whole { 4 } else { 1 };
        let mut t = 0;
        while t < tokens {
            let left = (tokens - t).min(S::DOT_TOKENS);
            // SAFETY: these rows and tokens exist.
            unsafe {
                match (whole, left) {
                    (true, 1) => block::<S, E, 4, 1>(s, (r, &a), (t, &x), cols, &put),
                    (true, 2) => block::<S, E, 4, 2>(s, (r, &a), (t, &x), cols, &put),
                    (true, 3) if S::DOT_TOKENS > 2 => {
                        block::<S, E, 4, 3>(s, (r, &a), (t, &x), cols, &put)
                    }
                    (true, 4) if S::DOT_TOKENS > 2 => {
                        block::<S, E, 4, 4>(s, (r, &a), (t, &x), cols, &put)
                    }
                    // More tokens leave registers for two rows at a time.
                    (true, 5) if S::DOT_TOKENS > 4 => {
                        block::<S, E, 2, 5>(s, (r, &a), (t, &x), cols, &put);
                        block::<S, E, 2, 5>(s, (r + 2, &a), (t, &x), cols, &put);
                    }
                    (true, 6) if S::DOT_TOKENS > 4 => {
                        block::<S, E, 2, 6>(s, (r, &a), (t, &x), cols, &put);
                        block::<S, E, 2, 6>(s, (r + 2, &a), (t, &x), cols, &put);
                    }
                    (true, 7) if S::DOT_TOKENS > 4 => {
                        block::<S, E, 2, 7>(s, (r, &a), (t, &x), cols, &put);
                        block::<S, E, 2, 7>(s, (r + 2, &a), (t, &x), cols, &put);
                    }
                    (true, _) if S::DOT_TOKENS > 4 => {
                        block::<S, E, 2, 8>(s, (r, &a), (t, &x), cols, &put);
                        block::<S, E, 2, 8>(s, (r + 2, &a), (t, &x), cols, &put);
                    }
                    (_, n) => {
                        for t in t..t + n {
                            block::<S, E, 1, 1>(s, (r, &a), (t, &x), cols, &put);
                        }
                    }
                }
            }
            t += left;
        }
        r += step;
    }
}

/// # Safety
/// As [`dots`]; rows `r .. r + R` and tokens `t .. t + T` exist.
#[inline(always)]
unsafe fn block<S: Simd, E: Element, const R: usize, const T: usize>(
    s: S,
    (r, a): (usize, impl Fn(usize) -> *const E),
    (t, x): (usize, impl Fn(usize) -> *const f32),
    cols: usize,
    put: impl Fn(usize, usize, f32),
) {
    let mut sums = [s.splat(0.0); 16];
    let mut rows = [std::ptr::null::<E>(); R];
    let mut tokens = [std::ptr::null::<f32>(); T];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = a(r + i);
    }
    for (j, token) in tokens.iter_mut().enumerate() {
        *token = x(t + j);
    }
    // What follows a short row is read beside it; what is read next follows all of them.
    let next = R * cols * size_of::<E>();
    let far = if cols * size_of::<E>() < FAR_AHEAD {
        next
    } else {
        FAR_AHEAD
    };
    let whole = cols / S::LANES * S::LANES;
    let mut found = [0.0f32; 16];
    // SAFETY: offsets stay inside rows and tokens.
    unsafe {
        for c in (0..whole).step_by(S::LANES) {
            let mut vectors = [s.splat(0.0); T];
            for (vector, token) in vectors.iter_mut().zip(&tokens) {
                *vector = s.load(token.add(c));
            }
            for (i, row) in rows.iter().enumerate() {
                let p = row.add(c);
                s.prefetch_second(p.cast::<u8>().wrapping_add(far));
                s.prefetch(p.cast::<u8>().wrapping_add(AHEAD));
                let v = E::load(s, p);
                for (j, vector) in vectors.iter().enumerate() {
                    sums[i * T + j] = s.mul_add(v, *vector, sums[i * T + j]);
                }
            }
        }
        s.reduce_each(&sums, R * T, &mut found);
        for (i, row) in rows.iter().enumerate() {
            for (j, token) in tokens.iter().enumerate() {
                let mut sum = found[i * T + j];
                for c in whole..cols {
                    sum += (*row.add(c)).widen() * *token.add(c);
                }
                put(r + i, t + j, sum);
            }
        }
    }
}
