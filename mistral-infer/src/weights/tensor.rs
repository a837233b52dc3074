//! A weight tensor: bytes of a file, or a copy where they aren't aligned.

use std::ops::Range;
use std::sync::Arc;

use half::{bf16, f16};
use mistral_core::precision::Format;
use mistral_kernels::{BLOCK_FORMATS, Blocks, KernelError, Matrix, WeightData};

use super::file::Bytes;

/// Whether kernels compute with a format.
pub(super) fn supported(format: Format) -> bool {
    is_float(format) || BLOCK_FORMATS.contains(&format)
}

fn is_float(format: Format) -> bool {
    matches!(format, Format::F32 | Format::F16 | Format::Bf16)
}

/// Whether numbers of a format can be read where they lie.
pub(super) fn is_aligned(bytes: &[u8], format: Format) -> bool {
    // Blocks are read byte by byte and lie anywhere.
    !is_float(format) || bytes.as_ptr().addr().is_multiple_of(format.block().bytes)
}

#[derive(Debug, Clone)]
enum Store {
    /// Invariant: the format is supported, the range lies in the file, holds exactly the tensor's
    /// elements, and starts where a float of the format may start.
    File {
        bytes: Arc<Bytes>,
        range: Range<usize>,
        format: Format,
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
    /// A tensor over `range` of a file; `None` when the range doesn't hold `shape` or kernels
    /// don't compute with the format.
    pub(super) fn from_file(
        bytes: &Arc<Bytes>,
        range: Range<usize>,
        format: Format,
        shape: &[usize],
    ) -> Option<Tensor> {
        let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
        let slice = bytes.as_slice().get(range.clone())?;
        if format.bytes(count)? != slice.len() || !supported(format) {
            return None;
        }
        let aligned = is_aligned(slice, format);
        let store = match format {
            Format::F32 if !aligned => {
                Store::F32(read_le(slice, |b: [u8; 4]| f32::from_le_bytes(b)))
            }
            Format::F16 if !aligned => {
                Store::F16(read_le(slice, |b: [u8; 2]| f16::from_le_bytes(b)))
            }
            Format::Bf16 if !aligned => {
                Store::Bf16(read_le(slice, |b: [u8; 2]| bf16::from_le_bytes(b)))
            }
            _ => Store::File {
                bytes: Arc::clone(bytes),
                range,
                format,
            },
        };
        Some(Tensor {
            store,
            shape: shape.to_vec(),
        })
    }

    /// Numbers in memory, in f16 or bf16 if `format` says so and in f32 otherwise.
    pub(super) fn from_f32(values: &[f32], format: Format, shape: &[usize]) -> Tensor {
        let values = values.iter().copied();
        Tensor {
            store: match format {
                Format::F16 => Store::F16(values.map(f16::from_f32).collect()),
                Format::Bf16 => Store::Bf16(values.map(bf16::from_f32).collect()),
                _ => Store::F32(values.collect()),
            },
            shape: shape.to_vec(),
        }
    }

    /// The same tensor in a float format: blocks are widened to f32, floats stay as they are.
    pub(crate) fn into_floats(self) -> Tensor {
        match is_float(self.format()) {
            true => self,
            false => Tensor::from_f32(&self.to_f32(), Format::F32, &self.shape),
        }
    }

    /// Dimensions, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Storage format.
    #[must_use]
    pub fn format(&self) -> Format {
        match &self.store {
            Store::File { format, .. } => *format,
            Store::F32(_) => Format::F32,
            Store::F16(_) => Format::F16,
            Store::Bf16(_) => Format::Bf16,
        }
    }

    /// Size in bytes as stored.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.data().bytes()
    }

    /// The numbers, row-major, as stored.
    #[must_use]
    pub fn data(&self) -> WeightData<'_> {
        match &self.store {
            Store::F32(x) => WeightData::F32(x),
            Store::F16(x) => WeightData::F16(x),
            Store::Bf16(x) => WeightData::Bf16(x),
            Store::File {
                bytes,
                range,
                format,
            } => {
                let slice = &bytes.as_slice()[range.clone()];
                match is_float(*format) {
                    true => floats(slice, *format),
                    false => WeightData::Blocks(
                        Blocks::new(*format, slice)
                            .expect("`from_file` checked the format and the length"),
                    ),
                }
            }
        }
    }

    /// The numbers widened to f32.
    #[must_use]
    pub fn to_f32(&self) -> Vec<f32> {
        let data = self.data();
        let mut out = vec![0.0; data.len()];
        data.widen(0, &mut out);
        out
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

/// Views the bytes of a [`Store::File`] with a float format as floats.
#[expect(unsafe_code, reason = "viewing mapped bytes as numbers")]
fn floats(slice: &[u8], format: Format) -> WeightData<'_> {
    let len = slice.len() / format.block().bytes;
    let start = slice.as_ptr();
    // SAFETY: `from_file` checked that the start is aligned for the type and that the length is a
    // multiple of its size; every bit pattern is a valid float; the slice borrows the file's bytes.
    unsafe {
        match format {
            Format::F16 => WeightData::F16(std::slice::from_raw_parts(start.cast(), len)),
            Format::Bf16 => WeightData::Bf16(std::slice::from_raw_parts(start.cast(), len)),
            _ => WeightData::F32(std::slice::from_raw_parts(start.cast(), len)),
        }
    }
}

fn read_le<const N: usize, T>(slice: &[u8], convert: impl Fn([u8; N]) -> T) -> Arc<[T]> {
    let (chunks, _) = slice.as_chunks::<N>();
    chunks.iter().map(|b| convert(*b)).collect()
}
