//! Products of quantised weights with few rows of quantised activations: weights are read once,
//! as they lie in the file.

#![expect(unsafe_code, reason = "the innermost loop works on pointers")]

use std::marker::PhantomData;
use std::ops::Range;

use mistral_core::precision::Format;

use super::codes::{self, Block, SuperBlock};
use super::rows::{GROUP, Group};
use super::{Blocks, groups};
use crate::Cpu;
use crate::bytes::{self, ByteKernel, Bytes};
use crate::cpu::Live;
use crate::linear::OutRows;
use crate::simd::Simd;

/// How far ahead of its reads a row is fetched, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    /// Into the first cache.
    pub(crate) near: usize,
    /// Into the second one, which keeps more requests to memory in flight; 0 leaves it out.
    pub(crate) far: usize,
}

impl Ahead {
    pub(crate) fn of(cpu: &Cpu) -> Self {
        let schedule = cpu.schedule();
        Self {
            near: schedule.fetch_near as usize,
            far: schedule.fetch_far as usize,
        }
    }
}

type F<S> = <<S as Bytes>::Floats as Simd>::F;

/// Some rows of a product, for all of its tokens.
pub(crate) struct DotGroups<'a> {
    pub(crate) w: Blocks<'a>,
    pub(crate) cols: usize,
    pub(crate) rows: Range<usize>,
    /// Rows of [`groups`]`(cols)`.
    pub(crate) x: &'a [Group],
    pub(crate) tokens: usize,
    pub(crate) y: OutRows<'a>,
    pub(crate) ahead: Ahead,
}

impl DotGroups<'_> {
    /// Runs on the set in use.
    pub(crate) fn run_on(self, live: Live) {
        #[cfg(target_arch = "x86_64")]
        if crate::vnni::dots(&self, live) {
            return;
        }
        bytes::dispatch(live, self);
    }

    /// # Panics
    /// When a length doesn't fit.
    pub(crate) fn check(&self) {
        let block = self.w.format().block();
        assert!(self.rows.end * self.cols / block.items * block.bytes <= self.w.bytes().len());
        assert!(self.x.len() == self.tokens * groups(self.cols));
    }
}

impl ByteKernel for DotGroups<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Bytes>(self, s: S) {
        self.check();
        // SAFETY: the rows are inside the weights and the tokens inside `x` by the assertions.
        unsafe {
            match self.w.format() {
                Format::Q2K => rows::<S, Super<codes::Q2K>>(s, &self),
                Format::Q3K => rows::<S, Super<codes::Q3K>>(s, &self),
                Format::Q4K => rows::<S, Super<codes::Q4K>>(s, &self),
                Format::Q5K => rows::<S, Super<codes::Q5K>>(s, &self),
                Format::Q6K => rows::<S, Super<codes::Q6K>>(s, &self),
                Format::Iq4Xs => rows::<S, Super<codes::Iq4Xs>>(s, &self),
                Format::Q4_0 => rows::<S, Eight<codes::Q4_0>>(s, &self),
                Format::Q4_1 => rows::<S, Eight<codes::Q4_1>>(s, &self),
                Format::Q5_0 => rows::<S, Eight<codes::Q5_0>>(s, &self),
                Format::Q5_1 => rows::<S, Eight<codes::Q5_1>>(s, &self),
                Format::Q8_0 => rows::<S, Eight<codes::Q8_0>>(s, &self),
                Format::Iq4Nl => rows::<S, Eight<codes::Iq4Nl>>(s, &self),
                Format::Mxfp4 => rows::<S, Eight<codes::Mxfp4>>(s, &self),
                other => unreachable!("`Blocks` holds no {}", other.name()),
            }
        }
    }
}

/// Rows of both halves in turn: on an Intel Xeon two streams were read 1.04 to 1.1 times as fast as one
/// in some runs, as fast in others.
#[inline(always)]
pub(crate) fn two_streams(rows: &Range<usize>) -> impl Iterator<Item = usize> {
    let (start, end) = (rows.start, rows.end);
    let half = rows.len().div_ceil(2);
    (0..2 * half)
        .map(move |i| start + i / 2 + i % 2 * half)
        .filter(move |&r| r < end)
}

/// # Safety
/// The weights have the rows, `x` the tokens, and this task alone writes these columns of `y`.
#[inline(always)]
unsafe fn rows<S: Bytes, P: Products>(s: S, work: &DotGroups<'_>) {
    for r in two_streams(&work.rows) {
        let mut t = 0;
        while t < work.tokens {
            // SAFETY: these tokens exist.
            unsafe {
                t += match work.tokens - t {
                    1 => row::<S, P, 1>(s, work, r, t),
                    2 | 3 => row::<S, P, 2>(s, work, r, t),
                    4..8 => row::<S, P, 4>(s, work, r, t),
                    _ => row::<S, P, 8>(s, work, r, t),
                };
            }
        }
    }
}

