//! Activations as tiles.

#![expect(unsafe_code, reason = "transposes write through pointers")]

use std::arch::x86_64::*;

use super::{CHUNK, SIDE, STEPS, TILE_WORDS, chunk_of};
use crate::cpu::{Live, SharedMut};
use crate::linear::Rows;
use crate::simd::{Avx512, Simd};

/// Rounds 16 tokens to bf16 and writes them as tiles, one for each 32 steps, in the order of
/// [`chunk_of`].
pub(crate) struct PackTiles<'a> {
    pub(crate) x: Rows<'a>,
    /// A multiple of 32.
    pub(crate) cols: usize,
    /// Which 16 of the tokens; missing ones become zeros.
    pub(crate) tile: usize,
    pub(crate) out: SharedMut<'a, f32>,
    /// Where the input's tiles begin.
    pub(crate) start: usize,
}

impl PackTiles<'_> {
    /// # Panics
    /// When the processor has no tiles, or the place is outside.
    pub(crate) fn run(self, live: Live) {
        assert!(live.isa() == crate::Isa::Amx && self.cols.is_multiple_of(STEPS));
        let tiles = self.x.count().div_ceil(SIDE) * (self.cols / STEPS);
        assert!(self.start + tiles * TILE_WORDS <= self.out.len());
        let out = self.out.as_ptr().wrapping_add(self.start);
        // SAFETY: the place is inside by the assertion, and each tile belongs to one task; `Live`
        // is only made after detection, and AMX implies the sets that are enabled there.
        unsafe { pack(self.x, self.cols, self.tile, out) }
    }
}

/// # Safety
/// The processor has the sets; `out` is valid for writing all tiles of `x`.
#[target_feature(enable = "avx512bf16,avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn pack(x: Rows<'_>, cols: usize, tile: usize, out: *mut f32) {
    // SAFETY: `Rows` holds its rows; the rest by this function's contract.
    unsafe {
        let s = Avx512::enabled();
        let first = tile * SIDE;
        let here = SIDE.min(x.count() - first);
        let (count, inner) = (x.count().div_ceil(SIDE), cols / STEPS);
        for c in 0..inner {
            let at = chunk_of(tile, count, c / CHUNK * CHUNK, inner) + c % CHUNK;
            let mut rows = [s.splat(0.0); 16];
            for (r, row) in rows[..here].iter_mut().enumerate() {
                let p = x.row(first + r).add(c * STEPS);
                let (low, high) = (_mm512_loadu_ps(p), _mm512_loadu_ps(p.add(16)));
                *row = std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low));
            }
            s.transpose(&rows, out.add(at * TILE_WORDS), 16);
        }
    }
}
