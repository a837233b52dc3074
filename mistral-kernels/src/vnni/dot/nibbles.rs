//! Blocks of 32 whose codes are nibbles: the first sixteen in the lower halves of 16 bytes.

#![expect(unsafe_code, reason = "blocks are read through pointers")]

use std::arch::x86_64::*;

use super::{Fetch, Row, Sums, eight_halves, further, take_off};
use crate::quant::Group;
use crate::quant::codebook::{E2M1_DOUBLED, NON_LINEAR, e8m0_half};

/// One of the formats: `w = d · (code - ABOVE) + m`, with unsigned codes.
pub(super) trait Nibbles {
    /// Bytes of a block.
    const BLOCK: usize;
    /// Where its nibbles begin.
    const NIBBLES: usize;
    const ABOVE: f32;
    /// Where a block's minimum stands.
    const MINIMUM: Option<usize> = None;

    /// The scales of eight blocks.
    ///
    /// # Safety
    /// Runs with F16C enabled; `p` is valid for reading eight blocks.
    #[inline(always)]
    unsafe fn scales(p: *const u8) -> __m256 {
        // SAFETY: by this function's contract.
        unsafe { eight_halves(p, Self::BLOCK) }
    }

    /// Codes of every second of eight blocks from their nibbles: first those of the lower halves,
    /// then the upper.
    ///
    /// # Safety
    /// Runs with AVX-512 F and BW enabled; `p` is valid for reading seven blocks.
    unsafe fn codes(p: *const u8, nibbles: [__m512i; 2]) -> [__m512i; 2];
}

impl<N: Nibbles> Row for N {
    const BYTES: usize = 8 * N::BLOCK;

    #[inline(always)]
    unsafe fn add<const T: usize>(
        p: *const u8,
        count: usize,
        x: [*const Group; T],
        fetch: Fetch,
        sums: &mut Sums<T>,
    ) {
        for g in 0..count {
            fetch.group::<Self>(p, g);
            // SAFETY: by this function's contract.
            unsafe { group::<N, T>(p.add(g * Self::BYTES), further(x, g), sums) };
        }
    }
}

/// # Safety
/// As [`Row::add`], for one group.
#[inline(always)]
unsafe fn group<N: Nibbles, const T: usize>(
    p: *const u8,
    x: [*const Group; T],
    sums: &mut Sums<T>,
) {
    // SAFETY: by this function's contract.
    unsafe {
        let d = N::scales(p);
        let wide = _mm512_castps256_ps512(d);
        let mut above = _mm256_mul_ps(d, _mm256_set1_ps(N::ABOVE));
        if let Some(at) = N::MINIMUM {
            above = _mm256_sub_ps(above, eight_halves(p.add(at), N::BLOCK));
        }
        let mut found = [_mm512_setzero_ps(); T];
        for half in 0..2 {
            let p = p.add(half * N::BLOCK);
            let codes = N::codes(p, split(p.add(N::NIBBLES), 2 * N::BLOCK));
            let lanes = _mm512_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6);
            let lanes = _mm512_add_epi32(lanes, _mm512_set1_epi32(half as i32));
            let scales = _mm512_permutexvar_ps(lanes, wide);
            for (x, found) in x.into_iter().zip(&mut found) {
                let q = (&raw const (*x).parted).cast::<u8>();
                let q = q.add(128 * half);
                let (low, high) = (
                    _mm512_load_si512(q.cast()),
                    _mm512_load_si512(q.add(64).cast()),
                );
                let total = _mm512_dpbusd_epi32(_mm512_setzero_si512(), codes[0], low);
                let total = _mm512_dpbusd_epi32(total, codes[1], high);
                *found = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total), scales, *found);
            }
        }
        for ((sum, found), x) in sums.iter_mut().zip(found).zip(x) {
            *sum = _mm512_fmadd_ps(found, _mm512_set1_ps((*x).d), *sum);
            *sum = take_off(above, x, *sum);
        }
    }
}

/// The nibbles of 16 bytes each of four blocks.
///
/// # Safety
/// Runs with AVX-512 F and BW enabled; the places are valid for reading.
#[inline(always)]
unsafe fn split(p: *const u8, stride: usize) -> [__m512i; 2] {
    // SAFETY: by this function's contract.
    unsafe {
        let at = |i: usize| _mm_loadu_si128(p.add(i * stride).cast());
        let both = _mm512_castsi128_si512(at(0));
        let both = _mm512_inserti32x4::<1>(both, at(1));
        let both = _mm512_inserti32x4::<2>(both, at(2));
        let both = _mm512_inserti32x4::<3>(both, at(3));
        let low = _mm512_set1_epi8(15);
        [
            _mm512_and_si512(both, low),
            _mm512_and_si512(_mm512_srli_epi16::<4>(both), low),
        ]
    }
}