/// One row times `T` tokens from `t` on. Returns `T`.
///
/// # Safety
/// As [`rows`].
#[inline(always)]
unsafe fn row<S: Bytes, P: Products, const T: usize>(
    s: S,
    work: &DotGroups<'_>,
    r: usize,
    t: usize,
) -> usize {
    let floats = s.floats();
    let blocks = work.cols / P::ITEMS;
    let per_group = GROUP / P::ITEMS;
    let count = groups(work.cols);
    let mut sums = [floats.splat(0.0); T];
    // SAFETY: offsets stay inside the row and the tokens.
    unsafe {
        let row = work.w.bytes().as_ptr().add(r * blocks * P::BYTES);
        let x = work.x.as_ptr().add(t * count);
        for g in 0..count {
            let p = row.add(g * per_group * P::BYTES);
            for line in 0..(per_group * P::BYTES).div_ceil(64) {
                if work.ahead.far > 0 {
                    floats.prefetch_second(p.wrapping_add(work.ahead.far + line * 64));
                }
                floats.prefetch(p.wrapping_add(work.ahead.near + line * 64));
            }
            let here = per_group.min(blocks - g * per_group);
            P::add::<S, T>(s, (p, here), (x.add(g), count), &mut sums);
        }
        let (mut vectors, mut found) = ([floats.splat(0.0); 16], [0.0f32; 16]);
        vectors[..T].copy_from_slice(&sums);
        floats.reduce_each(&vectors, T, &mut found);
        for (i, found) in found.iter().enumerate().take(T) {
            *work.y.at(t + i, r) = *found;
        }
    }
    T
}

/// Adds up the products of one group of weights.
trait Products {
    const BYTES: usize;
    const ITEMS: usize;

    /// # Safety
    /// There are as many blocks at the pointer as the number beside it says, and a group of
    /// activations at each of `T` multiples of the second number.
    unsafe fn add<S: Bytes, const T: usize>(
        s: S,
        blocks: (*const u8, usize),
        x: (*const Group, usize),
        sums: &mut [F<S>; T],
    );
}

struct Super<C>(PhantomData<C>);

impl<C: SuperBlock> Products for Super<C> {
    const BYTES: usize = C::BYTES;
    const ITEMS: usize = GROUP;

    #[inline(always)]
    unsafe fn add<S: Bytes, const T: usize>(
        s: S,
        (p, _): (*const u8, usize),
        (x, stride): (*const Group, usize),
        sums: &mut [F<S>; T],
    ) {
        // SAFETY: by this function's contract.
        unsafe {
            let head = C::head(s, p);
            let codes = C::codes(s, p);
            let scales = s.scales(head.scales);
            let minima = s.scales(head.minima);
            for (t, sums) in sums.iter_mut().enumerate() {
                let x = x.add(t * stride);
                let q = (&raw const (*x).q).cast::<u8>();
                let d = (*x).d;
                let mut total = s.zero();
                total = products::<S, C, 0>(s, total, scales, codes[0], s.load(q));
                total = products::<S, C, 1>(s, total, scales, codes[1], s.load(q.add(64)));
                total = products::<S, C, 2>(s, total, scales, codes[2], s.load(q.add(128)));
                total = products::<S, C, 3>(s, total, scales, codes[3], s.load(q.add(192)));
                *sums = s.mul_add(total, head.d * d, *sums);
                if !C::SIGNED {
                    let total = s.dot_sums(minima, (&raw const (*x).sums).cast());
                    *sums = s.mul_add(total, -head.dmin * d, *sums);
                }
            }
        }
    }
}

#[inline(always)]
fn products<S: Bytes, C: SuperBlock, const J: usize>(
    s: S,
    sums: S::I,
    scales: S::Scales,
    codes: S::B,
    x: S::B,
) -> S::I {
    if C::SIGNED {
        s.dot_scaled::<J>(sums, scales, s.abs(codes), s.with_sign_of(x, codes))
    } else {
        s.dot_scaled::<J>(sums, scales, codes, x)
    }
}

struct Eight<C>(PhantomData<C>);

impl<C: Block> Products for Eight<C> {
    const BYTES: usize = C::BYTES;
    const ITEMS: usize = 32;

    #[inline(always)]
    unsafe fn add<S: Bytes, const T: usize>(
        s: S,
        (p, blocks): (*const u8, usize),
        (x, stride): (*const Group, usize),
        sums: &mut [F<S>; T],
    ) {
        for pair in 0..blocks.div_ceil(2) {
            // SAFETY: by this function's contract; a missing second block is the first once more,
            // with a scale of zero.
            unsafe {
                let p = p.add(2 * pair * C::BYTES);
                let whole = 2 * pair + 1 < blocks;
                let q = if whole { p.add(C::BYTES) } else { p };
                let second = if whole { C::scale(s, q) } else { 0.0 };
                let scales = [C::scale(s, p), second];
                let codes = C::codes(s, p, q);
                let size = s.abs(codes);
                for (t, sums) in sums.iter_mut().enumerate() {
                    let x = x.add(t * stride);
                    let d = (*x).d;
                    let q_x = s.load((&raw const (*x).q).cast::<u8>().add(64 * pair));
                    let total = s.dot(s.zero(), size, s.with_sign_of(q_x, codes));
                    *sums = s.mul_add_halves(total, scales.map(|v| v * d), *sums);
                    if C::MINIMUM {
                        let second = if whole { C::minimum(s, q) } else { 0.0 };
                        let minima = [C::minimum(s, p) * d, second * d];
                        let total = s.dot(s.zero(), s.splat(1), q_x);
                        *sums = s.mul_add_halves(total, minima, *sums);
                    }
                }
            }
        }
    }
}
