//! Keys and values of past positions.

use half::{bf16, f16};

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
}

impl CacheData<'_> {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(s) => s.len(),
            Self::F16(s) => s.len(),
            Self::Bf16(s) => s.len(),
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
}

impl CacheDataMut<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F32(s) => s.len(),
            Self::F16(s) => s.len(),
            Self::Bf16(s) => s.len(),
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
}

impl CacheBuffer {
    /// `len` zeros.
    #[must_use]
    pub fn new(kind: CacheType, len: usize) -> Self {
        match kind {
            CacheType::F32 => Self::F32(vec![0.0; len]),
            CacheType::F16 => Self::F16(vec![f16::ZERO; len]),
            CacheType::Bf16 => Self::Bf16(vec![bf16::ZERO; len]),
        }
    }

    /// The elements, for reading.
    #[must_use]
    pub fn data(&self) -> CacheData<'_> {
        match self {
            Self::F32(v) => CacheData::F32(v),
            Self::F16(v) => CacheData::F16(v),
            Self::Bf16(v) => CacheData::Bf16(v),
        }
    }

    /// The elements, for writing.
    #[must_use]
    pub fn data_mut(&mut self) -> CacheDataMut<'_> {
        match self {
            Self::F32(v) => CacheDataMut::F32(v),
            Self::F16(v) => CacheDataMut::F16(v),
            Self::Bf16(v) => CacheDataMut::Bf16(v),
        }
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

/// Writes the rows of new positions, `x [t, heads, width]`, from `first_position` on.
///
/// Values are rounded to the cache's type (to nearest, ties to even).
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
    let CacheShape {
        heads,
        capacity,
        width,
    } = *shape;
    let len = checked_product(op, "heads, capacity and width", &[heads, capacity, width])?;
    check_len(op, "data", data.len(), len)?;
    if x.is_empty() {
        return Ok(());
    }
    let t = check_rows(op, "x", x.len(), heads * width)?;
    if t > capacity {
        return Err(KernelError::Parameter {
            op,
            parameter: "number of new positions",
            found: t,
            expected: "at most the cache's capacity",
        });
    }
    checked_end(op, first_position, t)?;
    match data {
        CacheDataMut::F32(out) => scatter(shape, out, first_position, x, |o, v| {
            o.copy_from_slice(v);
        }),
        CacheDataMut::F16(out) => scatter(shape, out, first_position, x, |o, v| {
            use half::slice::HalfFloatSliceExt;
            o.convert_from_f32_slice(v);
        }),
        CacheDataMut::Bf16(out) => scatter(shape, out, first_position, x, |o, v| {
            use half::slice::HalfFloatSliceExt;
            o.convert_from_f32_slice(v);
        }),
    }
    Ok(())
}

fn scatter<T>(
    shape: &CacheShape,
    out: &mut [T],
    first_position: usize,
    x: &[f32],
    write: impl Fn(&mut [T], &[f32]),
) {
    let width = shape.width;
    for (i, token) in x.chunks_exact(shape.heads * width).enumerate() {
        let slot = (first_position + i) % shape.capacity;
        for (h, row) in token.chunks_exact(width).enumerate() {
            let start = (h * shape.capacity + slot) * width;
            write(&mut out[start..start + width], row);
        }
    }
}

/// Where values are read from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Values<'a> {
    /// `[n_kv_heads, capacity, dv]`.
    Own(CacheData<'a>),
    /// The first `dv` elements of each key row.
    OfKeys,
}

/// Keys `[n_kv_heads, capacity, d]` and values `[n_kv_heads, capacity, dv]`; the slot of position
/// `p` is `p % capacity`.
///
/// Invariant: lengths fit the dimensions, and none of them is 0.
#[derive(Debug, Clone, Copy)]
pub struct KvCache<'a> {
    k: CacheData<'a>,
    v: Values<'a>,
    n_kv_heads: usize,
    capacity: usize,
    d: usize,
    dv: usize,
}

