//! One block of query rows against a run of positions.
//!
//! Queries of all heads that share a key head are rows of one matrix: row `i · group + g` is query
//! `i`, head `g` of the group. Positions pass in tiles with an online softmax (arXiv 2205.14135).

#![expect(unsafe_code, reason = "tiles read and write through pointers")]

use std::ops::Range;

use super::cached::Cached;
use super::q8;
#[cfg(target_arch = "x86_64")]
use super::rounded;
use super::scores::in_integers;
use super::view::HeadRows;
use super::widen::list_scales;
use crate::cpu::Live;
use crate::linear::{Words, pack_rows, split};
use crate::simd::{Kernel, Simd, weight};

/// Most query rows of a block: four of Intel's tiles.
pub(super) const ROWS: usize = 64;
/// Those that are used in f32: four register tiles of the widest set.
pub(super) const ROWS_FLOAT: usize = 48;
/// Those that are used in pairs of bf16: five of these tiles, as packing is a larger part there.
pub(super) const ROWS_PAIRS: usize = 60;

/// Positions of a tile.
pub(super) const TILE: usize = 64;

/// Up to this many rows keys are read as they lie, above it they are packed first.
pub(super) const FEW: usize = 6;

/// Where the positions of a block come from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// These, less what a row may not see: its first and its own position.
    Range(usize, usize),
    /// A list, the same for all rows.
    List(&'a [u32]),
}

/// Query rows of a block.
#[derive(Clone, Copy)]
pub(super) struct Queries<'a> {
    /// `[t, n_heads, d]`
    pub(super) q: &'a [f32],
    pub(super) n_heads: usize,
    pub(super) group: usize,
    pub(super) head: usize,
    pub(super) first_position: usize,
    pub(super) window: Option<usize>,
    pub(super) scale: f32,
}

impl Queries<'_> {
    /// Index of a row among all heads of all queries, in units of a head's width.
    #[inline(always)]
    pub(super) fn at(&self, row: usize) -> usize {
        row / self.group * self.n_heads + self.head * self.group + row % self.group
    }

    /// Positions that a row sees.
    #[inline(always)]
    pub(super) fn visible(&self, row: usize) -> Range<usize> {
        let position = self.first_position + row / self.group;
        let first = self.window.map_or(0, |w| (position + 1).saturating_sub(w));
        first..position + 1
    }
}

/// A thread's memory.
pub(super) struct Memory<'a> {
    /// `[d, ROWS]`, tile by tile
    pub(super) q: &'a mut [f32],
    /// `[d, TILE]`, or `[TILE, d]` where few queries meet keys with scales
    pub(super) k: &'a mut [f32],
    /// `[TILE, padded dv]`
    pub(super) v: &'a mut [f32],
    /// `[ROWS, TILE]`
    pub(super) scores: &'a mut [f32],
    /// `[ROWS, TILE]`: scores times the scale of a block of values
    pub(super) weighted: &'a mut [f32],
    /// `[ROWS, padded dv]`
    pub(super) sums: &'a mut [f32],
    /// `[blocks, TILE]`: a tile's scales
    pub(super) scales: &'a mut [f32],
    /// `[FEW, q8::query_words]`: queries of a few rows in bytes
    pub(super) query: &'a mut [f32],
}

/// The work: afterwards `sums` holds each row's values, weighted by `e^(score - max)`, and
/// `maxima` and `totals` what they are to be combined with.
pub(super) struct Block<'a, 'm, K, V> {
    pub(super) live: Live,
    pub(super) queries: Queries<'a>,
    pub(super) rows: Range<usize>,
    pub(super) keys: HeadRows<'a, K>,
    pub(super) values: HeadRows<'a, V>,
    pub(super) source: Source<'a>,
    pub(super) memory: &'m mut Memory<'a>,
    pub(super) maxima: &'m mut [f32; ROWS],
    pub(super) totals: &'m mut [f32; ROWS],
}

