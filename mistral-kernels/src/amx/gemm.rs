//! Products with tiles.

#![expect(unsafe_code, reason = "tiles are read and written through pointers")]

use std::ops::Range;

use half::bf16;
use mistral_core::precision::Format;

use super::panel::{Q4K, Single, Source, Super, fill, row_words};
use super::tiles::Tiles;
use super::{CHUNK, SIDE, STEPS, TILE_WORDS, chunk_of};
use crate::bytes::Avx512Vnni;
use crate::cpu::Live;
use crate::linear::OutRows;
use crate::quant::codes;
use crate::simd::{Avx512, Simd};
use crate::{Matrix, WeightData};

/// Tokens whose sums are kept at once.
const TOKENS: usize = 512;
/// Most rows of a task.
const ROWS: usize = 256;
/// Words of sums for 32 rows and 32 tokens.
const BLOCK: usize = 4 * TILE_WORDS;

/// Up to this many tokens the weights' rows are read whole, since reading them takes longest.
const FEW: usize = 64;

/// Words that a thread works in: a panel, and sums.
pub(crate) const SCRATCH: usize = 64 * 1024 + ROWS / 32 * (TOKENS / 32) * BLOCK;

/// Words of the sums of `tokens` tokens with all rows of a task.
fn sums_of(tokens: usize) -> usize {
    ROWS / 32 * tokens.min(TOKENS).div_ceil(32) * BLOCK
}

/// Some rows of one product, for all of its tokens.
pub(crate) struct GemmTiles<'a> {
    pub(crate) w: Matrix<'a>,
    /// At most 256.
    pub(crate) rows: Range<usize>,
    /// Tiles of [`super::PackTiles`], on a line of the cache.
    pub(crate) x: &'a [f32],
    pub(crate) tokens: usize,
    /// Columns of a panel, unless tokens are few: it shares a second-level cache with sums and
    /// activations.
    pub(crate) panel_columns: usize,
    pub(crate) y: OutRows<'a>,
    /// [`SCRATCH`] words.
    pub(crate) scratch: &'a mut [f32],
}

impl GemmTiles<'_> {
    /// # Panics
    /// When the processor has no tiles, or a length doesn't fit.
    pub(crate) fn run(self, live: Live) {
        let tiles = self.tokens.div_ceil(SIDE) * (self.w.cols() / STEPS);
        assert!(live.isa() == crate::Isa::Amx && self.w.cols().is_multiple_of(STEPS));
        assert!(self.x.len() >= tiles * TILE_WORDS && self.scratch.len() >= SCRATCH);
        assert!(self.rows.len() <= ROWS && self.rows.end <= self.w.rows());
        // SAFETY: `Live` is only made after detection; lengths were checked above, those of the
        // weights when the matrix was made.
        unsafe { run(self) }
    }
}

/// # Safety
/// The processor has the sets and the process may use tiles; lengths fit.
#[target_feature(enable = "avx512bf16,avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn run(work: GemmTiles<'_>) {
    // SAFETY: as this function's contract.
    unsafe {
        match work.w.data() {
            WeightData::Bf16(w) => product::<bf16>(work, w.as_ptr().cast()),
            WeightData::Blocks(w) => {
                let p = w.bytes().as_ptr();
                match w.format() {
                    Format::Q2K => product::<Super<codes::Q2K>>(work, p),
                    Format::Q3K => product::<Super<codes::Q3K>>(work, p),
                    Format::Q4K => product::<Q4K>(work, p),
                    Format::Q5K => product::<Super<codes::Q5K>>(work, p),
                    Format::Q6K => product::<Super<codes::Q6K>>(work, p),
                    Format::Iq4Xs => product::<Super<codes::Iq4Xs>>(work, p),
                    Format::Q4_0 => product::<Single<codes::Q4_0>>(work, p),
                    Format::Q4_1 => product::<Single<codes::Q4_1>>(work, p),
                    Format::Q5_0 => product::<Single<codes::Q5_0>>(work, p),
                    Format::Q5_1 => product::<Single<codes::Q5_1>>(work, p),
                    Format::Q8_0 => product::<Single<codes::Q8_0>>(work, p),
                    Format::Iq4Nl => product::<Single<codes::Iq4Nl>>(work, p),
                    Format::Mxfp4 => product::<Single<codes::Mxfp4>>(work, p),
                    other => unreachable!("`Blocks` holds no {}", other.name()),
                }
            }
            WeightData::F32(_) | WeightData::F16(_) => unreachable!("other floats aren't tiled"),
        }
    }
}

