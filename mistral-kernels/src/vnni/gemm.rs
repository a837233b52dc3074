//! Products with bytes.

#![expect(unsafe_code, reason = "strips and tiles are read through pointers")]

use std::arch::x86_64::*;
use std::ops::Range;

use mistral_core::precision::Format;

use super::panel::{Above, Around, Bytes8, Eight, EightWide, Source, fill};
use super::{GROUP, ROWS, Strip, TOKEN_WORDS, TOKENS, Tokens};
use crate::bytes::Avx512Vnni;
use crate::cpu::Live;
use crate::linear::OutRows;
use crate::quant::{Blocks, codes};

/// Groups of two strips that are multiplied with all tokens before the next ones: 25 KiB, which a
/// first-level cache holds.
const GROUPS: usize = 2;
const MAX_ROWS: usize = 256;

/// Rows and tiles of tokens whose sums are kept at once: they share a second-level cache of 1 MiB
/// with the tokens' groups.
const SUMMED_ROWS: usize = 128;
const SUMMED_TILES: usize = 64;
/// Words of a strip pair's sums with a tile.
const SUMS_WORDS: usize = size_of::<Sums>() / 4;
const PANEL_WORDS: usize = 2 * GROUPS * size_of::<Strip>() / 4;

/// Words that a thread works in: a panel, and sums.
pub(crate) const SCRATCH: usize =
    PANEL_WORDS + SUMMED_ROWS / (2 * ROWS) * SUMMED_TILES * SUMS_WORDS;

/// Some rows of one product, for all of its tokens.
pub(crate) struct GemmBytes<'a> {
    pub(crate) w: Blocks<'a>,
    /// A multiple of 256.
    pub(crate) cols: usize,
    /// At most 256.
    pub(crate) rows: Range<usize>,
    /// Tiles of [`super::PackBytes`], on a line of the cache.
    pub(crate) x: &'a [f32],
    pub(crate) tokens: usize,
    pub(crate) y: OutRows<'a>,
    /// [`SCRATCH`] words, on a line of the cache.
    pub(crate) scratch: &'a mut [f32],
}

impl GemmBytes<'_> {
    /// # Panics
    /// When the processor has no VNNI, or a length doesn't fit.
    pub(crate) fn run(self, live: Live) {
        let tiles = self.tokens.div_ceil(TOKENS) * (self.cols / GROUP);
        let block = self.w.format().block();
        assert!(live.isa() >= crate::Isa::Avx512Vnni && self.cols.is_multiple_of(GROUP));
        assert!(self.x.len() >= tiles * TOKEN_WORDS && self.scratch.len() >= SCRATCH);
        assert!(self.x.as_ptr().addr().is_multiple_of(64));
        assert!(self.scratch.as_ptr().addr().is_multiple_of(64));
        assert!(self.rows.len() <= MAX_ROWS);
        assert!(self.rows.end * self.cols / block.items * block.bytes <= self.w.bytes().len());
        // SAFETY: `Live` is only made after detection; lengths and alignments were checked above.
        unsafe { run(self) }
    }
}

/// # Safety
/// The processor has the sets; lengths and alignments fit.
#[target_feature(enable = "avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn run(work: GemmBytes<'_>) {
    // SAFETY: as this function's contract.
    unsafe {
        match work.w.format() {
            Format::Q2K => product::<Above<codes::Q2K, 3>>(work),
            Format::Q3K => product::<Around<codes::Q3K, 4>>(work),
            Format::Q4K => product::<Above<codes::Q4K, 15>>(work),
            Format::Q5K => product::<Above<codes::Q5K, 31>>(work),
            Format::Q6K => product::<Around<codes::Q6K, 32>>(work),
            Format::Iq4Xs => product::<Around<codes::Iq4Xs, 0>>(work),
            Format::Q4_0 => product::<Eight<codes::Q4_0, -8, 7>>(work),
            Format::Q4_1 => product::<Eight<codes::Q4_1, 0, 15>>(work),
            Format::Q5_0 => product::<Eight<codes::Q5_0, -16, 15>>(work),
            Format::Q5_1 => product::<Eight<codes::Q5_1, 0, 31>>(work),
            Format::Q8_0 => product::<Bytes8>(work),
            Format::Iq4Nl => product::<EightWide<codes::Iq4Nl>>(work),
            Format::Mxfp4 => product::<Eight<codes::Mxfp4, -12, 12>>(work),
            other => unreachable!("`Blocks` holds no {}", other.name()),
        }
    }
}

/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn product<W: Source>(mut work: GemmBytes<'_>) {
    let tiles = work.tokens.div_ceil(TOKENS);
    let all = work.rows.clone();
    for tile in (0..tiles).step_by(SUMMED_TILES) {
        for r in all.clone().step_by(SUMMED_ROWS) {
            work.rows = r..all.end.min(r + SUMMED_ROWS);
            // SAFETY: by this function's contract.
            unsafe { summed::<W>(&mut work, tile..tiles.min(tile + SUMMED_TILES)) };
        }
    }
}

