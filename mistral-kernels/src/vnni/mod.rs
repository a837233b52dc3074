//! Products of quantised weights with many tokens by integer dot products (AVX-512 VNNI).
//!
//! Weights become signed bytes on the way, with the scales that they have in their blocks, and
//! activations unsigned bytes with a scale for 256 of them: `w = s · c - m`, `x = d · (u - 128)`.
//! A dot product of 32 or 16 is exact in i32; scales, minima and the 128 are applied in f32.

mod gemm;
mod pack;
mod panel;

pub(crate) use gemm::{GemmBytes, SCRATCH};
pub(crate) use pack::PackBytes;

/// Weights and activations of a group.
const GROUP: usize = 256;
/// Tokens of a tile.
pub(crate) const TOKENS: usize = 8;
/// Rows of a strip: the lanes of a vector.
const ROWS: usize = 16;

/// 256 activations of 8 tokens.
#[repr(C, align(64))]
struct Tokens {
    /// Four activations of each token at a time.
    u: [[[u8; 4]; TOKENS]; GROUP / 4],
    d: [f32; TOKENS],
    /// Sums of 16 `u - 128` each.
    sums: [[f32; TOKENS]; 16],
    /// Sums of 32.
    pairs: [[f32; TOKENS]; 8],
    padding: [f32; 8],
}

/// Words of f32 that [`Tokens`] take.
const TOKEN_WORDS: usize = size_of::<Tokens>() / 4;

// Padded to whole tiles and groups, nine tokens or more fit the place of their floats.
const _: () = assert!(size_of::<Tokens>() == 2880 && 2880 * 2 <= 9 * GROUP * 4);

/// 256 weights of 16 rows.
#[repr(C, align(64))]
struct Strip {
    /// Four codes of each row at a time.
    codes: [[[i8; 4]; ROWS]; GROUP / 4],
    /// For every 16 weights of a row.
    scales: [[f32; ROWS]; 16],
    /// Likewise.
    minima: [[f32; ROWS]; 16],
    /// `-128 · Σ scale · code` of a row.
    start: [f32; ROWS],
}
