//! Arrays that the compiler turns into whatever vectors the target has.

use half::f16;

use super::Bytes;
use crate::simd::{Portable, Simd};

#[derive(Clone, Copy)]
pub(super) struct Portable64(pub(super) Portable);

type B = [u8; 64];

#[inline(always)]
fn map(b: B, f: impl Fn(u8) -> u8) -> B {
    b.map(f)
}

#[inline(always)]
fn map2(a: B, b: B, f: impl Fn(u8, u8) -> u8) -> B {
    std::array::from_fn(|i| f(a[i], b[i]))
}

#[inline(always)]
fn product(u: u8, x: u8) -> i32 {
    i32::from(u) * i32::from(x as i8)
}

impl Bytes for Portable64 {
    type Floats = Portable;
    type B = B;
    type I = [i32; 16];
    type Scales = [i16; 16];

    #[inline(always)]
    fn floats(self) -> Portable {
        self.0
    }

    #[inline(always)]
    fn zero(self) -> [i32; 16] {
        [0; 16]
    }

    #[inline(always)]
    unsafe fn load(self, p: *const u8) -> B {
        // SAFETY: the caller's promise is the same.
        unsafe { p.cast::<B>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_halves(self, p: *const u8, q: *const u8) -> B {
        let mut b = [0; 64];
        // SAFETY: by this function's contract.
        unsafe {
            b[..32].copy_from_slice(&p.cast::<[u8; 32]>().read_unaligned());
            b[32..].copy_from_slice(&q.cast::<[u8; 32]>().read_unaligned());
        }
        b
    }

    #[inline(always)]
    unsafe fn load_quarters(self, p: *const u8, q: *const u8) -> B {
        let mut b = [0; 64];
        // SAFETY: by this function's contract.
        let (p, q) = unsafe {
            (
                p.cast::<[u8; 16]>().read_unaligned(),
                q.cast::<[u8; 16]>().read_unaligned(),
            )
        };
        for (i, part) in b.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            *part = if i < 2 { p } else { q };
        }
        b
    }

    #[inline(always)]
    fn splat(self, v: u8) -> B {
        [v; 64]
    }

    #[inline(always)]
    fn expand(self, bits: [u32; 2], v: u8) -> B {
        std::array::from_fn(|i| v * (bits[i / 32] >> (i % 32) & 1) as u8)
    }

    #[inline(always)]
    fn nibbles_of_halves(self, b: B) -> B {
        std::array::from_fn(|i| b[i] >> (i / 32 * 4) & 15)
    }

    #[inline(always)]
    fn nibbles_of_quarters(self, b: B) -> B {
        std::array::from_fn(|i| b[i] >> (i / 16 % 2 * 4) & 15)
    }

    #[inline(always)]
    fn low(self, b: B) -> B {
        map(b, |v| v & 15)
    }

    #[inline(always)]
    fn high(self, b: B) -> B {
        map(b, |v| v >> 4)
    }

    #[inline(always)]
    fn shifted<const FIRST: i32, const SECOND: i32>(self, b: B, mask: u8) -> B {
        let shift = |v: u8, n: i32| if n >= 0 { v << n } else { v >> -n };
        std::array::from_fn(|i| shift(b[i], if i < 32 { FIRST } else { SECOND }) & mask)
    }

    #[inline(always)]
    fn or(self, a: B, b: B) -> B {
        map2(a, b, |a, b| a | b)
    }

    #[inline(always)]
    fn sub(self, a: B, v: u8) -> B {
        map(a, |a| a.wrapping_sub(v))
    }

    #[inline(always)]
    fn look_up(self, table: &[i8; 16], b: B) -> B {
        map(b, |v| table[usize::from(v & 15)] as u8)
    }

    #[inline(always)]
    fn abs(self, b: B) -> B {
        map(b, |v| (v as i8).unsigned_abs())
    }

    #[inline(always)]
    fn with_sign_of(self, x: B, w: B) -> B {
        map2(
            x,
            w,
            |x, w| if (w as i8) < 0 { x.wrapping_neg() } else { x },
        )
    }

    #[inline(always)]
    fn dot(self, sums: [i32; 16], u: B, x: B) -> [i32; 16] {
        std::array::from_fn(|i| {
            (4 * i..4 * i + 4).fold(sums[i], |sum, k| sum + product(u[k], x[k]))
        })
    }

    #[inline(always)]
    fn scales(self, bytes: [u8; 16]) -> [i16; 16] {
        bytes.map(|v| i16::from(v as i8))
    }

    #[inline(always)]
    fn dot_scaled<const J: usize>(
        self,
        sums: [i32; 16],
        scales: [i16; 16],
        u: B,
        x: B,
    ) -> [i32; 16] {
        let dots = self.dot([0; 16], u, x);
        std::array::from_fn(|i| sums[i] + dots[i] * i32::from(scales[4 * J + i / 4]))
    }

    #[inline(always)]
    unsafe fn dot_sums(self, scales: [i16; 16], sums: *const i16) -> [i32; 16] {
        // SAFETY: by this function's contract.
        let sums = unsafe { sums.cast::<[i16; 16]>().read_unaligned() };
        std::array::from_fn(|i| i32::from(scales[i]) * i32::from(sums[i]))
    }

    #[inline(always)]
    fn mul_add(
        self,
        total: [i32; 16],
        scale: f32,
        acc: <Portable as Simd>::F,
    ) -> <Portable as Simd>::F {
        let lanes = std::array::from_fn(|i| (total[i] + total[i + 8]) as f32);
        self.0.mul_add(self.0.splat(scale), lanes, acc)
    }

    #[inline(always)]
    fn mul_add_halves(
        self,
        total: [i32; 16],
        scales: [f32; 2],
        acc: <Portable as Simd>::F,
    ) -> <Portable as Simd>::F {
        let half = |h: usize| std::array::from_fn(|i| total[8 * h + i] as f32);
        let acc = self.0.mul_add(self.0.splat(scales[0]), half(0), acc);
        self.0.mul_add(self.0.splat(scales[1]), half(1), acc)
    }

    #[inline(always)]
    fn f16(self, bits: u16) -> f32 {
        f16::from_bits(bits).to_f32_const()
    }
}
