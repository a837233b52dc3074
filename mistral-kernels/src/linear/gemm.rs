//! Products with many tokens: panels of weights are packed on the way and multiplied with
//! packed activations in register tiles.

#![expect(unsafe_code, reason = "tiles read and write through pointers")]

use std::ops::Range;

use super::pack;
use super::product::{OutRows, Rows};
use super::tile::{Mode, Out, packed_tile, split, tile_cols};
use crate::simd::{Element, Kernel, Simd};

/// Steps of the inner dimension that a panel holds: with the widest tile, 32 KiB, which leaves
/// room in a first-level cache of 48 KiB for the activations that pass by.
pub(super) const STEPS: usize = 256;

/// Words of the largest panel.
pub(super) const PANEL: usize = STEPS * 32;

/// Packs one register tile of activations.
pub(super) struct PackRows<'a> {
    pub(super) x: Rows<'a>,
    pub(super) cols: usize,
    pub(super) tile: usize,
    /// Everything packed of this product's input, `[rows · cols]`: tiles one after the other, each
    /// `[cols][rows of the tile]`.
    pub(super) out: crate::cpu::SharedMut<'a, f32>,
    /// Row of `out` that this input begins at.
    pub(super) start: usize,
}

impl Kernel for PackRows<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (first, m) = split(self.x.count(), S::TILE_ROWS, self.tile);
        let from = (self.start + first) * self.cols;
        // SAFETY: each tile's part belongs to one task; its rows are inside `x`.
        unsafe {
            let out = self.out.slice(from..from + m * self.cols);
            pack::rows(s, m, self.cols, |r| self.x.row(first + r), out.as_mut_ptr());
        }
    }
}

/// Some rows of one product, for all of its tokens.
pub(super) struct GemmRows<'a, E> {
    /// `[.., cols]`
    pub(super) w: &'a [E],
    pub(super) cols: usize,
    pub(super) rows: Range<usize>,
    /// `[tokens · cols]`, as [`PackRows`] leaves it.
    pub(super) packed: &'a [f32],
    pub(super) tokens: usize,
    pub(super) y: OutRows<'a>,
    /// At least [`PANEL`] words.
    pub(super) panel: &'a mut [f32],
}

impl<E: Element> Kernel for GemmRows<'_, E> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (cols, tokens) = (self.cols, self.tokens);
        let width = tile_cols::<S>();
        let tiles = tokens.div_ceil(S::TILE_ROWS);
        assert!(self.rows.end * cols <= self.w.len() && self.packed.len() == tokens * cols);
        assert!(self.panel.len() >= STEPS * width);
        let panel = self.panel.as_mut_ptr();
        for k0 in (0..cols).step_by(STEPS) {
            let steps = STEPS.min(cols - k0);
            let mode = if k0 == 0 { Mode::Overwrite } else { Mode::Add };
            for r0 in self.rows.clone().step_by(width) {
                let rows = width.min(self.rows.end - r0);
                // SAFETY: rows and columns are inside `w`, a panel of `steps` is inside `panel`,
                // tiles are inside `packed`, and this task alone writes these columns of `y`.
                unsafe {
                    let w = self.w.as_ptr().add(r0 * cols + k0);
                    pack::panel(s, |r| w.add(r * cols), (rows, steps), width, panel);
                    for i in 0..tiles {
                        let (first, m) = split(tokens, S::TILE_ROWS, i);
                        let a = self.packed.as_ptr().add(first * cols + k0 * m);
                        let out = Out {
                            start: self.y.at(first, r0),
                            stride: self.y.stride(),
                            cols: rows,
                            mode,
                        };
                        packed_tile(s, m, steps, a, (panel, width), out);
                    }
                }
            }
        }
    }
}
