//! From floats to blocks, with the scales that lose least.
//!
//! Formats with one scale a block are rounded as ggml's reference rounds them, bit for bit. In
//! super-blocks, and with tables of values, scales and minima are searched for: candidates near
//! those that span a block, least squares for each, the best of them rounded to the few bits that
//! it is kept in, neighbours tried there, and at last the super-block's own scales fitted again to
//! what was rounded. A weight's error counts by the weight's size ([`by_size`], [`by_square`]).

mod affine;
mod codebook;
mod legacy;
mod pack;
mod search;
mod signed;

use half::f16;
use mistral_core::precision::Format;

use super::BLOCK_FORMATS;
use crate::KernelError;
use crate::error::{check_len, check_rows};
use crate::simd::{Kernel, Simd, dispatch};

/// Rounds weights to whole blocks of one of [`BLOCK_FORMATS`], the same bytes on every machine.
///
/// `values` is a whole number of blocks; `out` has exactly their bytes. Q4_0, Q4_1, Q5_0, Q5_1,
/// Q8_0 and MXFP4 give the bytes of ggml's reference. The others search for scales with the least
/// squared error, weights counted by their size. Rows may be given one by one or many at once:
/// blocks don't depend on each other.
///
/// # Errors
/// [`KernelError::BlockFormat`] for another format; [`KernelError::Rows`] when `values` cuts a
/// block, [`KernelError::Length`] when `out` has another size;
/// [`KernelError::NonFiniteWeight`] for a weight that is NaN or infinite,
/// [`KernelError::WeightRange`] for one so large that no scale of its format reaches it. `out` may
/// be written in part after the last of these.
pub fn quantize(format: Format, values: &[f32], out: &mut [u8]) -> Result<(), KernelError> {
    if !BLOCK_FORMATS.contains(&format) {
        return Err(KernelError::BlockFormat { found: format });
    }
    let block = format.block();
    let count = check_rows("quantize", "values", values.len(), block.items)?;
    check_len("quantize", "out", out.len(), count * block.bytes)?;
    if let Some(index) = values.iter().position(|x| !x.is_finite()) {
        return Err(KernelError::NonFiniteWeight {
            index,
            value: values[index],
        });
    }
    let too_large = |index: usize| KernelError::WeightRange {
        format,
        index,
        value: values[index],
    };
    if format != Format::Mxfp4
        && let Some(index) = values.iter().position(|x| x.abs() > MOST)
    {
        return Err(too_large(index));
    }
    let pack = Pack {
        format,
        values,
        out,
    };
    dispatch(crate::cpu::Live::best(), pack).map_err(|block_index| {
        let start = block_index * block.items;
        too_large(start + largest(&values[start..start + block.items]).0)
    })
}

/// Above what a block with scales in f16 reaches (65504 · 128 · 32), and far below where squares
/// overflow.
const MOST: f32 = 1e9;

/// The number furthest from zero, the first of them, and its place.
#[inline(always)]
fn largest(values: &[f32]) -> (usize, f32) {
    let mut found = (0, 0.0f32);
    for (i, &x) in values.iter().enumerate() {
        if x.abs() > found.1.abs() {
            found = (i, x);
        }
    }
    found
}

/// How much each weight's squared error counts where a line with a minimum is fitted: its size and
/// half the block's root mean square. Large weights matter more, as llama.cpp found, and small ones
/// still count. With these shares the error is below llama.cpp's for normally distributed weights,
/// both as it is and counted by the weights' squares.
#[inline(always)]
fn by_size<const N: usize>(x: &[f32; N]) -> [f32; N] {
    let [squares] = search::sums::<N, 1>(|i| [x[i] * x[i]]);
    let part = 0.5 * (squares / N as f64).sqrt() as f32;
    std::array::from_fn(|i| part + x[i].abs())
}

/// The same where codes are multiples of one scale: the weight's square and half the mean one.
#[inline(always)]
fn by_square<const N: usize>(x: &[f32; N]) -> [f32; N] {
    let [squares] = search::sums::<N, 1>(|i| [x[i] * x[i]]);
    let part = 0.5 * (squares / N as f64) as f32;
    std::array::from_fn(|i| part + x[i] * x[i])
}

/// A block's scale is beyond the range of f16.
struct Overflow;

/// The bytes of a scale.
#[inline(always)]
fn half(scale: f32) -> Result<[u8; 2], Overflow> {
    let rounded = f16::from_f32_const(scale);
    match rounded.is_finite() {
        true => Ok(rounded.to_le_bytes()),
        false => Err(Overflow),
    }
}

/// A scale as it will be read.
#[inline(always)]
fn rounded(scale: f32) -> f32 {
    f16::from_f32_const(scale).to_f32_const()
}

/// `Err` has the index of a block whose scale overflows.
struct Pack<'a> {
    format: Format,
    values: &'a [f32],
    out: &'a mut [u8],
}

impl Kernel for Pack<'_> {
    type Out = Result<(), usize>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Result<(), usize> {
        let (x, out) = (self.values, self.out);
        match self.format {
            Format::Q4_0 => each(x, out, legacy::q4_0),
            Format::Q4_1 => each(x, out, legacy::q4_1),
            Format::Q5_0 => each(x, out, legacy::q5_0),
            Format::Q5_1 => each(x, out, legacy::q5_1),
            Format::Q8_0 => each(x, out, legacy::q8_0),
            Format::Q2K => each(x, out, pack::q2_k),
            Format::Q3K => each(x, out, pack::q3_k),
            Format::Q4K => each(x, out, pack::q4_k),
            Format::Q5K => each(x, out, pack::q5_k),
            Format::Q6K => each(x, out, pack::q6_k),
            Format::Iq4Nl => each(x, out, codebook::iq4_nl),
            Format::Iq4Xs => each(x, out, codebook::iq4_xs),
            Format::Mxfp4 => each(x, out, codebook::mxfp4),
            other => unreachable!("`quantize` refused {}", other.name()),
        }
    }
}

#[inline(always)]
fn each<const ITEMS: usize, const BYTES: usize>(
    values: &[f32],
    out: &mut [u8],
    pack: impl Fn(&[f32; ITEMS], &mut [u8; BYTES]) -> Result<(), Overflow>,
) -> Result<(), usize> {
    let (values, rest) = values.as_chunks::<ITEMS>();
    let (blocks, left) = out.as_chunks_mut::<BYTES>();
    assert!(rest.is_empty() && left.is_empty() && values.len() == blocks.len());
    for (index, (values, block)) in values.iter().zip(blocks).enumerate() {
        pack(values, block).map_err(|Overflow| index)?;
    }
    Ok(())
}
