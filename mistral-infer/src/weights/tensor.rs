//! A weight tensor: bytes of a file, or a copy where they aren't aligned.

use std::ops::Range;
use std::sync::Arc;

use half::{bf16, f16};
use mistral_kernels::{KernelError, Matrix, WeightData};

use super::file::Bytes;

/// Storage formats of float weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FloatType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
}

impl FloatType {
    /// Bytes of one number.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            FloatType::F32 => 4,
            FloatType::F16 | FloatType::Bf16 => 2,
        }
    }
}

#[derive(Debug, Clone)]
enum Store {
    /// Invariant: the range lies in the file, its start is aligned for the type and its length is
    /// the element count times the type's size.
    File {
        bytes: Arc<Bytes>,
        range: Range<usize>,
        dtype: FloatType,
    },
    F32(Arc<[f32]>),
    F16(Arc<[f16]>),
    Bf16(Arc<[bf16]>),
}

/// A tensor of the model. Cloning shares the data.
#[derive(Debug, Clone)]
pub struct Tensor {
    store: Store,
    shape: Vec<usize>,
}

impl Tensor {
    /// A tensor over `range` of a file; `None` when the range doesn't hold `shape`.
    pub(super) fn from_file(
        bytes: &Arc<Bytes>,
        range: Range<usize>,
        dtype: FloatType,
        shape: &[usize],
    ) -> Option<Tensor> {
        let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
        let slice = bytes.as_slice().get(range.clone())?;
        if count.checked_mul(dtype.bytes())? != slice.len() {
            return None;
        }
        let aligned = slice.as_ptr().addr() % dtype.bytes() == 0;
        let store = match (aligned, dtype) {
            (true, _) => Store::File {
                bytes: Arc::clone(bytes),
                range,
                dtype,
            },
            (false, FloatType::F32) => {
                Store::F32(read_le(slice, |b: [u8; 4]| f32::from_le_bytes(b)))
            }
            (false, FloatType::F16) => {
                Store::F16(read_le(slice, |b: [u8; 2]| f16::from_le_bytes(b)))
            }
            (false, FloatType::Bf16) => {
                Store::Bf16(read_le(slice, |b: [u8; 2]| bf16::from_le_bytes(b)))
            }
        };
        Some(Tensor {
            store,
            shape: shape.to_vec(),
        })
    }

    /// Dimensions, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Storage format.
    #[must_use]
    pub fn dtype(&self) -> FloatType {
        match &self.store {
            Store::File { dtype, .. } => *dtype,
            Store::F32(_) => FloatType::F32,
            Store::F16(_) => FloatType::F16,
            Store::Bf16(_) => FloatType::Bf16,
        }
    }

    /// Size in bytes as stored.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype().bytes()
    }

    /// The numbers, row-major, as stored.
    #[must_use]
    #[expect(unsafe_code, reason = "viewing mapped bytes as numbers")]
    pub fn data(&self) -> WeightData<'_> {
        match &self.store {
            Store::F32(x) => WeightData::F32(x),
            Store::F16(x) => WeightData::F16(x),
            Store::Bf16(x) => WeightData::Bf16(x),
            Store::File {
                bytes,
                range,
                dtype,
            } => {
                let slice = &bytes.as_slice()[range.clone()];
                let len = slice.len() / dtype.bytes();
                let start = slice.as_ptr();
                // SAFETY: `from_file` checked that the start is aligned for the type and that the
                // length is a multiple of its size; every bit pattern is a valid float; the
                // borrow of `self` keeps the file's bytes alive.
                unsafe {
                    match dtype {
                        FloatType::F32 => {
                            WeightData::F32(std::slice::from_raw_parts(start.cast(), len))
                        }
                        FloatType::F16 => {
                            WeightData::F16(std::slice::from_raw_parts(start.cast(), len))
                        }
                        FloatType::Bf16 => {
                            WeightData::Bf16(std::slice::from_raw_parts(start.cast(), len))
                        }
                    }
                }
            }
        }
    }

    /// The numbers widened to f32.
    #[must_use]
    pub fn to_f32(&self) -> Vec<f32> {
        match self.data() {
            WeightData::F32(x) => x.to_vec(),
            WeightData::F16(x) => x.iter().map(|v| v.to_f32()).collect(),
            WeightData::Bf16(x) => x.iter().map(|v| v.to_f32()).collect(),
            #[allow(unreachable_patterns, reason = "the kernels' formats may grow")]
            _ => Vec::new(),
        }
    }

    /// This tensor as a matrix of `shape[0]` rows.
    ///
    /// # Errors
    /// [`KernelError`] when the tensor has another rank than two.
    pub fn matrix(&self) -> Result<Matrix<'_>, KernelError> {
        let rows = self.shape.first().copied().unwrap_or(0);
        let cols = self.shape.get(1).copied().unwrap_or(1);
        Matrix::new(rows, cols, self.data())
    }
}

fn read_le<const N: usize, T>(slice: &[u8], convert: impl Fn([u8; N]) -> T) -> Arc<[T]> {
    let (chunks, _) = slice.as_chunks::<N>();
    chunks.iter().map(|b| convert(*b)).collect()
}
