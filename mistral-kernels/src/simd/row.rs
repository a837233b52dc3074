//! Loops over rows of f32 in whole vectors.
//!
//! What a loop does with a vector is a type, not a closure: a closure that the compiler chooses
//! not to inline would be compiled without the instruction set.

#![expect(unsafe_code, reason = "loads and stores through pointers")]

use super::Simd;

/// A function of two vectors. Implementations are `#[inline(always)]`.
pub(crate) trait Binary<S: Simd> {
    fn apply(&self, s: S, a: S::F, b: S::F) -> S::F;
}

/// `Σ f(x)`, where `add(sum, x)` is `sum + f(x)`.
#[inline(always)]
pub(crate) fn sum<S: Simd>(s: S, x: &[f32], add: &impl Binary<S>) -> f32 {
    let (mut s0, mut s1) = (s.splat(0.0), s.splat(0.0));
    let pairs = x.chunks_exact(2 * S::LANES);
    let mut rest = pairs.remainder();
    for pair in pairs {
        // SAFETY: a pair holds two vectors.
        unsafe {
            s0 = add.apply(s, s0, s.load(pair.as_ptr()));
            s1 = add.apply(s, s1, s.load(pair.as_ptr().add(S::LANES)));
        }
    }
    if rest.len() >= S::LANES {
        // SAFETY: as many elements are left.
        s0 = add.apply(s, s0, unsafe { s.load(rest.as_ptr()) });
        rest = &rest[S::LANES..];
    }
    let mut total = s.reduce_add(s.add(s0, s1));
    for &x in rest {
        let mut lanes = [0.0; 16];
        // SAFETY: `lanes` holds a vector of every set.
        unsafe {
            let sum = add.apply(s, s.splat(total), s.splat(x));
            s.store(lanes.as_mut_ptr(), sum);
        }
        total = lanes[0];
    }
    total
}

/// `out[i] = f(a[i], b[i])` for slices of one length; the last elements go through a padded
/// vector, so that they are rounded like all others.
#[inline(always)]
pub(crate) fn map2<S: Simd>(s: S, out: &mut [f32], a: &[f32], b: &[f32], f: &impl Binary<S>) {
    assert!(a.len() == out.len() && b.len() == out.len());
    // SAFETY: all three have as many elements.
    unsafe { apply(s, out.len(), out.as_mut_ptr(), a.as_ptr(), b.as_ptr(), f) }
}

/// [`map2`] whose first operand is the output itself.
#[inline(always)]
pub(crate) fn update<S: Simd>(s: S, out: &mut [f32], b: &[f32], f: &impl Binary<S>) {
    assert!(b.len() == out.len());
    let p = out.as_mut_ptr();
    // SAFETY: both have as many elements, and each is read before it is written.
    unsafe { apply(s, out.len(), p, p, b.as_ptr(), f) }
}

/// # Safety
/// `a` and `b` are valid for reading, `out` for writing `n` elements; `out` may be `a`.
#[inline(always)]
unsafe fn apply<S: Simd>(
    s: S,
    n: usize,
    out: *mut f32,
    a: *const f32,
    b: *const f32,
    f: &impl Binary<S>,
) {
    let whole = n / S::LANES * S::LANES;
    // SAFETY: offsets stay below `n`, and buffers hold a vector of every set.
    unsafe {
        for i in (0..whole).step_by(S::LANES) {
            s.store(out.add(i), f.apply(s, s.load(a.add(i)), s.load(b.add(i))));
        }
        if whole < n {
            let (mut x, mut y) = ([0.0f32; 16], [0.0f32; 16]);
            x.as_mut_ptr()
                .copy_from_nonoverlapping(a.add(whole), n - whole);
            y.as_mut_ptr()
                .copy_from_nonoverlapping(b.add(whole), n - whole);
            s.store(
                x.as_mut_ptr(),
                f.apply(s, s.load(x.as_ptr()), s.load(y.as_ptr())),
            );
            out.add(whole)
                .copy_from_nonoverlapping(x.as_ptr(), n - whole);
        }
    }
}
