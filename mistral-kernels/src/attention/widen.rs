//! From stored numbers to f32, with the scales of those that have them.

#![expect(unsafe_code, reason = "loads and stores through pointers")]

use half::bf16;

use super::block::TILE;
use super::q8;
use super::view::HeadRows;
use crate::simd::{Element, Simd};

/// Writes the scales of a tile as `[blocks, TILE]`.
#[inline(always)]
pub(super) fn list_scales<E>(
    rows: &HeadRows<'_, E>,
    n: usize,
    slot: impl Fn(usize) -> usize,
    out: &mut [f32],
) {
    // Without the branch for a NaN that `to_f32` has.
    let wide = |scale: bf16| f32::from_bits(u32::from(scale.to_bits()) << 16);
    let out = &mut out[..q8::blocks(rows.width) * TILE];
    if let ([first, second, third, fourth], 4) = (out.as_chunks_mut::<TILE>().0, rows.blocks) {
        // Heads of 128, the most common ones: a loop of known length.
        for i in 0..n.min(TILE) {
            let scales = rows.scales(slot(i));
            if let [a, b, c, d] = scales {
                first[i] = wide(*a);
                second[i] = wide(*b);
                third[i] = wide(*c);
                fourth[i] = wide(*d);
            }
        }
        return;
    }
    for i in 0..n {
        for (out, scale) in out.chunks_exact_mut(TILE).zip(rows.scales(slot(i))) {
            out[i] = wide(*scale);
        }
    }
}

/// Multiplies a panel `[d, used]` with the scales of its columns.
///
/// # Safety
/// `panel` is valid for reading and writing; `used` is whole vectors and at most a tile.
#[inline(always)]
pub(super) unsafe fn scale_panel<S: Simd>(
    s: S,
    (d, used): (usize, usize),
    scales: &[f32],
    panel: *mut f32,
) {
    assert!(scales.len() >= q8::blocks(d) * TILE && used <= TILE);
    for k in 0..d {
        for c in (0..used).step_by(S::LANES) {
            // SAFETY: inside the panel by this function's contract, and the scales by the
            // assertion.
            unsafe {
                let p = panel.add(k * used + c);
                let scale = s.load(scales.as_ptr().add(k / q8::BLOCK * TILE + c));
                s.store(p, s.mul(s.load(p), scale));
            }
        }
    }
}

/// Copies a row as f32, multiplied with its blocks' scales, which stand [`TILE`] apart.
///
/// # Safety
/// `row` is valid for reading, `out` for writing `n` elements.
#[inline(always)]
pub(super) unsafe fn widen_scaled<S: Simd, E: Element>(
    s: S,
    row: *const E,
    n: usize,
    scales: &[f32],
    out: *mut f32,
) {
    for first in (0..n).step_by(q8::BLOCK) {
        let (scale, end) = (scales[first / q8::BLOCK * TILE], n.min(first + q8::BLOCK));
        let whole = first + (end - first) / S::LANES * S::LANES;
        // SAFETY: offsets stay below `n`.
        unsafe {
            for c in (first..whole).step_by(S::LANES) {
                s.store(out.add(c), s.mul(E::load(s, row.add(c)), s.splat(scale)));
            }
            for c in whole..end {
                *out.add(c) = (*row.add(c)).widen() * scale;
            }
        }
    }
}

/// Copies a row as f32.
///
/// # Safety
/// `row` is valid for reading, `out` for writing `n` elements.
#[inline(always)]
pub(super) unsafe fn widen<S: Simd, E: Element>(s: S, row: *const E, n: usize, out: *mut f32) {
    let whole = n / S::LANES * S::LANES;
    // SAFETY: offsets stay below `n`.
    unsafe {
        for c in (0..whole).step_by(S::LANES) {
            s.store(out.add(c), E::load(s, row.add(c)));
        }
        for c in whole..n {
            *out.add(c) = (*row.add(c)).widen();
        }
    }
}
