//! `y = x · Wᵀ` for float weights.

mod blocks;
mod dot;
mod gemm;
mod pack;
mod product;
mod tile;

pub(crate) use dot::dots;
pub(crate) use pack::{MIN_TILED, Words, panel, rows as pack_rows};
use product::FEW;
pub(crate) use product::{Buffers, OutRows, Product, Rows, run};
pub(crate) use tile::{Mode, Out, packed_tile, row_tile, split, tile_cols};

use crate::cpu::SharedMut;
use crate::error::{check_len, check_room, check_rows};
use crate::{Cpu, KernelError, Matrix};

/// Tokens that are packed at once: enough to hide the packing of the weights, few enough for
/// their share of a panel's steps to stay in a second-level cache.
const CHUNK: usize = 512;

/// Memory that products work in; sized once, reused by every call.
#[derive(Debug)]
pub struct LinearScratch {
    chunk: usize,
    max_cols: usize,
    buffers: Buffers,
}

impl LinearScratch {
    /// Room for products of weights with up to `max_cols` inputs.
    ///
    /// More than `max_tokens` tokens are allowed in a call: they are worked on in chunks.
    #[must_use]
    pub fn new(threads: usize, max_tokens: usize, max_cols: usize) -> Self {
        let chunk = max_tokens.clamp(1, CHUNK);
        Self {
            chunk,
            max_cols,
            buffers: Buffers::new(threads, (chunk, chunk.min(FEW)), max_cols),
        }
    }

    /// Bytes that [`LinearScratch::new`] allocates, or `None` beyond the address space.
    #[must_use]
    pub fn bytes(threads: usize, max_tokens: usize, max_cols: usize) -> Option<usize> {
        let chunk = max_tokens.clamp(1, CHUNK);
        Buffers::bytes(threads, (chunk, chunk.min(FEW)), max_cols)
    }
}

/// `y [t, rows] = x [t, cols] · Wᵀ`, where `t` follows from `x`.
///
/// Sums are accumulated in f32. With float weights activations are f32, too, except that bf16
/// weights and many tokens round them to bf16 on [`Isa::Avx512Bf16`](crate::Isa) (more than 16
/// tokens) and [`Isa::Amx`](crate::Isa) (more than 8): a relative error of a product of at most 2⁻⁸.
///
/// With weights in blocks activations are always rounded:
///
/// | tokens | set | activations | weights |
/// |---|---|---|---|
/// | more than 8 | AMX | bf16 | bf16 |
/// | more than 8 | VNNI without AMX, columns a multiple of 256 | 8 bits | 8 bits; Q8_0 as stored |
/// | more than 16 | others | f32 | as stored |
/// | fewer | all | 8 bits | as stored |
///
/// where 8 bits are integers with one scale, `max |x| / 127`, for 256 numbers of a row. The same
/// call gives the same bits on any number of threads.
///
/// # Errors
/// When a length doesn't fit the matrix, or the scratch was made for fewer columns or threads.
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
/// As [`linear`], and when there are more than [`MAX_OUTPUTS`] of them.
pub fn linear_many(
    cpu: &Cpu,
    outs: &mut [(&Matrix<'_>, &mut [f32])],
    x: &[f32],
    scratch: &mut LinearScratch,
) -> Result<(), KernelError> {
    let t = check(cpu, outs, x, scratch)?;
    let Some((first, _)) = outs.first() else {
        return Ok(());
    };
    let cols = first.cols();
    let weights: [Option<Matrix<'_>>; MAX_OUTPUTS] =
        std::array::from_fn(|i| outs.get(i).map(|(w, _)| **w));
    let mut ys = outs.iter_mut();
    let ys: [Option<SharedMut<'_, f32>>; MAX_OUTPUTS] =
        std::array::from_fn(|_| ys.next().map(|(_, y)| SharedMut::new(y)));
    let weights = weights.iter().flatten();
    let count = weights.clone().count();
    // Chunks of about one size: a short last one would take another path.
    for i in 0..t.div_ceil(scratch.chunk) {
        let (start, tokens) = split(t, scratch.chunk, i);
        let x = Rows::new(&x[start * cols..], cols, cols, tokens);
        let mut pairs = weights.clone().zip(ys.iter().flatten());
        let products: [Option<Product<'_>>; MAX_OUTPUTS] = std::array::from_fn(|_| {
            pairs.next().map(|(&w, &y)| Product {
                w,
                x,
                packed_row: 0,
                y: OutRows::new(y, start * w.rows(), w.rows(), (tokens, w.rows())),
            })
        });
        let product = |i: usize| products[i].expect("one for each output");
        run(cpu, count, &product, &|i| i == 0, &mut scratch.buffers);
    }
    Ok(())
}

/// Most outputs of [`linear_many`]: queries, keys, values, and as many again.
pub const MAX_OUTPUTS: usize = 6;

/// Checks shapes and returns the number of tokens.
fn check(
    cpu: &Cpu,
    outs: &[(&Matrix<'_>, &mut [f32])],
    x: &[f32],
    scratch: &LinearScratch,
) -> Result<usize, KernelError> {
    let op = "linear";
    if outs.len() > MAX_OUTPUTS {
        return Err(KernelError::Parameter {
            op,
            parameter: "number of outputs",
            found: outs.len(),
            expected: "at most 6",
        });
    }
    let mut tokens = 0;
    for (w, y) in outs {
        let cols = outs[0].0.cols();
        if w.cols() != cols {
            return Err(KernelError::Length {
                op,
                buffer: "columns of a weight",
                expected: cols,
                found: w.cols(),
            });
        }
        tokens = check_rows(op, "x", x.len(), cols)?;
        check_len(op, "y", y.len(), tokens * w.rows())?;
        let threads = scratch.buffers.threads();
        let room = [
            ("columns", cols, scratch.max_cols),
            ("threads", cpu.threads(), threads),
        ];
        check_room(op, &room)?;
    }
    Ok(tokens)
}