/// # Safety
/// As [`run`]; `w` is the start of the weights.
#[inline(always)]
unsafe fn product<W: Source>(work: GemmTiles<'_>, w: *const u8) {
    let cols = work.w.cols();
    let (sums, panel) = work.scratch.split_at_mut(sums_of(work.tokens));
    let room = (panel.len() / 32 - row_words(0)) * 2 / (CHUNK * STEPS) * (CHUNK * STEPS);
    let most = if work.tokens <= FEW {
        room
    } else {
        work.panel_columns.min(room)
    };
    let (panel, sums) = (panel.as_mut_ptr(), sums.as_mut_ptr());
    let stride = cols / W::ITEMS * W::BYTES;
    let (count, inner) = (work.tokens.div_ceil(SIDE), cols / STEPS);
    // SAFETY: offsets stay inside the weights, the packed tokens and the scratch.
    unsafe {
        let s = Avx512Vnni::enabled();
        let tiles = Tiles::configure();
        for first in (0..work.tokens).step_by(TOKENS) {
            let tokens = TOKENS.min(work.tokens - first);
            for k in (0..cols).step_by(most) {
                let steps = most.min(cols - k);
                for (i, r) in work.rows.clone().step_by(32).enumerate() {
                    let rows = 32.min(work.rows.end - r);
                    let w = w.add(r * stride + k / W::ITEMS * W::BYTES);
                    fill::<W>(s, (w, stride), rows, steps, panel);
                    let sums = sums.add(i * tokens.div_ceil(32) * BLOCK);
                    for c in (0..steps / STEPS).step_by(CHUNK) {
                        let here = CHUNK.min(steps / STEPS - c);
                        let a = panel.cast_const().add(c * STEPS / 2);
                        let a = [a, a.add(SIDE * row_words(steps))];
                        let at = chunk_of(first / SIDE, count, k / STEPS + c, inner);
                        let x = work.x.as_ptr().add(at * TILE_WORDS);
                        let a = (a, 4 * row_words(steps));
                        multiply(&tiles, (k + c > 0, here), a, (x, tokens), sums);
                    }
                }
            }
            write(&work.rows, (first, tokens), sums, &work.y);
        }
    }
}

/// Adds the products of a panel's chunk of `steps` tiles with that of all tokens.
///
/// # Safety
/// The pointers are valid for the tiles that this names.
#[inline(always)]
unsafe fn multiply(
    tiles: &Tiles,
    (add, steps): (bool, usize),
    a: ([*const f32; 2], usize),
    (x, tokens): (*const f32, usize),
    sums: *mut f32,
) {
    let tile = steps * TILE_WORDS;
    for t in (0..tokens).step_by(32) {
        // SAFETY: by this function's contract.
        unsafe {
            let b = x.add(t / SIDE * tile);
            let c = sums.add(t / 32 * BLOCK);
            if tokens - t > SIDE {
                tiles.multiply(add, steps, a, [b, b.add(tile)], c);
            } else {
                tiles.multiply_narrow(add, steps, a, b, c);
            }
        }
    }
}

/// Writes the sums of some tokens, transposed.
///
/// # Safety
/// Runs with AVX-512 F enabled; `sums` holds the blocks of the rows, and `y` has rows and tokens.
#[inline(always)]
unsafe fn write(
    rows: &Range<usize>,
    (first, tokens): (usize, usize),
    sums: *const f32,
    y: &OutRows<'_>,
) {
    // SAFETY: by this function's contract.
    unsafe {
        let s = Avx512::enabled();
        for (i, r) in rows.clone().step_by(SIDE).enumerate() {
            let here = SIDE.min(rows.end - r);
            for t in (0..tokens).step_by(SIDE) {
                let block = sums.add((i / 2 * tokens.div_ceil(32) + t / 32) * BLOCK);
                let tile = block.add((i % 2 * 2 + t / SIDE % 2) * TILE_WORDS);
                let mut vectors = [s.splat(0.0); 16];
                for (j, vector) in vectors.iter_mut().enumerate() {
                    *vector = s.load(tile.add(j * 16));
                }
                let count = SIDE.min(tokens - t);
                if here == SIDE && count == SIDE {
                    s.transpose(&vectors, y.at(first + t, r), y.stride());
                } else {
                    let mut columns = [0.0f32; TILE_WORDS];
                    s.transpose(&vectors, columns.as_mut_ptr(), SIDE);
                    for (j, column) in columns.chunks_exact(SIDE).enumerate().take(count) {
                        let out = y.at(first + t + j, r);
                        out.copy_from_nonoverlapping(column.as_ptr(), here);
                    }
                }
            }
        }
    }
}