impl<K: Cached, V: Cached> Kernel for Block<'_, '_, K, V> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (d, rows) = (self.keys.width, self.rows.len());
        let padded = padded(self.values.width);
        self.maxima[..rows].fill(f32::NEG_INFINITY);
        self.totals[..rows].fill(0.0);
        self.memory.sums[..rows * padded].fill(0.0);
        if self.rounds() {
            self.pair_queries(d);
        } else if rows > FEW {
            self.pack_queries(s, d);
        } else if K::SCALED && in_integers(self.live) {
            self.round_queries(d);
        }
        match self.source {
            Source::Range(first, end) => {
                let mut p = first;
                while p < end {
                    // A tile's slots are consecutive: it ends where the ring does.
                    let slot = self.keys.slot(p);
                    let n = TILE.min(end - p).min(self.keys.capacity - slot);
                    self.tile(s, n, |i| slot + i, Some(p));
                    p += n;
                }
            }
            Source::List(list) => {
                let keys = self.keys;
                for part in list.chunks(TILE) {
                    self.tile(s, part.len(), |i| keys.slot(part[i] as usize), None);
                }
            }
        }
    }
}

/// Widths of value rows in memory: whole register tiles of every set.
pub(super) fn padded(dv: usize) -> usize {
    dv.next_multiple_of(32)
}

impl<K: Cached, V: Cached> Block<'_, '_, K, V> {
    #[inline(always)]
    fn pack_queries<S: Simd>(&mut self, s: S, d: usize) {
        let rows = self.rows.len();
        for i in 0..rows.div_ceil(S::TILE_ROWS) {
            let (first, m) = split(rows, S::TILE_ROWS, i);
            let (queries, start) = (self.queries, self.rows.start + first);
            let row = |r: usize| queries.q[queries.at(start + r) * d..].as_ptr();
            let out = &mut self.memory.q[first * d..(first + m) * d];
            // SAFETY: every query has `d` elements, and `out` has `m` of them.
            unsafe { pack_rows(s, Words::F32, (m, d), row, out.as_mut_ptr()) };
        }
    }

