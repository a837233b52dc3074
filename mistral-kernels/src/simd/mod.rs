//! Vectors of f32 on each instruction set.
//!
//! A kernel is written once, generic over [`Simd`], and compiled once for each set inside a
//! function that enables it ([`dispatch`]). A value of a `Simd` type proves that the processor
//! has the set, so its arithmetic is safe to call; only loads and stores through pointers aren't.
//! Everything on the way from `dispatch` to an instruction must be `#[inline(always)]`: a
//! function that isn't would be compiled without the set.

#![expect(unsafe_code, reason = "loads, stores and instructions of a set")]

/// Methods of [`Simd`] that are one instruction.
#[cfg(target_arch = "x86_64")]
macro_rules! lanewise {
    ($($name:ident($($arg:ident),+) = $instruction:ident;)+) => { $(
        #[inline(always)]
        fn $name(self, $($arg: Self::F),+) -> Self::F {
            // SAFETY: `self` proves the set.
            unsafe { $instruction($($arg),+) }
        }
    )+ };
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512bf16;
mod element;
mod math;
mod portable;
pub(crate) mod row;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512bf16::Pairs;
pub(crate) use element::Element;
pub(crate) use math::{silu, weight};
pub(crate) use portable::Portable;

use crate::cpu::Live;

/// Lanes of f32 and what can be done with them.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Number of lanes.
    const LANES: usize;
    /// Rows of a register tile two vectors wide in matrix products, at most 12.
    const TILE_ROWS: usize;
    /// Tokens that share one pass over a row in products with few of them, at most 8.
    const DOT_TOKENS: usize;
    /// A vector.
    type F: Copy;

    fn splat(self, v: f32) -> Self::F;
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a · b + c`, fused where the set can.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c - a · b`, fused where the set can.
    fn neg_mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `a > b ? a : b`: `b` when either is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a < b ? a : b`: `b` when either is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// To the nearest integer, ties to even.
    fn round(self, a: Self::F) -> Self::F;
    /// `a · 2^n` for integral `n` in -200..=200, with gradual underflow.
    fn scale_pow2(self, a: Self::F, n: Self::F) -> Self::F;
    fn reduce_add(self, a: Self::F) -> f32;
    fn reduce_max(self, a: Self::F) -> f32;
    /// [`Simd::reduce_add`] of each of the first `n` vectors.
    #[inline(always)]
    fn reduce_each(self, a: &[Self::F; 16], n: usize, out: &mut [f32; 16]) {
        for (out, a) in out.iter_mut().zip(a).take(n) {
            *out = self.reduce_add(*a);
        }
    }

    /// # Safety
    /// `p` is valid for reading `LANES` elements, at any alignment.
    unsafe fn load(self, p: *const f32) -> Self::F;
    /// # Safety
    /// As [`Simd::load`].
    unsafe fn load_bf16(self, p: *const half::bf16) -> Self::F;
    /// # Safety
    /// As [`Simd::load`].
    unsafe fn load_f16(self, p: *const half::f16) -> Self::F;
    /// # Safety
    /// As [`Simd::load`].
    unsafe fn load_i8(self, p: *const i8) -> Self::F;
    /// Twice `LANES` elements rounded to bf16, two in a lane.
    ///
    /// # Safety
    /// `p` is valid for reading that many, at any alignment.
    #[inline(always)]
    unsafe fn load_pairs(self, p: *const f32) -> Self::F {
        let mut words = [0.0f32; 16];
        for (i, word) in words.iter_mut().enumerate().take(Self::LANES) {
            // SAFETY: by this function's contract.
            *word = unsafe {
                pair(
                    p.add(2 * i).read_unaligned(),
                    p.add(2 * i + 1).read_unaligned(),
                )
            };
        }
        // SAFETY: `words` holds a vector of every set.
        unsafe { self.load(words.as_ptr()) }
    }
    /// # Safety
    /// `p` is valid for writing `LANES` elements, at any alignment.
    unsafe fn store(self, p: *mut f32, v: Self::F);
    /// Writes the transpose of the first `LANES` rows: element `r` of column `c` to `out[c · stride + r]`,
    /// columns in ascending order.
    ///
    /// # Safety
    /// `out` is valid for writing `LANES` elements at each of `LANES` multiples of `stride`.
    unsafe fn transpose(self, rows: &[Self::F; 16], out: *mut f32, stride: usize);
    /// Asks for a cache line; any address is allowed.
    fn prefetch(self, p: *const u8);
    /// Asks for a line in the second-level cache, so that the first keeps what it has.
    fn prefetch_second(self, p: *const u8);
}

/// Two numbers rounded to bf16 in one word, the first in its lower half.
#[inline(always)]
pub(crate) fn pair(low: f32, high: f32) -> f32 {
    let bits = |v| u32::from(half::bf16::from_f32(v).to_bits());
    f32::from_bits(bits(low) | bits(high) << 16)
}

/// Work that is compiled once for each instruction set. Implementations of `run` are
/// `#[inline(always)]`.
pub(crate) trait Kernel {
    type Out;
    fn run<S: Simd>(self, s: S) -> Self::Out;
}

/// Runs a kernel on the instruction set that was found.
pub(crate) fn dispatch<K: Kernel>(live: Live, kernel: K) -> K::Out {
    match live.isa() {
        #[cfg(target_arch = "x86_64")]
        crate::Isa::Avx512 | crate::Isa::Avx512Vnni | crate::Isa::Avx512Bf16 | crate::Isa::Amx => {
            // SAFETY: `Live` is only made after detection.
            unsafe { avx512::run(kernel) }
        }
        #[cfg(target_arch = "x86_64")]
        crate::Isa::Avx2 => {
            // SAFETY: as above.
            unsafe { avx2::run(kernel) }
        }
        _ => kernel.run(Portable),
    }
}

/// Whether [`dispatch_pairs`] has a set to run on.
pub(crate) fn has_pairs(live: Live) -> bool {
    live.isa() == crate::Isa::Avx512Bf16
}

/// Runs a kernel whose factors are pairs of bf16: its `mul_add` adds up the products of a pair.
///
/// # Panics
/// When [`has_pairs`] doesn't hold.
pub(crate) fn dispatch_pairs<K: Kernel>(live: Live, kernel: K) -> K::Out {
    assert!(has_pairs(live), "asked for before");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `Live` is only made after detection.
    return unsafe { avx512bf16::run_pairs(kernel) };
    #[cfg(not(target_arch = "x86_64"))]
    kernel.run(Portable)
}

#[cfg(test)]
mod tests {
    use super::math::exp;
    use super::*;
    use crate::testkit::cpus;

    /// `e^x`, weights and a transposed block for a row of inputs.
    struct Probe<'a> {
        x: &'a [f32],
        exponentials: &'a mut Vec<f32>,
        weights: &'a mut Vec<f32>,
        block: &'a mut Vec<f32>,
    }

    impl Kernel for Probe<'_> {
        type Out = usize;

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> usize {
            let lanes = S::LANES;
            for x in self.x.chunks_exact(lanes) {
                let (mut e, mut w) = ([0.0; 64], [0.0; 64]);
                // SAFETY: a chunk has that many elements, and so have `e` and `w`.
                unsafe {
                    let x = s.load(x.as_ptr());
                    s.store(e.as_mut_ptr(), exp(s, x));
                    s.store(w.as_mut_ptr(), weight(s, x));
                }
                self.exponentials.extend(&e[..lanes]);
                self.weights.extend(&w[..lanes]);
            }
            let stride = lanes + 3;
            self.block.resize(lanes * stride, -1.0);
            // SAFETY: the inputs hold a block, and `out` its transpose.
            unsafe {
                let mut rows = [s.splat(0.0); 16];
                for (r, row) in rows[..lanes].iter_mut().enumerate() {
                    *row = s.load(self.x[r * lanes..].as_ptr());
                }
                s.transpose(&rows, self.block.as_mut_ptr(), stride);
            }
            lanes
        }
    }

    #[test]
    fn exponentials_and_transposes() {
        let mut x = vec![
            0.0f32, -0.0, 1.0, -1.0, 88.7, 89.0, -87.0, -100.0, -104.0, -2000.0,
        ];
        x.extend([
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            1e-8,
            0.34657,
            0.34658,
        ]);
        x.extend((0..1008).map(|i| (i as f32 - 504.0) / 5.9));
        for cpu in cpus() {
            let (mut found, mut weights, mut block) = (Vec::new(), Vec::new(), Vec::new());
            let probe = Probe {
                x: &x,
                exponentials: &mut found,
                weights: &mut weights,
                block: &mut block,
            };
            let lanes = dispatch(cpu.live(), probe);
            for (x, f) in x.iter().zip(&found) {
                let e = f64::from(*x).exp() as f32;
                let close = (f - e).abs() <= e * 3e-7 + 3e-45;
                assert!(
                    close || *f == e || (f.is_nan() && e.is_nan()),
                    "exp({x}) = {f}, not {e}"
                );
            }
            for (x, &w) in x
                .iter()
                .zip(&weights)
                .filter(|(x, _)| **x <= 0.0 || x.is_nan())
            {
                let e = f64::from(*x).exp();
                let close = (f64::from(w) - e).abs() <= e * 3e-7 + 2e-30;
                let made = w == 0.0 || w.is_normal();
                assert!(
                    (close && made) || (w.is_nan() && x.is_nan()),
                    "weight({x}) = {w}"
                );
            }
            for (r, c) in (0..lanes).flat_map(|r| (0..lanes).map(move |c| (r, c))) {
                let (f, e) = (block[c * (lanes + 3) + r], x[r * lanes + c]);
                assert!(
                    f == e || (f.is_nan() && e.is_nan()),
                    "{} {r} {c}",
                    cpu.isa()
                );
            }
        }
    }
}
