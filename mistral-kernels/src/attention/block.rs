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
use super::view::HeadRows;
use super::widen::{list_scales, scale_panel, widen, widen_scaled};
use crate::cpu::Live;
use crate::linear::{
    Mode, Out, Words, dots, pack_rows, packed_tile, panel, row_tile, split, tile_cols,
};
use crate::simd::{Kernel, Simd, exp};

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
                self.scores_of_few(s, n, &k);
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

    /// # Safety
    /// The first `n` pointers are rows of keys.
    #[inline(always)]
    unsafe fn scores_of_many<S: Simd>(&mut self, s: S, n: usize, k: &[*const K; TILE]) {
        let (d, rows, wide) = (self.keys.width, self.rows.len(), tile_cols::<S>());
        let used = n.next_multiple_of(wide);
        assert!(self.memory.k.len() >= d * TILE && self.memory.scores.len() >= rows * TILE);
        let packed = self.memory.k.as_mut_ptr();
        // SAFETY: the pointers are rows of `d` elements, and the buffers hold what is named.
        unsafe {
            panel(s, |i| k[i], (n, d), used, packed);
            if K::SCALED {
                scale_panel(s, (d, used), self.memory.scales, packed);
            }
            for i in 0..rows.div_ceil(S::TILE_ROWS) {
                let (first, m) = split(rows, S::TILE_ROWS, i);
                let a = self.memory.q[first * d..].as_ptr();
                for c in (0..used).step_by(wide) {
                    let out = Out {
                        start: self.memory.scores.as_mut_ptr().add(first * TILE + c),
                        stride: TILE,
                        cols: wide,
                        mode: Mode::Overwrite,
                    };
                    packed_tile(s, m, d, a, (packed.add(c).cast_const(), used), out);
                }
            }
        }
    }

    /// # Safety
    /// The first `n` pointers are rows of keys.
    #[inline(always)]
    unsafe fn scores_of_few<S: Simd>(&mut self, s: S, n: usize, k: &[*const K; TILE]) {
        let (d, rows) = (self.keys.width, self.rows.len());
        let (queries, start) = (self.queries, self.rows.start);
        assert!(self.memory.scores.len() >= rows * TILE && self.memory.k.len() >= d * TILE);
        let scores = self.memory.scores.as_mut_ptr();
        let query = |r| queries.q[queries.at(start + r) * d..].as_ptr();
        let put = |i, r, sum| {
            // SAFETY: `scores` has this row by the assertion.
            unsafe { *scores.add(r * TILE + i) = sum }
        };
        // SAFETY: the pointers are rows of `d` elements, as every query is; widened rows too.
        unsafe {
            if !K::SCALED {
                dots(s, (0..n, |i| k[i]), (rows, query), d, put);
                return;
            }
            #[cfg(target_arch = "x86_64")]
            if in_integers(self.live) {
                let memory = &mut *self.memory;
                let work = super::q8_vnni::Scores {
                    keys: k.map(|row| row.cast()),
                    n,
                    d,
                    scales: memory.scales,
                    queries: memory.query,
                    rows,
                    out: memory.scores,
                };
                return work.run(self.live);
            }
            let copy = self.memory.k.as_mut_ptr();
            for (i, &row) in k[..n].iter().enumerate() {
                widen_scaled(s, row, d, &self.memory.scales[i..], copy.add(i * d));
            }
            let copy = copy.cast_const();
            dots(s, (0..n, |i| copy.add(i * d)), (rows, query), d, put);
        }
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
                let e = exp(s, s.sub(s.load(p.add(c)), shift));
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

    /// # Safety
    /// The first `n` pointers are rows of values, one behind the other when `run`.
    #[inline(always)]
    unsafe fn add_values<S: Simd>(&mut self, s: S, n: usize, v: &[*const V; TILE], run: bool) {
        let (dv, rows, wide) = (self.values.width, self.rows.len(), tile_cols::<S>());
        let padded = padded(dv);
        assert!(self.memory.sums.len() >= rows * padded);
        let sums = self.memory.sums.as_mut_ptr();
        let direct = run && dv.is_multiple_of(wide);
        // SAFETY: rows of values have `dv` elements `stride` apart, or were copied; the buffers
        // hold what is named.
        unsafe {
            if !direct {
                self.copy_values(s, n, v);
            }
            for c in (0..dv).step_by(wide) {
                let weights = if direct && V::SCALED {
                    self.weigh(s, n, c / q8::BLOCK);
                    self.memory.weighted.as_ptr()
                } else {
                    self.memory.scores.as_ptr()
                };
                for i in 0..rows.div_ceil(S::TILE_ROWS) {
                    let (first, m) = split(rows, S::TILE_ROWS, i);
                    let a = weights.add(first * TILE);
                    let out = Out {
                        start: sums.add(first * padded + c),
                        stride: padded,
                        cols: wide,
                        mode: Mode::Add,
                    };
                    if direct {
                        let b = (v[0].add(c), self.values.stride);
                        row_tile::<S, V, TILE>(s, m, n, a, b, out);
                    } else {
                        let b = (self.memory.v.as_ptr().add(c), padded);
                        row_tile::<S, f32, TILE>(s, m, n, a, b, out);
                    }
                }
            }
        }
    }

    /// Copies rows of values as f32.
    ///
    /// # Safety
    /// The first `n` pointers are rows of values.
    #[inline(always)]
    unsafe fn copy_values<S: Simd>(&mut self, s: S, n: usize, v: &[*const V; TILE]) {
        let dv = self.values.width;
        let padded = padded(dv);
        assert!(self.memory.v.len() >= TILE * padded);
        let copy = self.memory.v.as_mut_ptr();
        for (i, &row) in v[..n].iter().enumerate() {
            // SAFETY: a row has `dv` elements by this function's contract, its copy by the
            // assertion.
            unsafe {
                let out = copy.add(i * padded);
                if V::SCALED {
                    widen_scaled(s, row, dv, &self.memory.scales[i..], out);
                } else {
                    widen(s, row, dv, out);
                }
            }
        }
    }

    /// Multiplies the scores with the scales of a block of values.
    #[inline(always)]
    fn weigh<S: Simd>(&mut self, s: S, n: usize, block: usize) {
        let scales = &self.memory.scales[block * TILE..][..TILE];
        let used = n.next_multiple_of(S::LANES);
        let rows = self.rows.len();
        let pairs = self.memory.weighted.chunks_exact_mut(TILE);
        for (out, scores) in pairs.zip(self.memory.scores.chunks_exact(TILE)).take(rows) {
            for c in (0..used).step_by(S::LANES) {
                // SAFETY: all three are `TILE` long, whole vectors.
                unsafe {
                    let v = s.mul(
                        s.load(scores.as_ptr().add(c)),
                        s.load(scales.as_ptr().add(c)),
                    );
                    s.store(out.as_mut_ptr().add(c), v);
                }
            }
        }
    }
}

/// Whether few queries multiply with bytes as integers.
#[inline(always)]
fn in_integers(live: Live) -> bool {
    cfg!(target_arch = "x86_64") && live.isa() >= crate::Isa::Avx512Vnni
}
