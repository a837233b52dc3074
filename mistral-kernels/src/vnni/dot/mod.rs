//! Rows of weights times few tokens.

#![expect(unsafe_code, reason = "the innermost loops work on pointers")]

mod bytes;
mod nibbles;
mod super_blocks;

use std::arch::x86_64::*;
use std::ops::Range;

use mistral_core::precision::Format;

use crate::cpu::Live;
use crate::quant::{Ahead, DotGroups, Group, TOGETHER, groups, two_streams};

/// Sums of some tokens, each to be added up.
type Sums<const T: usize> = [__m512; T];

/// Formats that rows are made of.
trait Row {
    /// Bytes of 256 weights.
    const BYTES: usize;

    /// Adds the products of up to [`TOGETHER`] groups, the first of which stands at a multiple of that
    /// many in its row, and fetches what [`Fetch::all`] left.
    ///
    /// # Safety
    /// Runs with AVX-512 F, BW, DQ, VL and VNNI enabled. `p` is valid for reading as many groups of
    /// weights as the number says, and each of `x` for as many of activations.
    unsafe fn add<const T: usize>(
        p: *const u8,
        count: usize,
        x: [*const Group; T],
        fetch: Fetch,
        sums: &mut Sums<T>,
    );
}

/// Runs a product whose format is here, where the processor has VNNI. Returns whether it did.
///
/// # Panics
/// When a length doesn't fit.
pub(crate) fn dots(work: &DotGroups<'_>, live: Live) -> bool {
    if live.isa() < crate::Isa::Avx512Vnni || !work.cols.is_multiple_of(256) {
        return false;
    }
    work.check();
    // SAFETY: `Live` is only made after detection; lengths were checked above.
    unsafe { run(work) }
}

/// # Safety
/// The processor has the sets, and lengths fit.
#[target_feature(enable = "avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn run(work: &DotGroups<'_>) -> bool {
    // SAFETY: as this function's contract.
    unsafe {
        match work.w.format() {
            Format::Q4K => rows::<super_blocks::Four>(work),
            Format::Q5K => rows::<super_blocks::Five>(work),
            Format::Q4_0 => rows::<nibbles::Q4_0>(work),
            Format::Q4_1 => rows::<nibbles::Q4_1>(work),
            Format::Q5_0 => rows::<nibbles::Q5_0>(work),
            Format::Q5_1 => rows::<nibbles::Q5_1>(work),
            Format::Iq4Nl => rows::<nibbles::Iq4Nl>(work),
            Format::Mxfp4 => rows::<nibbles::Mxfp4>(work),
            Format::Q8_0 => rows::<bytes::Q8_0>(work),
            _ => return false,
        }
    }
    true
}

/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn rows<R: Row>(work: &DotGroups<'_>) {
    let mut t = 0;
    while t < work.tokens {
        // SAFETY: these tokens exist.
        unsafe {
            match work.tokens - t {
                1 => each_row::<R, 1>(work, t),
                2 => each_row::<R, 2>(work, t),
                3 | 4 => each_row::<R, 4>(work, t),
                5 | 6 => each_row::<R, 6>(work, t),
                _ => each_row::<R, 8>(work, t),
            }
        }
        t += 8;
    }
}

/// Where the groups of `T` tokens from `t` on begin; missing tokens are the last one once more.
///
/// # Safety
/// Token `t` exists.
#[inline(always)]
unsafe fn tokens<const T: usize>(work: &DotGroups<'_>, t: usize) -> [*const Group; T] {
    let count = groups(work.cols);
    let mut x = [work.x.as_ptr(); T];
    for (i, x) in x.iter_mut().enumerate() {
        *x = x.wrapping_add((t + i).min(work.tokens - 1) * count);
    }
    x
}

/// The groups that stand `g` further.
#[inline(always)]
fn further<const T: usize>(mut x: [*const Group; T], g: usize) -> [*const Group; T] {
    for x in &mut x {
        *x = x.wrapping_add(g);
    }
    x
}

