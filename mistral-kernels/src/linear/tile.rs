//! The register tile: some rows of one side times two vectors of the other.

use crate::simd::{Element, Simd};

/// Vectors across a tile: with them, a row of it costs one broadcast for two multiplications.
pub(crate) const VECTORS: usize = 2;

/// Columns of a tile.
#[inline(always)]
pub(crate) fn tile_cols<S: Simd>() -> usize {
    VECTORS * S::LANES
}

/// Where a tile's sums go: rows of `stride` elements, of which `cols` exist.
#[derive(Clone, Copy)]
pub(crate) struct Out {
    pub(crate) start: *mut f32,
    pub(crate) stride: usize,
    pub(crate) cols: usize,
    pub(crate) mode: Mode,
}

/// What happens to the elements that are there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Overwrite,
    Add,
}

/// `out [M, cols] (+)= a · b` over `k` steps; `a[m, k]` lies at `m · AM + k · AK`, and step `k` of
/// `b` holds a tile's columns at `k · ldb`.
///
/// # Safety
/// `a` and `b` are valid for reading what this names (all columns of a tile in `b`, also those
/// that `out` doesn't have), `out` for writing its rows.
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop works on pointers")]
pub(crate) unsafe fn tile<S: Simd, E: Element, const M: usize, const AM: usize, const AK: usize>(
    s: S,
    k: usize,
    a: *const f32,
    (b, ldb): (*const E, usize),
    out: Out,
) {
    let mut sums = [[s.splat(0.0); VECTORS]; M];
    // SAFETY: by this function's contract.
    unsafe {
        let (mut a, mut b) = (a, b);
        for _ in 0..k {
            let b0 = E::load(s, b);
            let b1 = E::load(s, b.add(S::LANES));
            for (m, sums) in sums.iter_mut().enumerate() {
                let v = s.splat(*a.add(m * AM));
                sums[0] = s.mul_add(v, b0, sums[0]);
                sums[1] = s.mul_add(v, b1, sums[1]);
            }
            a = a.add(AK);
            b = b.add(ldb);
        }
        finish(s, &sums, out);
    }
}

/// Writes a tile's sums.
///
/// # Safety
/// `out` is valid for writing `M` rows.
#[inline(always)]
#[expect(unsafe_code, reason = "stores through pointers")]
pub(crate) unsafe fn finish<S: Simd, const M: usize>(s: S, sums: &[[S::F; VECTORS]; M], out: Out) {
    let whole = out.cols >= tile_cols::<S>();
    for (m, sums) in sums.iter().enumerate() {
        // SAFETY: `out` has this row; a partial one goes through a buffer of a tile's width.
        unsafe {
            let row = out.start.add(m * out.stride);
            if whole {
                for (v, &sum) in sums.iter().enumerate() {
                    let p = row.add(v * S::LANES);
                    let sum = if out.mode == Mode::Add {
                        s.add(s.load(p), sum)
                    } else {
                        sum
                    };
                    s.store(p, sum);
                }
            } else {
                let mut buffer = [0.0f32; 64];
                for (v, &sum) in sums.iter().enumerate() {
                    s.store(buffer.as_mut_ptr().add(v * S::LANES), sum);
                }
                for (c, sum) in buffer[..out.cols].iter().enumerate() {
                    let p = row.add(c);
                    *p = if out.mode == Mode::Add {
                        *p + sum
                    } else {
                        *sum
                    };
                }
            }
        }
    }
}

/// [`tile`] of `m` rows (at most [`Simd::TILE_ROWS`]) packed as `[k][m]`.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop works on pointers")]
pub(crate) unsafe fn packed_tile<S: Simd, E: Element>(
    s: S,
    m: usize,
    k: usize,
    a: *const f32,
    b: (*const E, usize),
    out: Out,
) {
    // SAFETY: the same contract.
    unsafe {
        // Which rows exist is known when a set's code is made: no others are compiled.
        if S::TILE_ROWS > 6 && m > 6 {
            return match m {
                7 => tile::<S, E, 7, 1, 7>(s, k, a, b, out),
                8 => tile::<S, E, 8, 1, 8>(s, k, a, b, out),
                9 => tile::<S, E, 9, 1, 9>(s, k, a, b, out),
                10 => tile::<S, E, 10, 1, 10>(s, k, a, b, out),
                11 => tile::<S, E, 11, 1, 11>(s, k, a, b, out),
                _ => tile::<S, E, 12, 1, 12>(s, k, a, b, out),
            };
        }
        if S::TILE_ROWS > 3 && m > 3 {
            return match m {
                4 => tile::<S, E, 4, 1, 4>(s, k, a, b, out),
                5 => tile::<S, E, 5, 1, 5>(s, k, a, b, out),
                _ => tile::<S, E, 6, 1, 6>(s, k, a, b, out),
            };
        }
        match m {
            1 => tile::<S, E, 1, 1, 1>(s, k, a, b, out),
            2 => tile::<S, E, 2, 1, 2>(s, k, a, b, out),
            _ => tile::<S, E, 3, 1, 3>(s, k, a, b, out),
        }
    }
}

/// [`tile`] of `m` rows (at most [`Simd::TILE_ROWS`]) that lie `AM` apart, row-major.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop works on pointers")]
pub(crate) unsafe fn row_tile<S: Simd, E: Element, const AM: usize>(
    s: S,
    m: usize,
    k: usize,
    a: *const f32,
    b: (*const E, usize),
    out: Out,
) {
    // SAFETY: the same contract.
    unsafe {
        // Which rows exist is known when a set's code is made: no others are compiled.
        if S::TILE_ROWS > 6 && m > 6 {
            return match m {
                7 => tile::<S, E, 7, AM, 1>(s, k, a, b, out),
                8 => tile::<S, E, 8, AM, 1>(s, k, a, b, out),
                9 => tile::<S, E, 9, AM, 1>(s, k, a, b, out),
                10 => tile::<S, E, 10, AM, 1>(s, k, a, b, out),
                11 => tile::<S, E, 11, AM, 1>(s, k, a, b, out),
                _ => tile::<S, E, 12, AM, 1>(s, k, a, b, out),
            };
        }
        if S::TILE_ROWS > 3 && m > 3 {
            return match m {
                4 => tile::<S, E, 4, AM, 1>(s, k, a, b, out),
                5 => tile::<S, E, 5, AM, 1>(s, k, a, b, out),
                _ => tile::<S, E, 6, AM, 1>(s, k, a, b, out),
            };
        }
        match m {
            1 => tile::<S, E, 1, AM, 1>(s, k, a, b, out),
            2 => tile::<S, E, 2, AM, 1>(s, k, a, b, out),
            _ => tile::<S, E, 3, AM, 1>(s, k, a, b, out),
        }
    }
}

/// Splits `rows` into tiles of at most `most` rows that differ by at most one: `(start, rows)` of
/// tile `i`.
#[inline(always)]
pub(crate) fn split(rows: usize, most: usize, i: usize) -> (usize, usize) {
    let tiles = rows.div_ceil(most);
    let (base, longer) = (rows / tiles, rows % tiles);
    (i * base + i.min(longer), base + usize::from(i < longer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_all_rows_evenly() {
        for (rows, most) in [(1, 12), (12, 12), (13, 12), (25, 12), (512, 12), (7, 3)] {
            let mut next = 0;
            for i in 0..usize::div_ceil(rows, most) {
                let (start, n) = split(rows, most, i);
                assert_eq!(start, next);
                assert!(n >= 1 && n <= most);
                next += n;
            }
            assert_eq!(next, rows);
        }
    }
}
