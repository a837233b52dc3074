//! Four bits that name one of sixteen values: IQ4_NL, IQ4_XS, MXFP4.

use super::float::f16_at;

/// The values of IQ4_NL and IQ4_XS.
pub(crate) const NON_LINEAR: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// Twice the values of E2M1 (OCP Microscaling Formats 1.0, section 5.3.3).
pub(crate) const E2M1_DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

#[inline(always)]
fn look_up(d: f32, values: &[i8; 16], qs: &[u8], out: &mut [f32]) {
    for (i, &q) in qs.iter().enumerate() {
        out[i] = d * f32::from(values[usize::from(q & 15)]);
        out[i + 16] = d * f32::from(values[usize::from(q >> 4)]);
    }
}

/// `d: f16, qs: [u8; 16]`; `w = d · value(q)`.
#[inline(always)]
pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    look_up(f16_at(block, 0), &NON_LINEAR, &block[2..], out);
}

/// The 6-bit scale of sub-block `j` of IQ4_XS, 32 too large.
#[inline(always)]
pub(super) fn iq4_xs_scale(block: &[u8; 136], j: usize) -> u8 {
    let high = u16::from_le_bytes([block[2], block[3]]);
    let low = block[4 + j / 2] >> (j % 2 * 4) & 15;
    low | ((high >> (2 * j)) as u8 & 3) << 4
}

/// `d: f16, scales_h: u16, scales_l: [u8; 4], qs: [u8; 128]`; sub-blocks of 32:
/// `w = d · (scale - 32) · value(q)`.
#[inline(always)]
pub(super) fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let d = d * (f32::from(iq4_xs_scale(block, j)) - 32.0);
        look_up(d, &NON_LINEAR, &block[8 + j * 16..][..16], out);
    }
}

/// Half of `2^(e - 127)`: the scale for doubled values.
#[inline(always)]
pub(crate) fn e8m0_half(e: u8) -> f32 {
    f32::from_bits(match e {
        // Subnormal.
        0 | 1 => 0x0020_0000 << e,
        _ => (u32::from(e) - 1) << 23,
    })
}

/// `e: u8, qs: [u8; 16]`; `w = 2^(e - 127) · E2M1(q)`.
#[inline(always)]
pub(super) fn mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
    look_up(e8m0_half(block[0]), &E2M1_DOUBLED, &block[1..], out);
}
