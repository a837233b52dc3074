//! Blocks of 32 weights with one f16 scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
//!
//! Nibbles: byte `i` holds weight `i` in its lower and weight `i + 16` in its upper half.

use super::float::f16_at;

/// `d: f16, qs: [u8; 16]`; `w = d · (q - 8)`.
#[inline(always)]
pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    for i in 0..16 {
        let q = block[2 + i];
        out[i] = d * (f32::from(q & 15) - 8.0);
        out[i + 16] = d * (f32::from(q >> 4) - 8.0);
    }
}

/// `d: f16, m: f16, qs: [u8; 16]`; `w = d · q + m`.
#[inline(always)]
pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (f16_at(block, 0), f16_at(block, 2));
    for i in 0..16 {
        let q = block[4 + i];
        out[i] = d * f32::from(q & 15) + m;
        out[i + 16] = d * f32::from(q >> 4) + m;
    }
}

/// The fifth bits of weights `i` and `i + 16`, in place.
#[inline(always)]
fn fifth(bits: u32, i: usize) -> (u8, u8) {
    (
        ((bits >> i) as u8 & 1) << 4,
        ((bits >> (i + 16)) as u8 & 1) << 4,
    )
}

/// `d: f16, qh: u32, qs: [u8; 16]`; `w = d · (q - 16)`.
#[inline(always)]
pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    let bits = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    for i in 0..16 {
        let (low, high) = fifth(bits, i);
        let q = block[6 + i];
        out[i] = d * (f32::from(q & 15 | low) - 16.0);
        out[i + 16] = d * (f32::from(q >> 4 | high) - 16.0);
    }
}

/// `d: f16, m: f16, qh: u32, qs: [u8; 16]`; `w = d · q + m`.
#[inline(always)]
pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (f16_at(block, 0), f16_at(block, 2));
    let bits = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
    for i in 0..16 {
        let (low, high) = fifth(bits, i);
        let q = block[8 + i];
        out[i] = d * f32::from(q & 15 | low) + m;
        out[i + 16] = d * f32::from(q >> 4 | high) + m;
    }
}

/// `d: f16, qs: [i8; 32]`; `w = d · q`.
#[inline(always)]
pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    for (out, &q) in out.iter_mut().zip(&block[2..]) {
        *out = d * f32::from(q as i8);
    }
}
