//! Rounded super-blocks as bytes; the layouts are drawn at their readers in `super_block`.

use super::affine::{Tops, affine};
use super::search::Integers;
use super::signed::signed;
use super::{Overflow, half};

const SIX_BITS: f32 = 63.0;

/// Two bits of each code, 32 bytes for 128 codes.
#[inline(always)]
fn pairs_of_bits(codes: &[u8; 256], out: &mut [u8]) {
    for (half, codes) in codes.as_chunks::<128>().0.iter().enumerate() {
        for i in 0..32 {
            let bits = |k: usize| (codes[i + 32 * k] & 3) << (2 * k);
            out[half * 32 + i] = bits(0) | bits(1) | bits(2) | bits(3);
        }
    }
}

/// Four bits of each code, 32 bytes for 64 codes.
#[inline(always)]
fn halves_of_bytes(codes: &[u8; 256], out: &mut [u8]) {
    for (pair, codes) in codes.as_chunks::<64>().0.iter().enumerate() {
        for i in 0..32 {
            out[pair * 32 + i] = codes[i] & 15 | codes[i + 32] << 4;
        }
    }
}

/// Eight scales and eight minima of 6 bits.
#[inline(always)]
fn scales_and_minima(scales: &[u8; 8], minima: &[u8; 8], out: &mut [u8]) {
    for j in 0..4 {
        out[j] = scales[j] | (scales[j + 4] >> 4) << 6;
        out[j + 4] = minima[j] | (minima[j + 4] >> 4) << 6;
        out[j + 8] = scales[j + 4] & 15 | minima[j + 4] << 4;
    }
}

#[inline(always)]
pub(super) fn q2_k(x: &[f32; 256], out: &mut [u8; 84]) -> Result<(), Overflow> {
    let tops = Tops {
        code: 3.0,
        scale: 15.0,
    };
    let found = affine::<16, 16>(x, tops);
    for ((out, scale), minimum) in out.iter_mut().zip(found.scales).zip(found.minima) {
        *out = scale | minimum << 4;
    }
    pairs_of_bits(&found.codes, &mut out[16..80]);
    out[80..82].copy_from_slice(&half(found.d)?);
    out[82..].copy_from_slice(&half(found.dmin)?);
    Ok(())
}

#[inline(always)]
pub(super) fn q4_k(x: &[f32; 256], out: &mut [u8; 144]) -> Result<(), Overflow> {
    let tops = Tops {
        code: 15.0,
        scale: SIX_BITS,
    };
    let found = affine::<8, 32>(x, tops);
    out[..2].copy_from_slice(&half(found.d)?);
    out[2..4].copy_from_slice(&half(found.dmin)?);
    scales_and_minima(&found.scales, &found.minima, &mut out[4..16]);
    halves_of_bytes(&found.codes, &mut out[16..]);
    Ok(())
}

#[inline(always)]
pub(super) fn q5_k(x: &[f32; 256], out: &mut [u8; 176]) -> Result<(), Overflow> {
    let tops = Tops {
        code: 31.0,
        scale: SIX_BITS,
    };
    let found = affine::<8, 32>(x, tops);
    out[..2].copy_from_slice(&half(found.d)?);
    out[2..4].copy_from_slice(&half(found.dmin)?);
    scales_and_minima(&found.scales, &found.minima, &mut out[4..16]);
    for i in 0..32 {
        out[16 + i] = (0..8).fold(0, |bits, j| bits | (found.codes[32 * j + i] >> 4) << j);
    }
    halves_of_bytes(&found.codes, &mut out[48..]);
    Ok(())
}

#[inline(always)]
pub(super) fn q3_k(x: &[f32; 256], out: &mut [u8; 110]) -> Result<(), Overflow> {
    let found = signed::<Integers<4>, 16, 16>(x, 32.0);
    let codes = found.numbers.map(|q| (q + 4) as u8);
    for i in 0..32 {
        out[i] = (0..8).fold(0, |bits, k| bits | (codes[32 * k + i] >> 2) << k);
    }
    pairs_of_bits(&codes, &mut out[32..96]);
    let scales = found.scales.map(|s| (s + 32) as u8);
    for j in 0..8 {
        out[96 + j] = scales[j] & 15 | scales[j + 8] << 4;
    }
    for j in 0..4 {
        out[104 + j] = (0..4).fold(0, |bits, k| bits | (scales[4 * k + j] >> 4) << (2 * k));
    }
    out[108..].copy_from_slice(&half(found.d)?);
    Ok(())
}

#[inline(always)]
pub(super) fn q6_k(x: &[f32; 256], out: &mut [u8; 210]) -> Result<(), Overflow> {
    let found = signed::<Integers<32>, 16, 16>(x, 128.0);
    let codes = found.numbers.map(|q| (q + 32) as u8);
    for (half, codes) in codes.as_chunks::<128>().0.iter().enumerate() {
        for i in 0..64 {
            out[64 * half + i] = codes[i] & 15 | codes[i + 64] << 4;
        }
        for i in 0..32 {
            let bits = |k: usize| (codes[i + 32 * k] >> 4) << (2 * k);
            out[128 + 32 * half + i] = bits(0) | bits(1) | bits(2) | bits(3);
        }
    }
    for (out, scale) in out[192..208].iter_mut().zip(found.scales) {
        *out = scale as u8;
    }
    out[208..].copy_from_slice(&half(found.d)?);
    Ok(())
}
