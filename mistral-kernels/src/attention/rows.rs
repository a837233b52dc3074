//! Rows of a cache as bytes, for those who keep them elsewhere.

use half::{bf16, f16};

use super::cache::{CacheBuffer, CacheShape};
use super::q8;
use crate::KernelError;
use crate::error::{check_rows, checked_end};

impl CacheBuffer {
    /// Copies the rows of the positions from `first_position` on to `out`, as they are stored:
    /// `[heads, positions, row]` with [`CacheType::row_bytes`](super::CacheType::row_bytes) little-endian
    /// bytes a row; of [`CacheType::Q8`](super::CacheType::Q8) its codes, then its scales.
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
        let moves = shape.moves(op, first_position, (count, count))?;
        let (lane, scale_lane) = self.lanes(shape.width);
        match self {
            Self::F32(from) => pack(moves, lane, from, out, f32::to_le_bytes),
            Self::F16(from) => pack(moves, lane, from, out, f16::to_le_bytes),
            Self::Bf16(from) => pack(moves, lane, from, out, bf16::to_le_bytes),
            Self::Q8 { codes, scales } => {
                pack(moves.clone(), lane, codes, out, i8::to_le_bytes);
                pack(moves, scale_lane, scales, out, bf16::to_le_bytes);
            }
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
        let moves = shape.moves(op, first_position, (count, held))?;
        let (lane, scale_lane) = self.lanes(shape.width);
        match self {
            Self::F32(to) => unpack(moves, lane, bytes, to, f32::from_le_bytes),
            Self::F16(to) => unpack(moves, lane, bytes, to, f16::from_le_bytes),
            Self::Bf16(to) => unpack(moves, lane, bytes, to, bf16::from_le_bytes),
            Self::Q8 { codes, scales } => {
                unpack(moves.clone(), lane, bytes, codes, i8::from_le_bytes);
                unpack(moves, scale_lane, bytes, scales, bf16::from_le_bytes);
            }
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
            (
                Self::Q8 { codes, scales },
                Self::Q8 {
                    codes: to_codes,
                    scales: to_scales,
                },
            ) => {
                copy(moves.clone(), width, codes, to_codes);
                copy(moves, q8::blocks(width), scales, to_scales);
            }
            _ => return Err(KernelError::CacheTypes { k, v }),
        }
        Ok(())
    }

    /// Where a row's numbers, and its scales if it has any, stand among its bytes.
    fn lanes(&self, width: usize) -> (Lane, Lane) {
        let row = self.kind().row_bytes(width);
        let numbers = Lane {
            width,
            offset: 0,
            row,
        };
        let scales = Lane {
            width: q8::blocks(width),
            offset: width,
            row,
        };
        (numbers, scales)
    }
}

impl CacheShape {
    /// Positions whose rows take `bytes`, for a cache of this shape.
    fn positions(
        &self,
        op: &'static str,
        cache: &CacheBuffer,
        bytes: usize,
    ) -> Result<usize, KernelError> {
        let data = cache.data();
        self.check((op, "data"), data.len(), data.scales())?;
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
    ) -> Result<impl Iterator<Item = Move> + Clone + use<>, KernelError> {
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

/// The part of a packed row that comes from one slice.
#[derive(Clone, Copy)]
struct Lane {
    /// Its numbers.
    width: usize,
    /// Bytes of a packed row before it.
    offset: usize,
    /// All bytes of a packed row.
    row: usize,
}

fn pack<T: Copy, const N: usize>(
    moves: impl Iterator<Item = Move>,
    lane: Lane,
    from: &[T],
    out: &mut [u8],
    bytes: impl Fn(T) -> [u8; N],
) {
    let width = lane.width;
    for (m, r) in moves.flat_map(|m| (0..m.len).map(move |r| (m, r))) {
        let start = (m.packed + r) * lane.row + lane.offset;
        let (out, _) = out[start..start + width * N].as_chunks_mut();
        let from = &from[(m.stored + r) * width..][..width];
        out.iter_mut().zip(from).for_each(|(o, v)| *o = bytes(*v));
    }
}

fn unpack<T, const N: usize>(
    moves: impl Iterator<Item = Move>,
    lane: Lane,
    from: &[u8],
    out: &mut [T],
    number: impl Fn([u8; N]) -> T,
) {
    let width = lane.width;
    for (m, r) in moves.flat_map(|m| (0..m.len).map(move |r| (m, r))) {
        let start = (m.packed + r) * lane.row + lane.offset;
        let (from, _) = from[start..start + width * N].as_chunks();
        let out = &mut out[(m.stored + r) * width..][..width];
        out.iter_mut().zip(from).for_each(|(o, v)| *o = number(*v));
    }
}

fn copy<T: Copy>(moves: impl Iterator<Item = Move>, width: usize, from: &[T], to: &mut [T]) {
    for m in moves {
        let stretch = m.stored * width..(m.stored + m.len) * width;
        to[stretch.clone()].copy_from_slice(&from[stretch]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::cache::{CacheType, append};
    use super::*;

    const SHAPE: CacheShape = CacheShape {
        heads: 2,
        capacity: 5,
        width: 3,
    };

    /// A cache whose rows say head, position and column, with positions `0..end` written.
    fn written(kind: CacheType, end: usize) -> CacheBuffer {
        let mut cache = CacheBuffer::new(kind, &SHAPE).expect("a small cache");
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
        for kind in CacheType::ALL {
            // Positions 4 to 6 stand in slots 4, 0 and 1.
            let from = written(kind, 7);
            let packed = rows(&from, 4, 3);
            let mut copied = CacheBuffer::new(kind, &SHAPE).expect("a small cache");
            from.copy_rows(&mut copied, &SHAPE, 4, 3)
                .expect("the same shape");
            assert_eq!(rows(&copied, 4, 3), packed, "{kind:?}");
            let mut put = CacheBuffer::new(kind, &SHAPE).expect("a small cache");
            put.write_rows(&SHAPE, 4, 3, &packed).expect("whole rows");
            assert_eq!(rows(&put, 4, 3), packed, "{kind:?}");
            let mut fewer = CacheBuffer::new(kind, &SHAPE).expect("a small cache");
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
        let mut other = CacheBuffer::new(CacheType::Bf16, &SHAPE).expect("a small cache");
        assert!(cache.copy_rows(&mut other, &SHAPE, 0, 1).is_err());
    }
}
