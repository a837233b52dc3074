//! A tile of positions with many queries on Intel's tiles (AMX): factors in bf16, sums in f32.
//!
//! Queries, and then the weights of positions, are left factors as they lie, `[16 rows][32]`; keys
//! and values are right ones, `[16 pairs][16][2]`, packed once for all rows of a block.

#![expect(unsafe_code, reason = "tiles are read and written through pointers")]

use std::arch::x86_64::*;

use super::block::{ROWS, TILE};
use super::cached::Cached;
use super::q8;
use crate::amx::{SIDE, STEPS, TILE_WORDS, Tiles};
use crate::cpu::Live;
use crate::simd::{Avx512, Simd};

/// Whether tiles can multiply with keys and values of these widths.
pub(super) fn fits<E: Cached>(live: Live, d: usize, dv: usize) -> bool {
    live.isa() == crate::Isa::Amx
        && E::ROUNDED
        && d.is_multiple_of(STEPS)
        && dv.is_multiple_of(STEPS)
}

/// Sums of two tiles of rows with two of columns.
#[repr(align(64))]
struct Sums([f32; 4 * TILE_WORDS]);

/// The part of `memory` that begins with a line of the cache.
fn on_a_line(memory: &mut [f32]) -> &mut [f32] {
    let skipped = memory.as_ptr().align_offset(64).min(memory.len());
    &mut memory[skipped..]
}

/// Rounds queries to `[rows, d]` bf16 in `out`, `[ROWS, d]` words.
pub(super) struct Round<'a, F> {
    pub(super) row: F,
    pub(super) rows: usize,
    pub(super) d: usize,
    pub(super) out: &'a mut [f32],
}

impl<'q, F: Fn(usize) -> &'q [f32]> Round<'_, F> {
    /// # Panics
    /// When the processor has no tiles, or a length doesn't fit.
    pub(super) fn run(self, live: Live) {
        let (rows, d) = (self.rows, self.d);
        assert!(live.isa() == crate::Isa::Amx && d.is_multiple_of(STEPS) && rows <= ROWS);
        let out = on_a_line(self.out);
        assert!(out.len() >= ROWS * d / 2);
        for (r, out) in out.chunks_exact_mut(d / 2).enumerate().take(rows) {
            // SAFETY: `Live` is only made after detection.
            unsafe { round((self.row)(r), out) };
        }
    }
}

/// Rounds a row of whole vectors to pairs of bf16.
///
/// # Safety
/// The processor has the sets.
#[target_feature(enable = "avx512bf16,avx512f")]
unsafe fn round(x: &[f32], out: &mut [f32]) {
    for (x, out) in x.chunks_exact(STEPS).zip(out.chunks_exact_mut(STEPS / 2)) {
        // SAFETY: both hold what is read and written.
        unsafe {
            let (low, high) = (
                _mm512_loadu_ps(x.as_ptr()),
                _mm512_loadu_ps(x.as_ptr().add(16)),
            );
            let pairs = _mm512_cvtne2ps_pbh(high, low);
            _mm512_storeu_ps(
                out.as_mut_ptr(),
                std::mem::transmute::<__m512bh, __m512>(pairs),
            );
        }
    }
}

/// `scores [rows, TILE]`: products of queries with the keys of a tile.
pub(super) struct Scores<'a, E> {
    /// The first `n` are rows of `d` elements.
    pub(super) keys: &'a [*const E; TILE],
    pub(super) n: usize,
    pub(super) d: usize,
    /// `[blocks, TILE]`
    pub(super) scales: &'a [f32],
    /// What [`Round`] wrote.
    pub(super) q: &'a mut [f32],
    pub(super) rows: usize,
    /// `[d, TILE]` words to work in
    pub(super) memory: &'a mut [f32],
    pub(super) out: &'a mut [f32],
}

impl<E: Cached> Scores<'_, E> {
    /// Scores of whole tiles are written; those behind `n` are zeros.
    ///
    /// # Panics
    /// When the processor has no tiles, or a length doesn't fit.
    ///
    /// # Safety
    /// The first `n` keys are valid for reading `d` elements.
    pub(super) unsafe fn run(mut self, live: Live) {
        assert!(fits::<E>(live, self.d, STEPS) && self.n <= TILE && self.rows <= ROWS);
        assert!(!E::SCALED || self.scales.len() >= q8::blocks(self.d) * TILE);
        self.q = on_a_line(self.q);
        self.memory = on_a_line(self.memory);
        assert!(self.q.len() >= ROWS * self.d / 2 && self.memory.len() >= TILE * self.d / 2);
        assert!(self.out.len() >= self.rows * TILE);
        // SAFETY: `Live` is only made after detection; lengths were checked above, keys are the
        // caller's promise.
        unsafe { scores(self) }
    }
}

