//! Products of quantised weights by integer dot products (AVX-512 VNNI).
//!
//! With many tokens activations become unsigned bytes on the way, and weights signed ones, each with a scale for 256
//! of them: `x = d · (u - 128)`, `w = s · c`. Weights that are bytes already (Q8_0) keep their own
//! scales instead. Dot products are exact in i32; scales and the 128 are applied in f32.
//!
//! `dot/` multiplies a row of weights, as it lies in the file, with few tokens: reading it from memory
//! should take longer than the work.

mod dot;
mod gemm;
mod pack;
mod panel;
mod round;

pub(crate) use dot::dots;
pub(crate) use gemm::{GemmBytes, SCRATCH};
pub(crate) use pack::PackBytes;

use crate::linear::MIN_TILED;

/// Weights and activations of a group.
const GROUP: usize = 256;
/// Tokens of a tile.
pub(crate) const TOKENS: usize = 8;
/// Rows of a strip: the lanes of a vector.
const ROWS: usize = 16;

/// 256 activations of some tokens.
#[repr(C, align(64))]
struct Tokens {
    /// Four activations of each token at a time.
    u: [[[u8; 4]; TOKENS]; GROUP / 4],
    d: [f32; TOKENS],
    padding: [f32; 8],
}

/// Words of f32 that [`Tokens`] take.
const TOKEN_WORDS: usize = size_of::<Tokens>() / 4;

// Padded to whole tiles, the fewest tokens that are packed fit the place of their floats.
const _: () = assert!(
    size_of::<Tokens>() * MIN_TILED.div_ceil(TOKENS) <= MIN_TILED * GROUP * size_of::<f32>()
);

/// 256 weights of 16 rows.
#[repr(C, align(64))]
struct Strip {
    /// Four codes of each row at a time.
    codes: [[[i8; 4]; ROWS]; GROUP / 4],
    /// For every 16 weights of a row; only the first where 256 share one.
    scales: [[f32; ROWS]; 16],
    /// `-128 · Σ scale · code` of a row.
    start: [f32; ROWS],
}
