//! Q4_0, Q4_1, Q5_0, Q5_1, Q8_0: one f16 scale, as ggml's reference and gguf-py round.
//!
//! The code of a weight is `trunc(x / d + 1/2)` after a shift that makes it positive, for Q8_0 the
//! nearest integer with halves away from zero; `1 / d` is taken before `d` is rounded to f16.

use super::{Overflow, half, largest};

/// `1 / d`, and 0 where there is none.
#[inline(always)]
fn inverse(d: f32) -> f32 {
    let inverse = 1.0 / d;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// The scale that sends the largest weight to the lowest code, and its inverse.
#[inline(always)]
fn symmetric(x: &[f32; 32], lowest: f32) -> (f32, f32) {
    let d = largest(x).1 / lowest;
    (d, inverse(d))
}

/// The scale that spans all weights with codes from 0 to `top`, its inverse, and the least weight.
#[inline(always)]
fn spanning(x: &[f32; 32], top: f32) -> (f32, f32, f32) {
    let (mut low, mut high) = (x[0], x[0]);
    for &x in x {
        low = if x < low { x } else { low };
        high = if x > high { x } else { high };
    }
    let d = (high - low) / top;
    (d, inverse(d), low)
}

#[inline(always)]
fn nibbles(codes: &[u8; 32], out: &mut [u8]) {
    for i in 0..16 {
        out[i] = codes[i] & 15 | codes[i + 16] << 4;
    }
}

#[inline(always)]
fn fifth_bits(codes: &[u8; 32]) -> [u8; 4] {
    let bits = codes.iter().enumerate();
    bits.fold(0u32, |word, (i, q)| word | u32::from(q >> 4 & 1) << i)
        .to_le_bytes()
}

#[inline(always)]
fn codes(x: &[f32; 32], top: u8, code: impl Fn(f32) -> f32) -> [u8; 32] {
    std::array::from_fn(|i| (code(x[i]) as u8).min(top))
}

#[inline(always)]
pub(super) fn q4_0(x: &[f32; 32], out: &mut [u8; 18]) -> Result<(), Overflow> {
    let (d, inverse) = symmetric(x, -8.0);
    out[..2].copy_from_slice(&half(d)?);
    nibbles(&codes(x, 15, |x| x * inverse + 8.5), &mut out[2..]);
    Ok(())
}

#[inline(always)]
pub(super) fn q4_1(x: &[f32; 32], out: &mut [u8; 20]) -> Result<(), Overflow> {
    let (d, inverse, low) = spanning(x, 15.0);
    out[..2].copy_from_slice(&half(d)?);
    out[2..4].copy_from_slice(&half(low)?);
    nibbles(&codes(x, 15, |x| (x - low) * inverse + 0.5), &mut out[4..]);
    Ok(())
}

#[inline(always)]
pub(super) fn q5_0(x: &[f32; 32], out: &mut [u8; 22]) -> Result<(), Overflow> {
    let (d, inverse) = symmetric(x, -16.0);
    let codes = codes(x, 31, |x| x * inverse + 16.5);
    out[..2].copy_from_slice(&half(d)?);
    out[2..6].copy_from_slice(&fifth_bits(&codes));
    nibbles(&codes, &mut out[6..]);
    Ok(())
}

#[inline(always)]
pub(super) fn q5_1(x: &[f32; 32], out: &mut [u8; 24]) -> Result<(), Overflow> {
    let (d, inverse, low) = spanning(x, 31.0);
    let codes = codes(x, 31, |x| (x - low) * inverse + 0.5);
    out[..2].copy_from_slice(&half(d)?);
    out[2..4].copy_from_slice(&half(low)?);
    out[4..8].copy_from_slice(&fifth_bits(&codes));
    nibbles(&codes, &mut out[8..]);
    Ok(())
}

#[inline(always)]
pub(super) fn q8_0(x: &[f32; 32], out: &mut [u8; 34]) -> Result<(), Overflow> {
    let d = largest(x).1.abs() / 127.0;
    let inverse = inverse(d);
    out[..2].copy_from_slice(&half(d)?);
    for (out, &x) in out[2..].iter_mut().zip(x) {
        *out = (x * inverse).round() as i8 as u8;
    }
    Ok(())
}
