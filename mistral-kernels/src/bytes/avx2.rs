//! Two vectors of 32 bytes: AVX2, FMA and F16C.

use std::arch::x86_64::*;

use super::{ByteKernel, Bytes};
use crate::simd::Avx2;

/// The set.
#[derive(Clone, Copy)]
pub(super) struct Avx2Bytes(Avx2);

/// Runs a kernel with the set enabled.
///
/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn run<K: ByteKernel>(kernel: K) -> K::Out {
    // SAFETY: enabled by this function's attribute.
    kernel.run(Avx2Bytes(unsafe { Avx2::enabled() }))
}

/// One vector for each half.
type B = [__m256i; 2];

/// 16 factors: all of them, then the lower and the upper eight in both lanes of a vector.
#[derive(Clone, Copy)]
pub(super) struct Scales {
    all: __m256i,
    lanes: [__m256i; 2],
}

/// An expression for each half. Not a function of a closure: a closure that the compiler chooses
/// not to inline would be compiled without the instruction set.
macro_rules! both {
    ($i:ident => $value:expr) => {
        // SAFETY: `self` of the calling method proves the set.
        unsafe {
            [
                {
                    let $i = 0;
                    $value
                },
                {
                    let $i = 1;
                    $value
                },
            ]
        }
    };
}

/// Where the bytes of factors `first` and `first + 1` lie in a lane, each eight times.
const fn spread(first: usize) -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut b = 0;
    while b < 32 {
        bytes[b] = (2 * (first + b / 16) + b % 2) as u8;
        b += 1;
    }
    bytes
}

impl Bytes for Avx2Bytes {
    type Floats = Avx2;
    type B = B;
    type I = B;
    type Scales = Scales;

    #[inline(always)]
    fn floats(self) -> Avx2 {
        self.0
    }

    #[inline(always)]
    fn zero(self) -> B {
        // SAFETY: `self` proves the set.
        unsafe { [_mm256_setzero_si256(); 2] }
    }

    #[inline(always)]
    unsafe fn load(self, p: *const u8) -> B {
        // SAFETY: `self` proves the set; pointers are valid by the caller's promise.
        unsafe { self.load_halves(p, p.add(32)) }
    }

    #[inline(always)]
    unsafe fn load_halves(self, p: *const u8, q: *const u8) -> B {
        // SAFETY: `self` proves the set; pointers are valid by the caller's promise.
        unsafe { [_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(q.cast())] }
    }

    #[inline(always)]
    unsafe fn load_quarters(self, p: *const u8, q: *const u8) -> B {
        // SAFETY: `self` proves the set; pointers are valid by the caller's promise.
        unsafe {
            [
                _mm256_broadcastsi128_si256(_mm_loadu_si128(p.cast())),
                _mm256_broadcastsi128_si256(_mm_loadu_si128(q.cast())),
            ]
        }
    }

    #[inline(always)]
    fn splat(self, v: u8) -> B {
        // SAFETY: `self` proves the set.
        unsafe { [_mm256_set1_epi8(v as i8); 2] }
    }

