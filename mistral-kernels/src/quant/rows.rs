//! Activations as small integers, for products with quantised weights.

use crate::simd::{Kernel, Simd};

/// Activations that share a scale.
pub(crate) const GROUP: usize = 256;

/// Groups whose weights' scales are unpacked together.
pub(crate) const TOGETHER: usize = 4;

/// 256 activations `x ≈ d · q`, with sums of `q`. For weights whose nibbles are those of distant
/// activations the same `q` stand in another order, too.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group {
    pub(crate) q: [i8; GROUP],
    /// Of the parts of 32: the first halves of those with an even number, their second halves, then
    /// both of the odd ones.
    pub(crate) parted: [i8; GROUP],
    /// In the first of [`TOGETHER`] groups, [`Group::wide_sums`] of all of them; those that a row
    /// lacks are zero.
    pub(crate) sums_together: [[i16; 8]; TOGETHER],
    /// In the first of [`TOGETHER`] groups, four times `d` of each; those that a row lacks are zero.
    pub(crate) d_together: [[f32; 4]; TOGETHER],
    /// Of 16 each.
    pub(crate) sums: [i16; 16],
    /// Of 32 each.
    pub(crate) wide_sums: [i16; 8],
    pub(crate) d: f32,
}

const _: () = assert!(size_of::<Group>() == 704);

impl Group {
    pub(crate) const ZERO: Self = Self {
        q: [0; GROUP],
        parted: [0; GROUP],
        sums_together: [[0; 8]; TOGETHER],
        d_together: [[0.0; 4]; TOGETHER],
        sums: [0; 16],
        wide_sums: [0; 8],
        d: 0.0,
    };
}

/// Groups of a row of `cols` activations; the last one is filled up with zeros.
#[inline(always)]
pub(crate) fn groups(cols: usize) -> usize {
    cols.div_ceil(GROUP)
}

/// Rounds one row to groups: `d = max |x| / 127` and `q = round(x / d)`, ties to even. A number
/// that isn't finite makes its group's scale NaN.
pub(crate) struct Quantize<'a, const ARRANGED: bool> {
    pub(crate) x: &'a [f32],
    /// As many groups as the row has. Unless `ARRANGED`, the other order of `q`, the sums of 32 and
    /// what stands together are left as they are.
    pub(crate) out: &'a mut [Group],
}

impl<const ARRANGED: bool> Kernel for Quantize<'_, ARRANGED> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        assert!(self.out.len() == groups(self.x.len()));
        for (x, out) in self.x.chunks(GROUP).zip(&mut *self.out) {
            if let Ok(x) = x.try_into() {
                quantize(x, out);
            } else {
                let mut filled = [0.0; GROUP];
                filled[..x.len()].copy_from_slice(x);
                quantize(&filled, out);
            }
            if ARRANGED {
                arrange(out);
            }
        }
        if ARRANGED {
            for groups in self.out.chunks_mut(TOGETHER) {
                put_together(groups);
            }
        }
    }
}

#[inline(always)]
fn quantize(x: &[f32; GROUP], out: &mut Group) {
    let (mut most, mut broken) = ([0.0f32; 16], [0.0f32; 16]);
    for x in x.as_chunks::<16>().0 {
        for i in 0..16 {
            most[i] = if x[i].abs() > most[i] {
                x[i].abs()
            } else {
                most[i]
            };
            // 0, or NaN for what isn't finite.
            broken[i] += x[i] * 0.0;
        }
    }
    let most = most.iter().fold(0.0f32, |a, &b| a.max(b));
    let broken: f32 = broken.iter().sum();
    out.d = most / 127.0 + broken;
    let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
    // Adding 1.5 · 2^23 leaves the rounded integer in the lowest bits.
    let magic = 12_582_912.0f32;
    for (q, x) in out.q.iter_mut().zip(x) {
        *q = (x * inverse + magic).to_bits() as i8;
    }
    for (sum, q) in out.sums.iter_mut().zip(out.q.as_chunks::<16>().0) {
        *sum = q.iter().map(|&q| i16::from(q)).sum();
    }
}

#[inline(always)]
fn arrange(out: &mut Group) {
    for (sum, sums) in out.wide_sums.iter_mut().zip(out.sums.as_chunks::<2>().0) {
        *sum = sums[0] + sums[1];
    }
    let (q, _) = out.q.as_chunks::<16>();
    for (i, part) in out.parted.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        *part = q[i % 4 * 4 + i / 4 % 2 + i / 8 * 2];
    }
}

#[inline(always)]
fn put_together(groups: &mut [Group]) {
    let (mut sums, mut d) = ([[0; 8]; TOGETHER], [[0.0; 4]; TOGETHER]);
    for (i, group) in groups.iter().enumerate() {
        sums[i] = group.wide_sums;
        d[i] = [group.d; 4];
    }
    if let Some(first) = groups.first_mut() {
        first.sums_together = sums;
        first.d_together = d;
    }
}
