//! Scores of a tile: queries times keys, where products aren't made in bf16.

#![expect(unsafe_code, reason = "tiles read and write through pointers")]

use super::block::{Block, TILE};
use super::cached::Cached;
use super::widen::{scale_panel, widen_scaled};
use crate::cpu::Live;
use crate::linear::{Mode, Out, dots, packed_tile, panel, split, tile_cols};
use crate::simd::Simd;

impl<K: Cached, V: Cached> Block<'_, '_, K, V> {
    /// # Safety
    /// The first `n` pointers are rows of keys.
    #[inline(always)]
    pub(super) unsafe fn scores_of_many<S: Simd>(&mut self, s: S, n: usize, k: &[*const K; TILE]) {
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
    pub(super) unsafe fn scores_of_few<S: Simd>(
        &mut self,
        s: S,
        n: usize,
        k: &[*const K; TILE],
        v: &[*const V; TILE],
    ) {
        let (d, rows) = (self.keys.width, self.rows.len());
        // A tile's values are asked for while its keys are read: four rows of each at a time.
        let value_bytes = self.values.width * size_of::<V>();
        let ask = |i: usize| {
            for line in (0..value_bytes).step_by(64) {
                s.prefetch(v[i].cast::<u8>().wrapping_add(line));
            }
        };
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
                let key = |i| {
                    ask(i);
                    k[i]
                };
                dots(s, (0..n, key), (rows, query), d, put);
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
                    ask,
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
}

/// Whether few queries multiply with bytes as integers.
#[inline(always)]
pub(super) fn in_integers(live: Live) -> bool {
    cfg!(target_arch = "x86_64") && live.isa() >= crate::Isa::Avx512Vnni
}
