//! Weights as bytes.

#![expect(
    unsafe_code,
    reason = "blocks are read and strips written through pointers"
)]

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::{ROWS, Strip};
use crate::bytes::{Avx512Vnni, Bytes};
use crate::quant::codes::{Block, SuperBlock};
use crate::simd::Simd;

/// Formats that strips are made of.
pub(super) trait Source {
    /// Bytes of 256 weights.
    const BYTES: usize;
    /// Weights that share a scale: 16 or 32.
    const SHARED: usize;
    /// Whether there are minima.
    const MINIMA: bool;
    /// Whether codes and scales are kept; other weights are rounded once more, to bytes that share
    /// a scale.
    const EXACT: bool = false;

    /// Codes, scales and minima of 256 weights, the latter for every 16.
    ///
    /// # Safety
    /// Runs with AVX-512 F, BW, DQ, VL and VNNI enabled; `p` is valid for reading `BYTES`.
    unsafe fn unpack(s: Avx512Vnni, p: *const u8) -> ([__m512i; 4], __m512, __m512);
}

/// Makes a strip of 256 weights of `rows` rows (at most 16) that lie `stride` bytes apart; missing
/// rows become zeros.
///
/// # Safety
/// Runs with AVX-512 F, BW, DQ, VL and VNNI enabled; the rows are valid for reading `BYTES`.
#[inline(always)]
pub(super) unsafe fn fill<W: Source>(
    s: Avx512Vnni,
    (p, stride): (*const u8, usize),
    rows: usize,
    out: &mut Strip,
) {
    let floats = s.floats();
    // SAFETY: rows exist below `rows`; `out` has room for transposed tiles of 16 by 16 words.
    unsafe {
        let zero = floats.splat(0.0);
        let mut codes = [[zero; 16]; 4];
        let (mut scales, mut minima) = ([zero; 16], [zero; 16]);
        for r in 0..rows {
            let row = p.add(r * stride);
            for line in (0..W::BYTES).step_by(64) {
                _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(W::BYTES + line).cast());
            }
            let (mut bytes, mut scale, minimum) = W::unpack(s, row);
            if !W::EXACT {
                (bytes, scale) = rounded(s, bytes, scale, minimum);
            }
            for (codes, bytes) in codes.iter_mut().zip(bytes) {
                codes[r] = _mm512_castsi512_ps(bytes);
            }
            (scales[r], minima[r]) = (scale, minimum);
        }
        for (i, codes) in codes.iter().enumerate() {
            let out = out.codes[16 * i..].as_mut_ptr().cast();
            floats.transpose(codes, out, ROWS);
        }
        floats.transpose(&scales, out.scales.as_mut_ptr().cast(), ROWS);
        if W::EXACT && W::MINIMA {
            floats.transpose(&minima, out.minima.as_mut_ptr().cast(), ROWS);
        }
        out.start = start::<W>(s, out);
    }
}

/// 256 weights as signed bytes, and their scale (the same for every 16): `max |w| / 127`.
///
/// For weights of `b` bits the error that this adds is `2^(b - 8)` of their own or less.
///
/// # Safety
/// Runs with AVX-512 F, BW, DQ and VL enabled.
#[inline(always)]
unsafe fn rounded(
    s: Avx512Vnni,
    codes: [__m512i; 4],
    scales: __m512,
    minima: __m512,
) -> ([__m512i; 4], __m512) {
    let mut bytes = [[0u8; 64]; 4];
    let (mut scale, mut minimum) = ([0.0f32; 16], [0.0f32; 16]);
    let mut weights = [[0.0f32; 16]; 16];
    // SAFETY: loads and stores of whole arrays.
    unsafe {
        for (bytes, codes) in bytes.iter_mut().zip(codes) {
            _mm512_storeu_si512(bytes.as_mut_ptr().cast(), codes);
        }
        _mm512_storeu_ps(scale.as_mut_ptr(), scales);
        _mm512_storeu_ps(minimum.as_mut_ptr(), minima);
        let mut most = _mm512_setzero_ps();
        for (i, weights) in weights.iter_mut().enumerate() {
            let codes = _mm_loadu_si128(bytes.as_flattened()[16 * i..].as_ptr().cast());
            let codes = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes));
            let (scale, minimum) = (_mm512_set1_ps(scale[i]), _mm512_set1_ps(minimum[i]));
            let w = _mm512_fmsub_ps(codes, scale, minimum);
            most = _mm512_max_ps(_mm512_abs_ps(w), most);
            _mm512_storeu_ps(weights.as_mut_ptr(), w);
        }
        let most = s.floats().reduce_max(most);
        let inverse = _mm512_set1_ps(if most > 0.0 { 127.0 / most } else { 0.0 });
        for (i, weights) in weights.iter().enumerate() {
            let q = _mm512_mul_ps(_mm512_loadu_ps(weights.as_ptr()), inverse);
            let q = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(q));
            let out = bytes.as_flattened_mut()[16 * i..].as_mut_ptr();
            _mm_storeu_si128(out.cast(), q);
        }
        (
            [
                _mm512_loadu_si512(bytes[0].as_ptr().cast()),
                _mm512_loadu_si512(bytes[1].as_ptr().cast()),
                _mm512_loadu_si512(bytes[2].as_ptr().cast()),
                _mm512_loadu_si512(bytes[3].as_ptr().cast()),
            ],
            _mm512_set1_ps(most / 127.0),
        )
    }
}

