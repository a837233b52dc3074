//! Activations as bytes.

#![expect(unsafe_code, reason = "tiles are written through pointers")]

use super::{GROUP, TOKEN_WORDS, TOKENS, Tokens};
use crate::cpu::{Live, SharedMut};
use crate::linear::Rows;
use crate::quant::{Group, Quantize};
use crate::simd::{Avx512, Kernel};

/// Rounds a tile of tokens to bytes, group by group.
pub(crate) struct PackBytes<'a> {
    pub(crate) x: Rows<'a>,
    /// A multiple of 256.
    pub(crate) cols: usize,
    /// Which tile of the tokens; missing ones become zeros.
    pub(crate) tile: usize,
    pub(crate) out: SharedMut<'a, f32>,
    /// Where the input's tiles begin.
    pub(crate) start: usize,
}

impl PackBytes<'_> {
    /// # Panics
    /// When the processor has no VNNI, or the place is outside or not on a line of the cache.
    pub(crate) fn run(self, live: Live) {
        assert!(live.isa() >= crate::Isa::Avx512Vnni && self.cols.is_multiple_of(GROUP));
        let size = self.cols / GROUP * TOKEN_WORDS;
        let start = self.start + self.tile * size;
        // SAFETY: each tile's part belongs to one task; `Live` is only made after detection.
        unsafe {
            let out = self.out.slice(start..start + size).as_mut_ptr();
            assert!(out.addr().is_multiple_of(align_of::<Tokens>()));
            pack(self.x, self.cols, self.tile, out.cast());
        }
    }
}

/// # Safety
/// The processor has the sets; `out` is valid for writing `cols / 256` groups.
#[target_feature(enable = "avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn pack(x: Rows<'_>, cols: usize, tile: usize, out: *mut Tokens) {
    // SAFETY: `Rows` holds its rows; the rest by this function's contract.
    unsafe {
        let s = Avx512::enabled();
        let first = tile * TOKENS;
        let here = TOKENS.min(x.count() - first);
        let mut group = [Group::ZERO; 1];
        for g in 0..cols / GROUP {
            let out = &mut *out.add(g);
            out.padding = [0.0; 8];
            for t in 0..TOKENS {
                if t < here {
                    let x = std::slice::from_raw_parts(x.row(first + t).add(g * GROUP), GROUP);
                    let quantize = Quantize::<false> { x, out: &mut group };
                    quantize.run(s);
                } else {
                    group = [Group::ZERO; 1];
                }
                let group = &group[0];
                out.d[t] = group.d;
                for (out, q) in out.u.iter_mut().zip(group.q.as_chunks::<4>().0) {
                    out[t] = q.map(|q| (q as u8).wrapping_add(128));
                }
            }
        }
    }
}
