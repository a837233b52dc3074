//! Blocks as small integers in vectors, in the order of the weights.

#![expect(unsafe_code, reason = "blocks are read through pointers")]

use super::codebook::{E2M1_DOUBLED, NON_LINEAR, e8m0_half, iq4_xs_scale};
use super::super_block::{q3_scales, scales_and_minima};
use crate::bytes::Bytes;

/// Super-blocks of 256: `w = d · scale · code - dmin · minimum`, with a scale and a minimum for
/// each sub-block of sixteen.
pub(crate) trait SuperBlock {
    /// Bytes of a block.
    const BYTES: usize;
    /// Whether codes are signed; then there are no minima.
    const SIGNED: bool = false;

    /// Scales and minima.
    ///
    /// # Safety
    /// `p` is valid for reading a block.
    unsafe fn head<S: Bytes>(s: S, p: *const u8) -> Head;

    /// The codes, below 64 or signed.
    ///
    /// # Safety
    /// As [`SuperBlock::head`].
    unsafe fn codes<S: Bytes>(s: S, p: *const u8) -> [S::B; 4];
}

/// What a super-block's codes are scaled by.
pub(crate) struct Head {
    pub(crate) d: f32,
    /// Signed.
    pub(crate) scales: [u8; 16],
    pub(crate) dmin: f32,
    /// Signed.
    pub(crate) minima: [u8; 16],
}

/// # Safety
/// `p` is valid for reading `N` bytes.
#[inline(always)]
unsafe fn bytes<'a, const N: usize>(p: *const u8) -> &'a [u8; N] {
    // SAFETY: by this function's contract; bytes have no alignment.
    unsafe { &*p.cast() }
}

/// # Safety
/// `p` is valid for reading 2 bytes.
#[inline(always)]
unsafe fn half<S: Bytes>(s: S, p: *const u8) -> f32 {
    // SAFETY: by this function's contract.
    s.f16(u16::from_le_bytes(*unsafe { bytes::<2>(p) }))
}

#[inline(always)]
fn twice(values: [u8; 8]) -> [u8; 16] {
    std::array::from_fn(|i| values[i / 2])
}

/// The lowest bits of a block's scale and minimum, as Q4_K and Q5_K keep them.
///
/// # Safety
/// `p` is valid for reading 16 bytes.
#[inline(always)]
unsafe fn head_of_four<S: Bytes>(s: S, p: *const u8) -> Head {
    // SAFETY: by this function's contract.
    unsafe {
        let (scales, minima) = scales_and_minima(bytes::<12>(p.add(4)));
        Head {
            d: half(s, p),
            scales: twice(scales),
            dmin: half(s, p.add(2)),
            minima: twice(minima),
        }
    }
}

pub(crate) struct Q2K;

impl SuperBlock for Q2K {
    const BYTES: usize = 84;

    #[inline(always)]
    unsafe fn head<S: Bytes>(s: S, p: *const u8) -> Head {
        // SAFETY: by this function's contract.
        unsafe {
            let both = bytes::<16>(p);
            Head {
                d: half(s, p.add(80)),
                scales: both.map(|v| v & 15),
                dmin: half(s, p.add(82)),
                minima: both.map(|v| v >> 4),
            }
        }
    }

    #[inline(always)]
    unsafe fn codes<S: Bytes>(s: S, p: *const u8) -> [S::B; 4] {
        // SAFETY: by this function's contract.
        unsafe {
            let (a, b) = (p.add(16), p.add(48));
            let (a, b) = (s.load_halves(a, a), s.load_halves(b, b));
            [
                s.shifted::<0, -2>(a, 3),
                s.shifted::<-4, -6>(a, 3),
                s.shifted::<0, -2>(b, 3),
                s.shifted::<-4, -6>(b, 3),
            ]
        }
    }
}

pub(crate) struct Q3K;

impl SuperBlock for Q3K {
    const BYTES: usize = 110;

    #[inline(always)]
    unsafe fn head<S: Bytes>(s: S, p: *const u8) -> Head {
        // SAFETY: by this function's contract.
        unsafe {
            let d = half(s, p.add(108));
            let scales = q3_scales(bytes::<12>(p.add(96))).map(|v| v.wrapping_sub(32));
            Head {
                d,
                scales,
                dmin: 4.0 * d,
                minima: scales,
            }
        }
    }

    #[inline(always)]
    unsafe fn codes<S: Bytes>(s: S, p: *const u8) -> [S::B; 4] {
        // SAFETY: by this function's contract.
        unsafe {
            let (a, b) = (p.add(32), p.add(64));
            let (h, a, b) = (
                s.load_halves(p, p),
                s.load_halves(a, a),
                s.load_halves(b, b),
            );
            [
                s.or(s.shifted::<0, -2>(a, 3), s.shifted::<2, 1>(h, 4)),
                s.or(s.shifted::<-4, -6>(a, 3), s.shifted::<0, -1>(h, 4)),
                s.or(s.shifted::<0, -2>(b, 3), s.shifted::<-2, -3>(h, 4)),
                s.or(s.shifted::<-4, -6>(b, 3), s.shifted::<-4, -5>(h, 4)),
            ]
        }
    }
}