/// All rows with up to `T` tokens.
///
/// # Safety
/// As [`run`]; the first of the tokens exists.
#[inline(always)]
unsafe fn each_row<R: Row, const T: usize>(work: &DotGroups<'_>, t: usize) {
    let count = groups(work.cols);
    // SAFETY: offsets stay inside the rows and the tokens.
    unsafe {
        let x = tokens::<T>(work, t);
        let fetch = Fetch(work.ahead);
        for r in two_streams(&work.rows) {
            let row = work.w.bytes().as_ptr().add(r * count * R::BYTES);
            let mut sums = [_mm512_setzero_ps(); T];
            for g in (0..count).step_by(TOGETHER) {
                let p = row.add(g * R::BYTES);
                fetch.all::<R>(p);
                R::add::<T>(p, TOGETHER.min(count - g), further(x, g), fetch, &mut sums);
            }
            write(work, (r, t), &sums);
        }
    }
}

/// Writes the sums of a row with the tokens from `t` on.
///
/// # Safety
/// As [`run`]; the row and the first of the tokens exist.
#[inline(always)]
unsafe fn write<const T: usize>(work: &DotGroups<'_>, (r, t): (usize, usize), sums: &Sums<T>) {
    for (i, sum) in sums.iter().enumerate().take(work.tokens - t) {
        // SAFETY: by this function's contract.
        unsafe { *work.y.at(t + i, r) = _mm512_reduce_add_ps(*sum) };
    }
}

/// Fetches ahead of reads.
#[derive(Clone, Copy)]
struct Fetch(Ahead);

impl Fetch {
    /// Bytes that are asked for at once: up to ten lines that is up to 6 % faster than a group at a
    /// time, with more of them 2 to 7 % slower.
    const AT_ONCE: usize = 10 * 64;

    /// Fetches for [`TOGETHER`] groups, which begin at `p`, if they aren't many lines.
    #[inline(always)]
    fn all<R: Row>(self, p: *const u8) {
        if TOGETHER * R::BYTES <= Self::AT_ONCE {
            self.lines(p, 0..TOGETHER * R::BYTES);
        }
    }

    /// Fetches for group `i` of those, if [`Fetch::all`] didn't.
    #[inline(always)]
    fn group<R: Row>(self, p: *const u8, i: usize) {
        if TOGETHER * R::BYTES > Self::AT_ONCE {
            self.lines(p, i * R::BYTES..(i + 1) * R::BYTES);
        }
    }

    #[inline(always)]
    fn lines(self, p: *const u8, bytes: Range<usize>) {
        for line in bytes.start.div_ceil(64)..bytes.end.div_ceil(64) {
            // SAFETY: every x86-64 processor has these, and they may name any address.
            unsafe {
                if self.0.far > 0 {
                    _mm_prefetch::<_MM_HINT_T1>(p.wrapping_add(self.0.far + line * 64).cast());
                }
                _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(self.0.near + line * 64).cast());
            }
        }
    }
}

/// Four f16 that lie `stride` bytes apart, in the lower half of eight.
///
/// # Safety
/// The places are valid for reading.
#[inline(always)]
unsafe fn four_halves(p: *const u8, stride: usize) -> u64 {
    // Put together outside of the vector units, which are busy.
    (0..4).fold(0, |all, i| {
        // SAFETY: by this function's contract.
        let half = unsafe { p.add(i * stride).cast::<u16>().read_unaligned() };
        all | u64::from(half) << (16 * i)
    })
}

/// Eight f16 that lie `stride` bytes apart, as f32.
///
/// # Safety
/// Runs with F16C enabled; the places are valid for reading.
#[inline(always)]
unsafe fn eight_halves(p: *const u8, stride: usize) -> __m256 {
    // SAFETY: by this function's contract.
    unsafe {
        let (low, high) = (
            four_halves(p, stride),
            four_halves(p.add(4 * stride), stride),
        );
        _mm256_cvtph_ps(_mm_set_epi64x(high as i64, low as i64))
    }
}

/// Takes what codes are above their weights' off the sums: `Σ c · Σ x` of eight blocks.
///
/// # Safety
/// Runs with AVX-512 F, DQ and VL enabled; `x` is a group.
#[inline(always)]
unsafe fn take_off(c: __m256, x: *const Group, sum: __m512) -> __m512 {
    // SAFETY: a whole array of the group.
    unsafe {
        let sums = _mm_load_si128((&raw const (*x).wide_sums).cast());
        let sums = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(sums));
        let all = _mm256_mul_ps(_mm256_mul_ps(c, sums), _mm256_set1_ps((*x).d));
        _mm512_sub_ps(sum, _mm512_zextps256_ps512(all))
    }
}
