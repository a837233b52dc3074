//! Weights as they lie in a file.

use std::ops::Range;

use half::{bf16, f16};

use crate::KernelError;
use crate::error::{check_len, checked_product};
use crate::quant::Blocks;

/// Elements of a weight, in the type that they are stored in.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum WeightData<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// IEEE half precision.
    F16(&'a [f16]),
    /// The upper half of a 32-bit float.
    Bf16(&'a [bf16]),
    /// Blocks of a GGUF file.
    Blocks(Blocks<'a>),
}

impl<'a> WeightData<'a> {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(s) => s.len(),
            Self::F16(s) => s.len(),
            Self::Bf16(s) => s.len(),
            Self::Blocks(b) => b.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all elements as stored.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::F32(s) => size_of_val(*s),
            Self::F16(s) => size_of_val(*s),
            Self::Bf16(s) => size_of_val(*s),
            Self::Blocks(b) => b.bytes().len(),
        }
    }

    /// Elements that are stored together: 1 but for blocks.
    #[must_use]
    pub fn block_items(&self) -> usize {
        match self {
            Self::F32(_) | Self::F16(_) | Self::Bf16(_) => 1,
            Self::Blocks(b) => b.format().block().items,
        }
    }

    /// Part of the elements.
    ///
    /// # Panics
    /// When the range isn't inside, or cuts a block.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> WeightData<'a> {
        match self {
            Self::F32(s) => WeightData::F32(&s[range]),
            Self::F16(s) => WeightData::F16(&s[range]),
            Self::Bf16(s) => WeightData::Bf16(&s[range]),
            Self::Blocks(b) => WeightData::Blocks(b.slice(range)),
        }
    }

    /// One element as f32, as [`WeightData::widen`] does.
    ///
    /// # Panics
    /// When there is no such element.
    #[must_use]
    pub fn get(&self, i: usize) -> f32 {
        match self {
            Self::F32(s) => s[i],
            Self::F16(s) => s[i].to_f32(),
            Self::Bf16(s) => s[i].to_f32(),
            Self::Blocks(b) => {
                let mut block = [0.0; 256];
                let items = b.format().block().items;
                b.widen(i / items * items, &mut block[..items]);
                block[i % items]
            }
        }
    }

    /// Writes elements from `start` on into `out` as f32: exact for floats, as
    /// [`dequantize`](crate::dequantize) for blocks.
    ///
    /// # Panics
    /// When there are fewer than `start + out.len()` elements, or one of both cuts a block.
    pub fn widen(&self, start: usize, out: &mut [f32]) {
        let range = start..start + out.len();
        match self {
            Self::F32(s) => out.copy_from_slice(&s[range]),
            Self::F16(s) => {
                for (o, v) in out.iter_mut().zip(&s[range]) {
                    *o = v.to_f32();
                }
            }
            Self::Bf16(s) => {
                for (o, v) in out.iter_mut().zip(&s[range]) {
                    *o = v.to_f32();
                }
            }
            Self::Blocks(b) => b.widen(start, out),
        }
    }
}

/// A weight `[rows, cols]` = `[out, in]`, row-major, as PyTorch's `Linear` keeps it.
///
/// Invariant: `data` has `rows · cols` elements, neither is 0, and rows are whole blocks.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    rows: usize,
    cols: usize,
    data: WeightData<'a>,
}

impl<'a> Matrix<'a> {
    /// Wraps `rows · cols` elements.
    ///
    /// # Errors
    /// When the length differs, a dimension is 0, or a row cuts a block.
    pub fn new(rows: usize, cols: usize, data: WeightData<'a>) -> Result<Self, KernelError> {
        let expected = checked_product("matrix", "rows and cols", &[rows, cols])?;
        if expected == 0 {
            return Err(KernelError::Parameter {
                op: "matrix",
                parameter: if rows == 0 { "rows" } else { "cols" },
                found: 0,
                expected: "at least 1",
            });
        }
        check_len("matrix", "data", data.len(), expected)?;
        if let WeightData::Blocks(blocks) = data {
            let (format, block) = (blocks.format(), data.block_items());
            if !cols.is_multiple_of(block) {
                return Err(KernelError::BlockRow {
                    format,
                    cols,
                    block,
                });
            }
        }
        Ok(Self { rows, cols, data })
    }

    /// Outputs.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The elements.
    #[must_use]
    pub fn data(&self) -> WeightData<'a> {
        self.data
    }

    /// Some of the rows, e.g. one expert of a stack `[experts · hidden, dim]`.
    ///
    /// # Errors
    /// When the range is empty or ends after the last row.
    pub fn slice_rows(&self, rows: Range<usize>) -> Result<Matrix<'a>, KernelError> {
        if rows.start >= rows.end || rows.end > self.rows {
            return Err(KernelError::Parameter {
                op: "matrix",
                parameter: "end of the row range",
                found: rows.end,
                expected: "a non-empty range of the matrix's rows",
            });
        }
        Ok(Matrix {
            rows: rows.len(),
            cols: self.cols,
            data: self
                .data
                .slice(rows.start * self.cols..rows.end * self.cols),
        })
    }
}
