//! Keys and values of past positions.

use std::ops::Range;

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

impl CacheType {
    /// Bytes that a row of `width` numbers takes.
    #[must_use]
    pub fn row_bytes(self, width: usize) -> usize {
        match self {
            Self::F32 => width.saturating_mul(4),
            Self::F16 | Self::Bf16 => width.saturating_mul(2),
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

    /// The elements' type.
    #[must_use]
    pub fn kind(&self) -> CacheType {
        self.data().kind()
    }

    /// Copies the rows of the positions from `first_position` on to `out`, as they are stored:
    /// `[heads, positions, row]` with [`CacheType::row_bytes`] little-endian bytes a row.
    ///
    /// # Errors
    /// When the shape doesn't fit the cache, `out` doesn't hold whole positions, or they are more
    /// than the capacity.
    pub fn read_rows(
        &self,
        shape: &CacheShape,
        first_position: usize,
        out: &mut [u8],
    ) -> Result<(), KernelError> {
        let op = "read_rows";
        let count = shape.positions(op, self, out.len())?;
        let (moves, width) = (
            shape.moves(op, first_position, (count, count))?,
            shape.width,
        );
        match self {
            Self::F32(from) => pack(moves, width, from, out, f32::to_le_bytes),
            Self::F16(from) => pack(moves, width, from, out, f16::to_le_bytes),
            Self::Bf16(from) => pack(moves, width, from, out, bf16::to_le_bytes),
        }
        Ok(())
    }

    /// Puts rows that [`CacheBuffer::read_rows`] gave, the first `count` of each head, in the
    /// places of the positions from `first_position` on. Any bytes are rows; what they stand for
    /// isn't checked.
    ///
    /// # Errors
    /// As [`CacheBuffer::read_rows`], and when there are fewer than `count` rows of a head.
    pub fn write_rows(
        &mut self,
        shape: &CacheShape,
        first_position: usize,
        count: usize,
        bytes: &[u8],
    ) -> Result<(), KernelError> {
        let op = "write_rows";
        let held = shape.positions(op, self, bytes.len())?;
        let (moves, width) = (shape.moves(op, first_position, (count, held))?, shape.width);
        match self {
            Self::F32(to) => unpack(moves, width, bytes, to, f32::from_le_bytes),
            Self::F16(to) => unpack(moves, width, bytes, to, f16::from_le_bytes),
            Self::Bf16(to) => unpack(moves, width, bytes, to, bf16::from_le_bytes),
        }
        Ok(())
    }

    /// Copies the rows of `count` positions from `first_position` on to another cache of the same
    /// type and shape.
    ///
    /// # Errors
    /// When the shape doesn't fit both caches, their types differ, or `count` is more than the
    /// capacity.
    pub fn copy_rows(
        &self,
        to: &mut CacheBuffer,
        shape: &CacheShape,
        first_position: usize,
        count: usize,
    ) -> Result<(), KernelError> {
        let op = "copy_rows";
        shape.positions(op, self, 0)?;
        shape.positions(op, to, 0)?;
        let (moves, width) = (
            shape.moves(op, first_position, (count, count))?,
            shape.width,
        );
        let (k, v) = (self.kind(), to.kind());
        match (self, to) {
            (Self::F32(from), Self::F32(to)) => copy(moves, width, from, to),
            (Self::F16(from), Self::F16(to)) => copy(moves, width, from, to),
            (Self::Bf16(from), Self::Bf16(to)) => copy(moves, width, from, to),
            _ => return Err(KernelError::CacheTypes { k, v }),
        }
        Ok(())
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
    /// Positions whose rows take `bytes`, for a cache of this shape.
    fn positions(
        &self,
        op: &'static str,
        cache: &CacheBuffer,
        bytes: usize,
    ) -> Result<usize, KernelError> {
        let dimensions = [self.heads, self.capacity, self.width];
        let len = checked_product(op, "heads, capacity and width", &dimensions)?;
        check_len(op, "data", cache.data().len(), len)?;
        let row = cache.kind().row_bytes(self.width);
        check_rows(op, "rows", bytes, self.heads.saturating_mul(row))
    }

    /// Where the rows of `count` positions are stored, and where they stand packed
    /// `[heads, held]`.
    fn moves(
        &self,
        op: &'static str,
        first_position: usize,
        (count, held): (usize, usize),
    ) -> Result<impl Iterator<Item = Move> + use<>, KernelError> {
        let capacity = self.capacity;
        if count > capacity.min(held) {
            return Err(KernelError::Parameter {
                op,
                parameter: "number of positions",
                found: count,
                expected: "at most the cache's capacity and the rows given",
            });
        }
        checked_end(op, first_position, count)?;
        // A ring's positions may go on at its start.
        let slot = first_position.checked_rem(capacity).unwrap_or(0);
        let before = count.min(capacity - slot);
        Ok((0..self.heads).flat_map(move |head| {
            let part = move |slot, start, len| Move {
                stored: head * capacity + slot,
                packed: head * held + start,
                len,
            };
            [part(slot, 0, before), part(0, before, count - before)]
        }))
    }
}

/// A stretch of rows of one head.
#[derive(Clone, Copy)]
struct Move {
    /// First row in the cache.
    stored: usize,
    /// First row of the packed ones.
    packed: usize,
    len: usize,
}

impl Move {
    /// Elements of the stretch in the cache, `width` a row.
    fn stored(self, width: usize) -> Range<usize> {
        self.stored * width..(self.stored + self.len) * width
    }

    /// The same of the packed rows.
    fn packed(self, width: usize) -> Range<usize> {
        self.packed * width..(self.packed + self.len) * width
    }
}

fn pack<T: Copy, const N: usize>(
    moves: impl Iterator<Item = Move>,
    width: usize,
    from: &[T],
    out: &mut [u8],
    bytes: impl Fn(T) -> [u8; N],
) {
    let (out, _) = out.as_chunks_mut();
    for m in moves {
        let stretch = out[m.packed(width)].iter_mut();
        stretch
            .zip(&from[m.stored(width)])
            .for_each(|(o, v)| *o = bytes(*v));
    }
}

fn unpack<T, const N: usize>(
    moves: impl Iterator<Item = Move>,
    width: usize,
    from: &[u8],
    out: &mut [T],
    number: impl Fn([u8; N]) -> T,
) {
    let (from, _) = from.as_chunks();
    for m in moves {
        let stretch = out[m.stored(width)].iter_mut();
        stretch
            .zip(&from[m.packed(width)])
            .for_each(|(o, v)| *o = number(*v));
    }
}

fn copy<T: Copy>(moves: impl Iterator<Item = Move>, width: usize, from: &[T], to: &mut [T]) {
    for m in moves {
        to[m.stored(width)].copy_from_slice(&from[m.stored(width)]);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: CacheShape = CacheShape {
        heads: 2,
        capacity: 5,
        width: 3,
    };

    /// A cache whose rows say head, position and column, with positions `0..end` written.
    fn written(kind: CacheType, end: usize) -> CacheBuffer {
        let mut cache = CacheBuffer::new(kind, 30);
        for position in 0..end {
            let row: Vec<f32> = (0..6)
                .map(|i| (100 * (i / 3) + 10 * position + i % 3) as f32)
                .collect();
            append(&SHAPE, cache.data_mut(), position, &row).expect("one position");
        }
        cache
    }

    fn rows(cache: &CacheBuffer, first: usize, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; 2 * count * cache.kind().row_bytes(3)];
        cache
            .read_rows(&SHAPE, first, &mut bytes)
            .expect("whole rows");
        bytes
    }

    #[test]
    fn rows_move_between_places_of_a_ring() {
        for kind in [CacheType::F32, CacheType::F16, CacheType::Bf16] {
            // Positions 4 to 6 stand in slots 4, 0 and 1.
            let from = written(kind, 7);
            let packed = rows(&from, 4, 3);
            let mut copied = CacheBuffer::new(kind, 30);
            from.copy_rows(&mut copied, &SHAPE, 4, 3)
                .expect("the same shape");
            assert_eq!(rows(&copied, 4, 3), packed, "{kind:?}");
            let mut put = CacheBuffer::new(kind, 30);
            put.write_rows(&SHAPE, 4, 3, &packed).expect("whole rows");
            assert_eq!(rows(&put, 4, 3), packed, "{kind:?}");
            let mut fewer = CacheBuffer::new(kind, 30);
            fewer
                .write_rows(&SHAPE, 4, 2, &packed)
                .expect("two of three");
            assert_eq!(rows(&fewer, 4, 2), rows(&from, 4, 2), "{kind:?}");
            assert_eq!(rows(&fewer, 6, 1), vec![0; packed.len() / 3], "{kind:?}");
        }
        let bytes = rows(&written(CacheType::F32, 2), 1, 1);
        let numbers: Vec<f32> = (bytes.as_chunks().0.iter())
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        assert_eq!(numbers, [10.0, 11.0, 12.0, 110.0, 111.0, 112.0]);
    }

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        let mut cache = written(CacheType::F16, 5);
        assert!(cache.read_rows(&SHAPE, 0, &mut [0; 11]).is_err());
        assert!(cache.read_rows(&SHAPE, 0, &mut [0; 12 * 6]).is_err());
        assert!(cache.write_rows(&SHAPE, 0, 2, &[0; 12]).is_err());
        assert!(cache.write_rows(&SHAPE, usize::MAX, 1, &[0; 12]).is_err());
        let wide = CacheShape { width: 4, ..SHAPE };
        assert!(cache.write_rows(&wide, 0, 1, &[0; 16]).is_err());
        let mut other = CacheBuffer::new(CacheType::Bf16, 30);
        assert!(cache.copy_rows(&mut other, &SHAPE, 0, 1).is_err());
    }
}
