//! Copies in the order that register tiles read.

#![expect(unsafe_code, reason = "transposes read and write through pointers")]

use super::product::FEW;
use crate::simd::{Element, Simd, pair};

/// Copies `rows` rows (at most `width`) of `cols` elements as `[cols][width]` f32; missing rows
/// become zeros.
///
/// # Safety
/// `row(r)` is valid for reading `cols` elements for `r < rows`, `out` for writing
/// `cols · width`; `width` is a multiple of the lanes.
#[inline(always)]
pub(crate) unsafe fn panel<S: Simd, E: Element>(
    s: S,
    row: impl Fn(usize) -> *const E,
    (rows, cols): (usize, usize),
    width: usize,
    out: *mut f32,
) {
    let whole = cols / S::LANES * S::LANES;
    for first in (0..width).step_by(S::LANES) {
        let here = rows.saturating_sub(first).min(S::LANES);
        // SAFETY: rows `first .. first + here` exist, and columns stay below `cols`.
        unsafe {
            let out = out.add(first);
            for c in (0..whole).step_by(S::LANES) {
                let mut block = [s.splat(0.0); 16];
                if here == S::LANES {
                    for (r, vector) in block[..S::LANES].iter_mut().enumerate() {
                        *vector = E::load(s, row(first + r).add(c));
                    }
                } else {
                    for (r, vector) in block[..here].iter_mut().enumerate() {
                        *vector = E::load(s, row(first + r).add(c));
                    }
                }
                s.transpose(&block, out.add(c * width), width);
            }
            for c in whole..cols {
                for r in 0..S::LANES {
                    let v = if r < here {
                        // A row of pairs may begin between two words.
                        row(first + r).add(c).read_unaligned().widen()
                    } else {
                        0.0
                    };
                    *out.add(c * width + r) = v;
                }
            }
        }
    }
}

/// What the words of packed rows are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    /// Numbers.
    F32,
    /// Two numbers each, rounded to bf16.
    Bf16Pairs,
    /// The same, in the order of tiles (see [`crate::amx`]), from [`MIN_TILED`] tokens on.
    Tiles,
    /// Bytes with their scales, see [`crate::vnni`], from [`MIN_TILED`] tokens on.
    Bytes,
}

/// Tokens of a tile.
pub(crate) const TILED: usize = 16;

/// Tokens of a tile of bytes.
#[cfg(target_arch = "x86_64")]
pub(crate) const BYTE_TILE: usize = crate::vnni::TOKENS;
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const BYTE_TILE: usize = 1;

/// From this many tokens on, tiles are worth their packing. Padded to whole tiles, that many tokens or
/// more fit the place of their floats.
pub(crate) const MIN_TILED: usize = 9;

impl Words {
    /// Whether a product with this many tokens reads activations as they are, not packed.
    pub(crate) fn few(self, tokens: usize) -> bool {
        match self {
            Self::F32 | Self::Bf16Pairs => tokens <= FEW,
            Self::Tiles | Self::Bytes => tokens < MIN_TILED,
        }
    }

    /// Words of a row; pairs need an even number of columns.
    pub(crate) fn of(self, cols: usize) -> usize {
        match self {
            // Bytes take less; they count themselves.
            Self::F32 | Self::Bytes => cols,
            Self::Bf16Pairs | Self::Tiles => cols / 2,
        }
    }
}

/// Copies `m` rows of `cols` words, made of f32, as `[cols][m]`, `m` at most the lanes.
///
/// # Safety
/// `row(r)` is valid for reading the numbers of `cols` words for `r < m`, `out` for writing
/// `cols · m`.
#[inline(always)]
pub(crate) unsafe fn rows<S: Simd>(
    s: S,
    words: Words,
    (m, cols): (usize, usize),
    row: impl Fn(usize) -> *const f32,
    out: *mut f32,
) {
    // A block writes whole vectors, of which the next column overwrites the surplus: the last
    // columns are left to the loop below, so that nothing is written behind the end.
    let surplus = S::LANES.div_ceil(m.max(1));
    let whole = cols.saturating_sub(surplus) / S::LANES * S::LANES;
    // SAFETY: columns stay below `cols`; vectors end at most `LANES - m` behind a column, which
    // lies inside `out` because `surplus` columns follow.
    unsafe {
        for c in (0..whole).step_by(S::LANES) {
            let mut block = [s.splat(0.0); 16];
            for (r, vector) in block[..m].iter_mut().enumerate() {
                *vector = match words {
                    Words::F32 | Words::Bytes => s.load(row(r).add(c)),
                    Words::Bf16Pairs | Words::Tiles => s.load_pairs(row(r).add(2 * c)),
                };
            }
            s.transpose(&block, out.add(c * m), m);
        }
        for r in 0..m {
            let row = row(r);
            for c in whole..cols {
                *out.add(c * m + r) = match words {
                    Words::F32 | Words::Bytes => *row.add(c),
                    Words::Bf16Pairs | Words::Tiles => pair(*row.add(2 * c), *row.add(2 * c + 1)),
                };
            }
        }
    }
}
