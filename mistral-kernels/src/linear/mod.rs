//! `y = x · Wᵀ` for float weights.

use crate::error::{check_len, check_rows};
use crate::{Cpu, KernelError, Matrix, WeightData};

/// Memory that products work in; sized once, reused by every call.
#[derive(Debug)]
pub struct LinearScratch {
    max_tokens: usize,
    max_cols: usize,
}

impl LinearScratch {
    /// Room for products of weights with up to `max_cols` inputs.
    ///
    /// More than `max_tokens` tokens are allowed in a call: they are worked on in chunks of it.
    #[must_use]
    pub fn new(threads: usize, max_tokens: usize, max_cols: usize) -> Self {
        let _ = threads;
        Self {
            max_tokens: max_tokens.max(1),
            max_cols,
        }
    }
}

/// `y [t, rows] = x [t, cols] · Wᵀ`, where `t` follows from `x`.
///
/// Activations are f32 and sums are accumulated in f32. For bf16 weights and many tokens, a
/// processor with bf16 dot products rounds the activations to bf16 first (relative error of a
/// product below 2⁻⁸; sums stay f32).
///
/// # Errors
/// When a length doesn't fit the matrix, or the scratch was made for fewer columns.
pub fn linear(
    cpu: &Cpu,
    w: &Matrix<'_>,
    x: &[f32],
    y: &mut [f32],
    scratch: &mut LinearScratch,
) -> Result<(), KernelError> {
    linear_many(cpu, &mut [(w, y)], x, scratch)
}

/// Several products of the same input in one fork-join (queries, keys and values; gate and up).
///
/// # Errors
/// As [`linear`].
pub fn linear_many(
    cpu: &Cpu,
    outs: &mut [(&Matrix<'_>, &mut [f32])],
    x: &[f32],
    scratch: &mut LinearScratch,
) -> Result<(), KernelError> {
    for (w, y) in outs.iter() {
        let t = check_rows("linear", "x", x.len(), w.cols())?;
        check_len("linear", "y", y.len(), t * w.rows())?;
        if w.cols() > scratch.max_cols {
            return Err(KernelError::Scratch {
                op: "linear",
                what: "columns",
                needed: w.cols(),
                capacity: scratch.max_cols,
            });
        }
    }
    let _ = scratch.max_tokens;
    for (w, y) in outs.iter_mut() {
        let (rows, cols) = (w.rows(), w.cols());
        let y = crate::cpu::SharedMut::new(y);
        cpu.run_ranges(rows, 8, &|range| {
            for r in range {
                for (t, x) in x.chunks_exact(cols).enumerate() {
                    // SAFETY: each row of W belongs to one task, and so does its column of y.
                    #[expect(unsafe_code, reason = "tasks write disjoint columns of y")]
                    let out = unsafe { y.slice(t * rows + r..t * rows + r + 1) };
                    out[0] = dot(&w.data(), r * cols, x);
                }
            }
        });
    }
    Ok(())
}

fn dot(w: &WeightData<'_>, start: usize, x: &[f32]) -> f32 {
    let range = start..start + x.len();
    match w {
        WeightData::F32(w) => dot_by(&w[range], x, |v| *v),
        WeightData::F16(w) => dot_by(&w[range], x, |v| v.to_f32()),
        WeightData::Bf16(w) => dot_by(&w[range], x, |v| v.to_f32()),
    }
}

fn dot_by<T>(w: &[T], x: &[f32], widen: impl Fn(&T) -> f32) -> f32 {
    let mut acc = [0.0f32; 16];
    for (w, x) in w.chunks(16).zip(x.chunks(16)) {
        for ((a, w), x) in acc.iter_mut().zip(w).zip(x) {
            *a += widen(w) * x;
        }
    }
    acc.iter().sum()
}
