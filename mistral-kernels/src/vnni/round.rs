//! Weights rounded to bytes, with one scale for 256: `max |w| / 127`, so that each weight is at most
//! half of it off. The formats differ in how few operations that takes.

#![expect(unsafe_code, reason = "parts of vectors pass through memory")]

use std::arch::x86_64::*;

use crate::bytes::{Avx512Vnni, Bytes as _, factors};
use crate::simd::Simd;

/// Weights `scale · code` as signed bytes, and their scale, by way of floats. A weight that isn't
/// finite makes the scale NaN.
///
/// # Safety
/// Runs with AVX-512 F, BW, DQ and VL enabled.
#[inline(always)]
pub(super) unsafe fn rounded(
    s: Avx512Vnni,
    codes: [__m512i; 4],
    scales: __m512,
) -> ([__m512i; 4], __m512) {
    let mut bytes = [[0u8; 64]; 4];
    let mut scale = [0.0f32; 16];
    let mut weights = [[0.0f32; 16]; 16];
    // SAFETY: loads and stores of whole arrays.
    unsafe {
        for (bytes, codes) in bytes.iter_mut().zip(codes) {
            _mm512_storeu_si512(bytes.as_mut_ptr().cast(), codes);
        }
        _mm512_storeu_ps(scale.as_mut_ptr(), scales);
        let mut most = _mm512_setzero_ps();
        // 0, or NaN for what isn't finite: the largest of NaN and a number is the number.
        let mut broken = _mm512_setzero_ps();
        for (i, weights) in weights.iter_mut().enumerate() {
            let codes = _mm_loadu_si128(bytes.as_flattened()[16 * i..].as_ptr().cast());
            let codes = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes));
            let w = _mm512_mul_ps(codes, _mm512_set1_ps(scale[i]));
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

/// Weights `scale · code - minimum` with codes from 0 to `last` as signed bytes, and their scale, in
/// sixteen bits: weights with seven bits behind the point. A scale or minimum that isn't finite makes
/// the scale so.
///
/// # Safety
/// Runs with AVX-512 F, BW, DQ and VL enabled.
#[inline(always)]
pub(super) unsafe fn levels(
    codes: [__m512i; 4],
    last: f32,
    scales: __m512,
    minima: __m512,
) -> ([__m512i; 4], __m512) {
    // SAFETY: values in vectors.
    unsafe {
        let end = _mm512_fmsub_ps(_mm512_set1_ps(last), scales, minima);
        let (a, b) = (_mm512_abs_ps(end), _mm512_abs_ps(minima));
        // Not finite is larger than all else, in bits.
        let bits = _mm512_max_epu32(_mm512_castps_si512(a), _mm512_castps_si512(b));
        let most = f32::from_bits(_mm512_reduce_max_epu32(bits));
        // A code times its scale is at most twice the largest weight: it fits.
        let unit = if most > 0.0 {
            127.0 * 128.0 / most
        } else {
            0.0
        };
        let fixed = |values| {
            let values = _mm512_cvtps_epi32(_mm512_mul_ps(values, _mm512_set1_ps(unit)));
            _mm512_castsi256_si512(_mm512_cvtsepi32_epi16(values))
        };
        let (scales, minima) = (fixed(scales), fixed(minima));
        let zero = _mm512_setzero_si512();
        let mut bytes = codes;
        for (i, bytes) in bytes.iter_mut().enumerate() {
            let lanes = sixteens(i);
            let scale = _mm512_permutexvar_epi16(lanes, scales);
            let minimum = _mm512_permutexvar_epi16(lanes, minima);
            let round = |codes| {
                let weights = _mm512_sub_epi16(_mm512_mullo_epi16(codes, scale), minimum);
                // Divides by 128, and rounds.
                _mm512_mulhrs_epi16(weights, _mm512_set1_epi16(1 << 8))
            };
            let low = round(_mm512_unpacklo_epi8(*bytes, zero));
            let high = round(_mm512_unpackhi_epi8(*bytes, zero));
            *bytes = _mm512_packs_epi16(low, high);
        }
        (bytes, _mm512_set1_ps(most / 127.0))
    }
}

/// Weights `d · scale · code`, a signed scale for every 16, as signed bytes, and their scale. The
/// products of scales and codes, at most 2¹², are exact, and what they are multiplied with is part of
/// the scale: only the last step rounds.
///
/// # Safety
/// Runs with AVX-512 F, BW, DQ and VL enabled.
#[inline(always)]
pub(super) unsafe fn products(
    codes: [__m512i; 4],
    d: f32,
    scales: &[u8; 16],
) -> ([__m512i; 4], __m512) {
    // SAFETY: values in vectors, and an array of 16 bytes.
    unsafe {
        let scales = _mm256_cvtepi8_epi16(_mm_loadu_si128(scales.as_ptr().cast()));
        let scales = _mm512_castsi256_si512(_mm256_slli_epi16::<8>(scales));
        let zero = _mm512_setzero_si512();
        let mut products = [(zero, zero); 4];
        let mut most = zero;
        for (i, (low, high)) in products.iter_mut().enumerate() {
            let codes = codes[i];
            let scale = _mm512_permutexvar_epi16(sixteens(i), scales);
            // Both factors are 256 times what they were.
            *low = _mm512_mulhi_epi16(_mm512_unpacklo_epi8(zero, codes), scale);
            *high = _mm512_mulhi_epi16(_mm512_unpackhi_epi8(zero, codes), scale);
            most = _mm512_max_epi16(most, _mm512_abs_epi16(*low));
            most = _mm512_max_epi16(most, _mm512_abs_epi16(*high));
        }
        let most = _mm256_max_epi16(
            _mm512_castsi512_si256(most),
            _mm512_extracti64x4_epi64::<1>(most),
        );
        let most = _mm512_reduce_max_epi32(_mm512_cvtepi16_epi32(most));
        let factor = (127 << 15) / most.max(1);
        let factor = factor.min(i32::from(i16::MAX));
        let round = |product| _mm512_mulhrs_epi16(product, _mm512_set1_epi16(factor as i16));
        let mut bytes = codes;
        // Loops, not `map`: its closure may stay a call, which knows no wide vectors.
        for (bytes, (low, high)) in bytes.iter_mut().zip(products) {
            *bytes = _mm512_packs_epi16(round(low), round(high));
        }
        (bytes, _mm512_set1_ps(d * (32768.0 / factor as f32)))
    }
}

/// Where the words that belong to bytes `64 · i` to `64 · i + 63` stand among sixteen, of which each
/// belongs to 16 bytes.
///
/// # Safety
/// Runs with AVX-512 BW enabled.
#[inline(always)]
unsafe fn sixteens(i: usize) -> __m512i {
    const LANES: [[i16; 32]; 4] = [factors(0), factors(1), factors(2), factors(3)];
    // SAFETY: a whole vector.
    unsafe { _mm512_loadu_si512(LANES[i].as_ptr().cast()) }
}

/// `d` times 16 signed bytes.
///
/// # Safety
/// Runs with AVX-512 F enabled.
#[inline(always)]
pub(super) unsafe fn scaled(d: f32, bytes: &[u8; 16]) -> __m512 {
    // SAFETY: an array of 16 bytes.
    unsafe {
        let bytes = _mm512_cvtepi8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()));
        _mm512_mul_ps(_mm512_cvtepi32_ps(bytes), _mm512_set1_ps(d))
    }
}
