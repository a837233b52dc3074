//! Weights as tiles.

#![expect(
    unsafe_code,
    reason = "blocks are read and tiles written through pointers"
)]

use std::arch::x86_64::*;

use half::bf16;

use super::STEPS;
use crate::bytes::Avx512Vnni;
use crate::quant::codes::{self, Block, SuperBlock};

/// Bytes that prefetching runs ahead of the reads of whole rows.
const AHEAD: usize = 4096;

/// Words from one row of a panel of `steps` weights to the next: a line more than they take, so
/// that rows don't share sets of the caches.
pub(super) const fn row_words(steps: usize) -> usize {
    steps / 2 + 16
}

/// Weights that tiles are made of.
pub(super) trait Source {
    /// Weights that are read at once.
    const ITEMS: usize;
    /// Their bytes.
    const BYTES: usize;

    /// Writes `ITEMS` weights as bf16, two to a word of `out`.
    ///
    /// # Safety
    /// Runs with AVX-512 F, BW, DQ, VL, VNNI and BF16 enabled; `p` is valid for reading `BYTES`,
    /// `out` for writing what this names.
    unsafe fn unpack(s: Avx512Vnni, p: *const u8, out: *mut f32);
}

/// Writes `rows` rows (at most 32) of `steps` weights as bf16, [`row_words`] apart. Rows that are
/// missing are left as they are.
///
/// # Safety
/// Runs with AVX-512 F, BW, DQ, VL, VNNI and BF16 enabled; `w` is valid for reading rows that lie
/// `stride` bytes apart, `out` for writing 32 rows.
#[inline(always)]
pub(super) unsafe fn fill<W: Source>(
    s: Avx512Vnni,
    (w, stride): (*const u8, usize),
    rows: usize,
    steps: usize,
    out: *mut f32,
) {
    let part = steps / W::ITEMS * W::BYTES;
    // Whole rows follow each other; parts of them are continued by the next panel.
    let ahead = if part == stride { AHEAD } else { part };
    for r in 0..rows {
        // SAFETY: by this function's contract.
        unsafe {
            let row = w.add(r * stride);
            let out = out.add(r * row_words(steps));
            for i in 0..steps / W::ITEMS {
                let p = row.add(i * W::BYTES);
                for line in (0..W::BYTES).step_by(64) {
                    _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(ahead + line).cast());
                }
                W::unpack(s, p, out.add(i * W::ITEMS / 2));
            }
        }
    }
}

impl Source for bf16 {
    const ITEMS: usize = STEPS;
    const BYTES: usize = 2 * STEPS;

    #[inline(always)]
    unsafe fn unpack(_: Avx512Vnni, p: *const u8, out: *mut f32) {
        // SAFETY: by this function's contract.
        unsafe { _mm512_storeu_ps(out, _mm512_loadu_ps(p.cast())) }
    }
}

/// Q4_K: its sub-blocks have no more than 16 values, which are computed once and looked up.
pub(super) struct Q4K;

impl Source for Q4K {
    const ITEMS: usize = 256;
    const BYTES: usize = 144;

    #[inline(always)]
    unsafe fn unpack(s: Avx512Vnni, p: *const u8, out: *mut f32) {
        // SAFETY: by this function's contract.
        unsafe {
            let head = codes::Q4K::head(s, p);
            // Each sub-block's scale and minimum stand twice.
            let (scales, minima) = (
                scaled(head.d, &head.scales),
                scaled(-head.dmin, &head.minima),
            );
            for i in 0..4 {
                let q = _mm256_loadu_si256(p.add(16 + 32 * i).cast());
                let q = _mm512_cvtepu8_epi16(q);
                let low = table(scales[4 * i], minima[4 * i]);
                let high = table(scales[4 * i + 2], minima[4 * i + 2]);
                let low = _mm512_permutexvar_epi16(_mm512_and_si512(q, _mm512_set1_epi16(15)), low);
                let high = _mm512_permutexvar_epi16(_mm512_srli_epi16(q, 4), high);
                let out = out.add(32 * i);
                _mm512_storeu_si512(out.cast(), low);
                _mm512_storeu_si512(out.add(16).cast(), high);
            }
        }
    }
}

/// `scale · i + minimum` for `i` below 16, as bf16.
///
/// # Safety
/// Runs with AVX-512 F and BF16 enabled.
#[inline(always)]
unsafe fn table(scale: f32, minimum: f32) -> __m512i {
    // SAFETY: vectors of equal size.
    unsafe {
        let counts = _mm512_setr_ps(
            0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0,
        );
        let values = _mm512_fmadd_ps(counts, _mm512_set1_ps(scale), _mm512_set1_ps(minimum));
        let values = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(values));
        _mm512_castsi256_si512(values)
    }
}

