//! Products with bytes.

#![expect(unsafe_code, reason = "strips and tiles are read through pointers")]

use std::arch::x86_64::*;
use std::ops::Range;

use mistral_core::precision::Format;

use super::panel::{Bytes8, Eight, Source, Super, fill};
use super::{GROUP, ROWS, Strip, TOKEN_WORDS, TOKENS, Tokens};
use crate::bytes::Avx512Vnni;
use crate::cpu::Live;
use crate::linear::OutRows;
use crate::quant::{Blocks, codes};

/// Groups of two strips that are multiplied with all tokens before the next ones: 25 KiB, which a
/// first-level cache holds.
const GROUPS: usize = 2;
const MAX_ROWS: usize = 256;

/// Words that a thread works in.
pub(crate) const SCRATCH: usize = 2 * GROUPS * size_of::<Strip>() / 4;

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
            Format::Q2K => product::<Super<codes::Q2K>>(work),
            Format::Q3K => product::<Super<codes::Q3K>>(work),
            Format::Q4K => product::<Super<codes::Q4K>>(work),
            Format::Q5K => product::<Super<codes::Q5K>>(work),
            Format::Q6K => product::<Super<codes::Q6K>>(work),
            Format::Iq4Xs => product::<Super<codes::Iq4Xs>>(work),
            Format::Q4_0 => product::<Eight<codes::Q4_0>>(work),
            Format::Q4_1 => product::<Eight<codes::Q4_1>>(work),
            Format::Q5_0 => product::<Eight<codes::Q5_0>>(work),
            Format::Q5_1 => product::<Eight<codes::Q5_1>>(work),
            Format::Q8_0 => product::<Bytes8>(work),
            Format::Iq4Nl => product::<Eight<codes::Iq4Nl>>(work),
            Format::Mxfp4 => product::<Eight<codes::Mxfp4>>(work),
            other => unreachable!("`Blocks` holds no {}", other.name()),
        }
    }
}

/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn product<W: Source>(work: GemmBytes<'_>) {
    let groups = work.cols / GROUP;
    let stride = groups * W::BYTES;
    let (w, x) = (work.w.bytes().as_ptr(), work.x.as_ptr().cast::<Tokens>());
    let panel = work.scratch.as_mut_ptr().cast::<Strip>();
    // SAFETY: offsets stay inside the weights, the tiles and the scratch.
    unsafe {
        let s = Avx512Vnni::enabled();
        for first in (0..groups).step_by(GROUPS) {
            let here = GROUPS.min(groups - first);
            for r in work.rows.clone().step_by(2 * ROWS) {
                for half in 0..2 {
                    let r = r + half * ROWS;
                    let rows = work.rows.end.saturating_sub(r).min(ROWS);
                    for g in 0..here {
                        let p = w.wrapping_add(r * stride + (first + g) * W::BYTES);
                        let strip = &mut *panel.add(half * GROUPS + g);
                        fill::<W>(s, (p, stride), rows, strip);
                    }
                }
                for t in (0..work.tokens).step_by(TOKENS) {
                    let out = Out {
                        y: &work.y,
                        t,
                        tokens: TOKENS.min(work.tokens - t),
                        add: first > 0,
                    };
                    let x = x.add(t / TOKENS * groups + first);
                    let sums = tile::<W>(panel, x, here);
                    for (half, sums) in sums.into_iter().enumerate() {
                        let r = r + half * ROWS;
                        write(sums, (r, work.rows.end.saturating_sub(r).min(ROWS)), &out);
                    }
                }
            }
        }
    }
}

/// Where a tile's sums go.
struct Out<'a> {
    y: &'a OutRows<'a>,
    t: usize,
    tokens: usize,
    add: bool,
}

/// Sums of the rows of two strips with a tile of tokens.
type Sums = [[__m512; TOKENS]; 2];

/// Two strips, [`GROUPS`] apart, times a tile of tokens, over some groups.
///
/// # Safety
/// As [`run`]; there are as many strips and groups of tokens.
#[inline(always)]
unsafe fn tile<W: Source>(strips: *const Strip, x: *const Tokens, groups: usize) -> Sums {
    // SAFETY: by this function's contract.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); TOKENS]; 2];
        for g in 0..groups {
            let (a, b, x) = (&*strips.add(g), &*strips.add(GROUPS + g), &*x.add(g));
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

/// Writes the sums of `rows` rows from `r` on.
///
/// # Safety
/// Runs with AVX-512 F enabled, and `y` has the rows and tokens.
#[inline(always)]
unsafe fn write(sums: [__m512; TOKENS], (r, rows): (usize, usize), out: &Out<'_>) {
    let mask = ((1u32 << rows) - 1) as __mmask16;
    for (t, sum) in sums.iter().enumerate().take(out.tokens) {
        // SAFETY: by this function's contract; lanes without a row stay untouched.
        unsafe {
            let p = out.y.at(out.t + t, r);
            let sum = if out.add {
                _mm512_add_ps(*sum, _mm512_maskz_loadu_ps(mask, p))
            } else {
                *sum
            };
            _mm512_mask_storeu_ps(p, mask, sum);
        }
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
