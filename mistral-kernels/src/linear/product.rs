//! Several products in one fork-join.

#![expect(unsafe_code, reason = "tasks write disjoint columns of their outputs")]

use std::ops::Range;

use half::bf16;

use super::blocks::{BlockPanels, UNPACKED};
use super::dot::DotRows;
use super::gemm::{FloatPanels, GemmRows, PANEL, PackRows, Panels};
use super::pack::{BYTE_TILE, TILED, Words};
use crate::cpu::SharedMut;
use crate::quant::{Ahead, Blocks, DotGroups, Group, Quantize, groups};
use crate::simd::{Element, Simd, dispatch, dispatch_pairs, has_pairs};
use crate::{Cpu, Matrix, WeightData};

/// Up to this many tokens weights are read as they lie, above it they are packed first.
pub(crate) const FEW: usize = 16;

/// Rows of f32, one a token, maybe picked out of a larger set.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    data: &'a [f32],
    stride: usize,
    pick: Option<&'a [u32]>,
    count: usize,
}

impl<'a> Rows<'a> {
    /// `count` rows of `width` elements, `stride` apart.
    pub(crate) fn new(data: &'a [f32], width: usize, stride: usize, count: usize) -> Self {
        assert!(count == 0 || (count - 1) * stride + width <= data.len());
        Self {
            data,
            stride,
            pick: None,
            count,
        }
    }

    /// The rows that `pick` names, of `width` elements each; the caller made sure that they are
    /// inside `data`.
    pub(crate) fn picked(data: &'a [f32], width: usize, pick: &'a [u32]) -> Self {
        // Called once for each task: too often to look at every row.
        debug_assert!(pick.iter().all(|&i| (i as usize + 1) * width <= data.len()));
        Self {
            data,
            stride: width,
            pick: Some(pick),
            count: pick.len(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Start of row `i`, which has `width` elements.
    #[inline(always)]
    pub(crate) fn row(&self, i: usize) -> *const f32 {
        debug_assert!(i < self.count);
        let row = self.pick.map_or(i, |pick| pick[i] as usize);
        // Inside by the constructors' assertions.
        self.data.as_ptr().wrapping_add(row * self.stride)
    }
}

/// Where a product writes: row `i` of its outputs begins at `start + i · stride`.
#[derive(Clone, Copy)]
pub(crate) struct OutRows<'a> {
    data: SharedMut<'a, f32>,
    start: usize,
    stride: usize,
}

impl<'a> OutRows<'a> {
    /// `count` rows of `width` elements.
    pub(crate) fn new(
        data: SharedMut<'a, f32>,
        start: usize,
        stride: usize,
        (count, width): (usize, usize),
    ) -> Self {
        assert!(count == 0 || start + (count - 1) * stride + width <= data.len());
        Self {
            data,
            start,
            stride,
        }
    }

    #[inline(always)]
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Element `c` of row `i`.
    #[inline(always)]
    pub(crate) fn at(&self, i: usize, c: usize) -> *mut f32 {
        self.data
            .as_ptr()
            .wrapping_add(self.start + i * self.stride + c)
    }
}

/// One product of a set.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    pub(crate) w: Matrix<'a>,
    pub(crate) x: Rows<'a>,
    /// Row of the packed activations that this input begins at. Products of the same input name
    /// the same row.
    pub(crate) packed_row: usize,
    pub(crate) y: OutRows<'a>,
}

/// Memory for packed activations and panels.
#[derive(Debug)]
pub(crate) struct Buffers {
    packed: Vec<f32>,
    /// Activations of products with few tokens and weights in blocks.
    quantized: Vec<Group>,
    panels: Vec<f32>,
    /// Words of `panels` that a thread has.
    panel_words: usize,
    /// First task of each product; grows once if there are more products.
    starts: Vec<usize>,
    threads: usize,
}

impl Buffers {
    /// For `rows` packed rows of up to `cols` elements, of which `few_rows` may belong to products
    /// with at most [`FEW`] tokens.
    pub(crate) fn new(threads: usize, (rows, few_rows): (usize, usize), cols: usize) -> Self {
        let threads = threads.max(1);
        let panel_words = panel_words();
        Self {
            packed: vec![0.0; rows * cols + LINE],
            quantized: vec![Group::ZERO; few_rows * groups(cols)],
            panels: vec![0.0; threads * panel_words + LINE],
            panel_words,
            starts: Vec::with_capacity(STARTS),
            threads,
        }
    }

