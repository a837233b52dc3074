//! The experts themselves.

use std::ops::Range;

use super::Routing;
use crate::cpu::SharedMut;
use crate::error::{check_len, check_room, check_rows};
use crate::linear::{Buffers, OutRows, Product, Rows, run};
use crate::simd::row::{self, Binary};
use crate::simd::{Kernel, Simd, dispatch};
use crate::swiglu::swiglu_in_place;
use crate::{Cpu, KernelError, Matrix};

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

/// The experts of a layer.
///
/// A function gives the weights, so that only those of the chosen experts are looked at and no
/// list is made of them.
#[derive(Clone, Copy)]
pub struct Experts<'a> {
    /// How many there are.
    pub count: usize,
    /// The weights of each below `count`. It is called often, from all threads.
    pub weights: &'a (dyn Fn(usize) -> ExpertWeights<'a> + Sync),
}

impl std::fmt::Debug for Experts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Experts")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// Memory that experts work in; sized once, reused by every call.
#[derive(Debug)]
pub struct ExpertsScratch {
    products: Buffers,
    max_rows: usize,
    dim: usize,
    hidden: usize,
    groups: Groups,
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
            products: Buffers::new(threads, (rows, rows), dim.max(hidden)),
            max_rows: rows,
            dim,
            hidden,
            groups: Groups::new(rows),
            gate: vec![0.0; rows * hidden],
            up: vec![0.0; rows * hidden],
            y: vec![0.0; rows * dim],
        }
    }

    /// Bytes that [`ExpertsScratch::new`] allocates, or `None` beyond the address space.
    #[must_use]
    pub fn bytes(
        threads: usize,
        max_tokens: usize,
        top_k: usize,
        dim: usize,
        hidden: usize,
    ) -> Option<usize> {
        let rows = max_tokens.checked_mul(top_k)?;
        let floats = hidden.checked_mul(2)?.checked_add(dim)?.checked_mul(rows)?;
        Buffers::bytes(threads, (rows, rows), dim.max(hidden))?
            .checked_add(floats.checked_mul(size_of::<f32>())?)?
            .checked_add(Groups::bytes(rows)?)
    }
}

/// `y[i] = Σ_j weights[i, j] · expert(experts[i, j])(x[i])` for rows `[t, dim]`; `y` is
/// overwritten. Shared experts are a SwiGLU that the caller adds.
///
/// Rows are grouped by expert, so that each expert's weights are read once. Sums run in the
/// routing's order: the result doesn't depend on the grouping.
///
/// # Errors
/// When lengths, the chosen experts' dimensions or the scratch don't fit, or the routing names an
/// expert that isn't there.
pub fn experts(
    cpu: &Cpu,
    experts: &Experts<'_>,
    x: &[f32],
    routing: &Routing,
    y: &mut [f32],
    scratch: &mut ExpertsScratch,
) -> Result<(), KernelError> {
    check(cpu, experts.count, x, routing, y, scratch)?;
    let (dim, hidden) = (scratch.dim, scratch.hidden);
    scratch.groups.fill(routing, experts.count);
    let groups = &scratch.groups;
    for &e in &groups.active {
        check_weights(&(experts.weights)(e as usize), dim, hidden)?;
    }
    let rows = groups.tokens.len();
    let active = groups.active.len();
    let gate = SharedMut::new(&mut scratch.gate[..rows * hidden]);
    let up = SharedMut::new(&mut scratch.up[..rows * hidden]);
    let product = |i: usize| {
        let (e, range) = groups.active(i / 2);
        let weights = (experts.weights)(e);
        let (w, out) = if i.is_multiple_of(2) {
            (weights.w1, gate)
        } else {
            (weights.w3, up)
        };
        Product {
            w,
            x: Rows::picked(x, dim, &groups.tokens[range.clone()]),
            packed_row: range.start,
            y: OutRows::new(out, range.start * hidden, hidden, (range.len(), hidden)),
        }
    };
    let brings_input = |i: usize| i.is_multiple_of(2);
    let buffers = &mut scratch.products;
    run(cpu, 2 * active, &product, &brings_input, buffers);
    let inner = &mut scratch.gate[..rows * hidden];
    swiglu_in_place(cpu, inner, &scratch.up[..rows * hidden]);
    let inner = &*inner;
    let out = SharedMut::new(&mut scratch.y[..rows * dim]);
    let product = |i: usize| {
        let (e, range) = groups.active(i);
        Product {
            w: (experts.weights)(e).w2,
            x: Rows::new(&inner[range.start * hidden..], hidden, hidden, range.len()),
            packed_row: range.start,
            y: OutRows::new(out, range.start * dim, dim, (range.len(), dim)),
        }
    };
    run(cpu, active, &product, &|_| true, buffers);
    combine(cpu, routing, groups, &scratch.y, dim, y);
    Ok(())
}

