//! Q4_K and Q5_K: eight sub-blocks of 32, each with a scale and a minimum of six bits.

#![expect(unsafe_code, reason = "blocks are read through pointers")]

use std::arch::x86_64::*;

use super::{Fetch, Row, Sums, TOGETHER};
use crate::bytes::add_pairs;
use crate::quant::Group;

/// Q4_K.
pub(super) type Four = Blocks<144>;
/// Q5_K.
pub(super) type Five = Blocks<176>;

pub(super) struct Blocks<const BYTES: usize>;

/// Bytes of two f16 and the scales and minima.
const HEAD: usize = 16;

impl<const BYTES: usize> Row for Blocks<BYTES> {
    const BYTES: usize = BYTES;

    #[inline(always)]
    unsafe fn add<const T: usize>(
        p: *const u8,
        count: usize,
        x: [*const Group; T],
        fetch: Fetch,
        sums: &mut Sums<T>,
    ) {
        // SAFETY: by this function's contract; blocks that are missing are the last one once more,
        // and count nothing.
        unsafe {
            let at = |i: usize| i.min(count - 1);
            let heads = four(|i| _mm_loadu_si128(p.add(at(i) * BYTES).cast()));
            let (scales, minima) = scales_and_minima(heads);
            let (d, dmin) = factors(heads, count);
            let mut together = [[0.0; 16]; T];
            for ((sum, x), together) in sums.iter_mut().zip(x).zip(&mut together) {
                let wide = _mm512_load_si512((&raw const (*x).sums_together).cast());
                let scale = _mm512_load_ps((&raw const (*x).d_together).cast());
                let total = _mm512_cvtepi32_ps(_mm512_madd_epi16(minima, wide));
                *sum = _mm512_fnmadd_ps(_mm512_mul_ps(total, dmin), scale, *sum);
                _mm512_storeu_ps(together.as_mut_ptr(), _mm512_mul_ps(d, scale));
            }
            for i in 0..count {
                fetch.group::<Self>(p, i);
                let codes = codes::<BYTES>(p.add(i * BYTES));
                let mut picked = [_mm512_setzero_si512(); 2];
                for (picked, lanes) in picked.iter_mut().zip(&LANES[i]) {
                    let lanes = _mm512_loadu_si512(lanes.as_ptr().cast());
                    *picked = _mm512_maskz_permutexvar_epi16(LOWER, lanes, scales);
                }
                for ((sum, x), together) in sums.iter_mut().zip(x).zip(&together) {
                    let q = (&raw const (*x.add(i)).parted).cast::<u8>();
                    let mut total = _mm512_setzero_si512();
                    for (picked, j) in picked.iter().zip([0, 2]) {
                        let (low, high) = (q.add(64 * j), q.add(64 * j + 64));
                        // Of eight products with codes below 32: no more than a word holds.
                        let part = _mm512_setzero_si512();
                        let part =
                            _mm512_dpbusd_epi32(part, codes[j], _mm512_load_si512(low.cast()));
                        let next = _mm512_load_si512(high.cast());
                        let part = _mm512_dpbusd_epi32(part, codes[j + 1], next);
                        total = add_pairs(total, part, *picked);
                    }
                    let scale = _mm512_set1_ps(together[4 * i]);
                    *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total), scale, *sum);
                }
            }
        }
    }
}

/// The lower words of all doublewords.
const LOWER: __mmask32 = 0x5555_5555;

/// Where the scales of a block's even and of its odd sub-blocks, in the order of [`Group::parted`],
/// stand among those of four blocks.
static LANES: [[[u16; 32]; 2]; TOGETHER] = {
    let mut lanes = [[[0; 32]; 2]; TOGETHER];
    let mut at = 0;
    while at < 64 * TOGETHER {
        let (block, odd) = (at / 64, at / 32 % 2);
        lanes[block][odd][at % 32] = (8 * block + at % 32 / 8 * 2 + odd) as u16;
        at += 1;
    }
    lanes
};

/// # Safety
/// Runs with AVX-512 F enabled.
#[inline(always)]
unsafe fn four(lane: impl Fn(usize) -> __m128i) -> __m512i {
    // SAFETY: values in vectors.
    unsafe {
        let lanes = _mm512_castsi128_si512(lane(0));
        let lanes = _mm512_inserti32x4::<1>(lanes, lane(1));
        let lanes = _mm512_inserti32x4::<2>(lanes, lane(2));
        _mm512_inserti32x4::<3>(lanes, lane(3))
    }
}

