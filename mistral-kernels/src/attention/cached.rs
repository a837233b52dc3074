//! What the kernels of attention need to know of a stored number.

#![expect(unsafe_code, reason = "loads through pointers")]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use half::{bf16, f16};

use crate::simd::Element;

/// What caches hold.
pub(super) trait Cached: Element {
    /// Whether numbers are to be multiplied with the scale of their block.
    const SCALED: bool;
    /// Whether products with many queries may round to bf16.
    const ROUNDED: bool;

    /// 32 numbers times `scale` (1 where there is none) as bf16.
    ///
    /// # Safety
    /// Runs with AVX-512 F, BW, DQ, VL and BF16 enabled; `p` is valid for reading 32 elements.
    #[cfg(target_arch = "x86_64")]
    unsafe fn pairs(p: *const Self, scale: f32) -> __m512;
}

/// # Safety
/// As [`Cached::pairs`].
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn round(low: __m512, high: __m512) -> __m512 {
    // SAFETY: by this function's contract.
    unsafe { std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low)) }
}

impl Cached for f32 {
    const SCALED: bool = false;
    const ROUNDED: bool = false;

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn pairs(p: *const Self, _: f32) -> __m512 {
        // SAFETY: by this function's contract.
        unsafe { round(_mm512_loadu_ps(p), _mm512_loadu_ps(p.add(16))) }
    }
}

impl Cached for f16 {
    const SCALED: bool = false;
    const ROUNDED: bool = true;

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn pairs(p: *const Self, _: f32) -> __m512 {
        // SAFETY: by this function's contract.
        unsafe {
            let half = |p: *const Self| _mm512_cvtph_ps(_mm256_loadu_si256(p.cast()));
            round(half(p), half(p.add(16)))
        }
    }
}

impl Cached for bf16 {
    const SCALED: bool = false;
    const ROUNDED: bool = true;

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn pairs(p: *const Self, _: f32) -> __m512 {
        // SAFETY: by this function's contract.
        unsafe { _mm512_loadu_ps(p.cast()) }
    }
}

impl Cached for i8 {
    const SCALED: bool = true;
    const ROUNDED: bool = true;

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn pairs(p: *const Self, scale: f32) -> __m512 {
        // SAFETY: by this function's contract.
        unsafe {
            let scale = _mm512_set1_ps(scale);
            let half = |p: *const Self| {
                let codes = _mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()));
                _mm512_mul_ps(_mm512_cvtepi32_ps(codes), scale)
            };
            round(half(p), half(p.add(16)))
        }
    }
}
