//! Keys in bytes times a few queries in bytes: 16 positions at once, AVX-512 VNNI.

#![expect(unsafe_code, reason = "intrinsics and loads through pointers")]

use std::arch::x86_64::*;

use super::block::{FEW, TILE};
use super::q8;
use crate::cpu::Live;
use crate::simd::{Avx512, Simd};

/// Positions in a vector's lanes.
const LANES: usize = 16;
/// Codes of a row that are worked on together: two blocks.
const CHUNK: usize = 64;

/// Scores of a tile's positions: `out [rows, TILE]`.
pub(super) struct Scores<'a, A> {
    /// The first `n` are rows of `d` codes.
    pub(super) keys: [*const i8; TILE],
    pub(super) n: usize,
    pub(super) d: usize,
    /// `[blocks, TILE]`
    pub(super) scales: &'a [f32],
    /// `[rows, q8::query_words]`
    pub(super) queries: &'a [f32],
    /// At most [`FEW`].
    pub(super) rows: usize,
    pub(super) out: &'a mut [f32],
    /// Asks the memory for what is needed next, beside a position's key.
    pub(super) ask: A,
}

impl<A: Fn(usize)> Scores<'_, A> {
    /// Whole vectors of positions are written; those behind `n` mean nothing.
    ///
    /// # Panics
    /// When the processor has no VNNI, or a length doesn't fit.
    ///
    /// # Safety
    /// The first `n` keys are valid for reading `d` elements.
    pub(super) unsafe fn run(self, live: Live) {
        let (rows, d) = (self.rows, self.d);
        assert!(live.isa() >= crate::Isa::Avx512Vnni);
        assert!((1..=FEW).contains(&rows) && (1..=TILE).contains(&self.n));
        assert!(self.scales.len() >= q8::blocks(d) * TILE && self.out.len() >= rows * TILE);
        assert!(self.queries.len() >= rows * q8::query_words(d));
        // SAFETY: `Live` is only made after detection, and every set from VNNI on contains what
        // is enabled there; lengths were checked above, keys are the caller's promise.
        unsafe {
            match rows {
                1 => run::<1, _>(self),
                2 => run::<2, _>(self),
                3 => run::<3, _>(self),
                4 => run::<4, _>(self),
                5 => run::<5, _>(self),
                _ => run::<6, _>(self),
            }
        }
    }
}

/// # Safety
/// The processor has the sets, lengths fit, and there are `R` queries.
#[target_feature(enable = "avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn run<const R: usize, A: Fn(usize)>(work: Scores<'_, A>) {
    let blocks = q8::blocks(work.d);
    for first in (0..work.n).step_by(LANES) {
        (first..work.n.min(first + LANES)).for_each(&work.ask);
        let mut sums = [_mm512_setzero_ps(); R];
        for chunk in 0..work.d.div_ceil(CHUNK) {
            // SAFETY: by this function's contract; rows behind `n` are replaced by one that is
            // there, columns behind `d` aren't read.
            unsafe {
                let columns = columns(&work, first, chunk * CHUNK);
                for half in 0..(blocks - 2 * chunk).min(2) {
                    let block = 2 * chunk + half;
                    let scale = _mm512_loadu_ps(work.scales.as_ptr().add(block * TILE + first));
                    for (r, sum) in sums.iter_mut().enumerate() {
                        let query = work.queries.as_ptr().add(r * q8::query_words(work.d));
                        let ends = query.add(q8::code_words(work.d) + block);
                        let codes = query.add(block * (q8::BLOCK / 4)).cast::<i32>();
                        let mut dot = _mm512_set1_epi32(ends.add(blocks).cast::<i32>().read());
                        for j in 0..8 {
                            let code = _mm512_set1_epi32(codes.add(j).read());
                            dot = _mm512_dpbusd_epi32(dot, columns[half * 8 + j], code);
                        }
                        let scaled = _mm512_mul_ps(scale, _mm512_set1_ps(*ends));
                        *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scaled, *sum);
                    }
                }
            }
        }
        for (r, sum) in sums.iter().enumerate() {
            // SAFETY: `out` has `R` rows of a tile.
            unsafe { _mm512_storeu_ps(work.out.as_mut_ptr().add(r * TILE + first), *sum) };
        }
    }
}

/// Codes `c .. c + 64` of 16 rows, each with 128 added: vector `j` holds codes `c + 4 j ..` of each
/// row in a lane, zeros of what lies behind `d`.
///
/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn columns<A>(work: &Scores<'_, A>, first: usize, c: usize) -> [__m512i; 16] {
    // SAFETY: by this function's contract.
    unsafe {
        let s = Avx512::enabled();
        let mask = u64::MAX >> (CHUNK - CHUNK.min(work.d - c));
        let sign = _mm512_set1_epi8(-128);
        let mut rows = [s.splat(0.0); 16];
        for (i, row) in rows.iter_mut().enumerate() {
            let p = work.keys[(first + i).min(work.n - 1)].add(c);
            let codes = if mask == u64::MAX {
                _mm512_loadu_si512(p.cast())
            } else {
                _mm512_maskz_loadu_epi8(mask, p)
            };
            *row = _mm512_castsi512_ps(_mm512_xor_si512(codes, sign));
        }
        let mut columns = [_mm512_setzero_si512(); 16];
        s.transpose(&rows, columns.as_mut_ptr().cast(), LANES);
        columns
    }
}