/// Super-blocks.
pub(super) struct Super<C>(std::marker::PhantomData<C>);

/// Blocks of 32.
pub(super) struct Single<C>(std::marker::PhantomData<C>);

/// Codes of two vectors, each of which has its scale and minimum, as 32 bf16.
///
/// # Safety
/// Runs with AVX-512 F and BF16 enabled; `codes` is valid for reading 32 bytes, `out` for writing
/// 64.
#[inline(always)]
unsafe fn write<const SIGNED: bool>(
    codes: *const u8,
    scales: [f32; 2],
    minima: [f32; 2],
    out: *mut f32,
) {
    // SAFETY: by this function's contract.
    unsafe {
        let (a, b) = (
            _mm_loadu_si128(codes.cast()),
            _mm_loadu_si128(codes.add(16).cast()),
        );
        let (a, b) = if SIGNED {
            (_mm512_cvtepi8_epi32(a), _mm512_cvtepi8_epi32(b))
        } else {
            (_mm512_cvtepu8_epi32(a), _mm512_cvtepu8_epi32(b))
        };
        let a = _mm512_fmadd_ps(
            _mm512_cvtepi32_ps(a),
            _mm512_set1_ps(scales[0]),
            _mm512_set1_ps(minima[0]),
        );
        let b = _mm512_fmadd_ps(
            _mm512_cvtepi32_ps(b),
            _mm512_set1_ps(scales[1]),
            _mm512_set1_ps(minima[1]),
        );
        let pairs = std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(b, a));
        _mm512_storeu_ps(out, pairs);
    }
}

/// `d` times 16 signed bytes.
///
/// # Safety
/// Runs with AVX-512 F enabled.
#[inline(always)]
unsafe fn scaled(d: f32, bytes: &[u8; 16]) -> [f32; 16] {
    let mut out = [0.0; 16];
    // SAFETY: an array of 16 bytes, and one of 16 floats.
    unsafe {
        let bytes = _mm512_cvtepi8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()));
        let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(bytes), _mm512_set1_ps(d));
        _mm512_storeu_ps(out.as_mut_ptr(), scaled);
    }
    out
}

/// A vector of codes, where they can be read in parts.
#[repr(align(64))]
struct Codes(#[expect(dead_code, reason = "read through a pointer")] [u8; 256]);

impl<C: SuperBlock> Source for Super<C> {
    const ITEMS: usize = 256;
    const BYTES: usize = C::BYTES;

    #[inline(always)]
    unsafe fn unpack(s: Avx512Vnni, p: *const u8, out: *mut f32) {
        let mut codes = std::mem::MaybeUninit::<Codes>::uninit();
        let codes = codes.as_mut_ptr().cast::<u8>();
        // SAFETY: by this function's contract.
        unsafe {
            let head = C::head(s, p);
            let (scales, minima) = (
                scaled(head.d, &head.scales),
                scaled(-head.dmin, &head.minima),
            );
            for (i, part) in C::codes(s, p).into_iter().enumerate() {
                _mm512_store_si512(codes.add(64 * i).cast(), part);
            }
            for i in 0..8 {
                let (codes, out) = (codes.add(32 * i), out.add(16 * i));
                let scales = [scales[2 * i], scales[2 * i + 1]];
                if C::SIGNED {
                    write::<true>(codes, scales, [0.0; 2], out);
                } else {
                    write::<false>(codes, scales, [minima[2 * i], minima[2 * i + 1]], out);
                }
            }
        }
    }
}

impl<C: Block> Source for Single<C> {
    const ITEMS: usize = 32;
    const BYTES: usize = C::BYTES;

    #[inline(always)]
    unsafe fn unpack(s: Avx512Vnni, p: *const u8, out: *mut f32) {
        let mut codes = std::mem::MaybeUninit::<Codes>::uninit();
        let codes = codes.as_mut_ptr().cast::<u8>();
        // SAFETY: by this function's contract.
        unsafe {
            _mm512_store_si512(codes.cast(), C::codes(s, p, p));
            let d = C::scale(s, p);
            let m = if C::MINIMUM { C::minimum(s, p) } else { 0.0 };
            write::<true>(codes, [d, d], [m, m], out);
        }
    }
}
