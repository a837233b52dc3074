//! Activations as small integers, for products with quantised weights.

use crate::simd::{Kernel, Simd};

/// Activations that share a scale.
pub(crate) const GROUP: usize = 256;

/// 256 activations `x ≈ d · q`, with the sums of sixteen `q` each.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group {
    pub(crate) q: [i8; GROUP],
    pub(crate) sums: [i16; 16],
    pub(crate) d: f32,
    padding: [f32; 7],
}

const _: () = assert!(size_of::<Group>() == 320);

impl Group {
    pub(crate) const ZERO: Self = Self {
        q: [0; GROUP],
        sums: [0; 16],
        d: 0.0,
        padding: [0.0; 7],
    };
}

/// Groups of a row of `cols` activations; the last one is filled up with zeros.
#[inline(always)]
pub(crate) fn groups(cols: usize) -> usize {
    cols.div_ceil(GROUP)
}

/// Rounds one row to groups: `d = max |x| / 127` and `q = round(x / d)`, ties to even. A number
/// that isn't finite makes its group's scale NaN.
pub(crate) struct Quantize<'a> {
    pub(crate) x: &'a [f32],
    /// As many groups as the row has.
    pub(crate) out: &'a mut [Group],
}

impl Kernel for Quantize<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        assert!(self.out.len() == groups(self.x.len()));
        for (x, out) in self.x.chunks(GROUP).zip(self.out) {
            if let Ok(x) = x.try_into() {
                quantize(x, out);
            } else {
                let mut filled = [0.0; GROUP];
                filled[..x.len()].copy_from_slice(x);
                quantize(&filled, out);
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
    out.padding = [0.0; 7];
}
