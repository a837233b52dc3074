//! Products on Intel's tiles (AMX): weights become bf16 tiles on the way, whatever they are
//! stored in, and sums are f32.
//!
//! A tile is 16 rows of 64 bytes, 1 KiB in memory. Weights are the left factor, `[16 rows][32]`
//! bf16; activations the right one, `[16 pairs][16 tokens][2]`; so a tile of sums is
//! `[16 rows][16 tokens]`, transposed when it is written.

mod gemm;
mod pack;
mod panel;
mod tiles;

pub(crate) use gemm::{GemmTiles, SCRATCH};
pub(crate) use pack::PackTiles;
pub(crate) use tiles::Tiles;

/// Tokens, and rows, of a tile.
pub(crate) const SIDE: usize = 16;
/// Steps of the inner dimension in a tile.
pub(crate) const STEPS: usize = 32;
/// Words of f32 that a tile takes.
pub(crate) const TILE_WORDS: usize = 256;

/// Tiles of the inner dimension that are worked on at once: 32 rows of them are 16 KiB, which
/// leaves room in a first-level cache of 48 KiB for the tokens that pass by.
pub(crate) const CHUNK: usize = 8;

/// Where the activations of token tile `i` of `count` begin for the chunk at inner tile `k` of
/// `inner`, in tiles: a chunk of all tokens lies together, in the order it is read.
fn chunk_of(i: usize, count: usize, k: usize, inner: usize) -> usize {
    k * count + i * CHUNK.min(inner - k)
}
