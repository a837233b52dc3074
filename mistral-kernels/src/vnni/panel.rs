//! Weights as bytes.

#![expect(
    unsafe_code,
    reason = "blocks are read and strips written through pointers"
)]

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::{GROUP, ROWS, Strip};
use crate::bytes::{Avx512Vnni, Bytes};
use crate::quant::codes::{Block, Q8_0, SuperBlock};
use crate::simd::Simd;

/// Formats that strips are made of.
pub(super) trait Source {
    /// Bytes of 256 weights.
    const BYTES: usize;
    /// Weights that share a scale.
    const SHARED: usize = GROUP;

    /// 256 weights as signed bytes, and the scale of every 16.
    ///
    /// # Safety
    /// Runs with AVX-512 F, BW, DQ, VL and VNNI enabled; `p` is valid for reading `BYTES`.
    unsafe fn unpack(s: Avx512Vnni, p: *const u8) -> ([__m512i; 4], __m512);
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
        let mut scales = [zero; 16];
        for r in 0..rows {
            let row = p.add(r * stride);
            for line in (0..W::BYTES).step_by(64) {
                _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(W::BYTES + line).cast());
            }
            let (bytes, scale) = W::unpack(s, row);
            for (codes, bytes) in codes.iter_mut().zip(bytes) {
                codes[r] = _mm512_castsi512_ps(bytes);
            }
            scales[r] = scale;
        }
        for (i, codes) in codes.iter().enumerate() {
            let out = out.codes[16 * i..].as_mut_ptr().cast();
            floats.transpose(codes, out, ROWS);
        }
        floats.transpose(&scales, out.scales.as_mut_ptr().cast(), ROWS);
        out.start = start(s, out);
    }
}

/// Weights `scale · code - minimum` as signed bytes, and their one scale, `max |w| / 127`: each is at
/// most half of it off. A weight that isn't finite makes the scale NaN.
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
        // 0, or NaN for what isn't finite: the largest of NaN and a number is the number.
        let mut broken = _mm512_setzero_ps();
        for (i, weights) in weights.iter_mut().enumerate() {
            let codes = _mm_loadu_si128(bytes.as_flattened()[16 * i..].as_ptr().cast());
            let codes = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes));
            let (scale, minimum) = (_mm512_set1_ps(scale[i]), _mm512_set1_ps(minimum[i]));
            let w = _mm512_fmsub_ps(codes, scale, minimum);
            most = _mm512_max_ps(_mm512_abs_ps(w), most);
            broken = _mm512_fmadd_ps(w, _mm512_setzero_ps(), broken);
            _mm512_storeu_ps(weights.as_mut_ptr(), w);
        }
        let most = s.floats().reduce_max(most);
        let broken = s.floats().reduce_add(broken);
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
            _mm512_set1_ps(most / 127.0 + broken),
        )
    }
}

/// `-128 · Σ scale · code` of each row.
///
/// # Safety
/// As [`fill`].
#[inline(always)]
unsafe fn start(s: Avx512Vnni, strip: &Strip) -> [f32; ROWS] {
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

/// Super-blocks.
pub(super) struct Super<C>(PhantomData<C>);

/// Eight blocks of 32.
pub(super) struct Eight<C>(PhantomData<C>);

/// Eight blocks of 32 bytes, which keep their scales.
pub(super) struct Bytes8;

impl<C: SuperBlock> Source for Super<C> {
    const BYTES: usize = C::BYTES;

    #[inline(always)]
    unsafe fn unpack(s: Avx512Vnni, p: *const u8) -> ([__m512i; 4], __m512) {
        // SAFETY: by this function's contract.
        unsafe {
            let head = C::head(s, p);
            let minima = if C::SIGNED {
                _mm512_setzero_ps()
            } else {
                scaled(head.dmin, &head.minima)
            };
            rounded(s, C::codes(s, p), scaled(head.d, &head.scales), minima)
        }
    }
}

/// `d` times 16 signed bytes.
///
/// # Safety
/// Runs with AVX-512 F enabled.
#[inline(always)]
unsafe fn scaled(d: f32, bytes: &[u8; 16]) -> __m512 {
    // SAFETY: an array of 16 bytes.
    unsafe {
        let bytes = _mm512_cvtepi8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()));
        _mm512_mul_ps(_mm512_cvtepi32_ps(bytes), _mm512_set1_ps(d))
    }
}

impl<C: Block> Source for Eight<C> {
    const BYTES: usize = 8 * C::BYTES;

    #[inline(always)]
    unsafe fn unpack(s: Avx512Vnni, p: *const u8) -> ([__m512i; 4], __m512) {
        let mut minima = [0.0; 16];
        // SAFETY: by this function's contract.
        unsafe {
            if C::MINIMUM {
                for i in 0..8 {
                    minima[2 * i..2 * i + 2].fill(-C::minimum(s, p.add(i * C::BYTES)));
                }
            }
            let (codes, scales) = eight::<C>(s, p);
            rounded(s, codes, scales, _mm512_loadu_ps(minima.as_ptr()))
        }
    }
}

impl Source for Bytes8 {
    const BYTES: usize = 8 * Q8_0::BYTES;
    const SHARED: usize = 32;

    #[inline(always)]
    unsafe fn unpack(s: Avx512Vnni, p: *const u8) -> ([__m512i; 4], __m512) {
        // SAFETY: the same contract.
        unsafe { eight::<Q8_0>(s, p) }
    }
}

/// Codes of eight blocks, and the scale of every 16 weights.
///
/// # Safety
/// Runs with AVX-512 F, BW, DQ, VL and VNNI enabled; `p` is valid for reading eight blocks.
#[inline(always)]
unsafe fn eight<C: Block>(s: Avx512Vnni, p: *const u8) -> ([__m512i; 4], __m512) {
    let mut scales = [0.0; 16];
    let mut codes = [s.splat(0); 4];
    // SAFETY: by this function's contract.
    unsafe {
        for (i, codes) in codes.iter_mut().enumerate() {
            let p = p.add(2 * i * C::BYTES);
            *codes = C::codes(s, p, p.add(C::BYTES));
        }
        for (i, scales) in scales.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            scales.fill(C::scale(s, p.add(i * C::BYTES)));
        }
        (codes, _mm512_loadu_ps(scales.as_ptr()))
    }
}
