//! Functions of vectors.

use super::Simd;

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

/// `e^x` for `x ≤ 0` as a weight beside one of 1, within 2e-30: nothing where it is smaller. A
/// number that underflows gradually takes some processors many times as long to make. NaN for NaN.
#[inline(always)]
pub(crate) fn weight<S: Simd>(s: S, x: S::F) -> S::F {
    const NOTHING: f32 = 1e-30;
    // The smallest normal number is above e^-87.4.
    let e = exp(s, s.max(s.splat(-87.0), x));
    s.max(s.splat(0.0), s.sub(e, s.splat(NOTHING)))
}

/// `x / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn silu<S: Simd>(s: S, x: S::F) -> S::F {
    let e = exp(s, s.sub(s.splat(0.0), x));
    s.div(x, s.add(s.splat(1.0), e))
}