pub(crate) struct Q4K;

impl SuperBlock for Q4K {
    const BYTES: usize = 144;

    #[inline(always)]
    unsafe fn head<S: Bytes>(s: S, p: *const u8) -> Head {
        // SAFETY: by this function's contract.
        unsafe { head_of_four(s, p) }
    }

    #[inline(always)]
    unsafe fn codes<S: Bytes>(s: S, p: *const u8) -> [S::B; 4] {
        // SAFETY: by this function's contract.
        unsafe {
            let q = p.add(16);
            [
                s.nibbles_of_halves(s.load_halves(q, q)),
                s.nibbles_of_halves(s.load_halves(q.add(32), q.add(32))),
                s.nibbles_of_halves(s.load_halves(q.add(64), q.add(64))),
                s.nibbles_of_halves(s.load_halves(q.add(96), q.add(96))),
            ]
        }
    }
}

pub(crate) struct Q5K;

impl SuperBlock for Q5K {
    const BYTES: usize = 176;

    #[inline(always)]
    unsafe fn head<S: Bytes>(s: S, p: *const u8) -> Head {
        // SAFETY: by this function's contract.
        unsafe { head_of_four(s, p) }
    }

    #[inline(always)]
    unsafe fn codes<S: Bytes>(s: S, p: *const u8) -> [S::B; 4] {
        // SAFETY: by this function's contract.
        unsafe {
            let (h, q) = (p.add(16), p.add(48));
            let h = s.load_halves(h, h);
            let low = [
                s.nibbles_of_halves(s.load_halves(q, q)),
                s.nibbles_of_halves(s.load_halves(q.add(32), q.add(32))),
                s.nibbles_of_halves(s.load_halves(q.add(64), q.add(64))),
                s.nibbles_of_halves(s.load_halves(q.add(96), q.add(96))),
            ];
            [
                s.or(low[0], s.shifted::<4, 3>(h, 16)),
                s.or(low[1], s.shifted::<2, 1>(h, 16)),
                s.or(low[2], s.shifted::<0, -1>(h, 16)),
                s.or(low[3], s.shifted::<-2, -3>(h, 16)),
            ]
        }
    }
}

pub(crate) struct Q6K;

impl SuperBlock for Q6K {
    const BYTES: usize = 210;

    #[inline(always)]
    unsafe fn head<S: Bytes>(s: S, p: *const u8) -> Head {
        // SAFETY: by this function's contract.
        unsafe {
            let d = half(s, p.add(208));
            let scales = *bytes::<16>(p.add(192));
            Head {
                d,
                scales,
                dmin: 32.0 * d,
                minima: scales,
            }
        }
    }

    #[inline(always)]
    unsafe fn codes<S: Bytes>(s: S, p: *const u8) -> [S::B; 4] {
        // SAFETY: by this function's contract.
        unsafe {
            let (ha, hb) = (p.add(128), p.add(160));
            let (a, b) = (s.load(p), s.load(p.add(64)));
            let (ha, hb) = (s.load_halves(ha, ha), s.load_halves(hb, hb));
            [
                s.or(s.low(a), s.shifted::<4, 2>(ha, 0x30)),
                s.or(s.high(a), s.shifted::<0, -2>(ha, 0x30)),
                s.or(s.low(b), s.shifted::<4, 2>(hb, 0x30)),
                s.or(s.high(b), s.shifted::<0, -2>(hb, 0x30)),
            ]
        }
    }
}

pub(crate) struct Iq4Xs;

impl SuperBlock for Iq4Xs {
    const BYTES: usize = 136;
    const SIGNED: bool = true;

    #[inline(always)]
    unsafe fn head<S: Bytes>(s: S, p: *const u8) -> Head {
        // SAFETY: by this function's contract.
        unsafe {
            let block = bytes::<136>(p);
            Head {
                d: half(s, p),
                scales: std::array::from_fn(|j| iq4_xs_scale(block, j / 2).wrapping_sub(32)),
                dmin: 0.0,
                minima: [0; 16],
            }
        }
    }

    #[inline(always)]
    unsafe fn codes<S: Bytes>(s: S, p: *const u8) -> [S::B; 4] {
        // SAFETY: by this function's contract.
        unsafe {
            let q = p.add(8);
            [
                coded(s, &NON_LINEAR, q, q.add(16)),
                coded(s, &NON_LINEAR, q.add(32), q.add(48)),
                coded(s, &NON_LINEAR, q.add(64), q.add(80)),
                coded(s, &NON_LINEAR, q.add(96), q.add(112)),
            ]
        }
    }
}

/// Blocks of 32: `w = d · code + m`.
pub(crate) trait Block {
    /// Bytes of a block.
    const BYTES: usize;
    /// Whether blocks have a minimum.
    const MINIMUM: bool = false;

    /// # Safety
    /// `p` is valid for reading a block.
    unsafe fn scale<S: Bytes>(s: S, p: *const u8) -> f32 {
        // SAFETY: by this function's contract.
        unsafe { half(s, p) }
    }

