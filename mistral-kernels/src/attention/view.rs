//! The keys and values of one attention, borrowed.

use half::bf16;

use super::cache::{CacheData, CacheShape, CacheType};
use super::q8;
use crate::KernelError;

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
        let shape = |width| CacheShape {
            heads: n_kv_heads,
            capacity,
            width,
        };
        shape(d).check(("cache", "k"), k.len(), k.scales())?;
        shape(dv).check(("cache", "v"), v.len(), v.scales())?;
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
        let shape = CacheShape {
            heads: 1,
            capacity,
            width: d,
        };
        shape.check(("cache", "latents"), latents.len(), latents.scales())?;
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

    /// Type of keys and values.
    pub(super) fn kind(&self) -> CacheType {
        self.k.kind()
    }

    /// Keys, and where values are.
    pub(super) fn data(&self) -> (CacheData<'a>, Values<'a>) {
        (self.k, self.v)
    }

    /// Rows of one head, `width` elements of each being used.
    pub(super) fn head<E>(
        &self,
        data: Stored<'a, E>,
        head: usize,
        (stride, width): (usize, usize),
    ) -> HeadRows<'a, E> {
        let start = head * self.capacity * stride;
        let blocks = match data.scales {
            [] => 0,
            _ => q8::blocks(stride),
        };
        let scales = head * self.capacity * blocks;
        HeadRows {
            data: &data.numbers[start..start + self.capacity * stride],
            scales: &data.scales[scales..scales + self.capacity * blocks],
            stride,
            blocks,
            width,
            capacity: self.capacity,
        }
    }
}

/// Numbers of all heads, as they are stored.
#[derive(Debug)]
pub(super) struct Stored<'a, E> {
    pub(super) numbers: &'a [E],
    /// Empty for floats.
    pub(super) scales: &'a [bf16],
}

/// Rows of one head, by slot.
#[derive(Debug)]
pub(super) struct HeadRows<'a, E> {
    /// `[capacity, stride]`
    data: &'a [E],
    /// `[capacity, blocks]`
    scales: &'a [bf16],
    pub(super) stride: usize,
    /// Scales of a row.
    pub(super) blocks: usize,
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

impl<E> Clone for Stored<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Stored<'_, E> {}

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
    fn row(&self, slot: usize) -> *const E {
        self.data[slot * self.stride..].as_ptr()
    }

    /// Starts of the rows in the slots that `slot` gives for the first `n` of a tile; slots follow
    /// each other when `run`.
    #[inline(always)]
    pub(super) fn rows<const N: usize>(
        &self,
        n: usize,
        slot: impl Fn(usize) -> usize,
        run: bool,
    ) -> [*const E; N] {
        let mut rows = [std::ptr::null(); N];
        if run {
            let first = self.data[slot(0) * self.stride..][..n * self.stride].as_ptr();
            for (i, row) in rows[..n].iter_mut().enumerate() {
                *row = first.wrapping_add(i * self.stride);
            }
        } else {
            for (i, row) in rows[..n].iter_mut().enumerate() {
                *row = self.row(slot(i));
            }
        }
        rows
    }

    /// Scales of the row in a slot.
    #[inline(always)]
    pub(super) fn scales(&self, slot: usize) -> &[bf16] {
        &self.scales[slot * self.blocks..][..self.blocks]
    }
}