/// Adds 16 to the codes whose fifth bit is set; four bytes of such bits stand in each block.
///
/// # Safety
/// Runs with AVX-512 F and BW enabled; the places are valid for reading.
#[inline(always)]
unsafe fn fifth_bits(p: *const u8, stride: usize, nibbles: [__m512i; 2]) -> [__m512i; 2] {
    let (mut first, mut second) = (0, 0);
    for i in 0..4 {
        // SAFETY: by this function's contract.
        let bits = unsafe { p.add(i * stride).cast::<u32>().read_unaligned() };
        first |= u64::from(bits & 0xffff) << (16 * i);
        second |= u64::from(bits >> 16) << (16 * i);
    }
    // SAFETY: values in vectors.
    unsafe {
        let bit = _mm512_set1_epi8(16);
        [
            _mm512_mask_add_epi8(nibbles[0], first, nibbles[0], bit),
            _mm512_mask_add_epi8(nibbles[1], second, nibbles[1], bit),
        ]
    }
}

/// Values that nibbles name, `above` more.
///
/// # Safety
/// Runs with AVX-512 F and BW enabled.
#[inline(always)]
unsafe fn looked_up(table: &[i8; 16], above: i8, nibbles: [__m512i; 2]) -> [__m512i; 2] {
    // SAFETY: an array of 16 bytes.
    unsafe {
        let table = _mm_loadu_si128(table.as_ptr().cast());
        let table = _mm512_broadcast_i32x4(_mm_add_epi8(table, _mm_set1_epi8(above)));
        [
            _mm512_shuffle_epi8(table, nibbles[0]),
            _mm512_shuffle_epi8(table, nibbles[1]),
        ]
    }
}

pub(super) struct Q4_0;

impl Nibbles for Q4_0 {
    const BLOCK: usize = 18;
    const NIBBLES: usize = 2;
    const ABOVE: f32 = 8.0;

    #[inline(always)]
    unsafe fn codes(_: *const u8, nibbles: [__m512i; 2]) -> [__m512i; 2] {
        nibbles
    }
}

pub(super) struct Q4_1;

impl Nibbles for Q4_1 {
    const BLOCK: usize = 20;
    const NIBBLES: usize = 4;
    const ABOVE: f32 = 0.0;
    const MINIMUM: Option<usize> = Some(2);

    #[inline(always)]
    unsafe fn codes(_: *const u8, nibbles: [__m512i; 2]) -> [__m512i; 2] {
        nibbles
    }
}

pub(super) struct Q5_0;

impl Nibbles for Q5_0 {
    const BLOCK: usize = 22;
    const NIBBLES: usize = 6;
    const ABOVE: f32 = 16.0;

    #[inline(always)]
    unsafe fn codes(p: *const u8, nibbles: [__m512i; 2]) -> [__m512i; 2] {
        // SAFETY: by this function's contract.
        unsafe { fifth_bits(p.add(2), 2 * Self::BLOCK, nibbles) }
    }
}

pub(super) struct Q5_1;

impl Nibbles for Q5_1 {
    const BLOCK: usize = 24;
    const NIBBLES: usize = 8;
    const ABOVE: f32 = 0.0;
    const MINIMUM: Option<usize> = Some(2);

    #[inline(always)]
    unsafe fn codes(p: *const u8, nibbles: [__m512i; 2]) -> [__m512i; 2] {
        // SAFETY: by this function's contract.
        unsafe { fifth_bits(p.add(4), 2 * Self::BLOCK, nibbles) }
    }
}

pub(super) struct Iq4Nl;

impl Nibbles for Iq4Nl {
    const BLOCK: usize = 18;
    const NIBBLES: usize = 2;
    const ABOVE: f32 = 128.0;

    #[inline(always)]
    unsafe fn codes(_: *const u8, nibbles: [__m512i; 2]) -> [__m512i; 2] {
        // SAFETY: by this function's contract.
        unsafe { looked_up(&NON_LINEAR, -128, nibbles) }
    }
}

pub(super) struct Mxfp4;

impl Nibbles for Mxfp4 {
    const BLOCK: usize = 17;
    const NIBBLES: usize = 1;
    const ABOVE: f32 = 12.0;

    #[inline(always)]
    unsafe fn scales(p: *const u8) -> __m256 {
        let mut scales = [0.0; 8];
        // SAFETY: by this function's contract.
        unsafe {
            for (i, scale) in scales.iter_mut().enumerate() {
                *scale = e8m0_half(*p.add(i * Self::BLOCK));
            }
            _mm256_loadu_ps(scales.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn codes(_: *const u8, nibbles: [__m512i; 2]) -> [__m512i; 2] {
        // SAFETY: by this function's contract.
        unsafe { looked_up(&E2M1_DOUBLED, 12, nibbles) }
    }
}