/// The eight scales and minima of four blocks, whose first 16 bytes these are, as words.
///
/// # Safety
/// Runs with AVX-512 F and BW enabled.
#[inline(always)]
unsafe fn scales_and_minima(heads: __m512i) -> (__m512i, __m512i) {
    // SAFETY: values in vectors.
    unsafe {
        // Words of a head: both f16, then a, b and c of four bytes. The first four scales and minima
        // are the lower six bits of a and b; the others have their lower four in c, their upper two
        // in the upper bits of a and b.
        let low = _mm512_shuffle_epi32::<0b11_10_11_01>(heads);
        let low = _mm512_srlv_epi32(low, _mm512_set4_epi32(4, 0, 0, 0));
        let (six, four) = (0x3f3f_3f3f, 0x0f0f_0f0f);
        let low = _mm512_and_si512(low, _mm512_set4_epi32(four, six, four, six));
        let high = _mm512_shuffle_epi32::<0b10_10_01_01>(heads);
        let high = _mm512_srli_epi32::<2>(high);
        let high = _mm512_and_si512(high, _mm512_set4_epi32(0x3030_3030, 0, 0x3030_3030, 0));
        let both = _mm512_or_si512(low, high);
        let zero = _mm512_setzero_si512();
        (
            _mm512_unpacklo_epi8(both, zero),
            _mm512_unpackhi_epi8(both, zero),
        )
    }
}

/// The factors of scales and of minima of four blocks, each four times, without those of blocks that
/// don't count.
///
/// # Safety
/// Runs with AVX-512 F, VL and F16C enabled.
#[inline(always)]
unsafe fn factors(heads: __m512i, count: usize) -> (__m512, __m512) {
    // SAFETY: values in vectors.
    unsafe {
        let first = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
        let first = _mm512_castsi512_si128(_mm512_permutexvar_epi32(first, heads));
        let both = _mm512_castps256_ps512(_mm256_cvtph_ps(first));
        let lanes = _mm512_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6);
        let minima = _mm512_add_epi32(lanes, _mm512_set1_epi32(1));
        let mask = ((1u32 << (4 * count)) - 1) as __mmask16;
        (
            _mm512_maskz_permutexvar_ps(mask, lanes, both),
            _mm512_maskz_permutexvar_ps(mask, minima, both),
        )
    }
}

/// The codes of a block in the order of [`Group::parted`].
///
/// # Safety
/// Runs with AVX-512 F and BW enabled; `p` is valid for reading a block.
#[inline(always)]
unsafe fn codes<const BYTES: usize>(p: *const u8) -> [__m512i; 4] {
    // SAFETY: by this function's contract.
    unsafe {
        let q = p.add(BYTES - 128);
        let (a, b) = (
            _mm512_loadu_si512(q.cast()),
            _mm512_loadu_si512(q.add(64).cast()),
        );
        // Each 32 bytes hold an even part in their lower halves, the odd one after it in the upper.
        let first = _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b);
        let second = _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b);
        let low = _mm512_set1_epi8(15);
        let nibbles = [
            _mm512_and_si512(first, low),
            _mm512_and_si512(second, low),
            _mm512_and_si512(_mm512_srli_epi16::<4>(first), low),
            _mm512_and_si512(_mm512_srli_epi16::<4>(second), low),
        ];
        if BYTES == Four::BYTES {
            return nibbles;
        }
        // Bit j of these bytes is the fifth of sub-block j.
        let by = _mm512_setr_epi64(0, 0, TWO, TWO, 2 * TWO, 2 * TWO, 3 * TWO, 3 * TWO);
        let bits = |at: usize| {
            let bits = _mm_loadu_si128(p.add(HEAD + at).cast());
            _mm512_srlv_epi16(_mm512_broadcast_i32x4(bits), by)
        };
        let (first, second) = (bits(0), bits(16));
        let fifth = _mm512_set1_epi8(16);
        let with = |nibbles, bits| _mm512_or_si512(nibbles, _mm512_and_si512(bits, fifth));
        [
            with(nibbles[0], _mm512_slli_epi16::<4>(first)),
            with(nibbles[1], _mm512_slli_epi16::<4>(second)),
            with(nibbles[2], _mm512_slli_epi16::<3>(first)),
            with(nibbles[3], _mm512_slli_epi16::<3>(second)),
        ]
    }
}

/// Two in each word.
const TWO: i64 = 0x0002_0002_0002_0002;

#[cfg(test)]
mod tests {
    use mistral_core::precision::Format;

    use crate::quant::Blocks;
    use crate::{Cpu, Isa, LinearScratch, Matrix, WeightData, linear};

    /// Eight products of the largest codes and activations are the most that a word has to hold.
    #[test]
    fn the_largest_sums_fit() {
        // Every code 31 and every scale 63, with d = 1 and dmin = 0.
        let mut block = [0xff; 176];
        block[..4].copy_from_slice(&[0x00, 0x3c, 0, 0]);
        let data = WeightData::Blocks(Blocks::new(Format::Q5K, &block).expect("a block"));
        let w = Matrix::new(1, 256, data).expect("it fits");
        for isa in Isa::ALL {
            let Ok(cpu) = Cpu::with_isa(1, isa) else {
                continue;
            };
            for t in 1..=8 {
                for x in [1.0f32, -1.0] {
                    let mut y = vec![0.0f32; t];
                    let mut scratch = LinearScratch::new(1, t, 256);
                    linear(&cpu, &w, &vec![x; 256 * t], &mut y, &mut scratch).expect("it fits");
                    let expected = x * 256.0 * 31.0 * 63.0;
                    let near = |y: &f32| (y - expected).abs() <= 1e-5 * expected.abs();
                    assert!(y.iter().all(near), "{isa}, {t} tokens: {y:?}");
                }
            }
        }
    }
}
