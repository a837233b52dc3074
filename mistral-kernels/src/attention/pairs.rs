//! Products in bf16 in registers (AVX-512 BF16): register tiles whose factors are words of two.

#![expect(unsafe_code, reason = "register tiles read and write through pointers")]

use super::block::TILE;
use super::cached::Cached;
use super::rounded::{Layout, Round, Scores, Values, pack_keys, pack_values, round_weights};
use crate::amx::SIDE;
use crate::linear::{Mode, Out, packed_tile, row_tile, split, tile_cols};
use crate::simd::{Pairs, Simd};

/// Pairs in rows of `width` words.
fn layout(width: usize) -> Layout {
    Layout {
        group: SIDE,
        pair: width,
    }
}

/// Rounds queries, for each register tile as `[d / 2][rows of it]` words.
///
/// # Safety
/// The processor has the sets; lengths fit.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) unsafe fn round<'q, F: Fn(usize) -> &'q [f32]>(work: Round<'_, F>) {
    let words = work.d / 2;
    // The last column of a tile is written as a whole vector.
    assert!(work.rows * words + Pairs::LANES <= work.out.len());
    for i in 0..work.rows.div_ceil(Pairs::TILE_ROWS) {
        let (first, m) = split(work.rows, Pairs::TILE_ROWS, i);
        // SAFETY: this function has the set; vectors end less than their length behind the tile.
        unsafe {
            let s = Pairs::enabled();
            let out = work.out.as_mut_ptr().add(first * words);
            for c in (0..words).step_by(Pairs::LANES) {
                let mut block = [s.splat(0.0); 16];
                for (r, vector) in block[..m].iter_mut().enumerate() {
                    let x = &(work.row)(first + r)[2 * c..][..2 * Pairs::LANES];
                    *vector = s.load_pairs(x.as_ptr());
                }
                s.transpose(&block, out.add(c * m), m);
            }
        }
    }
}

/// # Safety
/// The processor has the sets; what `run` has checked holds.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) unsafe fn scores<E: Cached>(mut work: Scores<'_, E>) {
    let wide = tile_cols::<Pairs>();
    let (words, used) = (work.d / 2, work.n.next_multiple_of(wide));
    // SAFETY: this function has the set; offsets stay inside what `run` has checked.
    unsafe {
        let s = Pairs::enabled();
        pack_keys(&mut work, layout(used));
        for i in 0..work.rows.div_ceil(Pairs::TILE_ROWS) {
            let (first, m) = split(work.rows, Pairs::TILE_ROWS, i);
            let a = work.q.as_ptr().add(first * words);
            for c in (0..used).step_by(wide) {
                let out = Out {
                    start: work.out.as_mut_ptr().add(first * TILE + c),
                    stride: TILE,
                    cols: wide,
                    mode: Mode::Overwrite,
                };
                packed_tile(s, m, words, a, (work.memory.as_ptr().add(c), used), out);
            }
        }
    }
}

/// # Safety
/// As [`scores`].
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) unsafe fn values<E: Cached>(mut work: Values<'_, E>) {
    let wide = tile_cols::<Pairs>();
    let (dv, pairs) = (work.dv, work.n.div_ceil(2));
    // SAFETY: this function has the set; offsets stay inside what `run` has checked.
    unsafe {
        let s = Pairs::enabled();
        pack_values(&mut work, pairs, layout(dv));
        round_weights(&mut work);
        for c in (0..dv).step_by(wide) {
            let b = (work.memory.as_ptr().add(c), dv);
            for i in 0..work.rows.div_ceil(Pairs::TILE_ROWS) {
                let (first, m) = split(work.rows, Pairs::TILE_ROWS, i);
                let a = work.rounded.as_ptr().add(first * (TILE / 2));
                let out = Out {
                    start: work.sums.as_mut_ptr().add(first * dv + c),
                    stride: dv,
                    cols: wide,
                    mode: Mode::Add,
                };
                row_tile::<_, f32, { TILE / 2 }>(s, m, pairs, a, b, out);
            }
        }
    }
}
