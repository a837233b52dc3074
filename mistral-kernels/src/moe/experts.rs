//! The experts themselves.

use super::Routing;
use crate::error::{check_len, check_rows};
use crate::linear::{LinearScratch, linear, linear_many};
use crate::{Cpu, KernelError, Matrix, swiglu};

/// One expert: `w2 · (silu(w1 · x) · (w3 · x))`.
#[derive(Debug, Clone, Copy)]
pub struct ExpertWeights<'a> {
    /// Gate `[hidden, dim]`.
    pub w1: Matrix<'a>,
    /// Down `[dim, hidden]`.
    pub w2: Matrix<'a>,
    /// Up `[hidden, dim]`.
    pub w3: Matrix<'a>,
}

/// Memory that experts work in; sized once, reused by every call.
#[derive(Debug)]
pub struct ExpertsScratch {
    linear: LinearScratch,
    max_rows: usize,
    dim: usize,
    hidden: usize,
    x: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    y: Vec<f32>,
}

impl ExpertsScratch {
    /// Room for `max_tokens` tokens with `top_k` experts each, of width `dim` and inner width
    /// `hidden`.
    #[must_use]
    pub fn new(threads: usize, max_tokens: usize, top_k: usize, dim: usize, hidden: usize) -> Self {
        let rows = max_tokens * top_k;
        Self {
            linear: LinearScratch::new(threads, rows, dim.max(hidden)),
            max_rows: rows,
            dim,
            hidden,
            x: vec![0.0; rows * dim],
            gate: vec![0.0; rows * hidden],
            up: vec![0.0; rows * hidden],
            y: vec![0.0; rows * dim],
        }
    }
}

/// `y[i] = Σ_j weights[i, j] · expert(experts[i, j])(x[i])` for rows `[t, dim]`; `y` is
/// overwritten. Shared experts are a SwiGLU that the caller adds.
///
/// # Errors
/// When lengths, the experts' dimensions or the scratch don't fit, or the routing names an expert
/// that isn't there.
pub fn experts(
    cpu: &Cpu,
    experts: &[ExpertWeights<'_>],
    x: &[f32],
    routing: &Routing,
    y: &mut [f32],
    scratch: &mut ExpertsScratch,
) -> Result<(), KernelError> {
    let (dim, hidden, k) = (scratch.dim, scratch.hidden, routing.top_k());
    check(experts, x, routing, y, scratch)?;
    y.fill(0.0);
    for (e, weights) in experts.iter().enumerate() {
        let mine = || {
            let slots = routing.experts().iter().enumerate();
            slots
                .filter(|(_, id)| **id as usize == e)
                .map(|(slot, _)| slot)
        };
        let rows = mine().count();
        if rows == 0 {
            continue;
        }
        for (slot, row) in mine().zip(scratch.x.chunks_exact_mut(dim)) {
            row.copy_from_slice(&x[slot / k * dim..(slot / k + 1) * dim]);
        }
        let gate = &mut scratch.gate[..rows * hidden];
        let up = &mut scratch.up[..rows * hidden];
        linear_many(
            cpu,
            &mut [(&weights.w1, &mut *gate), (&weights.w3, &mut *up)],
            &scratch.x[..rows * dim],
            &mut scratch.linear,
        )?;
        for (g, u) in gate.iter_mut().zip(up.iter()) {
            *g = *g / (1.0 + (-*g).exp()) * u;
        }
        let out = &mut scratch.y[..rows * dim];
        linear(cpu, &weights.w2, gate, out, &mut scratch.linear)?;
        for (slot, row) in mine().zip(out.chunks_exact(dim)) {
            let weight = routing.weights()[slot];
            let y = &mut y[slot / k * dim..(slot / k + 1) * dim];
            for (y, v) in y.iter_mut().zip(row) {
                *y += weight * v;
            }
        }
    }
    let _ = swiglu::swiglu;
    Ok(())
}

fn check(
    experts: &[ExpertWeights<'_>],
    x: &[f32],
    routing: &Routing,
    y: &[f32],
    scratch: &ExpertsScratch,
) -> Result<(), KernelError> {
    let op = "experts";
    let (dim, hidden, k) = (scratch.dim, scratch.hidden, routing.top_k());
    for expert in experts {
        for (parameter, found, expected) in [
            ("rows of w1", expert.w1.rows(), hidden),
            ("columns of w1", expert.w1.cols(), dim),
            ("rows of w3", expert.w3.rows(), hidden),
            ("columns of w3", expert.w3.cols(), dim),
            ("rows of w2", expert.w2.rows(), dim),
            ("columns of w2", expert.w2.cols(), hidden),
        ] {
            check_len(op, parameter, found, expected)?;
        }
    }
    let t = check_rows(op, "x", x.len(), dim)?;
    check_len(op, "y", y.len(), x.len())?;
    check_len(op, "routing (tokens)", routing.tokens(), t)?;
    if t * k > scratch.max_rows {
        return Err(KernelError::Scratch {
            op,
            what: "rows (tokens times experts a token)",
            needed: t * k,
            capacity: scratch.max_rows,
        });
    }
    for (slot, &id) in routing.experts().iter().enumerate() {
        if id as usize >= experts.len() {
            return Err(KernelError::UnknownExpert {
                token: slot / k,
                found: id as usize,
                experts: experts.len(),
            });
        }
    }
    Ok(())
}