/// Adds up the experts' rows of each token.
fn combine(cpu: &Cpu, routing: &Routing, groups: &Groups, rows: &[f32], dim: usize, y: &mut [f32]) {
    let k = routing.top_k();
    let y = SharedMut::new(y);
    cpu.run_ranges(
        routing.tokens(),
        (16 * 1024usize).div_ceil(k * dim),
        &|tokens| {
            for token in tokens {
                // SAFETY: each token belongs to one task.
                #[expect(unsafe_code, reason = "tasks write disjoint rows")]
                let y = unsafe { y.slice(token * dim..(token + 1) * dim) };
                y.fill(0.0);
                for slot in token * k..(token + 1) * k {
                    let row = groups.row_of[slot] as usize;
                    let x = &rows[row * dim..(row + 1) * dim];
                    let weight = routing.weights()[slot];
                    dispatch(
                        cpu.live(),
                        AddScaled {
                            y: &mut *y,
                            x,
                            weight,
                        },
                    );
                }
            }
        },
    );
}

struct AddScaled<'a> {
    y: &'a mut [f32],
    x: &'a [f32],
    weight: f32,
}

impl Kernel for AddScaled<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        row::update(s, self.y, self.x, &Scaled(self.weight));
    }
}

/// `y + weight · x`.
struct Scaled(f32);

impl<S: Simd> Binary<S> for Scaled {
    #[inline(always)]
    fn apply(&self, s: S, y: S::F, x: S::F) -> S::F {
        s.mul_add(s.splat(self.0), x, y)
    }
}

/// Rows grouped by expert.
#[derive(Debug)]
struct Groups {
    /// First row of each expert, and the end of the last one.
    starts: Vec<u32>,
    /// Experts that have rows.
    active: Vec<u32>,
    /// Token of each row.
    tokens: Vec<u32>,
    /// Row of each slot of the routing.
    row_of: Vec<u32>,
}

impl Groups {
    /// Bytes that [`Groups::new`] takes.
    fn bytes(rows: usize) -> Option<usize> {
        let words = rows.checked_mul(size_of::<usize>() + 2 * size_of::<u32>())?;
        words.checked_add(257 * size_of::<usize>())
    }

    fn new(rows: usize) -> Self {
        Self {
            // Grows once if there are more experts.
            starts: Vec::with_capacity(257),
            active: Vec::with_capacity(rows),
            tokens: vec![0; rows],
            row_of: vec![0; rows],
        }
    }

    /// Counts, then places: rows of an expert keep the tokens' order.
    fn fill(&mut self, routing: &Routing, experts: usize) {
        let slots = routing.experts();
        self.starts.clear();
        self.starts.resize(experts + 1, 0);
        self.active.clear();
        self.tokens.resize(slots.len(), 0);
        self.row_of.resize(slots.len(), 0);
        for &e in slots {
            self.starts[e as usize + 1] += 1;
        }
        for e in 0..experts {
            if self.starts[e + 1] > 0 {
                self.active.push(e as u32);
            }
            self.starts[e + 1] += self.starts[e];
        }
        for (slot, &e) in slots.iter().enumerate() {
            let row = self.starts[e as usize];
            self.starts[e as usize] += 1;
            self.tokens[row as usize] = (slot / routing.top_k()) as u32;
            self.row_of[slot] = row;
        }
        // Placing moved each start to the next expert's.
        self.starts.rotate_right(1);
        self.starts[0] = 0;
    }

    /// The `i`-th expert that has rows, and these.
    fn active(&self, i: usize) -> (usize, Range<usize>) {
        let e = self.active[i] as usize;
        (e, self.starts[e] as usize..self.starts[e + 1] as usize)
    }
}

fn check(
    cpu: &Cpu,
    count: usize,
    x: &[f32],
    routing: &Routing,
    y: &[f32],
    scratch: &ExpertsScratch,
) -> Result<(), KernelError> {
    let op = "experts";
    let k = routing.top_k();
    let t = check_rows(op, "x", x.len(), scratch.dim)?;
    check_len(op, "y", y.len(), x.len())?;
    check_len(op, "routing (tokens)", routing.tokens(), t)?;
    let rows = "rows (tokens times experts a token)";
    let threads = scratch.products.threads();
    let room = [
        (rows, t * k, scratch.max_rows),
        ("threads", cpu.threads(), threads),
    ];
    check_room(op, &room)?;
    for (slot, &id) in routing.experts().iter().enumerate() {
        if id as usize >= count {
            return Err(KernelError::UnknownExpert {
                token: slot / k,
                found: id as usize,
                experts: count,
            });
        }
    }
    Ok(())
}

fn check_weights(w: &ExpertWeights<'_>, dim: usize, hidden: usize) -> Result<(), KernelError> {
    for (parameter, found, expected) in [
        ("rows of w1", w.w1.rows(), hidden),
        ("columns of w1", w.w1.cols(), dim),
        ("rows of w3", w.w3.rows(), hidden),
        ("columns of w3", w.w3.cols(), dim),
        ("rows of w2", w.w2.rows(), dim),
        ("columns of w2", w.w2.cols(), hidden),
    ] {
        check_len("experts", parameter, found, expected)?;
    }
    Ok(())
}
