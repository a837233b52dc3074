//! 16 lanes: AVX-512 F, BW, DQ and VL.

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{Kernel, Simd};

/// Proof that the set is enabled: made only inside [`run`] and by [`Avx512::enabled`].
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// For sets that contain this one, and for other vectors of it.
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
/// The processor has AVX-512 F, BW, DQ and VL, and what [`super::avx2::run`] asks for.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Out {
    kernel.run(Avx512(()))
}

impl Simd for Avx512 {
    const LANES: usize = 16;
    const TILE_ROWS: usize = 12;
    const DOT_TOKENS: usize = 8;
    type F = __m512;

    #[inline(always)]
    fn splat(self, v: f32) -> __m512 {
        // SAFETY: `self` proves the set.
        unsafe { _mm512_set1_ps(v) }
    }

    lanewise! {
        add(a, b) = _mm512_add_ps;
        sub(a, b) = _mm512_sub_ps;
        mul(a, b) = _mm512_mul_ps;
        div(a, b) = _mm512_div_ps;
        mul_add(a, b, c) = _mm512_fmadd_ps;
        neg_mul_add(a, b, c) = _mm512_fnmadd_ps;
        max(a, b) = _mm512_max_ps;
        min(a, b) = _mm512_min_ps;
        scale_pow2(a, n) = _mm512_scalef_ps;
    }

    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        // SAFETY: `self` proves the set.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }

    #[inline(always)]
    fn reduce_add(self, a: __m512) -> f32 {
        // SAFETY: `self` proves the set.
        unsafe { _mm512_reduce_add_ps(a) }
    }

    #[inline(always)]
    fn reduce_max(self, a: __m512) -> f32 {
        // SAFETY: `self` proves the set.
        unsafe { _mm512_reduce_max_ps(a) }
    }

    #[inline(always)]
    fn reduce_each(self, a: &[__m512; 16], n: usize, out: &mut [f32; 16]) {
        if n < 4 {
            for i in 0..n {
                out[i] = self.reduce_add(a[i]);
            }
            return;
        }
        // SAFETY: `self` proves the set; `out` holds a vector.
        unsafe {
            // Halve the lanes of two vectors into one, four times: 16 vectors become one.
            let mut q = [_mm512_setzero_ps(); 4];
            for (g, q) in q.iter_mut().enumerate() {
                let (a, b, c, d) = (a[4 * g], a[4 * g + 1], a[4 * g + 2], a[4 * g + 3]);
                let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
                let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
                let low = _mm512_shuffle_ps::<0x44>(ab, cd);
                let high = _mm512_shuffle_ps::<0xee>(ab, cd);
                // Word i of each 128-bit lane: part of the sum of vector 4g + i.
                *q = _mm512_add_ps(low, high);
            }
            let mut h = [_mm512_setzero_ps(); 2];
            for (g, h) in h.iter_mut().enumerate() {
                let (a, b) = (q[2 * g], q[2 * g + 1]);
                let low = _mm512_shuffle_f32x4::<0x88>(a, b);
                let high = _mm512_shuffle_f32x4::<0xdd>(a, b);
                *h = _mm512_add_ps(low, high);
            }
            let low = _mm512_shuffle_f32x4::<0x88>(h[0], h[1]);
            let high = _mm512_shuffle_f32x4::<0xdd>(h[0], h[1]);
            _mm512_storeu_ps(out.as_mut_ptr(), _mm512_add_ps(low, high));
        }
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        // SAFETY: `self` proves the set; pointers are valid by the caller's promise.
        unsafe { _mm512_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, p: *const bf16) -> __m512 {
        // SAFETY: `self` proves the set; pointers are valid by the caller's promise.
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    unsafe fn load_f16(self, p: *const f16) -> __m512 {
        // SAFETY: `self` proves the set; pointers are valid by the caller's promise.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }

    #[inline(always)]
    unsafe fn load_i8(self, p: *const i8) -> __m512 {
        // SAFETY: `self` proves the set; pointers are valid by the caller's promise.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m512) {
        // SAFETY: `self` proves the set; pointers are valid by the caller's promise.
        unsafe { _mm512_storeu_ps(p, v) }
    }

    #[inline(always)]
    unsafe fn transpose(self, r: &[__m512; 16], out: *mut f32, stride: usize) {
        // SAFETY: `self` proves the set; `out` is valid by the caller's promise.
        unsafe {
            // Pairs of rows, then pairs of pairs: q[4h + c] is column c of each 128-bit lane, of
            // rows 4h .. 4h + 4.
            let mut q = [_mm512_setzero_ps(); 16];
            for h in [0, 4, 8, 12] {
                let a = _mm512_unpacklo_ps(r[h], r[h + 1]);
                let b = _mm512_unpackhi_ps(r[h], r[h + 1]);
                let c = _mm512_unpacklo_ps(r[h + 2], r[h + 3]);
                let d = _mm512_unpackhi_ps(r[h + 2], r[h + 3]);
                q[h] = _mm512_shuffle_ps::<0x44>(a, c);
                q[h + 1] = _mm512_shuffle_ps::<0xee>(a, c);
                q[h + 2] = _mm512_shuffle_ps::<0x44>(b, d);
                q[h + 3] = _mm512_shuffle_ps::<0xee>(b, d);
            }
            // Lanes 0 and 2, then 1 and 3, of two quarters; then of two such halves.
            let mut columns = [_mm512_setzero_ps(); 16];
            for c in 0..4 {
                let a = _mm512_shuffle_f32x4::<0x88>(q[c], q[4 + c]);
                let b = _mm512_shuffle_f32x4::<0x88>(q[8 + c], q[12 + c]);
                columns[c] = _mm512_shuffle_f32x4::<0x88>(a, b);
                columns[8 + c] = _mm512_shuffle_f32x4::<0xdd>(a, b);
                let a = _mm512_shuffle_f32x4::<0xdd>(q[c], q[4 + c]);
                let b = _mm512_shuffle_f32x4::<0xdd>(q[8 + c], q[12 + c]);
                columns[4 + c] = _mm512_shuffle_f32x4::<0x88>(a, b);
                columns[12 + c] = _mm512_shuffle_f32x4::<0xdd>(a, b);
            }
            for (c, column) in columns.iter().enumerate() {
                _mm512_storeu_ps(out.add(c * stride), *column);
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
