//! Loops over rows of f32 in whole vectors.

#![expect(unsafe_code, reason = "loads and stores through pointers")]

use super::Simd;

/// Folds `f` over whole vectors of a row, and `g` over the rest.
#[inline(always)]
pub(crate) fn sum<S: Simd>(
    s: S,
    x: &[f32],
    f: impl Fn(S::F, S::F) -> S::F,
    g: impl Fn(f32, f32) -> f32,
) -> f32 {
    let (mut s0, mut s1) = (s.splat(0.0), s.splat(0.0));
    let pairs = x.chunks_exact(2 * S::LANES);
    let mut rest = pairs.remainder();
    for pair in pairs {
        // SAFETY: a pair holds two vectors.
        unsafe {
            s0 = f(s0, s.load(pair.as_ptr()));
            s1 = f(s1, s.load(pair.as_ptr().add(S::LANES)));
        }
    }
    if rest.len() >= S::LANES {
        // SAFETY: as many elements are left.
        s0 = f(s0, unsafe { s.load(rest.as_ptr()) });
        rest = &rest[S::LANES..];
    }
    let mut total = s.reduce_add(s.add(s0, s1));
    for &x in rest {
        total = g(total, x);
    }
    total
}

/// `out[i] = f(a[i], b[i])` for slices of one length; the last elements go through a padded
/// vector, so that they are rounded like all others.
#[inline(always)]
pub(crate) fn map2<S: Simd>(
    s: S,
    out: &mut [f32],
    a: &[f32],
    b: &[f32],
    f: impl Fn(S::F, S::F) -> S::F,
) {
    let n = out.len();
    assert!(a.len() == n && b.len() == n);
    let whole = n / S::LANES * S::LANES;
    // SAFETY: offsets stay below `n`, and buffers hold a vector of every set.
    unsafe {
        let (p, a_p, b_p) = (out.as_mut_ptr(), a.as_ptr(), b.as_ptr());
        for i in (0..whole).step_by(S::LANES) {
            s.store(p.add(i), f(s.load(a_p.add(i)), s.load(b_p.add(i))));
        }
        if whole < n {
            let (mut x, mut y, mut z) = ([0.0; 16], [0.0; 16], [0.0; 16]);
            x[..n - whole].copy_from_slice(&a[whole..]);
            y[..n - whole].copy_from_slice(&b[whole..]);
            s.store(z.as_mut_ptr(), f(s.load(x.as_ptr()), s.load(y.as_ptr())));
            out[whole..].copy_from_slice(&z[..n - whole]);
        }
    }
}

/// [`map2`] whose first operand is the output itself.
#[inline(always)]
pub(crate) fn update<S: Simd>(s: S, out: &mut [f32], b: &[f32], f: impl Fn(S::F, S::F) -> S::F) {
    let n = out.len();
    assert!(b.len() == n);
    let whole = n / S::LANES * S::LANES;
    // SAFETY: as in `map2`.
    unsafe {
        let (p, b_p) = (out.as_mut_ptr(), b.as_ptr());
        for i in (0..whole).step_by(S::LANES) {
            s.store(p.add(i), f(s.load(p.add(i)), s.load(b_p.add(i))));
        }
        if whole < n {
            let (mut x, mut y) = ([0.0; 16], [0.0; 16]);
            x[..n - whole].copy_from_slice(&out[whole..]);
            y[..n - whole].copy_from_slice(&b[whole..]);
            s.store(x.as_mut_ptr(), f(s.load(x.as_ptr()), s.load(y.as_ptr())));
            out[whole..].copy_from_slice(&x[..n - whole]);
        }
    }
}
