//! From blocks to f32, whatever the format.

use half::f16;
use mistral_core::precision::Format;

use super::{codebook, legacy, super_block};

/// The f16 at `at`.
#[inline(always)]
pub(super) fn f16_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32_const()
}

/// Writes the weights of whole blocks to `out`, which has room for exactly these.
///
/// Inlined into kernels, so that each instruction set gets its own code.
#[inline(always)]
pub(crate) fn unpack(format: Format, bytes: &[u8], out: &mut [f32]) {
    match format {
        Format::Q4_0 => each(bytes, out, legacy::q4_0),
        Format::Q4_1 => each(bytes, out, legacy::q4_1),
        Format::Q5_0 => each(bytes, out, legacy::q5_0),
        Format::Q5_1 => each(bytes, out, legacy::q5_1),
        Format::Q8_0 => each(bytes, out, legacy::q8_0),
        Format::Q2K => each(bytes, out, super_block::q2_k),
        Format::Q3K => each(bytes, out, super_block::q3_k),
        Format::Q4K => each(bytes, out, super_block::q4_k),
        Format::Q5K => each(bytes, out, super_block::q5_k),
        Format::Q6K => each(bytes, out, super_block::q6_k),
        Format::Iq4Nl => each(bytes, out, codebook::iq4_nl),
        Format::Iq4Xs => each(bytes, out, codebook::iq4_xs),
        Format::Mxfp4 => each(bytes, out, codebook::mxfp4),
        other => unreachable!("`Blocks` holds no {}", other.name()),
    }
}

#[inline(always)]
fn each<const BYTES: usize, const ITEMS: usize>(
    bytes: &[u8],
    out: &mut [f32],
    unpack: impl Fn(&[u8; BYTES], &mut [f32; ITEMS]),
) {
    let (blocks, rest) = bytes.as_chunks::<BYTES>();
    let (outs, left) = out.as_chunks_mut::<ITEMS>();
    assert!(rest.is_empty() && left.is_empty() && blocks.len() == outs.len());
    for (block, out) in blocks.iter().zip(outs) {
        unpack(block, out);
    }
}
