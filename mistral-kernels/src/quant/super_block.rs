//! Super-blocks of 256 weights whose sub-blocks have small integer scales: Q2_K to Q6_K.

use super::float::f16_at;

/// `scales: [u8; 16], qs: [u8; 64], d: f16, dmin: f16`; sub-blocks of 16, scale in the lower and
/// minimum in the upper half of a byte: `w = d · scale · q - dmin · min`.
#[inline(always)]
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(block, 80), f16_at(block, 82));
    for (j, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = block[j];
        let (d, m) = (d * f32::from(scale & 15), dmin * f32::from(scale >> 4));
        // Halves of 128; two bits of 32 bytes at a time.
        let (half, shift, from) = (j / 8, j % 8 / 2 * 2, j % 2 * 16);
        let qs = &block[16 + half * 32 + from..][..16];
        for (out, &q) in out.iter_mut().zip(qs) {
            *out = d * f32::from(q >> shift & 3) - m;
        }
    }
}

/// The sixteen 6-bit scales of Q3_K, 32 too large.
#[inline(always)]
pub(super) fn q3_scales(packed: &[u8]) -> [u8; 16] {
    std::array::from_fn(|j| {
        let low = if j < 8 {
            packed[j] & 15
        } else {
            packed[j - 8] >> 4
        };
        let high = packed[8 + j % 4] >> (j / 4 * 2) & 3;
        low | high << 4
    })
}

/// `hmask: [u8; 32], qs: [u8; 64], scales: [u8; 12], d: f16`; sub-blocks of 16:
/// `w = d · (scale - 32) · (q - 4)`, the third bit of `q` from the mask.
#[inline(always)]
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let d = f16_at(block, 108);
    let scales = q3_scales(&block[96..108]);
    for (j, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let d = d * (f32::from(scales[j]) - 32.0);
        let (half, shift, from) = (j / 8, j % 8 / 2 * 2, j % 2 * 16);
        let qs = &block[32 + half * 32 + from..][..16];
        let mask = &block[from..][..16];
        for ((out, &q), &m) in out.iter_mut().zip(qs).zip(mask) {
            let q = q >> shift & 3 | (m >> (j / 2) & 1) << 2;
            *out = d * (f32::from(q) - 4.0);
        }
    }
}

/// The eight 6-bit scales and minima of Q4_K and Q5_K, a byte each.
#[inline(always)]
pub(super) fn scales_and_minima(packed: &[u8]) -> ([u8; 8], [u8; 8]) {
    let word = |i: usize| {
        u32::from_le_bytes([
            packed[4 * i],
            packed[4 * i + 1],
            packed[4 * i + 2],
            packed[4 * i + 3],
        ])
    };
    let (a, b, c) = (word(0), word(1), word(2));
    let six = 0x3f3f_3f3f;
    let join = |low: u32, high: u32| (u64::from(high) << 32 | u64::from(low)).to_le_bytes();
    (
        join(a & six, c & 0x0f0f_0f0f | (a >> 6 & 0x0303_0303) << 4),
        join(b & six, c >> 4 & 0x0f0f_0f0f | (b >> 6 & 0x0303_0303) << 4),
    )
}

/// `d: f16, dmin: f16, scales: [u8; 12], qs: [u8; 128]`; sub-blocks of 32, two of them in the
/// halves of 32 bytes: `w = d · scale · q - dmin · min`.
#[inline(always)]
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
    let (scales, minima) = scales_and_minima(&block[4..16]);
    for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (d, m) = (d * f32::from(scales[j]), dmin * f32::from(minima[j]));
        let shift = j % 2 * 4;
        let qs = &block[16 + j / 2 * 32..][..32];
        for (out, &q) in out.iter_mut().zip(qs) {
            *out = d * f32::from(q >> shift & 15) - m;
        }
    }
}

/// `d: f16, dmin: f16, scales: [u8; 12], qh: [u8; 32], qs: [u8; 128]`; as Q4_K with a fifth bit:
/// bit `j` of `qh` for sub-block `j`.
#[inline(always)]
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
    let (scales, minima) = scales_and_minima(&block[4..16]);
    for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (d, m) = (d * f32::from(scales[j]), dmin * f32::from(minima[j]));
        let shift = j % 2 * 4;
        let qs = &block[48 + j / 2 * 32..][..32];
        for ((out, &q), &h) in out.iter_mut().zip(qs).zip(&block[16..48]) {
            let q = q >> shift & 15 | (h >> j & 1) << 4;
            *out = d * f32::from(q) - m;
        }
    }
}

/// `ql: [u8; 128], qh: [u8; 64], scales: [i8; 16], d: f16`; sub-blocks of 16:
/// `w = d · scale · (q - 32)`.
#[inline(always)]
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = f16_at(block, 208);
    for (j, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let d = d * f32::from(block[192 + j] as i8);
        // Halves of 128, in quarters of 32: four bits from 64 bytes, two from 32.
        let (half, quarter, from) = (j / 8, j % 8 / 2, j % 2 * 16);
        let low = &block[half * 64 + quarter % 2 * 32 + from..][..16];
        let high = &block[128 + half * 32 + from..][..16];
        for ((out, &l), &h) in out.iter_mut().zip(low).zip(high) {
            let q = l >> (quarter / 2 * 4) & 15 | (h >> (quarter * 2) & 3) << 4;
            *out = d * (f32::from(q) - 32.0);
        }
    }
}
