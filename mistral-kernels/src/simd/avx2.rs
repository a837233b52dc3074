//! 8 lanes: AVX2, FMA and F16C.

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{Kernel, Simd};

/// Proof that the set is enabled: made only inside [`run`].
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// For other vectors of this set.
    ///
    /// # Safety
    /// The caller runs with the set enabled.
    #[inline(always)]
    pub(crate) unsafe fn enabled() -> Self {
        Self(())
    }
}

/// Runs a kernel with the set enabled.
///
/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Out {
    kernel.run(Avx2(()))
}

impl Simd for Avx2 {
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;
    const DOT_TOKENS: usize = 2;
    type F = __m256;

    #[inline(always)]
    fn splat(self, v: f32) -> __m256 {
        // SAFETY: `self` proves the set.
        unsafe { _mm256_set1_ps(v) }
    }

    lanewise! {
        add(a, b) = _mm256_add_ps;
        sub(a, b) = _mm256_sub_ps;
        mul(a, b) = _mm256_mul_ps;
        div(a, b) = _mm256_div_ps;
        mul_add(a, b, c) = _mm256_fmadd_ps;
        neg_mul_add(a, b, c) = _mm256_fnmadd_ps;
        max(a, b) = _mm256_max_ps;
        min(a, b) = _mm256_min_ps;
    }

    #[inline(always)]
    fn round(self, a: __m256) -> __m256 {
        // SAFETY: `self` proves the set.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }

    #[inline(always)]
    fn scale_pow2(self, a: __m256, n: __m256) -> __m256 {
        // SAFETY: `self` proves the set.
        unsafe {
            // In two steps: one factor alone can't reach the smallest numbers.
            let n = _mm256_cvtps_epi32(n);
            let half = _mm256_srai_epi32::<1>(n);
            let rest = _mm256_sub_epi32(n, half);
            let bias = _mm256_set1_epi32(127);
            let half = _mm256_slli_epi32::<23>(_mm256_add_epi32(half, bias));
            let rest = _mm256_slli_epi32::<23>(_mm256_add_epi32(rest, bias));
            let a = _mm256_mul_ps(a, _mm256_castsi256_ps(half));
            _mm256_mul_ps(a, _mm256_castsi256_ps(rest))
        }
    }

    #[inline(always)]
    fn reduce_add(self, a: __m256) -> f32 {
        // SAFETY: `self` proves the set.
        unsafe {
            let s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let s = _mm_add_ps(s, _mm_movehl_ps(s, s));
            _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)))
        }
    }

    #[inline(always)]
    fn reduce_max(self, a: __m256) -> f32 {
        // SAFETY: `self` proves the set.
        unsafe {
            let s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let s = _mm_max_ps(s, _mm_movehl_ps(s, s));
            _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)))
        }
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m256 {
        // SAFETY: `self` proves the set; pointers are valid by the caller's promise.
        unsafe { _mm256_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, p: *const bf16) -> __m256 {
        // SAFETY: `self` proves the set; pointers are valid by the caller's promise.
        unsafe {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    unsafe fn load_f16(self, p: *const f16) -> __m256 {
        // SAFETY: `self` proves the set; pointers are valid by the caller's promise.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
    }

    #[inline(always)]
    unsafe fn load_i8(self, p: *const i8) -> __m256 {
        // SAFETY: `self` proves the set; pointers are valid by the caller's promise.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast()))) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m256) {
        // SAFETY: `self` proves the set; pointers are valid by the caller's promise.
        unsafe { _mm256_storeu_ps(p, v) }
    }

    #[inline(always)]
    unsafe fn transpose(self, r: &[__m256; 16], out: *mut f32, stride: usize) {
        // SAFETY: `self` proves the set; `out` is valid by the caller's promise.
        unsafe {
            // Pairs of rows, then pairs of pairs: q[4h + c] is column c of each 128-bit half, of
            // rows 4h .. 4h + 4.
            let mut q = [_mm256_setzero_ps(); 8];
            for h in [0, 4] {
                let a = _mm256_unpacklo_ps(r[h], r[h + 1]);
                let b = _mm256_unpackhi_ps(r[h], r[h + 1]);
                let c = _mm256_unpacklo_ps(r[h + 2], r[h + 3]);
                let d = _mm256_unpackhi_ps(r[h + 2], r[h + 3]);
                q[h] = _mm256_shuffle_ps::<0x44>(a, c);
                q[h + 1] = _mm256_shuffle_ps::<0xee>(a, c);
                q[h + 2] = _mm256_shuffle_ps::<0x44>(b, d);
                q[h + 3] = _mm256_shuffle_ps::<0xee>(b, d);
            }
            for c in 0..4 {
                let low = _mm256_permute2f128_ps::<0x20>(q[c], q[4 + c]);
                _mm256_storeu_ps(out.add(c * stride), low);
            }
            for c in 0..4 {
                let high = _mm256_permute2f128_ps::<0x31>(q[c], q[4 + c]);
                _mm256_storeu_ps(out.add((4 + c) * stride), high);
            }
        }
    }

    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        // SAFETY: `self` proves the set; a prefetch may name any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }

    #[inline(always)]
    fn prefetch_second(self, p: *const u8) {
        // SAFETY: `self` proves the set; a prefetch may name any address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }
}
