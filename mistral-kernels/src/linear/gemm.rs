//! Products with many tokens: panels of weights are packed on the way and multiplied with
//! packed activations in register tiles.

#![expect(unsafe_code, reason = "tiles read and write through pointers")]

use std::ops::Range;

use super::pack::{self, Words};
use super::product::{OutRows, Rows};
use super::tile::{Mode, Out, packed_tile, split, tile_cols};
use crate::Cpu;
use crate::cpu::SharedMut;
use crate::simd::{Element, Kernel, Simd};

/// Steps of the inner dimension that a panel holds: with the widest tile, 32 KiB, which leaves
/// room in a first-level cache of 48 KiB for the activations that pass by.
pub(super) const STEPS: usize = 256;

/// Words of the largest panel.
pub(super) const PANEL: usize = STEPS * 32;

/// Packs one register tile of activations.
pub(super) struct PackRows<'a> {
    pub(super) x: Rows<'a>,
    pub(super) words: Words,
    /// Words of a row.
    pub(super) cols: usize,
    pub(super) tile: usize,
    /// This input's packed rows, `[rows · cols]`: tiles one after the other, each
    /// `[cols][rows of the tile]`.
    pub(super) out: SharedMut<'a, f32>,
    /// Where they begin.
    pub(super) start: usize,
}

impl PackRows<'_> {
    /// As [`Kernel::run`], for [`Words::Tiles`].
    #[cfg(target_arch = "x86_64")]
    pub(super) fn run_tiles(self, cpu: &Cpu) {
        let pack = crate::amx::PackTiles {
            x: self.x,
            cols: 2 * self.cols,
            tile: self.tile,
            out: self.out,
            start: self.start,
        };
        pack.run(cpu.live());
    }

    /// As [`Kernel::run`], for [`Words::Bytes`].
    #[cfg(target_arch = "x86_64")]
    pub(super) fn run_bytes(self, cpu: &Cpu) {
        let pack = crate::vnni::PackBytes {
            x: self.x,
            cols: self.cols,
            tile: self.tile,
            out: self.out,
            start: self.start,
        };
        pack.run(cpu.live());
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn run_tiles(self, _: &Cpu) {
        unreachable!("no set with tiles was found")
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn run_bytes(self, _: &Cpu) {
        unreachable!("no set with dot products of bytes was found")
    }
}

impl Kernel for PackRows<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (first, m) = split(self.x.count(), S::TILE_ROWS, self.tile);
        let from = self.start + first * self.cols;
        let size = (m, self.cols);
        // SAFETY: each tile's part belongs to one task; its rows are inside `x`.
        unsafe {
            let out = self.out.slice(from..from + m * self.cols).as_mut_ptr();
            let row = |r| self.x.row(first + r);
            // Apart, so that each loop is compiled for one kind.
            match self.words {
                Words::F32 => pack::rows(s, Words::F32, size, row, out),
                Words::Bf16Pairs => pack::rows(s, Words::Bf16Pairs, size, row, out),
                Words::Tiles | Words::Bytes => unreachable!("packed in their own ways"),
            }
        }
    }
}

/// Weights that panels are packed from.
pub(super) trait Panels {
    /// Packs some rows, given as the first and how many (at most `width`), and of each the words
    /// given likewise, as `[words][width]`.
    ///
    /// # Safety
    /// The weights have these rows and words; `out` is valid for writing `words · width`.
    unsafe fn pack<S: Simd>(
        &mut self,
        s: S,
        rows: (usize, usize),
        words: (usize, usize),
        width: usize,
        out: *mut f32,
    );

    /// Asks for words `k0 ..` of some rows that are packed next: they lie too far apart for the
    /// processor to guess them. Any numbers are allowed.
    fn prefetch<S: Simd>(&self, s: S, rows: Range<usize>, k0: usize);
}

/// Rows of `cols` words.
pub(super) struct FloatPanels<E> {
    pub(super) w: *const E,
    pub(super) cols: usize,
}

impl<E: Element> Panels for FloatPanels<E> {
    #[inline(always)]
    unsafe fn pack<S: Simd>(
        &mut self,
        s: S,
        (r0, rows): (usize, usize),
        (k0, steps): (usize, usize),
        width: usize,
        out: *mut f32,
    ) {
        let w = self.w.wrapping_add(r0 * self.cols + k0);
        // SAFETY: by this function's contract.
        unsafe {
            let row = |r: usize| w.wrapping_add(r * self.cols);
            pack::panel(s, row, (rows, steps), width, out);
        }
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&self, s: S, rows: Range<usize>, k0: usize) {
        let bytes = STEPS.min(self.cols) * size_of::<E>();
        for r in rows {
            let row = self.w.wrapping_add(r * self.cols + k0).cast::<u8>();
            for line in (0..bytes).step_by(64) {
                s.prefetch_second(row.wrapping_add(line));
            }
        }
    }
}

/// Some rows of one product, for all of its tokens.
pub(super) struct GemmRows<'a, P> {
    pub(super) weights: P,
    /// Words of a row: of weights, and of packed activations.
    pub(super) cols: usize,
    pub(super) rows: Range<usize>,
    /// `[tokens · cols]`, as [`PackRows`] leaves it.
    pub(super) packed: &'a [f32],
    pub(super) tokens: usize,
    pub(super) y: OutRows<'a>,
    /// At least [`PANEL`] words.
    pub(super) panel: &'a mut [f32],
}

impl<P: Panels> Kernel for GemmRows<'_, P> {
    type Out = ();

    /// # Safety of the blocks inside
    /// Who makes a `GemmRows` has weights of at least `rows.end` rows of `cols` words.
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (cols, tokens) = (self.cols, self.tokens);
        let width = tile_cols::<S>();
        let tiles = tokens.div_ceil(S::TILE_ROWS);
        assert!(self.packed.len() == tokens * cols && self.panel.len() >= STEPS * width);
        let panel = self.panel.as_mut_ptr();
        for k0 in (0..cols).step_by(STEPS) {
            let steps = STEPS.min(cols - k0);
            let mode = if k0 == 0 { Mode::Overwrite } else { Mode::Add };
            for r0 in self.rows.clone().step_by(width) {
                let rows = width.min(self.rows.end - r0);
                // SAFETY: rows and columns are inside the weights, a panel of `steps` is inside
                // `panel`.
                unsafe {
                    self.weights.pack(s, (r0, rows), (k0, steps), width, panel);
                }
                let (next, next_k) = if r0 + width < self.rows.end {
                    (r0 + width, k0)
                } else {
                    (self.rows.start, k0 + STEPS)
                };
                for i in 0..tiles {
                    let share = next + width * i / tiles..next + width * (i + 1) / tiles;
                    self.weights.prefetch(s, share, next_k);
                    let (first, m) = split(tokens, S::TILE_ROWS, i);
                    let out = Out {
                        start: self.y.at(first, r0),
                        stride: self.y.stride(),
                        cols: rows,
                        mode,
                    };
                    // SAFETY: tiles are inside `packed`, and this task alone writes these columns
                    // of `y`.
                    unsafe {
                        let a = self.packed.as_ptr().add(first * cols + k0 * m);
                        packed_tile(s, m, steps, a, (panel.cast_const(), width), out);
                    }
                }
            }
        }
    }
}
