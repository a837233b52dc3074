//! Products with bytes.

#![expect(unsafe_code, reason = "strips and tiles are read through pointers")]

use std::arch::x86_64::*;
use std::ops::Range;

use mistral_core::precision::Format;

use super::panel::{Eight, Source, Super, fill};
use super::{GROUP, ROWS, Strip, TOKEN_WORDS, TOKENS, Tokens};
use crate::bytes::Avx512Vnni;
use crate::cpu::Live;
use crate::linear::OutRows;
use crate::quant::{Blocks, codes};

/// Groups that a panel holds, and its most rows: 16 strips of 6 KiB to a group.
const GROUPS: usize = 4;
const MAX_ROWS: usize = 256;

/// Words that a thread works in.
pub(crate) const SCRATCH: usize = MAX_ROWS / ROWS * GROUPS * size_of::<Strip>() / 4;

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
            Format::Q2K => product::<Super<codes::Q2K, 16>>(work),
            Format::Q3K => product::<Super<codes::Q3K, 16>>(work),
            Format::Q4K => product::<Super<codes::Q4K, 32>>(work),
            Format::Q5K => product::<Super<codes::Q5K, 32>>(work),
            Format::Q6K => product::<Super<codes::Q6K, 16>>(work),
            Format::Iq4Xs => product::<Super<codes::Iq4Xs, 32>>(work),
            Format::Q4_0 => product::<Eight<codes::Q4_0>>(work),
            Format::Q4_1 => product::<Eight<codes::Q4_1>>(work),
            Format::Q5_0 => product::<Eight<codes::Q5_0>>(work),
            Format::Q5_1 => product::<Eight<codes::Q5_1>>(work),
            Format::Q8_0 => product::<Eight<codes::Q8_0>>(work),
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
            for (i, r) in work.rows.clone().step_by(ROWS).enumerate() {
                let rows = ROWS.min(work.rows.end - r);
                for g in 0..here {
                    let p = w.add(r * stride + (first + g) * W::BYTES);
                    fill::<W>(s, (p, stride), rows, &mut *panel.add(i * GROUPS + g));
                }
            }
            for t in (0..work.tokens).step_by(TOKENS) {
                let x = x.add(t / TOKENS * groups + first);
                let tokens = TOKENS.min(work.tokens - t);
                for (i, r) in work.rows.clone().step_by(ROWS).enumerate() {
                    let out = Out {
                        y: &work.y,
                        t,
                        tokens,
                        r,
                        rows: ROWS.min(work.rows.end - r),
                        add: first > 0,
                    };
                    tile::<W>(panel.add(i * GROUPS), x, here, &out);
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
    r: usize,
    rows: usize,
    add: bool,
}

/// One strip times 8 tokens, over some groups.
///
/// # Safety
/// As [`run`]; there are as many strips and groups of tokens, and `y` has the rows and tokens.
#[inline(always)]
unsafe fn tile<W: Source>(strips: *const Strip, x: *const Tokens, groups: usize, out: &Out<'_>) {
    // SAFETY: by this function's contract.
    unsafe {
        let mut sums = [_mm512_setzero_ps(); TOKENS];
        for g in 0..groups {
            let (strip, x) = (&*strips.add(g), &*x.add(g));
            let found = group::<W>(strip, x);
            for t in 0..TOKENS {
                sums[t] = _mm512_fmadd_ps(found[t], _mm512_set1_ps(x.d[t]), sums[t]);
            }
        }
        let mask = ((1u32 << out.rows) - 1) as __mmask16;
        for (t, sum) in sums.iter().enumerate().take(out.tokens) {
            let p = out.y.at(out.t + t, out.r);
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
unsafe fn group<W: Source>(strip: &Strip, x: &Tokens) -> [__m512; TOKENS] {
    // SAFETY: reads inside the strip and the tokens.
    unsafe {
        let mut sums = [_mm512_loadu_ps(strip.start.as_ptr()); TOKENS];
        for j in 0..GROUP / W::SHARED {
            let mut dots = [_mm512_setzero_si512(); TOKENS];
            for k in j * (W::SHARED / 4)..(j + 1) * (W::SHARED / 4) {
                let codes = _mm512_load_si512(strip.codes[k].as_ptr().cast());
                let u = x.u[k].as_ptr();
                for (t, dots) in dots.iter_mut().enumerate() {
                    let u = _mm512_set1_epi32(u.add(t).cast::<i32>().read());
                    *dots = _mm512_dpbusd_epi32(*dots, u, codes);
                }
            }
            let i = j * (W::SHARED / 16);
            let scales = _mm512_load_ps(strip.scales[i].as_ptr());
            for (sum, dots) in sums.iter_mut().zip(dots) {
                *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), scales, *sum);
            }
            if W::MINIMA {
                let minima = _mm512_load_ps(strip.minima[i].as_ptr());
                let totals = if W::SHARED == 32 {
                    &x.pairs[j]
                } else {
                    &x.sums[j]
                };
                for (sum, total) in sums.iter_mut().zip(totals) {
                    *sum = _mm512_fnmadd_ps(minima, _mm512_set1_ps(*total), *sum);
                }
            }
        }
        sums
    }
}