    /// # Safety
    /// As [`Block::scale`].
    unsafe fn minimum<S: Bytes>(_: S, _: *const u8) -> f32 {
        0.0
    }

    /// The signed codes of two blocks.
    ///
    /// # Safety
    /// Both are valid for reading a block.
    unsafe fn codes<S: Bytes>(s: S, p: *const u8, q: *const u8) -> S::B;
}

/// Nibbles of 16 bytes each.
///
/// # Safety
/// Both are valid for reading 16 bytes.
#[inline(always)]
unsafe fn nibbles<S: Bytes>(s: S, p: *const u8, q: *const u8) -> S::B {
    // SAFETY: by this function's contract.
    s.nibbles_of_quarters(unsafe { s.load_quarters(p, q) })
}

/// Values that the nibbles of 16 bytes each name.
///
/// # Safety
/// As [`nibbles`].
#[inline(always)]
unsafe fn coded<S: Bytes>(s: S, table: &[i8; 16], p: *const u8, q: *const u8) -> S::B {
    // SAFETY: by this function's contract.
    s.look_up(table, unsafe { nibbles(s, p, q) })
}

/// Nibbles of 16 bytes each with the fifth bits from the four bytes before them.
///
/// # Safety
/// As [`nibbles`], and for the bytes before.
#[inline(always)]
unsafe fn five_bits<S: Bytes>(s: S, p: *const u8, q: *const u8) -> S::B {
    // SAFETY: by this function's contract.
    unsafe {
        let bits = [
            u32::from_le_bytes(*bytes::<4>(p.sub(4))),
            u32::from_le_bytes(*bytes::<4>(q.sub(4))),
        ];
        s.or(nibbles(s, p, q), s.expand(bits, 16))
    }
}

pub(crate) struct Q4_0;

impl Block for Q4_0 {
    const BYTES: usize = 18;

    #[inline(always)]
    unsafe fn codes<S: Bytes>(s: S, p: *const u8, q: *const u8) -> S::B {
        // SAFETY: by this function's contract.
        s.sub(unsafe { nibbles(s, p.add(2), q.add(2)) }, 8)
    }
}

pub(crate) struct Q4_1;

impl Block for Q4_1 {
    const BYTES: usize = 20;
    const MINIMUM: bool = true;

    #[inline(always)]
    unsafe fn minimum<S: Bytes>(s: S, p: *const u8) -> f32 {
        // SAFETY: by this function's contract.
        unsafe { half(s, p.add(2)) }
    }

    #[inline(always)]
    unsafe fn codes<S: Bytes>(s: S, p: *const u8, q: *const u8) -> S::B {
        // SAFETY: by this function's contract.
        unsafe { nibbles(s, p.add(4), q.add(4)) }
    }
}

pub(crate) struct Q5_0;

impl Block for Q5_0 {
    const BYTES: usize = 22;

    #[inline(always)]
    unsafe fn codes<S: Bytes>(s: S, p: *const u8, q: *const u8) -> S::B {
        // SAFETY: by this function's contract.
        s.sub(unsafe { five_bits(s, p.add(6), q.add(6)) }, 16)
    }
}

pub(crate) struct Q5_1;

impl Block for Q5_1 {
    const BYTES: usize = 24;
    const MINIMUM: bool = true;

    #[inline(always)]
    unsafe fn minimum<S: Bytes>(s: S, p: *const u8) -> f32 {
        // SAFETY: by this function's contract.
        unsafe { half(s, p.add(2)) }
    }

    #[inline(always)]
    unsafe fn codes<S: Bytes>(s: S, p: *const u8, q: *const u8) -> S::B {
        // SAFETY: by this function's contract.
        unsafe { five_bits(s, p.add(8), q.add(8)) }
    }
}

pub(crate) struct Q8_0;

impl Block for Q8_0 {
    const BYTES: usize = 34;

    #[inline(always)]
    unsafe fn codes<S: Bytes>(s: S, p: *const u8, q: *const u8) -> S::B {
        // SAFETY: by this function's contract.
        unsafe { s.load_halves(p.add(2), q.add(2)) }
    }
}

pub(crate) struct Iq4Nl;

impl Block for Iq4Nl {
    const BYTES: usize = 18;

    #[inline(always)]
    unsafe fn codes<S: Bytes>(s: S, p: *const u8, q: *const u8) -> S::B {
        // SAFETY: by this function's contract.
        unsafe { coded(s, &NON_LINEAR, p.add(2), q.add(2)) }
    }
}

pub(crate) struct Mxfp4;

impl Block for Mxfp4 {
    const BYTES: usize = 17;

    #[inline(always)]
    unsafe fn scale<S: Bytes>(_: S, p: *const u8) -> f32 {
        // SAFETY: by this function's contract.
        e8m0_half(unsafe { *p })
    }

    #[inline(always)]
    unsafe fn codes<S: Bytes>(s: S, p: *const u8, q: *const u8) -> S::B {
        // SAFETY: by this function's contract.
        unsafe { coded(s, &E2M1_DOUBLED, p.add(1), q.add(1)) }
    }
}
