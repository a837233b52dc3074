//! Latent attention by absorption (DeepSeek-V2, arXiv 2405.04434, section 2.1).
//!
//! The up-projections of keys and values move to the query's and the output's side, so that
//! attention runs on the latents themselves, shared by all heads.

use crate::cpu::SharedMut;
use crate::error::{check_len, check_rows};
use crate::{Cpu, KernelError, Matrix};

/// Widths of latent attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latent {
    /// Query heads.
    pub n_heads: usize,
    /// Part of a query head that meets the latent.
    pub nope: usize,
    /// Rotated part of a query head.
    pub rope: usize,
    /// Width of a value head.
    pub v: usize,
    /// Width of a latent.
    pub kv_lora: usize,
}

/// Memory that the absorbed projections work in; sized once, reused by every call.
#[derive(Debug)]
pub struct MlaScratch {
    row: Vec<f32>,
}

impl MlaScratch {
    /// Room for these widths.
    #[must_use]
    pub fn new(threads: usize, latent: &Latent) -> Self {
        Self {
            row: vec![0.0; threads.max(1) * latent.kv_lora],
        }
    }
}

/// Turns queries `q [t, n_heads, nope + rope]` into `out [t, n_heads, kv_lora + rope]`:
/// `W_UKᵀ · q_nope`, then `q_rope` unchanged.
///
/// `wkv_b` is `[n_heads · (nope + v), kv_lora]`; a head's first `nope` rows are its `W_UK`.
///
/// # Errors
/// When lengths or the matrix's dimensions don't fit.
pub fn mla_absorb_query(
    cpu: &Cpu,
    latent: &Latent,
    wkv_b: &Matrix<'_>,
    q: &[f32],
    out: &mut [f32],
    scratch: &mut MlaScratch,
) -> Result<(), KernelError> {
    let op = "mla_absorb_query";
    let (heads, wide) = (latent.n_heads, latent.kv_lora + latent.rope);
    let per_head = latent.nope + latent.rope;
    check_matrix(op, latent, wkv_b)?;
    let t = check_rows(op, "q", q.len(), heads * per_head)?;
    check_len(op, "out", out.len(), t * heads * wide)?;
    check_scratch(op, cpu, latent, scratch)?;
    let out = SharedMut::new(out);
    let rows = SharedMut::new(&mut scratch.row);
    cpu.run(heads, &|h, thread| {
        // SAFETY: the scratch row belongs to the thread.
        #[expect(unsafe_code, reason = "tasks write disjoint heads")]
        let row = unsafe { rows.slice(thread * latent.kv_lora..(thread + 1) * latent.kv_lora) };
        let head = |i: usize| {
            let start = (i * heads + h) * wide;
            // SAFETY: each head belongs to one task.
            #[expect(unsafe_code, reason = "tasks write disjoint heads")]
            unsafe {
                out.slice(start..start + wide)
            }
        };
        for i in 0..t {
            let q = &q[(i * heads + h) * per_head..(i * heads + h + 1) * per_head];
            let out = head(i);
            out[..latent.kv_lora].fill(0.0);
            out[latent.kv_lora..].copy_from_slice(&q[latent.nope..]);
        }
        for j in 0..latent.nope {
            let w = (h * (latent.nope + latent.v) + j) * latent.kv_lora;
            wkv_b.data().widen(w, row);
            for i in 0..t {
                let q = q[(i * heads + h) * per_head + j];
                for (o, w) in head(i).iter_mut().zip(&*row) {
                    *o += q * w;
                }
            }
        }
    });
    Ok(())
}

/// Turns mixed latents `mixed [t, n_heads, kv_lora]` into values `out [t, n_heads, v]` by each
/// head's `W_UV`, the last `v` of its rows in `wkv_b`.
///
/// # Errors
/// When lengths or the matrix's dimensions don't fit.
pub fn mla_project_value(
    cpu: &Cpu,
    latent: &Latent,
    wkv_b: &Matrix<'_>,
    mixed: &[f32],
    out: &mut [f32],
    scratch: &mut MlaScratch,
) -> Result<(), KernelError> {
    let op = "mla_project_value";
    let heads = latent.n_heads;
    check_matrix(op, latent, wkv_b)?;
    let t = check_rows(op, "mixed", mixed.len(), heads * latent.kv_lora)?;
    check_len(op, "out", out.len(), t * heads * latent.v)?;
    check_scratch(op, cpu, latent, scratch)?;
    let out = SharedMut::new(out);
    let rows = SharedMut::new(&mut scratch.row);
    cpu.run(heads, &|h, thread| {
        // SAFETY: the scratch row belongs to the thread.
        #[expect(unsafe_code, reason = "tasks write disjoint heads")]
        let row = unsafe { rows.slice(thread * latent.kv_lora..(thread + 1) * latent.kv_lora) };
        for j in 0..latent.v {
            let w = (h * (latent.nope + latent.v) + latent.nope + j) * latent.kv_lora;
            wkv_b.data().widen(w, row);
            for i in 0..t {
                let start = (i * heads + h) * latent.kv_lora;
                let x = &mixed[start..start + latent.kv_lora];
                let dot: f32 = x.iter().zip(&*row).map(|(x, w)| x * w).sum();
                let at = (i * heads + h) * latent.v + j;
                // SAFETY: each head belongs to one task.
                #[expect(unsafe_code, reason = "tasks write disjoint heads")]
                unsafe {
                    out.slice(at..at + 1)[0] = dot;
                }
            }
        }
    });
    Ok(())
}

fn check_matrix(op: &'static str, latent: &Latent, w: &Matrix<'_>) -> Result<(), KernelError> {
    for (parameter, found, expected, ok) in [
        (
            "rows of wkv_b",
            w.rows(),
            "n_heads · (nope + v)",
            w.rows() == latent.n_heads * (latent.nope + latent.v),
        ),
        (
            "columns of wkv_b",
            w.cols(),
            "kv_lora",
            w.cols() == latent.kv_lora,
        ),
    ] {
        if !ok {
            return Err(KernelError::Parameter {
                op,
                parameter,
                found,
                expected,
            });
        }
    }
    Ok(())
}

fn check_scratch(
    op: &'static str,
    cpu: &Cpu,
    latent: &Latent,
    scratch: &MlaScratch,
) -> Result<(), KernelError> {
    let needed = cpu.threads() * latent.kv_lora;
    if scratch.row.len() < needed {
        return Err(KernelError::Scratch {
            op,
            what: "elements",
            needed,
            capacity: scratch.row.len(),
        });
    }
    Ok(())
}