    /// Bytes that [`Buffers::new`] takes, or `None` beyond the address space.
    pub(crate) fn bytes(
        threads: usize,
        (rows, few_rows): (usize, usize),
        cols: usize,
    ) -> Option<usize> {
        let words = rows
            .checked_mul(cols)?
            .checked_add(threads.max(1).checked_mul(panel_words())?)?
            .checked_add(2 * LINE)?;
        let quantized = few_rows.checked_mul(groups(cols))?;
        words
            .checked_mul(size_of::<f32>())?
            .checked_add(quantized.checked_mul(size_of::<Group>())?)?
            .checked_add(STARTS * size_of::<usize>())
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads
    }
}

/// Products that have a place from the beginning.
const STARTS: usize = 512;

/// Words of a line of the cache: tiles begin on one.
const LINE: usize = 16;

/// Words that a thread works in, on any set that this processor has: asking for the best one takes
/// too long for an operation.
fn panel_words() -> usize {
    match crate::Isa::best() {
        #[cfg(target_arch = "x86_64")]
        crate::Isa::Amx => crate::amx::SCRATCH,
        #[cfg(target_arch = "x86_64")]
        best if best >= crate::Isa::Avx512Vnni => crate::vnni::SCRATCH,
        _ => PANEL + UNPACKED,
    }
}

#[cfg(target_arch = "x86_64")]
const _: () = assert!(
    PANEL + UNPACKED <= crate::vnni::SCRATCH && crate::vnni::SCRATCH <= crate::amx::SCRATCH,
    "floats find room in what bytes need, and bytes in what tiles need"
);

/// What follows the first [`LINE`] border of a buffer.
fn aligned(words: &mut [f32]) -> &mut [f32] {
    let skip = words.as_ptr().align_offset(64).min(LINE);
    &mut words[skip..]
}

/// Runs `count` products with inputs of the same width; `input` says which of them bring an input
/// of their own (others share one that an earlier product brought).
pub(crate) fn run<'a>(
    cpu: &Cpu,
    count: usize,
    product: &(dyn Fn(usize) -> Product<'a> + Sync),
    brings_input: &(dyn Fn(usize) -> bool + Sync),
    buffers: &mut Buffers,
) {
    assert!(cpu.threads() <= buffers.threads);
    let words = words(cpu, count, product);
    let inputs = (count, words);
    let (quantized, starts) = (&mut buffers.quantized[..], &mut buffers.starts);
    quantize_inputs(
        cpu,
        inputs,
        product,
        brings_input,
        (&mut *quantized, starts),
    );
    let quantized = &*quantized;
    let packed = SharedMut::new(aligned(&mut buffers.packed));
    pack_inputs(cpu, inputs, product, brings_input, (packed, starts));
    let work: usize = (0..count).map(|i| macs(&product(i))).sum();
    let few = (0..count).all(|i| words.few(product(i).x.count()));
    let grain = Grain::new(cpu, work, few);
    let blocks = |p: &Product<'_>| p.w.rows().div_ceil(grain.rows(p));
    let tasks = lay_out(starts, count, |i| blocks(&product(i)));
    let starts = &starts[..];
    let size = buffers.panel_words;
    let panels = SharedMut::new(aligned(&mut buffers.panels));
    cpu.run(tasks, work, &|task, thread| {
        let (i, block) = place(starts, task);
        let p = product(i);
        let n = grain.rows(&p);
        let rows = block * n..p.w.rows().min((block + 1) * n);
        // SAFETY: a thread's panel is its own.
        let scratch = unsafe { panels.slice(thread * size..(thread + 1) * size) };
        let task = Task {
            p,
            rows,
            words,
            packed,
            quantized,
            scratch,
        };
        match p.w.data() {
            _ if words == Words::Tiles && !words.few(p.x.count()) => task.run_tiles(cpu),
            WeightData::F32(w) => task.run(cpu, w),
            WeightData::F16(w) => task.run(cpu, w),
            WeightData::Bf16(w) if words == Words::Bf16Pairs => task.run_pairs(cpu, w),
            WeightData::Bf16(w) => task.run(cpu, w),
            WeightData::Blocks(w) => task.run_blocks(cpu, w),
        }
    });
}

/// Numbers the tasks of all products one after the other, and returns how many there are.
fn lay_out(starts: &mut Vec<usize>, count: usize, tasks_of: impl Fn(usize) -> usize) -> usize {
    starts.clear();
    (0..count).fold(0, |next, i| {
        starts.push(next);
        next + tasks_of(i)
    })
}

/// The product that a task belongs to, and its number there.
fn place(starts: &[usize], task: usize) -> (usize, usize) {
    // Of products that start at the same task, all but the last have none.
    let i = starts.partition_point(|&start| start <= task) - 1;
    (i, task - starts[i])
}

/// How activations are packed: in a way that suits all weights, since some may share them.
fn words<'a>(cpu: &Cpu, count: usize, product: &dyn Fn(usize) -> Product<'a>) -> Words {
    let tiles = |w: Matrix<'_>| {
        matches!(w.data(), WeightData::Bf16(_) | WeightData::Blocks(_))
            && w.cols().is_multiple_of(32)
    };
    if cpu.isa() == crate::Isa::Amx && (0..count).all(|i| tiles(product(i).w)) {
        return Words::Tiles;
    }
    let bytes =
        |w: Matrix<'_>| matches!(w.data(), WeightData::Blocks(_)) && w.cols().is_multiple_of(256);
    if cpu.isa() >= crate::Isa::Avx512Vnni && (0..count).all(|i| bytes(product(i).w)) {
        return Words::Bytes;
    }
    let suits =
        |w: Matrix<'_>| matches!(w.data(), WeightData::Bf16(_)) && w.cols().is_multiple_of(2);
    if has_pairs(cpu.live()) && (0..count).all(|i| suits(product(i).w)) {
        Words::Bf16Pairs
    } else {
        Words::F32
    }
}