/// # Safety
/// The processor has the sets and the process may use tiles; lengths fit.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn scores<E: Cached>(work: Scores<'_, E>) {
    let steps = work.d / STEPS;
    let used = work.n.next_multiple_of(2 * SIDE);
    // SAFETY: offsets stay inside what `run` has checked.
    unsafe {
        let s = Avx512::enabled();
        let packed = work.memory.as_mut_ptr();
        for first in (0..used).step_by(SIDE) {
            for step in 0..steps {
                let mut rows = [s.splat(0.0); 16];
                let here = SIDE.min(work.n.saturating_sub(first));
                for (i, row) in rows[..here].iter_mut().enumerate() {
                    let scale = if E::SCALED {
                        work.scales[step * TILE + first + i]
                    } else {
                        1.0
                    };
                    *row = E::pairs(work.keys[first + i].add(step * STEPS), scale);
                }
                let tile = packed.add((first / SIDE * steps + step) * TILE_WORDS);
                s.transpose(&rows, tile, SIDE);
            }
        }
        let tiles = Tiles::configure();
        let mut sums = Sums([0.0; 4 * TILE_WORDS]);
        let stride = 2 * work.d;
        for r in (0..work.rows).step_by(2 * SIDE) {
            let a = work.q.as_ptr().add(r * work.d / 2);
            let a = [a, a.add(SIDE * work.d / 2)];
            for first in (0..used).step_by(2 * SIDE) {
                let b = packed.cast_const().add(first / SIDE * steps * TILE_WORDS);
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

/// Adds to `sums [rows, dv]` the values of a tile, weighted.
pub(super) struct Values<'a, E> {
    /// The first `n` are rows of `dv` elements.
    pub(super) values: &'a [*const E; TILE],
    pub(super) n: usize,
    pub(super) dv: usize,
    /// `[blocks, TILE]`
    pub(super) scales: &'a [f32],
    /// `[rows, TILE]`, of which the first `n` of a row count.
    pub(super) weights: &'a [f32],
    pub(super) rows: usize,
    /// `[ROWS, TILE]` words to work in
    pub(super) rounded: &'a mut [f32],
    /// `[TILE, dv]` words to work in
    pub(super) memory: &'a mut [f32],
    pub(super) sums: &'a mut [f32],
}

impl<E: Cached> Values<'_, E> {
    /// # Panics
    /// When the processor has no tiles, or a length doesn't fit.
    ///
    /// # Safety
    /// The first `n` values are valid for reading `dv` elements.
    pub(super) unsafe fn run(mut self, live: Live) {
        let (rows, dv) = (self.rows, self.dv);
        assert!(fits::<E>(live, STEPS, dv) && self.n <= TILE && rows <= ROWS);
        assert!(!E::SCALED || self.scales.len() >= q8::blocks(dv) * TILE);
        self.rounded = on_a_line(self.rounded);
        self.memory = on_a_line(self.memory);
        assert!(self.rounded.len() >= ROWS * TILE / 2 && self.memory.len() >= TILE * dv / 2);
        assert!(self.weights.len() >= rows * TILE && self.sums.len() >= rows * dv);
        // SAFETY: `Live` is only made after detection; lengths were checked above, values are the
        // caller's promise.
        unsafe { values(self) }
    }
}

/// # Safety
/// The processor has the sets and the process may use tiles; lengths fit.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn values<E: Cached>(mut work: Values<'_, E>) {
    let steps = work.n.div_ceil(STEPS);
    // SAFETY: offsets stay inside what `run` has checked.
    unsafe {
        let packed = work.memory.as_mut_ptr();
        pack_values(&work, steps, packed);
        round_weights(&mut work, steps);
        let tiles = Tiles::configure();
        let mut sums = Sums([0.0; 4 * TILE_WORDS]);
        for c in (0..work.dv).step_by(2 * SIDE) {
            let b = packed.cast_const().add(c / SIDE * steps * TILE_WORDS);
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

/// Writes values as tiles, those of 16 columns together.
///
/// # Safety
/// As [`values`]; `out` is valid for writing the tiles.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn pack_values<E: Cached>(work: &Values<'_, E>, steps: usize, out: *mut f32) {
    /// Word `i` of both vectors in turn, from word `first` on.
    const fn in_turn(first: i16) -> [i16; 32] {
        let mut words = [0; 32];
        let mut i = 0;
        while i < 32 {
            words[i] = first + i as i16 / 2 + i as i16 % 2 * 32;
            i += 1;
        }
        words
    }
    // SAFETY: by this function's contract.
    unsafe {
        let low = std::mem::transmute::<[i16; 32], __m512i>(const { in_turn(0) });
        let high = std::mem::transmute::<[i16; 32], __m512i>(const { in_turn(16) });
        for j in 0..steps * STEPS / 2 {
            for c in (0..work.dv).step_by(STEPS) {
                let row = |i: usize| {
                    if i >= work.n {
                        return _mm512_setzero_si512();
                    }
                    let scale = if E::SCALED {
                        work.scales[c / q8::BLOCK * TILE + i]
                    } else {
                        1.0
                    };
                    _mm512_castps_si512(E::pairs(work.values[i].add(c), scale))
                };
                let (x, y) = (row(2 * j), row(2 * j + 1));
                let tile = out.add((c / SIDE * steps + j / SIDE) * TILE_WORDS + j % SIDE * SIDE);
                let first = _mm512_permutex2var_epi16(x, low, y);
                let second = _mm512_permutex2var_epi16(x, high, y);
                _mm512_storeu_si512(tile.cast(), first);
                _mm512_storeu_si512(tile.add(steps * TILE_WORDS).cast(), second);
            }
        }
    }
}

/// Rounds the weights of whole steps; those behind `n` become zeros.
///
/// # Safety
/// As [`values`].
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn round_weights<E>(work: &mut Values<'_, E>, steps: usize) {
    for r in 0..work.rows {
        for c in (0..steps * STEPS).step_by(STEPS) {
            let left = work.n - c;
            let mask = |from: usize| ((1u32 << left.saturating_sub(from).min(16)) - 1) as u16;
            // SAFETY: by this function's contract.
            unsafe {
                let p = work.weights.as_ptr().add(r * TILE + c);
                let low = _mm512_maskz_loadu_ps(mask(0), p);
                let high = if left > SIDE {
                    _mm512_maskz_loadu_ps(mask(16), p.add(SIDE))
                } else {
                    _mm512_setzero_ps()
                };
                let pairs = _mm512_cvtne2ps_pbh(high, low);
                let out = work.rounded.as_mut_ptr().add((r * TILE + c) / 2);
                _mm512_storeu_ps(out, std::mem::transmute::<__m512bh, __m512>(pairs));
            }
        }
    }
}
