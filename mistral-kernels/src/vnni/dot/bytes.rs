//! Q8_0: a scale and 32 signed bytes.

#![expect(unsafe_code, reason = "blocks are read through pointers")]

use std::arch::x86_64::*;

use super::{Fetch, Row, Sums, eight_halves, further, take_off};
use crate::quant::Group;

pub(super) struct Q8_0;

const BLOCK: usize = 34;

impl Row for Q8_0 {
    const BYTES: usize = 8 * BLOCK;

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
            unsafe { group(p.add(g * Self::BYTES), further(x, g), sums) };
        }
    }
}

/// # Safety
/// As [`Row::add`], for one group.
#[inline(always)]
unsafe fn group<const T: usize>(p: *const u8, x: [*const Group; T], sums: &mut Sums<T>) {
    // SAFETY: by this function's contract.
    unsafe {
        let d = eight_halves(p, BLOCK);
        let wide = _mm512_castps256_ps512(d);
        // Unsigned codes: 128 more than the signed ones.
        let above = _mm256_mul_ps(d, _mm256_set1_ps(128.0));
        let mut found = [_mm512_setzero_ps(); T];
        for pair in 0..4i32 {
            let p = p.add(2 * pair as usize * BLOCK + 2);
            let codes = _mm512_castsi256_si512(_mm256_loadu_si256(p.cast()));
            let codes = _mm512_inserti64x4::<1>(codes, _mm256_loadu_si256(p.add(BLOCK).cast()));
            let codes = _mm512_xor_si512(codes, _mm512_set1_epi8(-128));
            let (a, b) = (_mm256_set1_epi32(2 * pair), _mm256_set1_epi32(2 * pair + 1));
            let pick = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b);
            let scales = _mm512_permutexvar_ps(pick, wide);
            for (x, found) in x.into_iter().zip(&mut found) {
                let q = (&raw const (*x).q).cast::<u8>();
                let q = _mm512_load_si512(q.add(64 * pair as usize).cast());
                let total = _mm512_dpbusd_epi32(_mm512_setzero_si512(), codes, q);
                *found = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total), scales, *found);
            }
        }
        for ((sum, found), x) in sums.iter_mut().zip(found).zip(x) {
            *sum = _mm512_fmadd_ps(found, _mm512_set1_ps((*x).d), *sum);
            *sum = take_off(above, x, *sum);
        }
    }
}