fn macs(p: &Product<'_>) -> usize {
    p.w.rows() * p.w.cols() * p.x.count()
}

/// How finely products are cut into tasks.
struct Grain {
    /// Multiplications a task.
    work: usize,
    /// Most rows of a task.
    most: usize,
}

impl Grain {
    /// For products of `work` multiplications together, all with few tokens or not.
    fn new(cpu: &Cpu, work: usize, few: bool) -> Self {
        let schedule = cpu.schedule();
        let (tasks, most) = if few {
            (schedule.few_tasks, schedule.few_rows)
        } else {
            (schedule.many_tasks, schedule.many_rows)
        };
        // Below this a second thread costs more than it brings; the upper end keeps the tail of
        // a fork-join short.
        let even = work / (cpu.threads() * tasks as usize);
        let work = if cpu.threads() == 1 {
            work
        } else {
            even.max(16 * 1024)
        };
        Self {
            work: work.max(1),
            most: most as usize,
        }
    }

    /// Rows of a product a task: whole panels, at most enough to use packed activations well.
    fn rows(&self, p: &Product<'_>) -> usize {
        let row = (p.w.cols() * p.x.count()).max(1);
        (self.work / row).next_multiple_of(32).clamp(32, self.most)
    }
}

/// Rounds the inputs that weights in blocks are multiplied with, where tokens are few.
fn quantize_inputs<'a>(
    cpu: &Cpu,
    (count, words): (usize, Words),
    product: &(dyn Fn(usize) -> Product<'a> + Sync),
    brings_input: &(dyn Fn(usize) -> bool + Sync),
    (quantized, starts): (&mut [Group], &mut Vec<usize>),
) {
    if !(0..count).any(|i| matches!(product(i).w.data(), WeightData::Blocks(_))) {
        return;
    }
    let rows = |i: usize| {
        let tokens = product(i).x.count();
        if words.few(tokens) && brings_input(i) {
            tokens
        } else {
            0
        }
    };
    let total = lay_out(starts, count, rows);
    let starts = &starts[..];
    let cols = product(0).w.cols();
    let groups = groups(cols);
    let quantized = SharedMut::new(quantized);
    // Only these sets read the other orders.
    let arranged = cpu.isa() >= crate::Isa::Avx512Vnni;
    // Rounding an element takes about a nanosecond.
    cpu.run_ranges(total, (8 * 1024usize).div_ceil(cols), &|range| {
        for row in range {
            let (i, row) = place(starts, row);
            let p = product(i);
            let start = (p.packed_row + row) * groups;
            // SAFETY: `Rows` holds the row; each row's groups belong to one task.
            let (x, out) = unsafe {
                (
                    std::slice::from_raw_parts(p.x.row(row), cols),
                    quantized.slice(start..start + groups),
                )
            };
            if arranged {
                dispatch(cpu.live(), Quantize::<true> { x, out });
            } else {
                dispatch(cpu.live(), Quantize::<false> { x, out });
            }
        }
    });
}

