//! Vectors of 64 bytes and their integer dot products, on each instruction set.
//!
//! As [`crate::simd`], for quantised weights: a kernel is written once, generic over [`Bytes`],
//! and compiled once for each set inside a function that enables it ([`dispatch`]).

#![expect(unsafe_code, reason = "loads and instructions of a set")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::{Avx512Vnni, add_pairs, factors};

use crate::cpu::Live;
use crate::simd::{Portable, Simd};

/// 64 bytes and what can be done with them. Halves are of 32, quarters of 16 bytes.
pub(crate) trait Bytes: Copy + Send + Sync + 'static {
    /// The set's vectors of f32.
    type Floats: Simd;
    /// 64 bytes, signed or not as an operation says.
    type B: Copy;
    /// Sums in i32, any number of lanes: only their total counts, or those of both halves.
    type I: Copy;
    /// 16 factors of i16.
    type Scales: Copy;

    fn floats(self) -> Self::Floats;
    fn zero(self) -> Self::I;

    /// # Safety
    /// `p` is valid for reading 64 bytes.
    unsafe fn load(self, p: *const u8) -> Self::B;
    /// 32 bytes from each pointer.
    ///
    /// # Safety
    /// Both are valid for reading 32 bytes.
    unsafe fn load_halves(self, p: *const u8, q: *const u8) -> Self::B;
    /// 16 bytes from each pointer, each twice: `p p q q`.
    ///
    /// # Safety
    /// Both are valid for reading 16 bytes.
    unsafe fn load_quarters(self, p: *const u8, q: *const u8) -> Self::B;
    /// `v` in each byte.
    fn splat(self, v: u8) -> Self::B;
    /// `v` in the bytes whose bit is set, 0 in the others; 32 bits for each half.
    fn expand(self, bits: [u32; 2], v: u8) -> Self::B;
    /// Lower nibbles of the first half, upper nibbles of the second.
    fn nibbles_of_halves(self, b: Self::B) -> Self::B;
    /// Lower nibbles of the first and third quarter, upper nibbles of the others.
    fn nibbles_of_quarters(self, b: Self::B) -> Self::B;
    /// The lower nibble of each byte.
    fn low(self, b: Self::B) -> Self::B;
    /// The upper nibble of each byte.
    fn high(self, b: Self::B) -> Self::B;
    /// Bits `mask` of each byte after its half was shifted, to the left by `FIRST` or `SECOND`
    /// bits or to the right where these are negative; both must point the same way. Bits that
    /// come from a neighbouring byte are for the mask to remove.
    fn shifted<const FIRST: i32, const SECOND: i32>(self, b: Self::B, mask: u8) -> Self::B;
    fn or(self, a: Self::B, b: Self::B) -> Self::B;
    /// `a - v` in each byte.
    fn sub(self, a: Self::B, v: u8) -> Self::B;
    /// `table[b]` for bytes below 16.
    fn look_up(self, table: &[i8; 16], b: Self::B) -> Self::B;
    /// Magnitudes of signed bytes; that of -128 is 128 without a sign.
    fn abs(self, b: Self::B) -> Self::B;
    /// `x` with its sign changed where `w` is negative; both signed.
    fn with_sign_of(self, x: Self::B, w: Self::B) -> Self::B;

    /// `sums + Σ u · x` for unsigned `u` and signed `x`, halves apart; two neighbouring products
    /// add up to an i16.
    fn dot(self, sums: Self::I, u: Self::B, x: Self::B) -> Self::I;
    /// 16 factors from signed bytes.
    fn scales(self, bytes: [u8; 16]) -> Self::Scales;
    /// `sums + Σ scale · u · x`, as [`Bytes::dot`], with factor `4 · J + i` for quarter `i`.
    fn dot_scaled<const J: usize>(
        self,
        sums: Self::I,
        scales: Self::Scales,
        u: Self::B,
        x: Self::B,
    ) -> Self::I;
    /// `Σ scale · sum` of 16 sums.
    ///
    /// # Safety
    /// `sums` is valid for reading 16 elements.
    unsafe fn dot_sums(self, scales: Self::Scales, sums: *const i16) -> Self::I;
    /// `acc + scale · total`, spread over the lanes in some way.
    fn mul_add(
        self,
        total: Self::I,
        scale: f32,
        acc: <Self::Floats as Simd>::F,
    ) -> <Self::Floats as Simd>::F;
    /// `acc + Σ scale · total`, with a scale for each half.
    fn mul_add_halves(
        self,
        total: Self::I,
        scales: [f32; 2],
        acc: <Self::Floats as Simd>::F,
    ) -> <Self::Floats as Simd>::F;
    /// The number with these bits in half precision.
    fn f16(self, bits: u16) -> f32;
}

/// Work that is compiled once for each instruction set. Implementations of `run` are
/// `#[inline(always)]`.
pub(crate) trait ByteKernel {
    type Out;
    fn run<S: Bytes>(self, s: S) -> Self::Out;
}

/// Runs a kernel on the instruction set that was found.
pub(crate) fn dispatch<K: ByteKernel>(live: Live, kernel: K) -> K::Out {
    use crate::Isa;
    match live.isa() {
        Isa::Portable => kernel.run(portable::Portable64(Portable)),
        // SAFETY: `Live` is only made after detection.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2::run(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512::run(kernel) },
        // SAFETY: as above; every set behind this one contains it.
        #[cfg(target_arch = "x86_64")]
        _ => unsafe { avx512::run_vnni(kernel) },
        #[cfg(not(target_arch = "x86_64"))]
        _ => kernel.run(portable::Portable64(Portable)),
    }
}