impl<'a> KvCache<'a> {
    /// Keys and values side by side, both of the same head count and capacity.
    ///
    /// # Errors
    /// When a length doesn't fit, a dimension is 0, or the types differ.
    pub fn new(
        (n_kv_heads, capacity): (usize, usize),
        (d, dv): (usize, usize),
        k: CacheData<'a>,
        v: CacheData<'a>,
    ) -> Result<Self, KernelError> {
        let expected = checked_product("cache", "key dimensions", &[n_kv_heads, capacity, d])?;
        check_len("cache", "k", k.len(), expected)?;
        let expected = checked_product("cache", "value dimensions", &[n_kv_heads, capacity, dv])?;
        check_len("cache", "v", v.len(), expected)?;
        if std::mem::discriminant(&k) != std::mem::discriminant(&v) {
            return Err(KernelError::CacheTypes {
                k: k.kind(),
                v: v.kind(),
            });
        }
        Self {
            k,
            v: Values::Own(v),
            n_kv_heads,
            capacity,
            d,
            dv,
        }
        .checked()
    }

    /// Latents `[capacity, d]` that serve as one key head, and with their first `dv` elements as
    /// its values (latent attention by absorption).
    ///
    /// # Errors
    /// When the length doesn't fit, a dimension is 0, or `dv` exceeds `d`.
    pub fn latent(
        capacity: usize,
        d: usize,
        dv: usize,
        latents: CacheData<'a>,
    ) -> Result<Self, KernelError> {
        let expected = checked_product("cache", "latent dimensions", &[capacity, d])?;
        check_len("cache", "latents", latents.len(), expected)?;
        if dv > d {
            return Err(KernelError::Parameter {
                op: "cache",
                parameter: "dv",
                found: dv,
                expected: "at most the width of a latent",
            });
        }
        Self {
            k: latents,
            v: Values::OfKeys,
            n_kv_heads: 1,
            capacity,
            d,
            dv,
        }
        .checked()
    }

    fn checked(self) -> Result<Self, KernelError> {
        for (parameter, found) in [
            ("n_kv_heads", self.n_kv_heads),
            ("capacity", self.capacity),
            ("d", self.d),
            ("dv", self.dv),
        ] {
            if found == 0 {
                return Err(KernelError::Parameter {
                    op: "cache",
                    parameter,
                    found,
                    expected: "at least 1",
                });
            }
        }
        Ok(self)
    }

    /// Key heads.
    #[must_use]
    pub fn n_kv_heads(&self) -> usize {
        self.n_kv_heads
    }

    /// Positions held.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Width of a key.
    #[must_use]
    pub fn d(&self) -> usize {
        self.d
    }

    /// Width of a value.
    #[must_use]
    pub fn dv(&self) -> usize {
        self.dv
    }

    /// Keys, and where values are.
    pub(super) fn data(&self) -> (CacheData<'a>, Values<'a>) {
        (self.k, self.v)
    }

    /// Rows of one head of `data`, `width` elements of each being used.
    pub(super) fn head<E>(
        &self,
        data: &'a [E],
        head: usize,
        (stride, width): (usize, usize),
    ) -> HeadRows<'a, E> {
        let start = head * self.capacity * stride;
        HeadRows {
            data: &data[start..start + self.capacity * stride],
            stride,
            width,
            capacity: self.capacity,
        }
    }
}

/// Rows of one head, by slot.
#[derive(Debug)]
pub(super) struct HeadRows<'a, E> {
    /// `[capacity, stride]`
    data: &'a [E],
    pub(super) stride: usize,
    /// Elements of a row that are used.
    pub(super) width: usize,
    pub(super) capacity: usize,
}

impl<E> Clone for HeadRows<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for HeadRows<'_, E> {}

impl<E> HeadRows<'_, E> {
    /// Slot of a position.
    #[inline(always)]
    pub(super) fn slot(&self, position: usize) -> usize {
        // Before the ring wraps, which may be never, there is nothing to divide.
        if position < self.capacity {
            position
        } else {
            position % self.capacity
        }
    }

    /// Start of the row in a slot.
    #[inline(always)]
    pub(super) fn row(&self, slot: usize) -> *const E {
        self.data[slot * self.stride..].as_ptr()
    }
}
