//! Weights in the block formats of GGUF files.
//!
//! A row is a whole number of blocks; a block holds 32 or 256 small integers with their scales.
//! Layouts and formulas: `ggml-common.h` and `ggml-quants.c` of ggml, and gguf-py's `quants.py`.

pub(crate) mod codebook;
pub(crate) mod codes;
mod dot;
mod float;
mod legacy;
mod quantize;
mod rows;
mod super_block;

pub(crate) use dot::{Ahead, DotGroups, two_streams};
pub(crate) use float::unpack;
pub use quantize::quantize;
pub(crate) use rows::{Group, Quantize, TOGETHER, groups};

use std::ops::Range;

use mistral_core::precision::Format;

use crate::KernelError;
use crate::error::check_len;
use crate::simd::{Kernel, Simd, dispatch};

/// Formats that kernels read, in the order of the format table.
pub const BLOCK_FORMATS: [Format; 13] = [
    Format::Mxfp4,
    Format::Q4_0,
    Format::Q4_1,
    Format::Q5_0,
    Format::Q5_1,
    Format::Q8_0,
    Format::Q2K,
    Format::Q3K,
    Format::Q4K,
    Format::Q5K,
    Format::Q6K,
    Format::Iq4Nl,
    Format::Iq4Xs,
];

/// Weights in blocks, as they lie in a GGUF file.
///
/// Invariant: the format is one of [`BLOCK_FORMATS`], and there are only whole blocks.
#[derive(Debug, Clone, Copy)]
pub struct Blocks<'a> {
    format: Format,
    bytes: &'a [u8],
}

impl<'a> Blocks<'a> {
    /// Wraps whole blocks of a format, at any alignment.
    ///
    /// # Errors
    /// [`KernelError::BlockFormat`] for a format without kernels, [`KernelError::Rows`] when a
    /// block isn't whole.
    pub fn new(format: Format, bytes: &'a [u8]) -> Result<Self, KernelError> {
        if !BLOCK_FORMATS.contains(&format) {
            return Err(KernelError::BlockFormat { found: format });
        }
        crate::error::check_rows("blocks", "bytes", bytes.len(), format.block().bytes)?;
        Ok(Self { format, bytes })
    }

    /// How the weights are stored.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The blocks.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Number of weights.
    #[must_use]
    pub fn len(&self) -> usize {
        let block = self.format.block();
        self.bytes.len() / block.bytes * block.items
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Some of the weights.
    ///
    /// # Panics
    /// When the range isn't inside or cuts a block.
    pub(crate) fn slice(&self, range: Range<usize>) -> Blocks<'a> {
        let block = self.format.block();
        assert!(
            range.start.is_multiple_of(block.items) && range.end.is_multiple_of(block.items),
            "rows are whole blocks"
        );
        let start = range.start / block.items * block.bytes;
        let end = range.end / block.items * block.bytes;
        Blocks {
            format: self.format,
            bytes: &self.bytes[start..end],
        }
    }

    /// Weights from `start` on as f32.
    ///
    /// # Panics
    /// When there are fewer, or `start` or the length cuts a block.
    pub(crate) fn widen(&self, start: usize, out: &mut [f32]) {
        unpack(self.format, self.slice(start..start + out.len()).bytes, out);
    }
}

/// Every weight of `bytes` as f32, rounded as gguf-py's `dequantize` rounds (products of f32, none
/// of them fused).
///
/// # Errors
/// As [`Blocks::new`]; [`KernelError::Length`] when `out` has another length than the weights.
pub fn dequantize(format: Format, bytes: &[u8], out: &mut [f32]) -> Result<(), KernelError> {
    let blocks = Blocks::new(format, bytes)?;
    check_len("dequantize", "out", out.len(), blocks.len())?;
    dispatch(crate::cpu::Live::best(), Unpack { blocks, out });
    Ok(())
}

struct Unpack<'a> {
    blocks: Blocks<'a>,
    out: &'a mut [f32],
}

impl Kernel for Unpack<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        unpack(self.blocks.format, self.blocks.bytes, self.out);
    }
}