/// All groups of at most [`SUMMED_ROWS`] rows with at most [`SUMMED_TILES`] tiles of tokens. Sums
/// stay beside each other until they are whole: rows of the output lie a power of two apart, where
/// they would push each other out of the caches.
///
/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn summed<W: Source>(work: &mut GemmBytes<'_>, tiles: Range<usize>) {
    let groups = work.cols / GROUP;
    let stride = groups * W::BYTES;
    let (w, x) = (work.w.bytes().as_ptr(), work.x.as_ptr().cast::<Tokens>());
    let (panel, sums) = work.scratch.split_at_mut(PANEL_WORDS);
    let (panel, sums) = (
        panel.as_mut_ptr().cast::<Strip>(),
        sums.as_mut_ptr().cast::<Sums>(),
    );
    // SAFETY: offsets stay inside the weights, the tiles and the scratch.
    unsafe {
        let s = Avx512Vnni::enabled();
        for first in (0..groups).step_by(GROUPS) {
            let here = GROUPS.min(groups - first);
            for (i, r) in work.rows.clone().step_by(2 * ROWS).enumerate() {
                for half in 0..2 {
                    let r = r + half * ROWS;
                    let rows = work.rows.end.saturating_sub(r).min(ROWS);
                    for g in 0..here {
                        let p = w.wrapping_add(r * stride + (first + g) * W::BYTES);
                        let strip = &mut *panel.add(half * GROUPS + g);
                        fill::<W>(s, (p, stride), rows, strip);
                    }
                }
                for (j, t) in tiles.clone().enumerate() {
                    let kept = sums.add(i * SUMMED_TILES + j);
                    let start = (first > 0).then_some(kept.cast_const());
                    let found = tile::<W>(panel, (x.add(t * groups + first), groups), here, start);
                    if first + here < groups {
                        kept.write(found);
                        continue;
                    }
                    for (half, found) in found.into_iter().enumerate() {
                        let r = r + half * ROWS;
                        write(
                            found,
                            (r, work.rows.end.saturating_sub(r).min(ROWS)),
                            t,
                            work,
                        );
                    }
                }
            }
        }
    }
}

/// Sums of the rows of two strips with a tile of tokens.
type Sums = [[__m512; TOKENS]; 2];

/// Two strips, [`GROUPS`] apart, times a tile of tokens, over some groups, and what `start` has. The
/// next tile's groups lie `stride` further.
///
/// # Safety
/// As [`run`]; there are as many strips and groups of tokens.
#[inline(always)]
unsafe fn tile<W: Source>(
    strips: *const Strip,
    (x, stride): (*const Tokens, usize),
    groups: usize,
    start: Option<*const Sums>,
) -> Sums {
    // SAFETY: by this function's contract.
    unsafe {
        let mut sums = match start {
            Some(start) => start.read(),
            None => [[_mm512_setzero_ps(); TOKENS]; 2],
        };
        for g in 0..groups {
            // The next tile's.
            let next = x.wrapping_add(stride);
            let (a, b, x) = (&*strips.add(g), &*strips.add(GROUPS + g), &*x.add(g));
            for line in (0..size_of::<Tokens>()).step_by(64) {
                let next = next
                    .cast::<u8>()
                    .wrapping_add(g * size_of::<Tokens>() + line);
                _mm_prefetch::<_MM_HINT_T0>(next.cast());
            }
            let found = group::<W>([a, b], x);
            for (sums, found) in sums.iter_mut().zip(found) {
                for t in 0..TOKENS {
                    sums[t] = _mm512_fmadd_ps(found[t], _mm512_set1_ps(x.d[t]), sums[t]);
                }
            }
        }
        sums
    }
}

/// Writes the sums of `rows` rows from `r` on with a tile of tokens.
///
/// # Safety
/// Runs with AVX-512 F enabled, and `y` has the rows and tokens.
#[inline(always)]
unsafe fn write(
    sums: [__m512; TOKENS],
    (r, rows): (usize, usize),
    tile: usize,
    work: &GemmBytes<'_>,
) {
    let mask = ((1u32 << rows) - 1) as __mmask16;
    let first = tile * TOKENS;
    for (t, sum) in sums.iter().enumerate().take(work.tokens - first) {
        // SAFETY: by this function's contract; lanes without a row stay untouched.
        unsafe { _mm512_mask_storeu_ps(work.y.at(first + t, r), mask, *sum) };
    }
}

/// `Σ w · (u - 128)` of one group.
///
/// # Safety
/// Runs with AVX-512 F and VNNI enabled.
#[inline(always)]
unsafe fn group<W: Source>(strips: [&Strip; 2], x: &Tokens) -> Sums {
    // SAFETY: reads inside the strips and the tokens.
    unsafe {
        let mut sums = [
            [_mm512_load_ps(strips[0].start.as_ptr()); TOKENS],
            [_mm512_load_ps(strips[1].start.as_ptr()); TOKENS],
        ];
        for j in 0..GROUP / W::SHARED {
            let mut dots = [[_mm512_setzero_si512(); TOKENS]; 2];
            for k in j * (W::SHARED / 4)..(j + 1) * (W::SHARED / 4) {
                let a = _mm512_load_si512(strips[0].codes[k].as_ptr().cast());
                let b = _mm512_load_si512(strips[1].codes[k].as_ptr().cast());
                let u = x.u[k].as_ptr();
                let [first, second] = &mut dots;
                for (t, (first, second)) in first.iter_mut().zip(second).enumerate() {
                    let u = _mm512_set1_epi32(u.add(t).cast::<i32>().read());
                    *first = _mm512_dpbusd_epi32(*first, u, a);
                    *second = _mm512_dpbusd_epi32(*second, u, b);
                }
            }
            let i = j * (W::SHARED / 16);
            for (strip, (sums, dots)) in strips.iter().zip(sums.iter_mut().zip(dots)) {
                let scales = _mm512_load_ps(strip.scales[i].as_ptr());
                for (sum, dots) in sums.iter_mut().zip(dots) {
                    *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), scales, *sum);
                }
            }
        }
        sums
    }
}
