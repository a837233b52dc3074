//! Normalisation of rows.

use crate::cpu::SharedMut;
use crate::error::{check_len, check_rows};
use crate::simd::{Kernel, Simd, dispatch, row};
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
        row::update(s, self.residual, self.x, |r, x| s.add(r, x));
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
        let squares = row::sum(
            s,
            self.x,
            |sum, x| s.mul_add(x, x, sum),
            |sum, x| sum + x * x,
        );
        let scale = 1.0 / (squares / self.x.len() as f32 + self.eps).sqrt();
        let scale = s.splat(scale);
        row::map2(s, self.out, self.x, self.w, |x, w| {
            s.mul(s.mul(x, scale), w)
        });
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
        let mean = row::sum(s, self.x, |sum, x| s.add(sum, x), |sum, x| sum + x) / n;
        let center = s.splat(mean);
        let squares = row::sum(
            s,
            self.x,
            |sum, x| {
                let d = s.sub(x, center);
                s.mul_add(d, d, sum)
            },
            |sum, x| sum + (x - mean) * (x - mean),
        );
        let scale = s.splat(1.0 / (squares / n + self.eps).sqrt());
        row::map2(s, self.out, self.x, self.w, |x, w| {
            s.mul(s.mul(s.sub(x, center), scale), w)
        });
        row::update(s, self.out, self.b, |o, b| s.add(o, b));
    }
}