fn pack_inputs<'a>(
    cpu: &Cpu,
    (count, words): (usize, Words),
    product: &(dyn Fn(usize) -> Product<'a> + Sync),
    brings_input: &(dyn Fn(usize) -> bool + Sync),
    (packed, starts): (SharedMut<'_, f32>, &mut Vec<usize>),
) {
    let tile_rows = match words {
        Words::Tiles => TILED,
        Words::Bytes => BYTE_TILE,
        Words::F32 | Words::Bf16Pairs => dispatch(cpu.live(), TileRows),
    };
    let product_cols = if count == 0 { 0 } else { product(0).w.cols() };
    let tiles = |i: usize| {
        let tokens = product(i).x.count();
        if !words.few(tokens) && brings_input(i) {
            tokens.div_ceil(tile_rows)
        } else {
            0
        }
    };
    let tasks = lay_out(starts, count, tiles);
    let starts = &starts[..];
    let elements = tasks * tile_rows * product_cols;
    cpu.run(tasks, elements, &|task, _| {
        let (i, tile) = place(starts, task);
        let p = product(i);
        let pack = PackRows {
            x: p.x,
            words,
            cols: words.of(p.w.cols()),
            tile,
            out: packed,
            start: p.packed_row * p.w.cols(),
        };
        match words {
            Words::F32 => dispatch(cpu.live(), pack),
            Words::Bf16Pairs => dispatch_pairs(cpu.live(), pack),
            Words::Tiles => pack.run_tiles(cpu),
            Words::Bytes => pack.run_bytes(cpu),
        }
    });
}

/// Rows of a register tile on the set in use.
struct TileRows;

impl crate::simd::Kernel for TileRows {
    type Out = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        S::TILE_ROWS
    }
}

/// Some rows of one product.
struct Task<'a> {
    p: Product<'a>,
    rows: Range<usize>,
    words: Words,
    packed: SharedMut<'a, f32>,
    quantized: &'a [Group],
    /// [`Buffers::panel_words`] of them.
    scratch: &'a mut [f32],
}

impl<'a> Task<'a> {
    fn run<E: Element>(self, cpu: &Cpu, w: &'a [E]) {
        if self.words.few(self.p.x.count()) {
            let (cols, rows) = (self.p.w.cols(), self.rows);
            let (x, y) = (self.p.x, self.p.y);
            dispatch(
                cpu.live(),
                DotRows {
                    w,
                    cols,
                    rows,
                    x,
                    y,
                },
            );
        } else {
            dispatch(cpu.live(), self.gemm_floats(w.as_ptr()));
        }
    }

    fn run_blocks(self, cpu: &Cpu, w: Blocks<'a>) {
        let cols = self.p.w.cols();
        if self.words.few(self.p.x.count()) {
            let (rows, tokens, y) = (self.rows, self.p.x.count(), self.p.y);
            let start = self.p.packed_row * groups(cols);
            let work = DotGroups {
                w,
                cols,
                rows,
                x: &self.quantized[start..start + tokens * groups(cols)],
                tokens,
                y,
                ahead: Ahead::of(cpu),
            };
            work.run_on(cpu.live());
        } else if self.words == Words::Bytes {
            self.run_bytes(cpu, w);
        } else {
            let (panel, unpacked) = self.scratch.split_at_mut(PANEL);
            let weights = BlockPanels { w, cols, unpacked };
            dispatch(
                cpu.live(),
                gemm(self.p, (self.rows, cols), self.packed, panel, weights),
            );
        }
    }

