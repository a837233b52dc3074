//! A tile of positions with many queries, in bf16: factors are rounded, sums are f32.
//!
//! Keys and values are packed once for all rows of a block, as words of two numbers that one
//! instruction multiplies and adds up: neighbours in a key, and the values of neighbouring
//! positions. [`tiles`] and [`pairs`] multiply them, each in an order of its own.

#![expect(unsafe_code, reason = "packing reads and writes through pointers")]

use std::arch::x86_64::*;

use super::block::{ROWS, TILE};
use super::cached::Cached;
use super::{pairs, q8, tiles};
use crate::Isa;
use crate::amx::{SIDE, STEPS};
use crate::cpu::Live;
use crate::simd::{Avx512, Simd};

/// Whether this set makes products in bf16: those that are chosen only where it is faster than f32.
pub(super) fn pays(live: Live) -> bool {
    matches!(live.isa(), Isa::Avx512Bf16 | Isa::Amx)
}

/// Whether products with keys and values of these widths are made in bf16.
pub(super) fn fits<E: Cached>(live: Live, d: usize, dv: usize) -> bool {
    pays(live) && E::ROUNDED && d.is_multiple_of(STEPS) && dv.is_multiple_of(STEPS)
}

/// Where packed words lie: pair `j` of the columns `16 g ..` at `g · group + j · pair`.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) group: usize,
    pub(super) pair: usize,
}

impl Layout {
    /// Start of a pair of 16 columns, the first of which is `column`.
    #[inline(always)]
    fn at(self, column: usize, pair: usize) -> usize {
        column / SIDE * self.group + pair * self.pair
    }
}

/// The part of `memory` that begins with a line of the cache.
fn on_a_line(memory: &mut [f32]) -> &mut [f32] {
    let skipped = memory.as_ptr().align_offset(64).min(memory.len());
    &mut memory[skipped..]
}

/// Rounds queries to `rows · d` bf16 in `out`, `[ROWS, d]` words, in the order of the set.
pub(super) struct Round<'a, F> {
    pub(super) row: F,
    pub(super) rows: usize,
    pub(super) d: usize,
    pub(super) out: &'a mut [f32],
}

impl<'q, F: Fn(usize) -> &'q [f32]> Round<'_, F> {
    /// # Panics
    /// When the processor lacks the instructions, or a length doesn't fit.
    pub(super) fn run(mut self, live: Live) {
        assert!(pays(live) && self.d.is_multiple_of(STEPS) && self.rows <= ROWS);
        self.out = on_a_line(self.out);
        assert!(self.out.len() >= ROWS * self.d / 2);
        // SAFETY: `Live` is only made after detection; lengths were checked above.
        unsafe {
            match live.isa() {
                Isa::Amx => tiles::round(self),
                _ => pairs::round(self),
            }
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
    /// Scores of 32 positions at a time are written; those behind `n` are zeros.
    ///
    /// # Panics
    /// When the processor lacks the instructions, or a length doesn't fit.
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
        unsafe {
            match live.isa() {
                Isa::Amx => tiles::scores(self),
                _ => pairs::scores(self),
            }
        }
    }
}

/// Packs keys, zeros behind `n`.
///
/// # Safety
/// Runs with the sets enabled; what `run` has checked holds, and `layout` stays in the memory.
#[inline(always)]
pub(super) unsafe fn pack_keys<E: Cached>(work: &mut Scores<'_, E>, layout: Layout) {
    let used = work.n.next_multiple_of(2 * SIDE);
    // SAFETY: by this function's contract.
    unsafe {
        for first in (0..used).step_by(SIDE) {
            let here = SIDE.min(work.n.saturating_sub(first));
            for step in 0..work.d / STEPS {
                let out = layout.at(first, step * STEPS / 2);
                if here == SIDE {
                    // All of them, a number that is known when this is compiled.
                    pack_block(work, (first, SIDE), step, (out, layout.pair));
                } else {
                    pack_block(work, (first, here), step, (out, layout.pair));
                }
            }
        }
    }
}

/// Packs 32 elements of `here` keys from `first` on, and zeros for what is missing of 16.
///
/// # Safety
/// As [`pack_keys`].
#[inline(always)]
unsafe fn pack_block<E: Cached>(
    work: &mut Scores<'_, E>,
    (first, here): (usize, usize),
    step: usize,
    (out, stride): (usize, usize),
) {
    let keys = &work.keys[first..first + here];
    let scales = if E::SCALED {
        &work.scales[step * TILE + first..][..here]
    } else {
        &[]
    };
    // SAFETY: by this function's contract.
    unsafe {
        let s = Avx512::enabled();
        let mut rows = [s.splat(0.0); 16];
        for i in 0..here {
            let scale = if E::SCALED { scales[i] } else { 1.0 };
            rows[i] = E::pairs(keys[i].add(step * STEPS), scale);
        }
        s.transpose(&rows, work.memory.as_mut_ptr().add(out), stride);
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
    /// When the processor lacks the instructions, or a length doesn't fit.
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
        unsafe {
            match live.isa() {
                Isa::Amx => tiles::values(self),
                _ => pairs::values(self),
            }
        }
    }
}

/// Packs `pairs` pairs of values, zeros behind `n`.
///
/// # Safety
/// Runs with the sets enabled; what `run` has checked holds, and `layout` stays in the memory.
#[inline(always)]
pub(super) unsafe fn pack_values<E: Cached>(
    work: &mut Values<'_, E>,
    pairs: usize,
    layout: Layout,
) {
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
        let out = work.memory.as_mut_ptr();
        let low = std::mem::transmute::<[i16; 32], __m512i>(const { in_turn(0) });
        let high = std::mem::transmute::<[i16; 32], __m512i>(const { in_turn(16) });
        for j in 0..pairs {
            for c in (0..work.dv).step_by(STEPS) {
                let (x, y) = (value(work, 2 * j, c), value(work, 2 * j + 1, c));
                let out = out.add(layout.at(c, j));
                let first = _mm512_permutex2var_epi16(x, low, y);
                let second = _mm512_permutex2var_epi16(x, high, y);
                _mm512_storeu_si512(out.cast(), first);
                _mm512_storeu_si512(out.add(layout.group).cast(), second);
            }
        }
    }
}

/// 32 elements of a value, zeros behind the last one.
///
/// # Safety
/// As [`pack_values`].
#[inline(always)]
unsafe fn value<E: Cached>(work: &Values<'_, E>, i: usize, column: usize) -> __m512i {
    // SAFETY: by `pack_values`' contract.
    unsafe {
        if i >= work.n {
            return _mm512_setzero_si512();
        }
        let scale = if E::SCALED {
            work.scales[column / q8::BLOCK * TILE + i]
        } else {
            1.0
        };
        _mm512_castps_si512(E::pairs(work.values[i].add(column), scale))
    }
}

/// Rounds the weights of whole steps, rows of `TILE / 2` words; those behind `n` become zeros.
///
/// # Safety
/// Runs with the sets enabled; what `run` has checked holds.
#[inline(always)]
pub(super) unsafe fn round_weights<E>(work: &mut Values<'_, E>) {
    let steps = work.n.div_ceil(STEPS);
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
