//! Weights as bytes.

#![expect(
    unsafe_code,
    reason = "blocks are read and strips written through pointers"
)]

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::round::{levels, products, rounded, scaled};
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

    /// 256 weights as signed bytes, and the scale of every 16; of the scales that all share, only the
    /// first counts.
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
        let mut shared = [0.0; ROWS];
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
            shared[r] = _mm512_cvtss_f32(scale);
        }
        for (i, codes) in codes.iter().enumerate() {
            let out = out.codes[16 * i..].as_mut_ptr().cast();
            floats.transpose(codes, out, ROWS);
        }
        if W::SHARED == GROUP {
            out.scales[0] = shared;
        } else {
            floats.transpose(&scales, out.scales.as_mut_ptr().cast(), ROWS);
        }
        out.start = start::<W>(s, out);
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
        for (i, codes) in strip.codes.chunks_exact(W::SHARED / 4).enumerate() {
            let mut total = s.zero();
            for codes in codes {
                total = _mm512_dpbusd_epi32(total, s.splat(128), s.load(codes.as_ptr().cast()));
            }
            let scales = floats.load(strip.scales[i * (W::SHARED / 16)].as_ptr());
            sum = floats.neg_mul_add(_mm512_cvtepi32_ps(total), scales, sum);
        }
        floats.store(out.as_mut_ptr(), sum);
    }
    out
}

/// Super-blocks with codes from 0 to `LAST`, and minima.
pub(super) struct Above<C, const LAST: i8>(PhantomData<C>);

/// Super-blocks whose weights are `d · scale · (code - MIDDLE)`.
pub(super) struct Around<C, const MIDDLE: i8>(PhantomData<C>);

/// Eight blocks of 32, with codes from `FIRST` to `LAST`.
pub(super) struct Eight<C, const FIRST: i8, const LAST: i8>(PhantomData<C>);

/// Eight blocks of 32 with codes of all bytes.
pub(super) struct EightWide<C>(PhantomData<C>);

/// Eight blocks of 32 bytes, which keep their scales.
pub(super) struct Bytes8;

impl<C: SuperBlock, const LAST: i8> Source for Above<C, LAST> {
    const BYTES: usize = C::BYTES;

    #[inline(always)]
    unsafe fn unpack(s: Avx512Vnni, p: *const u8) -> ([__m512i; 4], __m512) {
        // SAFETY: by this function's contract.
        unsafe {
            let head = C::head(s, p);
            let scales = scaled(head.d, &head.scales);
            let minima = scaled(head.dmin, &head.minima);
            levels(C::codes(s, p), f32::from(LAST), scales, minima)
        }
    }
}

impl<C: SuperBlock, const MIDDLE: i8> Source for Around<C, MIDDLE> {
    const BYTES: usize = C::BYTES;

    #[inline(always)]
    unsafe fn unpack(s: Avx512Vnni, p: *const u8) -> ([__m512i; 4], __m512) {
        // SAFETY: by this function's contract.
        unsafe {
            let head = C::head(s, p);
            let middle = _mm512_set1_epi8(MIDDLE);
            let mut codes = C::codes(s, p);
            for codes in &mut codes {
                *codes = _mm512_sub_epi8(*codes, middle);
            }
            products(codes, head.d, &head.scales)
        }
    }
}

impl<C: Block, const FIRST: i8, const LAST: i8> Source for Eight<C, FIRST, LAST> {
    const BYTES: usize = 8 * C::BYTES;

    #[inline(always)]
    unsafe fn unpack(s: Avx512Vnni, p: *const u8) -> ([__m512i; 4], __m512) {
        let first = f32::from(FIRST);
        // SAFETY: by this function's contract.
        unsafe {
            let (mut codes, scales) = eight::<C>(s, p);
            for codes in &mut codes {
                *codes = _mm512_sub_epi8(*codes, _mm512_set1_epi8(FIRST));
            }
            let minima = _mm512_fnmsub_ps(scales, _mm512_set1_ps(first), minima::<C>(s, p));
            levels(codes, f32::from(LAST) - first, scales, minima)
        }
    }
}

impl<C: Block> Source for EightWide<C> {
    const BYTES: usize = 8 * C::BYTES;

    #[inline(always)]
    unsafe fn unpack(s: Avx512Vnni, p: *const u8) -> ([__m512i; 4], __m512) {
        // SAFETY: by this function's contract.
        unsafe {
            let (codes, scales) = eight::<C>(s, p);
            rounded(s, codes, scales)
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

/// The minima that eight blocks add, each twice.
///
/// # Safety
/// As [`eight`].
#[inline(always)]
unsafe fn minima<C: Block>(s: Avx512Vnni, p: *const u8) -> __m512 {
    let mut minima = [0.0; 16];
    // SAFETY: by this function's contract.
    unsafe {
        if C::MINIMUM {
            for (i, minima) in minima.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                minima.fill(C::minimum(s, p.add(i * C::BYTES)));
            }
        }
        _mm512_loadu_ps(minima.as_ptr())
    }
}