    fn run_pairs(self, cpu: &Cpu, w: &'a [bf16]) {
        if self.words.few(self.p.x.count()) {
            self.run(cpu, w);
        } else {
            dispatch_pairs(cpu.live(), self.gemm_floats(w.as_ptr().cast::<f32>()));
        }
    }

    /// The product over words of weights and packed activations.
    fn gemm_floats<E: Element>(self, w: *const E) -> GemmRows<'a, FloatPanels<E>> {
        let cols = self.words.of(self.p.w.cols());
        let weights = FloatPanels { w, cols };
        gemm(
            self.p,
            (self.rows, cols),
            self.packed,
            self.scratch,
            weights,
        )
    }

    #[cfg(target_arch = "x86_64")]
    fn run_tiles(self, cpu: &Cpu) {
        let (w, tokens) = (self.p.w, self.p.x.count());
        let start = self.p.packed_row * w.cols();
        let words = tokens.next_multiple_of(TILED) * w.cols() / 2;
        let work = crate::amx::GemmTiles {
            w,
            rows: self.rows,
            // SAFETY: packing has ended, so that everybody only reads.
            x: unsafe { self.packed.read(start..start + words) },
            tokens,
            panel_columns: cpu.schedule().panel_columns as usize,
            y: self.p.y,
            scratch: self.scratch,
        };
        work.run(cpu.live());
    }

    #[cfg(target_arch = "x86_64")]
    fn run_bytes(self, cpu: &Cpu, w: Blocks<'a>) {
        let (cols, tokens) = (self.p.w.cols(), self.p.x.count());
        let start = self.p.packed_row * cols;
        let work = crate::vnni::GemmBytes {
            w,
            cols,
            rows: self.rows,
            // SAFETY: packing has ended, so that everybody only reads.
            x: unsafe { self.packed.read(start..start + tokens * cols) },
            tokens,
            y: self.p.y,
            scratch: self.scratch,
        };
        work.run(cpu.live());
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn run_tiles(self, _: &Cpu) {
        unreachable!("no set with tiles was found")
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn run_bytes(self, _: &Cpu, _: Blocks<'a>) {
        unreachable!("no set with dot products of bytes was found")
    }
}

/// The product of some rows of `cols` words with packed activations.
fn gemm<'a, W: Panels>(
    p: Product<'a>,
    (rows, cols): (Range<usize>, usize),
    packed: SharedMut<'a, f32>,
    panel: &'a mut [f32],
    weights: W,
) -> GemmRows<'a, W> {
    let tokens = p.x.count();
    let start = p.packed_row * p.w.cols();
    // SAFETY: packing has ended, so that everybody only reads.
    let packed = unsafe { packed.read(start..start + tokens * cols) };
    GemmRows {
        weights,
        cols,
        rows,
        packed,
        tokens,
        y: p.y,
        panel,
    }
}

#[cfg(test)]
mod tests {
    use mistral_core::schedule::Schedule;

    use super::*;
    use crate::quant::Ahead;

    /// What a schedule decides without changing a result can only be seen here.
    #[test]
    fn work_is_cut_and_fetched_as_scheduled() {
        let mut cpu = Cpu::new(2);
        let schedule = Schedule {
            fetch_near: 640,
            fetch_far: 0,
            few_tasks: 1,
            few_rows: 96,
            many_tasks: 4,
            many_rows: 160,
            ..Schedule::default()
        };
        cpu.set_schedule(schedule).expect("inside the ranges");
        let ahead = Ahead::of(&cpu);
        assert_eq!((ahead.near, ahead.far), (640, 0));
        let work = 1 << 20;
        let grain = |few| {
            let grain = Grain::new(&cpu, work, few);
            (grain.work, grain.most)
        };
        // A task a thread, and four of them.
        assert_eq!(grain(true), (work / 2, 96));
        assert_eq!(grain(false), (work / 8, 160));
    }
}
