//! Codes that name one of sixteen values: IQ4_NL, IQ4_XS, MXFP4.

use super::super::codebook::{E2M1_DOUBLED, NON_LINEAR, e8m0_half};
use super::search::{Grid, fit_scale, inverse};
use super::signed::signed;
use super::{Overflow, by_square, half, largest, rounded};

/// The values of IQ4_NL and IQ4_XS.
struct NonLinear;

impl Grid for NonLinear {
    const LOW: f32 = NON_LINEAR[0] as f32;
    const STEP: f32 = (NON_LINEAR[1] as i16 - NON_LINEAR[0] as i16) as f32;

    #[inline(always)]
    fn nearest(t: f32) -> f32 {
        // One step up for each middle between two values that `t` is above.
        let mut value = Self::LOW;
        for pair in NON_LINEAR.windows(2) {
            let (a, b) = (f32::from(pair[0]), f32::from(pair[1]));
            value += if t > 0.5 * (a + b) { b - a } else { 0.0 };
        }
        value
    }
}

/// The place of a value in the table.
#[inline(always)]
fn index(value: i8) -> u8 {
    NON_LINEAR.iter().filter(|v| **v < value).count() as u8
}

#[inline(always)]
fn nibbles(values: &[i8; 32], out: &mut [u8]) {
    for i in 0..16 {
        out[i] = index(values[i]) | index(values[i + 16]) << 4;
    }
}

#[inline(always)]
pub(super) fn iq4_nl(x: &[f32; 32], out: &mut [u8; 18]) -> Result<(), Overflow> {
    let d = rounded(fit_scale::<NonLinear, 32>(x, &by_square(x)));
    let inverse = inverse(d);
    let values = x.map(|x| NonLinear::nearest(x * inverse) as i8);
    out[..2].copy_from_slice(&half(d)?);
    nibbles(&values, &mut out[2..]);
    Ok(())
}

#[inline(always)]
pub(super) fn iq4_xs(x: &[f32; 256], out: &mut [u8; 136]) -> Result<(), Overflow> {
    let found = signed::<NonLinear, 8, 32>(x, 32.0);
    out[..2].copy_from_slice(&half(found.d)?);
    let scales = found.scales.map(|s| (s + 32) as u8);
    let high = (0..8).fold(0u16, |bits, j| bits | u16::from(scales[j] >> 4) << (2 * j));
    out[2..4].copy_from_slice(&high.to_le_bytes());
    for j in 0..4 {
        out[4 + j] = scales[2 * j] & 15 | scales[2 * j + 1] << 4;
    }
    for (j, values) in found.numbers.as_chunks::<32>().0.iter().enumerate() {
        nibbles(values, &mut out[8 + 16 * j..]);
    }
    Ok(())
}

/// The exponent of the largest weight less two (OCP Microscaling Formats 1.0, section 6.3), and
/// for each weight the first code of the nearest value, as gguf-py has it.
#[inline(always)]
pub(super) fn mxfp4(x: &[f32; 32], out: &mut [u8; 17]) -> Result<(), Overflow> {
    // The bits of a float hold the exponent with the same bias; below 2^-125 nothing is left.
    let exponent = (largest(x).1.abs().to_bits() >> 23).saturating_sub(2) as u8;
    let scale = e8m0_half(exponent);
    out[0] = exponent;
    let code = |x: f32| {
        let mut best = (f32::INFINITY, 0);
        for (code, value) in E2M1_DOUBLED.iter().enumerate() {
            let off = (scale * f32::from(*value) - x).abs();
            if off < best.0 {
                best = (off, code as u8);
            }
        }
        best.1
    };
    for i in 0..16 {
        out[1 + i] = code(x[i]) | code(x[i + 16]) << 4;
    }
    Ok(())
}
