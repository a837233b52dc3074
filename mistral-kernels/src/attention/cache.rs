//! Keys and values of past positions.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::q8;
use crate::KernelError;
use crate::error::{check_len, check_rows, checked_end, checked_product};

/// Element type of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CacheType {
    /// 32-bit floats.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a 32-bit float.
    Bf16,
    /// Bytes with one bf16 scale for each 32 elements of a row: 1.0625 bytes an element where
    /// widths are multiples of 32. Any width is allowed; the last block of a row is shorter then.
    ///
    /// An element is within half a step of 1/127 of its block's largest magnitude. A block with an
    /// element that isn't finite reads as NaN throughout.
    Q8,
}

impl CacheType {
    /// Every type, the widest first.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Bf16, Self::Q8];

    /// Lower-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8 => "q8",
        }
    }

    /// The type of this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Bytes that a row of `width` numbers takes.
    #[must_use]
    pub fn row_bytes(self, width: usize) -> usize {
        match self {
            Self::F32 => width.saturating_mul(4),
            Self::F16 | Self::Bf16 => width.saturating_mul(2),
            Self::Q8 => width.saturating_add(q8::blocks(width).saturating_mul(2)),
        }
    }
}

/// Elements of a cache, for reading.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum CacheData<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// IEEE half precision.
    F16(&'a [f16]),
    /// The upper half of a 32-bit float.
    Bf16(&'a [bf16]),
    /// Bytes and their scales.
    Q8 {
        /// A byte an element.
        codes: &'a [i8],
        /// One for each 32 elements of a row.
        scales: &'a [bf16],
    },
}

impl CacheData<'_> {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(s) => s.len(),
            Self::F16(s) => s.len(),
            Self::Bf16(s) => s.len(),
            Self::Q8 { codes, .. } => codes.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements' type.
    #[must_use]
    pub fn kind(&self) -> CacheType {
        match self {
            Self::F32(_) => CacheType::F32,
            Self::F16(_) => CacheType::F16,
            Self::Bf16(_) => CacheType::Bf16,
            Self::Q8 { .. } => CacheType::Q8,
        }
    }

    pub(super) fn scales(&self) -> Option<usize> {
        match self {
            Self::Q8 { scales, .. } => Some(scales.len()),
            _ => None,
        }
    }
}

/// Elements of a cache, for writing.
#[derive(Debug)]
#[non_exhaustive]
pub enum CacheDataMut<'a> {
    /// 32-bit floats.
    F32(&'a mut [f32]),
    /// IEEE half precision.
    F16(&'a mut [f16]),
    /// The upper half of a 32-bit float.
    Bf16(&'a mut [bf16]),
    /// Bytes and their scales.
    Q8 {
        /// A byte an element.
        codes: &'a mut [i8],
        /// One for each 32 elements of a row.
        scales: &'a mut [bf16],
    },
}

impl CacheDataMut<'_> {
    fn scales(&self) -> Option<usize> {
        match self {
            Self::Q8 { scales, .. } => Some(scales.len()),
            _ => None,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::F32(s) => s.len(),
            Self::F16(s) => s.len(),
            Self::Bf16(s) => s.len(),
            Self::Q8 { codes, .. } => codes.len(),
        }
    }
}

/// Owned elements of a cache, for a session that keeps its own.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CacheBuffer {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// IEEE half precision.
    F16(Vec<f16>),
    /// The upper half of a 32-bit float.
    Bf16(Vec<bf16>),
    /// Bytes and their scales.
    Q8 {
        /// A byte an element.
        codes: Vec<i8>,
        /// One for each 32 elements of a row.
        scales: Vec<bf16>,
    },
}

impl CacheBuffer {
    /// Zeros for a cache of this shape.
    ///
    /// # Errors
    /// When the number of elements doesn't fit a `usize`.
    pub fn new(kind: CacheType, shape: &CacheShape) -> Result<Self, KernelError> {
        let len = shape.elements("cache")?;
        Ok(match kind {
            CacheType::F32 => Self::F32(vec![0.0; len]),
            CacheType::F16 => Self::F16(vec![f16::ZERO; len]),
            CacheType::Bf16 => Self::Bf16(vec![bf16::ZERO; len]),
            CacheType::Q8 => Self::Q8 {
                codes: vec![0; len],
                scales: vec![bf16::ZERO; shape.blocks()],
            },
        })
    }

