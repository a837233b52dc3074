//! Normalisation of rows.

use crate::cpu::SharedMut;
use crate::error::{check_len, check_rows};
use crate::simd::row::{self, Binary};
use crate::simd::{Kernel, Simd, dispatch};
use crate::{Cpu, KernelError};

/// Elements below which a row operation isn't worth a second thread.
const GRAIN: usize = 16 * 1024;

/// RMS norm: `out = x / sqrt(mean(x²) + eps) · w` for each row of `x [t, dim]` (arXiv 1910.07467).
///
/// # Errors
/// When `x` isn't a whole number of rows of `w.len()`, or `out` differs in length from `x`.
pub fn rms_norm(
    cpu: &Cpu,
    x: &[f32],
    w: &[f32],
    eps: f32,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let t = check_rows("rms_norm", "x", x.len(), w.len())?;
    check_len("rms_norm", "out", out.len(), x.len())?;
    let dim = w.len();
    each_row(cpu, t, dim, out, &|row, out| {
        let x = &x[row * dim..(row + 1) * dim];
        dispatch(cpu.live(), RmsRow { x, w, eps, out });
    });
    Ok(())
}

/// Adds `x` to the residual stream and normalises the sum: `residual += x`, then `out` as
/// [`rms_norm`] of `residual`. All are `[t, dim]`.
///
/// # Errors
/// As [`rms_norm`].
pub fn add_rms_norm(
    cpu: &Cpu,
    residual: &mut [f32],
    x: &[f32],
    w: &[f32],
    eps: f32,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let t = check_rows("add_rms_norm", "x", x.len(), w.len())?;
    check_len("add_rms_norm", "residual", residual.len(), x.len())?;
    check_len("add_rms_norm", "out", out.len(), x.len())?;
    let dim = w.len();
    let residual = SharedMut::new(residual);
    each_row(cpu, t, dim, out, &|row, out| {
        let range = row * dim..(row + 1) * dim;
        // SAFETY: each row belongs to one task.
        #[expect(unsafe_code, reason = "tasks write disjoint rows")]
        let residual = unsafe { residual.slice(range.clone()) };
        let x = &x[range];
        dispatch(cpu.live(), AddRow { residual, x });
        let x = &*residual;
        dispatch(cpu.live(), RmsRow { x, w, eps, out });
    });
    Ok(())
}

/// Layer norm: `out = (x - mean) / sqrt(variance + eps) · w + b` for each row of `x [t, dim]`
/// (arXiv 1607.06450; the variance is divided by `dim`).
///
/// # Errors
/// When lengths don't fit.
pub fn layer_norm(
    cpu: &Cpu,
    x: &[f32],
    w: &[f32],
    b: &[f32],
    eps: f32,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let t = check_rows("layer_norm", "x", x.len(), w.len())?;
    check_len("layer_norm", "b", b.len(), w.len())?;
    check_len("layer_norm", "out", out.len(), x.len())?;
    let dim = w.len();
    each_row(cpu, t, dim, out, &|row, out| {
        let x = &x[row * dim..(row + 1) * dim];
        dispatch(cpu.live(), LayerRow { x, w, b, eps, out });
    });
    Ok(())
}

fn each_row(
    cpu: &Cpu,
    t: usize,
    dim: usize,
    out: &mut [f32],
    work: &(dyn Fn(usize, &mut [f32]) + Sync),
) {
    let out = SharedMut::new(out);
    cpu.run_ranges(t, GRAIN.div_ceil(dim), &|rows| {
        for row in rows {
            // SAFETY: each row belongs to one task.
            #[expect(unsafe_code, reason = "tasks write disjoint rows")]
            let out = unsafe { out.slice(row * dim..(row + 1) * dim) };
            work(row, out);
        }
    });
}

struct AddRow<'a> {
    residual: &'a mut [f32],
    x: &'a [f32],
}

impl Kernel for AddRow<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        row::update(s, self.residual, self.x, &Plus);
    }
}

struct RmsRow<'a> {
    x: &'a [f32],
    w: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for RmsRow<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let squares = row::sum(s, self.x, &PlusSquare { center: 0.0 });
        let scale = 1.0 / (squares / self.x.len() as f32 + self.eps).sqrt();
        row::map2(s, self.out, self.x, self.w, &Scaled { center: 0.0, scale });
    }
}

struct LayerRow<'a> {
    x: &'a [f32],
    w: &'a [f32],
    b: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for LayerRow<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let n = self.x.len() as f32;
        let center = row::sum(s, self.x, &Plus) / n;
        let squares = row::sum(s, self.x, &PlusSquare { center });
        let scale = 1.0 / (squares / n + self.eps).sqrt();
        row::map2(s, self.out, self.x, self.w, &Scaled { center, scale });
        row::update(s, self.out, self.b, &Plus);
    }
}

/// `a + b`.
struct Plus;

impl<S: Simd> Binary<S> for Plus {
    #[inline(always)]
    fn apply(&self, s: S, a: S::F, b: S::F) -> S::F {
        s.add(a, b)
    }
}

/// `sum + (x - center)²`.
struct PlusSquare {
    center: f32,
}

impl<S: Simd> Binary<S> for PlusSquare {
    #[inline(always)]
    fn apply(&self, s: S, sum: S::F, x: S::F) -> S::F {
        let d = s.sub(x, s.splat(self.center));
        s.mul_add(d, d, sum)
    }
}

/// `(x - center) · scale · w`.
struct Scaled {
    center: f32,
    scale: f32,
}

impl<S: Simd> Binary<S> for Scaled {
    #[inline(always)]
    fn apply(&self, s: S, x: S::F, w: S::F) -> S::F {
        let d = s.sub(x, s.splat(self.center));
        s.mul(s.mul(d, s.splat(self.scale)), w)
    }
}
