//! Latent attention by absorption (DeepSeek-V2, arXiv 2405.04434, section 2.1).
//!
//! The up-projections of keys and values move to the query's and the output's side, so that
//! attention runs on the latents themselves, shared by all heads.

#![expect(
    unsafe_code,
    reason = "tasks write disjoint heads; tiles work on pointers"
)]

use crate::cpu::SharedMut;
use crate::error::{check_len, check_room, check_rows};
use crate::linear::{
    Buffers, Mode, Out, OutRows, Product, Rows, Words, pack_rows, packed_tile, run, tile_cols,
};
use crate::simd::{Element, Kernel, Simd, dispatch};
use crate::{Cpu, KernelError, Matrix, WeightData};

/// Tokens that are projected at once.
const CHUNK: usize = 32;

/// Most rows of a register tile on any set.
const TILE_ROWS: usize = 12;

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
    threads: usize,
    latent: Latent,
    /// A packed tile of queries a thread.
    q: Vec<f32>,
    values: Buffers,
}

impl MlaScratch {
    /// Room for these widths, and any number of tokens.
    #[must_use]
    pub fn new(threads: usize, latent: &Latent) -> Self {
        let threads = threads.max(1);
        Self {
            threads,
            latent: *latent,
            q: vec![0.0; threads * TILE_ROWS * latent.nope],
            // Weights are floats here: no activations are quantised.
            values: Buffers::new(threads, (CHUNK * latent.n_heads, 0), latent.kv_lora),
        }
    }

    /// Bytes that [`MlaScratch::new`] allocates, or `None` beyond the address space.
    #[must_use]
    pub fn bytes(threads: usize, latent: &Latent) -> Option<usize> {
        let q = threads
            .max(1)
            .checked_mul(TILE_ROWS)?
            .checked_mul(latent.nope)?
            .checked_mul(size_of::<f32>())?;
        let rows = CHUNK.checked_mul(latent.n_heads)?;
        Buffers::bytes(threads, (rows, 0), latent.kv_lora)?.checked_add(q)
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
    check_matrix(op, latent, wkv_b)?;
    let (heads, wide) = (latent.n_heads, latent.kv_lora + latent.rope);
    let per_head = latent.nope + latent.rope;
    let t = check_rows(op, "q", q.len(), heads * per_head)?;
    check_len(op, "out", out.len(), t * heads * wide)?;
    check_scratch(op, cpu, latent, scratch)?;
    let out = SharedMut::new(out);
    let packed = SharedMut::new(&mut scratch.q);
    let size = TILE_ROWS * latent.nope;
    let latent = *latent;
    let operations = t * heads * latent.nope * latent.kv_lora;
    cpu.run(heads, operations, &|head, thread| {
        // SAFETY: a thread's part is its own.
        let packed = unsafe { packed.slice(thread * size..(thread + 1) * size) };
        let work = (latent, head, t);
        match wkv_b.data() {
            WeightData::F32(w) => absorb(cpu, work, w, q, out, packed),
            WeightData::F16(w) => absorb(cpu, work, w, q, out, packed),
            WeightData::Bf16(w) => absorb(cpu, work, w, q, out, packed),
            WeightData::Blocks(_) => unreachable!("refused by `check_matrix`"),
        }
    });
    Ok(())
}

fn absorb<E: Element>(
    cpu: &Cpu,
    (latent, head, t): (Latent, usize, usize),
    w: &[E],
    q: &[f32],
    out: SharedMut<'_, f32>,
    packed: &mut [f32],
) {
    let start = head * (latent.nope + latent.v) * latent.kv_lora;
    let w = &w[start..start + latent.nope * latent.kv_lora];
    let work = Absorb {
        latent,
        head,
        t,
        w,
        q,
        out,
        packed,
    };
    dispatch(cpu.live(), work);
}

/// One head of all tokens.
struct Absorb<'a, E> {
    latent: Latent,
    head: usize,
    t: usize,
    /// This head's `W_UK [nope, kv_lora]`.
    w: &'a [E],
    /// `[t, n_heads, nope + rope]`
    q: &'a [f32],
    /// `[t, n_heads, kv_lora + rope]`
    out: SharedMut<'a, f32>,
    packed: &'a mut [f32],
}