/// `-128 · Σ scale · code` of each row.
///
/// # Safety
/// As [`fill`].
#[inline(always)]
unsafe fn start<W: Source>(s: Avx512Vnni, strip: &Strip) -> [f32; ROWS] {
    let floats = s.floats();
    let mut out = [0.0; ROWS];
    // SAFETY: reads inside the strip.
    unsafe {
        let mut sum = floats.splat(0.0);
        for (codes, scales) in strip.codes.as_chunks::<4>().0.iter().zip(&strip.scales) {
            let mut total = s.zero();
            for codes in codes {
                total = _mm512_dpbusd_epi32(total, s.splat(128), s.load(codes.as_ptr().cast()));
            }
            let scales = floats.load(scales.as_ptr());
            sum = floats.neg_mul_add(_mm512_cvtepi32_ps(total), scales, sum);
        }
        floats.store(out.as_mut_ptr(), sum);
    }
    out
}

/// Super-blocks with `SHARED` weights to a scale.
pub(super) struct Super<C, const SHARED: usize>(PhantomData<C>);

/// Eight blocks of 32.
pub(super) struct Eight<C>(PhantomData<C>);

/// Eight blocks of 32 whose codes are bytes already.
pub(super) struct Bytewise<C>(PhantomData<C>);

impl<C: Block> Source for Bytewise<C> {
    const BYTES: usize = Eight::<C>::BYTES;
    const SHARED: usize = 32;
    const MINIMA: bool = C::MINIMUM;
    const EXACT: bool = true;

    #[inline(always)]
    unsafe fn unpack(s: Avx512Vnni, p: *const u8) -> ([__m512i; 4], __m512, __m512) {
        // SAFETY: the same contract.
        unsafe { Eight::<C>::unpack(s, p) }
    }
}

impl<C: SuperBlock, const SHARED: usize> Source for Super<C, SHARED> {
    const BYTES: usize = C::BYTES;
    const SHARED: usize = SHARED;
    const MINIMA: bool = !C::SIGNED && C::OFFSET == 0;

    #[inline(always)]
    unsafe fn unpack(s: Avx512Vnni, p: *const u8) -> ([__m512i; 4], __m512, __m512) {
        // SAFETY: by this function's contract.
        unsafe {
            let head = C::head(s, p);
            let scaled = |d: f32, bytes: &[u8; 16]| {
                let bytes = _mm512_cvtepi8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()));
                _mm512_mul_ps(_mm512_cvtepi32_ps(bytes), _mm512_set1_ps(d))
            };
            let mut codes = C::codes(s, p);
            if C::OFFSET > 0 {
                codes = codes.map(|codes| s.sub(codes, C::OFFSET));
            }
            (
                codes,
                scaled(head.d, &head.scales),
                if Self::MINIMA {
                    scaled(head.dmin, &head.minima)
                } else {
                    _mm512_setzero_ps()
                },
            )
        }
    }
}

impl<C: Block> Source for Eight<C> {
    const BYTES: usize = 8 * C::BYTES;
    const SHARED: usize = 32;
    const MINIMA: bool = C::MINIMUM;

    #[inline(always)]
    unsafe fn unpack(s: Avx512Vnni, p: *const u8) -> ([__m512i; 4], __m512, __m512) {
        let (mut scales, mut minima) = ([0.0; 16], [0.0; 16]);
        // SAFETY: by this function's contract.
        unsafe {
            let mut codes = [s.splat(0); 4];
            for (i, codes) in codes.iter_mut().enumerate() {
                let p = p.add(2 * i * C::BYTES);
                *codes = C::codes(s, p, p.add(C::BYTES));
            }
            for i in 0..8 {
                let p = p.add(i * C::BYTES);
                scales[2 * i..2 * i + 2].fill(C::scale(s, p));
                if C::MINIMUM {
                    minima[2 * i..2 * i + 2].fill(-C::minimum(s, p));
                }
            }
            let load = |v: &[f32; 16]| _mm512_loadu_ps(v.as_ptr());
            (codes, load(&scales), load(&minima))
        }
    }
}
