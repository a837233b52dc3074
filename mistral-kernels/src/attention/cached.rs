//! What the kernels of attention need to know of a stored number.

#![expect(unsafe_code, reason = "loads through pointers")]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use half::{bf16, f16};

use crate::simd::Element;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx512, Simd};

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
            let s = Avx512::enabled();
            round(s.load_f16(p), s.load_f16(p.add(16)))
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
            let s = Avx512::enabled();
            let scale = s.splat(scale);
            let (low, high) = (s.load_i8(p), s.load_i8(p.add(16)));
            round(s.mul(low, scale), s.mul(high, scale))
        }
    }
}