    /// Whether this block's products are made in bf16.
    #[inline(always)]
    fn rounds(&self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.rows.len() > FEW
            && rounded::fits::<K>(self.live, self.keys.width, self.values.width);
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    fn pair_queries(&mut self, d: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            let (queries, start) = (self.queries, self.rows.start);
            let work = rounded::Round {
                row: |r| &queries.q[queries.at(start + r) * d..][..d],
                rows: self.rows.len(),
                d,
                out: self.memory.q,
            };
            work.run(self.live);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = d;
    }

    fn round_queries(&mut self, d: usize) {
        let queries = self.queries;
        let out = self.memory.query.chunks_exact_mut(q8::query_words(d));
        for (row, out) in self.rows.clone().zip(out) {
            q8::round_query(&queries.q[queries.at(row) * d..][..d], out);
        }
    }

    /// `n` positions in the slots that `slot` gives; `run` is the first of them if they follow
    /// each other, in slots too.
    #[inline(always)]
    fn tile<S: Simd>(&mut self, s: S, n: usize, slot: impl Fn(usize) -> usize, run: Option<usize>) {
        let rows = self.rows.len();
        let k = self.keys.rows(n, &slot, run.is_some());
        let v = self.values.rows(n, &slot, run.is_some());
        if K::SCALED {
            list_scales(&self.keys, n, &slot, self.memory.scales);
        }
        // SAFETY: the pointers above are rows of the cache.
        unsafe {
            if self.rounds() {
                self.scores_in_pairs(n, &k);
            } else if rows > FEW {
                self.scores_of_many(s, n, &k);
            } else {
                self.scores_of_few(s, n, &k, &v);
            }
        }
        for r in 0..rows {
            if let Some(first) = run {
                self.hide(r, first, n);
            }
            self.soften(s, r, n);
        }
        if V::SCALED {
            list_scales(&self.values, n, &slot, self.memory.scales);
        }
        // SAFETY: as above.
        unsafe {
            if self.rounds() {
                self.add_values_in_pairs(n, &v);
            } else {
                self.add_values(s, n, &v, run.is_some());
            }
        }
    }

    /// # Safety
    /// The first `n` pointers are rows of keys.
    #[inline(always)]
    unsafe fn scores_in_pairs(&mut self, n: usize, k: &[*const K; TILE]) {
        #[cfg(target_arch = "x86_64")]
        {
            let memory = &mut *self.memory;
            let work = rounded::Scores {
                keys: k,
                n,
                d: self.keys.width,
                scales: memory.scales,
                q: memory.q,
                rows: self.rows.len(),
                memory: memory.k,
                out: memory.scores,
            };
            // SAFETY: by this function's contract.
            unsafe { work.run(self.live) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (n, k);
    }

    /// # Safety
    /// The first `n` pointers are rows of values.
    #[inline(always)]
    unsafe fn add_values_in_pairs(&mut self, n: usize, v: &[*const V; TILE]) {
        #[cfg(target_arch = "x86_64")]
        {
            let memory = &mut *self.memory;
            let work = rounded::Values {
                values: v,
                n,
                dv: self.values.width,
                scales: memory.scales,
                weights: memory.scores,
                rows: self.rows.len(),
                rounded: memory.weighted,
                memory: memory.v,
                sums: memory.sums,
            };
            // SAFETY: by this function's contract.
            unsafe { work.run(self.live) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (n, v);
    }

    /// Puts scores of positions that a row doesn't see out of the way.
    #[inline(always)]
    fn hide(&mut self, r: usize, first: usize, n: usize) {
        let visible = self.queries.visible(self.rows.start + r);
        let scores = &mut self.memory.scores[r * TILE..r * TILE + n];
        let before = visible.start.saturating_sub(first).min(n);
        let after = visible.end.saturating_sub(first).min(n);
        scores[..before].fill(f32::NEG_INFINITY);
        scores[after..].fill(f32::NEG_INFINITY);
    }

    /// Scores of a row to weights; what was summed up before is scaled to the new maximum.
    #[inline(always)]
    fn soften<S: Simd>(&mut self, s: S, r: usize, n: usize) {
        let used = n.next_multiple_of(S::LANES);
        let scores = &mut self.memory.scores[r * TILE..r * TILE + used];
        scores[n..].fill(f32::NEG_INFINITY);
        let scale = s.splat(self.queries.scale);
        let p = scores.as_mut_ptr();
        // SAFETY: the row has `used` scores, whole vectors.
        unsafe {
            let mut max = s.splat(f32::NEG_INFINITY);
            for c in (0..used).step_by(S::LANES) {
                let v = s.mul(s.load(p.add(c)), scale);
                s.store(p.add(c), v);
                max = s.max(v, max);
            }
            let before = self.maxima[r];
            let max = s.reduce_max(max).max(before);
            // Nothing seen yet: any finite shift keeps e^-∞ at 0.
            let shift = if max == f32::NEG_INFINITY { 0.0 } else { max };
            let (shift, mut total) = (s.splat(shift), s.splat(0.0));
            for c in (0..used).step_by(S::LANES) {
                let e = weight(s, s.sub(s.load(p.add(c)), shift));
                s.store(p.add(c), e);
                total = s.add(total, e);
            }
            let total = s.reduce_add(total);
            if before == max {
                self.totals[r] += total;
                return;
            }
            self.maxima[r] = max;
            let correction = (before - max).exp();
            self.totals[r] = self.totals[r] * correction + total;
            let padded = padded(self.values.width);
            let sums = &mut self.memory.sums[r * padded..(r + 1) * padded];
            let (p, correction) = (sums.as_mut_ptr(), s.splat(correction));
            for c in (0..padded).step_by(S::LANES) {
                s.store(p.add(c), s.mul(s.load(p.add(c)), correction));
            }
        }
    }
}
