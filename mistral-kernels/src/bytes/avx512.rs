//! One vector of 64 bytes: AVX-512 F, BW, DQ and VL, with VNNI or without.

use std::arch::x86_64::*;

use super::{ByteKernel, Bytes};
use crate::simd::Avx512;

/// The set, with `VNNI`'s dot products or without.
#[derive(Clone, Copy)]
pub(crate) struct Avx512Bytes<const VNNI: bool>(Avx512);

/// The set with VNNI.
pub(crate) type Avx512Vnni = Avx512Bytes<true>;

impl Avx512Vnni {
    /// For sets that contain this one.
    ///
    /// # Safety
    /// The caller runs with the set and VNNI enabled.
    #[inline(always)]
    pub(crate) unsafe fn enabled() -> Self {
        // SAFETY: by this function's contract.
        Self(unsafe { Avx512::enabled() })
    }
}

/// Runs a kernel with the set enabled.
///
/// # Safety
/// The processor has AVX-512 F, BW, DQ and VL, AVX2, FMA and F16C.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) unsafe fn run<K: ByteKernel>(kernel: K) -> K::Out {
    // SAFETY: enabled by this function's attribute.
    kernel.run(Avx512Bytes::<false>(unsafe { Avx512::enabled() }))
}

/// Runs a kernel with the set and VNNI enabled.
///
/// # Safety
/// As [`run`], and AVX-512 VNNI.
#[target_feature(enable = "avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) unsafe fn run_vnni<K: ByteKernel>(kernel: K) -> K::Out {
    // SAFETY: enabled by this function's attribute.
    kernel.run(Avx512Bytes::<true>(unsafe { Avx512::enabled() }))
}

