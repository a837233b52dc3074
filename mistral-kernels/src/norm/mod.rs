//! Normalisation of rows.

use crate::cpu::SharedMut;
use crate::error::{check_len, check_rows};
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
        rms_row(&x[row * dim..(row + 1) * dim], w, eps, out);
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
        for (r, x) in residual.iter_mut().zip(&x[range]) {
            *r += x;
        }
        rms_row(residual, w, eps, out);
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
        let mean = x.iter().sum::<f32>() / dim as f32;
        let variance = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / dim as f32;
        let scale = 1.0 / (variance + eps).sqrt();
        for (((o, x), w), b) in out.iter_mut().zip(x).zip(w).zip(b) {
            *o = (x - mean) * scale * w + b;
        }
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

fn rms_row(x: &[f32], w: &[f32], eps: f32, out: &mut [f32]) {
    let mean = x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32;
    let scale = 1.0 / (mean + eps).sqrt();
    for ((o, x), w) in out.iter_mut().zip(x).zip(w) {
        *o = x * scale * w;
    }
}