    /// The elements, for reading.
    #[must_use]
    pub fn data(&self) -> CacheData<'_> {
        match self {
            Self::F32(v) => CacheData::F32(v),
            Self::F16(v) => CacheData::F16(v),
            Self::Bf16(v) => CacheData::Bf16(v),
            Self::Q8 { codes, scales } => CacheData::Q8 { codes, scales },
        }
    }

    /// The elements, for writing.
    #[must_use]
    pub fn data_mut(&mut self) -> CacheDataMut<'_> {
        match self {
            Self::F32(v) => CacheDataMut::F32(v),
            Self::F16(v) => CacheDataMut::F16(v),
            Self::Bf16(v) => CacheDataMut::Bf16(v),
            Self::Q8 { codes, scales } => CacheDataMut::Q8 { codes, scales },
        }
    }

    /// The elements' type.
    #[must_use]
    pub fn kind(&self) -> CacheType {
        self.data().kind()
    }
}

/// Shape of one side of a cache: `[heads, capacity, width]`, position `p` in slot `p % capacity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Key or value heads.
    pub heads: usize,
    /// Positions held.
    pub capacity: usize,
    /// Width of a head.
    pub width: usize,
}

impl CacheShape {
    /// Numbers that a cache of this shape holds.
    fn elements(&self, op: &'static str) -> Result<usize, KernelError> {
        let dimensions = [self.heads, self.capacity, self.width];
        checked_product(op, "heads, capacity and width", &dimensions)
    }

    /// Their blocks; no more than the elements.
    fn blocks(&self) -> usize {
        self.heads * self.capacity * q8::blocks(self.width)
    }

    /// Checks how many elements and scales there are.
    pub(super) fn check(
        &self,
        (op, buffer): (&'static str, &'static str),
        len: usize,
        scales: Option<usize>,
    ) -> Result<(), KernelError> {
        check_len(op, buffer, len, self.elements(op)?)?;
        scales.map_or(Ok(()), |found| {
            check_len(op, "scales", found, self.blocks())
        })
    }
}

/// Writes the rows of new positions, `x [t, heads, width]`, from `first_position` on.
///
/// Values are rounded to the cache's type (to nearest, ties to even; for [`CacheType::Q8`] of the
/// multiples of a block's scale).
///
/// # Errors
/// When lengths don't fit the shape, `t` is more than the capacity, or a position doesn't fit a
/// `usize`.
pub fn append(
    shape: &CacheShape,
    data: CacheDataMut<'_>,
    first_position: usize,
    x: &[f32],
) -> Result<(), KernelError> {
    let op = "append";
    shape.check((op, "data"), data.len(), data.scales())?;
    if x.is_empty() {
        return Ok(());
    }
    let t = check_rows(op, "x", x.len(), shape.heads * shape.width)?;
    if t > shape.capacity {
        return Err(KernelError::Parameter {
            op,
            parameter: "number of new positions",
            found: t,
            expected: "at most the cache's capacity",
        });
    }
    checked_end(op, first_position, t)?;
    let width = shape.width;
    match data {
        CacheDataMut::F32(out) => scatter(shape, first_position, x, |row, v| {
            out[row * width..][..width].copy_from_slice(v);
        }),
        CacheDataMut::F16(out) => scatter(shape, first_position, x, |row, v| {
            out[row * width..][..width].convert_from_f32_slice(v);
        }),
        CacheDataMut::Bf16(out) => scatter(shape, first_position, x, |row, v| {
            out[row * width..][..width].convert_from_f32_slice(v);
        }),
        CacheDataMut::Q8 { codes, scales } => scatter(shape, first_position, x, |row, v| {
            let blocks = q8::blocks(width);
            let scales = &mut scales[row * blocks..][..blocks];
            q8::round_row(v, &mut codes[row * width..][..width], scales);
        }),
    }
    Ok(())
}

/// Calls `write` with each row's place among all heads' slots, and its numbers.
fn scatter(
    shape: &CacheShape,
    first_position: usize,
    x: &[f32],
    mut write: impl FnMut(usize, &[f32]),
) {
    for (i, token) in x.chunks_exact(shape.heads * shape.width).enumerate() {
        let slot = (first_position + i) % shape.capacity;
        for (h, row) in token.chunks_exact(shape.width).enumerate() {
            write(h * shape.capacity + slot, row);
        }
    }
}