impl<E: Element> Kernel for Absorb<'_, E> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Latent {
            n_heads,
            nope,
            rope,
            kv_lora,
            ..
        } = self.latent;
        let (per_head, wide) = (nope + rope, kv_lora + rope);
        let q = |token: usize| &self.q[(token * n_heads + self.head) * per_head..][..per_head];
        let out_at = |token: usize| (token * n_heads + self.head) * wide;
        let cols = tile_cols::<S>();
        let whole = kv_lora / cols * cols;
        for first in (0..self.t).step_by(S::TILE_ROWS) {
            let m = S::TILE_ROWS.min(self.t - first);
            // SAFETY: the queries have `nope` elements; `w` has `nope` rows of `kv_lora`; this
            // task alone writes this head of `out`.
            unsafe {
                let packed = self.packed.as_mut_ptr();
                pack_rows(s, Words::F32, (m, nope), |r| q(first + r).as_ptr(), packed);
                for c in (0..whole).step_by(cols) {
                    let out = Out {
                        start: self.out.as_ptr().add(out_at(first) + c),
                        stride: n_heads * wide,
                        cols,
                        mode: Mode::Overwrite,
                    };
                    packed_tile(s, m, nope, packed, (self.w.as_ptr().add(c), kv_lora), out);
                }
            }
            for token in first..first + m {
                let q = q(token);
                // SAFETY: this task alone writes this head of `out`.
                let out = unsafe { self.out.slice(out_at(token)..out_at(token) + wide) };
                for (c, out) in out.iter_mut().enumerate().take(kv_lora).skip(whole) {
                    let products = q[..nope].iter().enumerate();
                    *out = products
                        .map(|(i, q)| q * self.w[i * kv_lora + c].widen())
                        .sum();
                }
                out[kv_lora..].copy_from_slice(&q[nope..]);
            }
        }
    }
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
    let (kv_lora, v) = (latent.kv_lora, latent.v);
    for first in (0..t).step_by(CHUNK) {
        let tokens = CHUNK.min(t - first);
        let product = |h: usize| {
            let start = h * (latent.nope + v) + latent.nope;
            let x = &mixed[(first * heads + h) * kv_lora..];
            let at = (first * heads + h) * v;
            Product {
                w: wkv_b
                    .slice_rows(start..start + v)
                    .expect("the matrix has nope + v rows a head"),
                x: Rows::new(x, kv_lora, heads * kv_lora, tokens),
                packed_row: h * tokens,
                y: OutRows::new(out, at, heads * v, (tokens, v)),
            }
        };
        run(cpu, heads, &product, &|_| true, &mut scratch.values);
    }
    Ok(())
}

/// Checks the widths against each other; afterwards no product of a width and the heads wraps.
fn check_matrix(op: &'static str, latent: &Latent, w: &Matrix<'_>) -> Result<(), KernelError> {
    let rows = latent.nope.saturating_add(latent.v);
    let rows = latent.n_heads.saturating_mul(rows);
    let widest = latent.nope.max(latent.kv_lora).checked_add(latent.rope);
    let product = widest.and_then(|widest| widest.checked_mul(latent.n_heads));
    for (parameter, found, expected, ok) in [
        ("v", latent.v, "at least 1", latent.v > 0),
        (
            "rows of wkv_b",
            w.rows(),
            "n_heads · (nope + v)",
            w.rows() == rows,
        ),
        (
            "rope",
            latent.rope,
            "heads that fit the address space",
            product.is_some(),
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
    if let WeightData::Blocks(blocks) = w.data() {
        let found = blocks.format();
        return Err(KernelError::FloatsExpected { op, found });
    }
    Ok(())
}

fn check_scratch(
    op: &'static str,
    cpu: &Cpu,
    latent: &Latent,
    scratch: &MlaScratch,
) -> Result<(), KernelError> {
    let made = &scratch.latent;
    let room = [
        ("threads", cpu.threads(), scratch.threads),
        ("heads", latent.n_heads, made.n_heads),
        ("elements of a query", latent.nope, made.nope),
        ("elements of a latent", latent.kv_lora, made.kv_lora),
    ];
    check_room(op, &room)
}