    #[inline(always)]
    fn expand(self, bits: [u32; 2], v: u8) -> B {
        both!(i => {
            // Byte `b` gets the byte that holds bit `b`, of which one bit is left.
            let bytes = _mm256_shuffle_epi8(
                _mm256_set1_epi32(bits[i] as i32),
                _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303),
            );
            let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
            let set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
            _mm256_and_si256(set, _mm256_set1_epi8(v as i8))
        })
    }

    #[inline(always)]
    fn nibbles_of_halves(self, b: B) -> B {
        [self.low(b)[0], self.high(b)[1]]
    }

    #[inline(always)]
    fn nibbles_of_quarters(self, b: B) -> B {
        let (low, high) = (self.low(b), self.high(b));
        both!(i => _mm256_blend_epi32(low[i], high[i], 0xf0))
    }

    #[inline(always)]
    fn low(self, b: B) -> B {
        both!(i => _mm256_and_si256(b[i], _mm256_set1_epi8(15)))
    }

    #[inline(always)]
    fn high(self, b: B) -> B {
        self.low(both!(i => _mm256_srli_epi16(b[i], 4)))
    }

    #[inline(always)]
    fn shifted<const FIRST: i32, const SECOND: i32>(self, b: B, mask: u8) -> B {
        let by = [FIRST, SECOND];
        both!(i => {
            let count = _mm_cvtsi32_si128(by[i].abs());
            let b = if by[i] < 0 {
                _mm256_srl_epi16(b[i], count)
            } else {
                _mm256_sll_epi16(b[i], count)
            };
            _mm256_and_si256(b, _mm256_set1_epi8(mask as i8))
        })
    }

    #[inline(always)]
    fn or(self, a: B, b: B) -> B {
        both!(i => _mm256_or_si256(a[i], b[i]))
    }

    #[inline(always)]
    fn sub(self, a: B, v: u8) -> B {
        both!(i => _mm256_sub_epi8(a[i], _mm256_set1_epi8(v as i8)))
    }

    #[inline(always)]
    fn look_up(self, table: &[i8; 16], b: B) -> B {
        both!(i => {
            let table = _mm_loadu_si128(table.as_ptr().cast());
            _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), b[i])
        })
    }

    #[inline(always)]
    fn abs(self, b: B) -> B {
        both!(i => _mm256_abs_epi8(b[i]))
    }

    #[inline(always)]
    fn with_sign_of(self, x: B, w: B) -> B {
        // A factor of zero stays without effect: its magnitude is zero too.
        both!(i => _mm256_sign_epi8(x[i], w[i]))
    }

    #[inline(always)]
    fn dot(self, sums: B, u: B, x: B) -> B {
        both!(i => {
            let pairs = _mm256_maddubs_epi16(u[i], x[i]);
            _mm256_add_epi32(sums[i], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        })
    }

    #[inline(always)]
    fn scales(self, bytes: [u8; 16]) -> Scales {
        // SAFETY: `self` proves the set.
        unsafe {
            let all = _mm256_cvtepi8_epi16(_mm_loadu_si128(bytes.as_ptr().cast()));
            let lanes = [
                _mm256_permute2x128_si256(all, all, 0x00),
                _mm256_permute2x128_si256(all, all, 0x11),
            ];
            Scales { all, lanes }
        }
    }

    #[inline(always)]
    fn dot_scaled<const J: usize>(self, sums: B, scales: Scales, u: B, x: B) -> B {
        both!(i => {
            // Factors 4 J + 2 i and the next, one for each lane.
            let bytes = if i == 0 {
                const { spread(4 * J % 8) }
            } else {
                const { spread(4 * J % 8 + 2) }
            };
            let spread = std::mem::transmute::<[u8; 32], __m256i>(bytes);
            let scales = _mm256_shuffle_epi8(scales.lanes[J / 2], spread);
            let pairs = _mm256_maddubs_epi16(u[i], x[i]);
            _mm256_add_epi32(sums[i], _mm256_madd_epi16(pairs, scales))
        })
    }

    #[inline(always)]
    unsafe fn dot_sums(self, scales: Scales, sums: *const i16) -> B {
        // SAFETY: `self` proves the set; pointers are valid by the caller's promise.
        unsafe {
            let sums = _mm256_loadu_si256(sums.cast());
            [_mm256_madd_epi16(scales.all, sums), _mm256_setzero_si256()]
        }
    }

    #[inline(always)]
    fn mul_add(self, total: B, scale: f32, acc: __m256) -> __m256 {
        // SAFETY: `self` proves the set.
        unsafe {
            let total = _mm256_cvtepi32_ps(_mm256_add_epi32(total[0], total[1]));
            _mm256_fmadd_ps(total, _mm256_set1_ps(scale), acc)
        }
    }

    #[inline(always)]
    fn mul_add_halves(self, total: B, scales: [f32; 2], acc: __m256) -> __m256 {
        // SAFETY: `self` proves the set.
        unsafe {
            let (first, second) = (_mm256_cvtepi32_ps(total[0]), _mm256_cvtepi32_ps(total[1]));
            let acc = _mm256_fmadd_ps(first, _mm256_set1_ps(scales[0]), acc);
            _mm256_fmadd_ps(second, _mm256_set1_ps(scales[1]), acc)
        }
    }

    #[inline(always)]
    fn f16(self, bits: u16) -> f32 {
        // SAFETY: `self` proves the set.
        unsafe { _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits)))) }
    }
}
