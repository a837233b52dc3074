//! 16 lanes that hold pairs of bf16 as factors and f32 as sums.

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::avx512::Avx512;
use super::{Kernel, Simd};

/// [`Avx512`] whose [`Simd::mul_add`] is the dot product of pairs: each lane of a factor holds two
/// bf16, and both products are added to the f32 lane of the sum.
///
/// Proof that the set is enabled: made only inside [`run_pairs`] and by [`Pairs::enabled`].
#[derive(Clone, Copy)]
pub(crate) struct Pairs(Avx512);

impl Pairs {
    /// For kernels that are written for this set alone.
    ///
    /// # Safety
    /// The caller runs with the set enabled.
    #[inline(always)]
    pub(crate) unsafe fn enabled() -> Self {
        // SAFETY: by this function's contract.
        Self(unsafe { Avx512::enabled() })
    }
}

/// Runs a kernel over pairs with the set enabled.
///
/// # Safety
/// The processor has AVX-512 BF16 and what [`super::avx512::run`] asks for.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) unsafe fn run_pairs<K: Kernel>(kernel: K) -> K::Out {
    // SAFETY: enabled by this function's attribute.
    kernel.run(unsafe { Pairs::enabled() })
}

/// What is the same over pairs.
macro_rules! as_avx512 {
    ($($name:ident($($arg:ident: $of:ty),+) -> $out:ty;)+) => { $(
        #[inline(always)]
        fn $name(self, $($arg: $of),+) -> $out {
            self.0.$name($($arg),+)
        }
    )+ };
}

impl Simd for Pairs {
    const LANES: usize = Avx512::LANES;
    const TILE_ROWS: usize = Avx512::TILE_ROWS;
    const DOT_TOKENS: usize = Avx512::DOT_TOKENS;
    type F = __m512;

    as_avx512! {
        splat(v: f32) -> __m512;
        add(a: __m512, b: __m512) -> __m512;
        sub(a: __m512, b: __m512) -> __m512;
        mul(a: __m512, b: __m512) -> __m512;
        div(a: __m512, b: __m512) -> __m512;
        max(a: __m512, b: __m512) -> __m512;
        min(a: __m512, b: __m512) -> __m512;
        round(a: __m512) -> __m512;
        scale_pow2(a: __m512, n: __m512) -> __m512;
        reduce_add(a: __m512) -> f32;
        reduce_max(a: __m512) -> f32;
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` proves the set.
        unsafe {
            let pair = |v: __m512| std::mem::transmute::<__m512, __m512bh>(v);
            _mm512_dpbf16_ps(c, pair(a), pair(b))
        }
    }

    #[inline(always)]
    fn neg_mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` proves the set.
        unsafe {
            let sign = _mm512_set1_ps(f32::from_bits(0x8000_8000));
            self.mul_add(_mm512_xor_ps(a, sign), b, c)
        }
    }

    #[inline(always)]
    unsafe fn load_pairs(self, p: *const f32) -> __m512 {
        // SAFETY: `self` proves the set; pointers are valid by the caller's promise.
        unsafe {
            let (low, high) = (_mm512_loadu_ps(p), _mm512_loadu_ps(p.add(16)));
            std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low))
        }
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        // SAFETY: the caller's promise is the same.
        unsafe { self.0.load(p) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, p: *const bf16) -> __m512 {
        // SAFETY: the caller's promise is the same.
        unsafe { self.0.load_bf16(p) }
    }

    #[inline(always)]
    unsafe fn load_f16(self, p: *const f16) -> __m512 {
        // SAFETY: the caller's promise is the same.
        unsafe { self.0.load_f16(p) }
    }

    #[inline(always)]
    unsafe fn load_i8(self, p: *const i8) -> __m512 {
        // SAFETY: the caller's promise is the same.
        unsafe { self.0.load_i8(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m512) {
        // SAFETY: the caller's promise is the same.
        unsafe { self.0.store(p, v) }
    }

    #[inline(always)]
    unsafe fn transpose(self, rows: &[__m512; 16], out: *mut f32, stride: usize) {
        // SAFETY: the caller's promise is the same.
        unsafe { self.0.transpose(rows, out, stride) }
    }

    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        self.0.prefetch(p);
    }

    #[inline(always)]
    fn prefetch_second(self, p: *const u8) {
        self.0.prefetch_second(p);
    }
}
