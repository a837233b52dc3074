//! Functions of vectors.

use super::{Element, Simd};

/// `e^x`, within 2 units in the last place; gradual underflow, ∞ above 88.73, NaN for NaN.
///
/// `x = n·ln 2 + r` with `|r| ≤ ln 2 / 2`, and a polynomial for `e^r` (Taylor, degree 7: its rest
/// is below 1e-8 there).
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // A NaN is the second operand, so that it stays.
    let x = s.max(s.splat(-110.0), s.min(s.splat(89.0), x));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.neg_mul_add(n, s.splat(LN2_HIGH), x);
    let r = s.neg_mul_add(n, s.splat(LN2_LOW), r);
    let mut p = s.splat(1.0 / 5040.0);
    for c in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        p = s.mul_add(p, r, s.splat(c));
    }
    s.scale_pow2(p, n)
}

/// `x / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn silu<S: Simd>(s: S, x: S::F) -> S::F {
    let e = exp(s, s.sub(s.splat(0.0), x));
    s.div(x, s.add(s.splat(1.0), e))
}

/// `Σ a·b` of `n` elements.
///
/// # Safety
/// Both pointers are valid for reading `n` elements.
#[inline(always)]
#[expect(unsafe_code, reason = "loads through pointers")]
pub(crate) unsafe fn dot<S: Simd, E: Element>(s: S, a: *const E, b: *const f32, n: usize) -> f32 {
    let zero = s.splat(0.0);
    let (mut s0, mut s1) = (zero, zero);
    let mut i = 0;
    // SAFETY: offsets stay below `n`.
    unsafe {
        while i + 2 * S::LANES <= n {
            s0 = s.mul_add(E::load(s, a.add(i)), s.load(b.add(i)), s0);
            let j = i + S::LANES;
            s1 = s.mul_add(E::load(s, a.add(j)), s.load(b.add(j)), s1);
            i += 2 * S::LANES;
        }
        if i + S::LANES <= n {
            s0 = s.mul_add(E::load(s, a.add(i)), s.load(b.add(i)), s0);
            i += S::LANES;
        }
        let mut sum = s.reduce_add(s.add(s0, s1));
        while i < n {
            sum += (*a.add(i)).widen() * *b.add(i);
            i += 1;
        }
        sum
    }
}
