//! Products in bf16 on Intel's tiles (AMX).
//!
//! Queries, and then the weights of positions, are left factors as they lie, `[16 rows][32]`; keys
//! and values are right ones, `[16 pairs][16][2]`.

#![expect(unsafe_code, reason = "tiles are read and written through pointers")]

use std::arch::x86_64::*;

use super::block::TILE;
use super::cached::Cached;
use super::rounded::{Layout, Round, Scores, Values, pack_keys, pack_values, round_weights};
use crate::amx::{SIDE, STEPS, TILE_WORDS, Tiles};
use crate::simd::{Pairs, Simd};

/// Sums of two tiles of rows with two of columns.
#[repr(align(64))]
struct Sums([f32; 4 * TILE_WORDS]);

/// Tiles of 16 columns lie together.
fn layout(steps: usize) -> Layout {
    Layout {
        group: steps * TILE_WORDS,
        pair: SIDE,
    }
}

/// Rounds queries, row by row.
///
/// # Safety
/// The processor has the sets; lengths fit.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) unsafe fn round<'q, F: Fn(usize) -> &'q [f32]>(work: Round<'_, F>) {
    let out = work.out.chunks_exact_mut(work.d / 2);
    for (r, out) in out.enumerate().take(work.rows) {
        let x = (work.row)(r).chunks_exact(STEPS);
        for (x, out) in x.zip(out.chunks_exact_mut(STEPS / 2)) {
            // SAFETY: this function has the set; both hold what is read and written.
            unsafe {
                let s = Pairs::enabled();
                s.store(out.as_mut_ptr(), s.load_pairs(x.as_ptr()));
            }
        }
    }
}

/// # Safety
/// The processor has the sets and the process may use tiles; what `run` has checked holds.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) unsafe fn scores<E: Cached>(mut work: Scores<'_, E>) {
    let steps = work.d / STEPS;
    let used = work.n.next_multiple_of(2 * SIDE);
    // SAFETY: offsets stay inside what `run` has checked.
    unsafe {
        pack_keys(&mut work, layout(steps));
        let packed = work.memory.as_ptr();
        let tiles = Tiles::configure();
        let mut sums = Sums([0.0; 4 * TILE_WORDS]);
        let stride = 2 * work.d;
        for r in (0..work.rows).step_by(2 * SIDE) {
            let a = work.q.as_ptr().add(r * work.d / 2);
            let a = [a, a.add(SIDE * work.d / 2)];
            for first in (0..used).step_by(2 * SIDE) {
                let b = packed.add(first / SIDE * steps * TILE_WORDS);
                let b = [b, b.add(steps * TILE_WORDS)];
                tiles.multiply(false, steps, (a, stride), b, sums.0.as_mut_ptr());
                let out = work.out.as_mut_ptr().add(r * TILE + first);
                each_row(&sums, work.rows - r, |i, [x, y]| {
                    _mm512_storeu_ps(out.add(i * TILE), x);
                    _mm512_storeu_ps(out.add(i * TILE + SIDE), y);
                });
            }
        }
    }
}

/// Calls `put` with the sums of each of up to 32 rows with 32 columns.
///
/// # Safety
/// Runs with AVX-512 F enabled.
#[inline(always)]
unsafe fn each_row(sums: &Sums, rows: usize, put: impl Fn(usize, [__m512; 2])) {
    for i in 0..rows.min(2 * SIDE) {
        let at = (i / SIDE * 2) * TILE_WORDS + i % SIDE * SIDE;
        // SAFETY: rows and columns are those of four tiles.
        unsafe {
            let p = sums.0.as_ptr().add(at);
            put(i, [_mm512_load_ps(p), _mm512_load_ps(p.add(TILE_WORDS))]);
        }
    }
}

/// # Safety
/// As [`scores`].
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) unsafe fn values<E: Cached>(mut work: Values<'_, E>) {
    let steps = work.n.div_ceil(STEPS);
    // SAFETY: offsets stay inside what `run` has checked.
    unsafe {
        pack_values(&mut work, steps * STEPS / 2, layout(steps));
        round_weights(&mut work);
        let packed = work.memory.as_ptr();
        let tiles = Tiles::configure();
        let mut sums = Sums([0.0; 4 * TILE_WORDS]);
        for c in (0..work.dv).step_by(2 * SIDE) {
            let b = packed.add(c / SIDE * steps * TILE_WORDS);
            let b = [b, b.add(steps * TILE_WORDS)];
            for r in (0..work.rows).step_by(2 * SIDE) {
                let a = work.rounded.as_ptr().add(r * TILE / 2);
                let a = ([a, a.add(SIDE * TILE / 2)], 2 * TILE);
                tiles.multiply(false, steps, a, b, sums.0.as_mut_ptr());
                let out = work.sums.as_mut_ptr().add(r * work.dv + c);
                each_row(&sums, work.rows - r, |i, [x, y]| {
                    let p = out.add(i * work.dv);
                    _mm512_storeu_ps(p, _mm512_add_ps(_mm512_loadu_ps(p), x));
                    let p = p.add(SIDE);
                    _mm512_storeu_ps(p, _mm512_add_ps(_mm512_loadu_ps(p), y));
                });
            }
        }
    }
}