/// `sums + Σ a · b` over pairs of 16 bits, in one instruction: the compiler takes the intrinsic for a
/// product and a sum, of which units have no more to spare.
///
/// # Safety
/// The processor has AVX-512 F and VNNI.
#[inline]
#[target_feature(enable = "avx512vnni,avx512f")]
pub(crate) unsafe fn add_pairs(mut sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
    // SAFETY: by this function's contract; it reads and writes registers only.
    unsafe {
        std::arch::asm!(
            "vpdpwssd {0}, {1}, {2}",
            inout(zmm_reg) sums,
            in(zmm_reg) a,
            in(zmm_reg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// 16-bit lanes that hold one number for each quarter.
const fn quarters(values: [i16; 4]) -> [i16; 32] {
    let mut lanes = [0; 32];
    let mut i = 0;
    while i < 32 {
        lanes[i] = values[i / 8];
        i += 1;
    }
    lanes
}

/// The factors that the quarters of vector `j` take, of sixteen.
pub(crate) const fn factors(j: i16) -> [i16; 32] {
    quarters([4 * j, 4 * j + 1, 4 * j + 2, 4 * j + 3])
}

/// Bits that halves are shifted by.
const fn halves(first: i32, second: i32) -> [i16; 32] {
    let (first, second) = (first.abs() as i16, second.abs() as i16);
    quarters([first, first, second, second])
}

impl<const VNNI: bool> Bytes for Avx512Bytes<VNNI> {
    type Floats = Avx512;
    type B = __m512i;
    type I = __m512i;
    type Scales = __m256i;

    #[inline(always)]
    fn floats(self) -> Avx512 {
        self.0
    }

    #[inline(always)]
    fn zero(self) -> __m512i {
        // SAFETY: `self` proves the set.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn load(self, p: *const u8) -> __m512i {
        // SAFETY: `self` proves the set; pointers are valid by the caller's promise.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }

    #[inline(always)]
    unsafe fn load_halves(self, p: *const u8, q: *const u8) -> __m512i {
        // SAFETY: `self` proves the set; pointers are valid by the caller's promise.
        unsafe {
            let low = _mm512_castsi256_si512(_mm256_loadu_si256(p.cast()));
            _mm512_inserti64x4(low, _mm256_loadu_si256(q.cast()), 1)
        }
    }

    #[inline(always)]
    unsafe fn load_quarters(self, p: *const u8, q: *const u8) -> __m512i {
        // SAFETY: `self` proves the set; pointers are valid by the caller's promise.
        unsafe {
            let p = _mm256_broadcastsi128_si256(_mm_loadu_si128(p.cast()));
            let q = _mm256_broadcastsi128_si256(_mm_loadu_si128(q.cast()));
            _mm512_inserti64x4(_mm512_castsi256_si512(p), q, 1)
        }
    }

    #[inline(always)]
    fn splat(self, v: u8) -> __m512i {
        // SAFETY: `self` proves the set.
        unsafe { _mm512_set1_epi8(v as i8) }
    }

    #[inline(always)]
    fn expand(self, bits: [u32; 2], v: u8) -> __m512i {
        let mask = u64::from(bits[1]) << 32 | u64::from(bits[0]);
        // SAFETY: `self` proves the set.
        unsafe { _mm512_maskz_set1_epi8(mask, v as i8) }
    }

    #[inline(always)]
    fn nibbles_of_halves(self, b: __m512i) -> __m512i {
        self.shifted::<0, -4>(b, 15)
    }

    #[inline(always)]
    fn nibbles_of_quarters(self, b: __m512i) -> __m512i {
        // SAFETY: `self` proves the set.
        unsafe {
            let by = std::mem::transmute::<[i16; 32], __m512i>(const { quarters([0, 4, 0, 4]) });
            self.low(_mm512_srlv_epi16(b, by))
        }
    }

    #[inline(always)]
    fn low(self, b: __m512i) -> __m512i {
        // SAFETY: `self` proves the set.
        unsafe { _mm512_and_si512(b, _mm512_set1_epi8(15)) }
    }

    #[inline(always)]
    fn high(self, b: __m512i) -> __m512i {
        // SAFETY: `self` proves the set.
        unsafe { self.low(_mm512_srli_epi16(b, 4)) }
    }

    #[inline(always)]
    fn shifted<const FIRST: i32, const SECOND: i32>(self, b: __m512i, mask: u8) -> __m512i {
        // SAFETY: `self` proves the set.
        unsafe {
            let by = std::mem::transmute::<[i16; 32], __m512i>(const { halves(FIRST, SECOND) });
            let b = if FIRST < 0 || SECOND < 0 {
                _mm512_srlv_epi16(b, by)
            } else {
                _mm512_sllv_epi16(b, by)
            };
            _mm512_and_si512(b, _mm512_set1_epi8(mask as i8))
        }
    }

    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves the set.
        unsafe { _mm512_or_si512(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512i, v: u8) -> __m512i {
        // SAFETY: `self` proves the set.
        unsafe { _mm512_sub_epi8(a, _mm512_set1_epi8(v as i8)) }
    }

    #[inline(always)]
    fn look_up(self, table: &[i8; 16], b: __m512i) -> __m512i {
        // SAFETY: `self` proves the set.
        unsafe {
            let table = _mm_loadu_si128(table.as_ptr().cast());
            _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), b)
        }
    }

    #[inline(always)]
    fn abs(self, b: __m512i) -> __m512i {
        // SAFETY: `self` proves the set.
        unsafe { _mm512_abs_epi8(b) }
    }

    #[inline(always)]
    fn with_sign_of(self, x: __m512i, w: __m512i) -> __m512i {
        // SAFETY: `self` proves the set.
        unsafe { _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x) }
    }

    #[inline(always)]
    fn dot(self, sums: __m512i, u: __m512i, x: __m512i) -> __m512i {
        // SAFETY: `self` proves the set.
        unsafe {
            if VNNI {
                _mm512_dpbusd_epi32(sums, u, x)
            } else {
                let pairs = _mm512_maddubs_epi16(u, x);
                _mm512_add_epi32(sums, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))
            }
        }
    }

    #[inline(always)]
    fn scales(self, bytes: [u8; 16]) -> __m256i {
        // SAFETY: `self` proves the set.
        unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(bytes.as_ptr().cast())) }
    }

    #[inline(always)]
    fn dot_scaled<const J: usize>(
        self,
        sums: __m512i,
        scales: __m256i,
        u: __m512i,
        x: __m512i,
    ) -> __m512i {
        // SAFETY: `self` proves the set.
        unsafe {
            let index = std::mem::transmute::<[i16; 32], __m512i>(const { factors(J as i16) });
            let scales = _mm512_permutexvar_epi16(index, _mm512_castsi256_si512(scales));
            let pairs = _mm512_maddubs_epi16(u, x);
            if VNNI {
                add_pairs(sums, pairs, scales)
            } else {
                _mm512_add_epi32(sums, _mm512_madd_epi16(pairs, scales))
            }
        }
    }

    #[inline(always)]
    unsafe fn dot_sums(self, scales: __m256i, sums: *const i16) -> __m512i {
        // SAFETY: `self` proves the set; pointers are valid by the caller's promise.
        unsafe {
            let sums = _mm256_loadu_si256(sums.cast());
            _mm512_zextsi256_si512(_mm256_madd_epi16(scales, sums))
        }
    }

    #[inline(always)]
    fn mul_add(self, total: __m512i, scale: f32, acc: __m512) -> __m512 {
        // SAFETY: `self` proves the set.
        unsafe { _mm512_fmadd_ps(_mm512_cvtepi32_ps(total), _mm512_set1_ps(scale), acc) }
    }

    #[inline(always)]
    fn mul_add_halves(self, total: __m512i, scales: [f32; 2], acc: __m512) -> __m512 {
        // SAFETY: `self` proves the set.
        unsafe {
            let second = _mm512_set1_ps(scales[1]);
            let scales = _mm512_mask_mov_ps(_mm512_set1_ps(scales[0]), 0xff00, second);
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(total), scales, acc)
        }
    }

    #[inline(always)]
    fn f16(self, bits: u16) -> f32 {
        // SAFETY: `self` proves the set.
        unsafe { _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits)))) }
    }
}
