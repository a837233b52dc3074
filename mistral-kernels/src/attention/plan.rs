//! Which thread works on which query rows and positions.

#![expect(unsafe_code, reason = "tasks write disjoint rows")]

use std::ops::Range;

use half::bf16;

use super::block::{
    Block, FEW, Memory, Queries, ROWS, ROWS_FLOAT, ROWS_PAIRS, Source, TILE, padded,
};
use super::cache::{CacheData, CacheType};
use super::cached::Cached;
use super::view::{Stored, Values};
use super::{Attention, KvCache, Selected, q8};
use crate::cpu::SharedMut;
use crate::linear::split;
use crate::simd::dispatch;
use crate::{Cpu, Isa};

/// Fewest positions that a part of a split cache has.
const PART: usize = 4 * TILE;

/// Memory of all threads and of the parts of a split cache.
#[derive(Debug)]
pub(super) struct Buffers {
    threads: usize,
    d: usize,
    dv: usize,
    memory: Vec<f32>,
    /// Per part of a block: rows of sums, then maxima, then totals.
    parts: Vec<f32>,
}

impl Buffers {
    pub(super) fn new(threads: usize, d: usize, dv: usize) -> Self {
        let threads = threads.max(1);
        let (memory, part) = (memory_len(d, dv), part_len(dv));
        Self {
            threads,
            d,
            dv,
            memory: vec![0.0; threads * memory],
            parts: vec![0.0; max_parts(threads) * part],
        }
    }

    /// Bytes that [`Buffers::new`] takes.
    pub(super) fn bytes(threads: usize, d: usize, dv: usize) -> Option<usize> {
        let threads = threads.max(1);
        let parts = max_parts(threads).checked_mul(part_len(dv))?;
        threads
            .checked_mul(memory_len(d, dv))?
            .checked_add(parts)?
            .checked_mul(size_of::<f32>())
    }

    /// What this memory was made for: threads and widths.
    pub(super) fn capacity(&self) -> (usize, usize, usize) {
        (self.threads, self.d, self.dv)
    }
}

/// Words of a thread's memory: see [`Memory`].
fn memory_len(d: usize, dv: usize) -> usize {
    let blocks = q8::blocks(d.max(dv));
    ROWS * d
        + d * TILE
        + TILE * padded(dv)
        + 2 * ROWS * TILE
        + ROWS * padded(dv)
        + blocks * TILE
        + FEW * q8::query_words(d)
}

fn split_memory(memory: &mut [f32], d: usize, dv: usize) -> Memory<'_> {
    let (q, memory) = memory.split_at_mut(ROWS * d);
    let (k, memory) = memory.split_at_mut(d * TILE);
    let (v, memory) = memory.split_at_mut(TILE * padded(dv));
    let (scores, memory) = memory.split_at_mut(ROWS * TILE);
    let (weighted, memory) = memory.split_at_mut(ROWS * TILE);
    let (sums, memory) = memory.split_at_mut(ROWS * padded(dv));
    let (scales, memory) = memory.split_at_mut(q8::blocks(d.max(dv)) * TILE);
    let query = &mut memory[..FEW * q8::query_words(d)];
    Memory {
        q,
        k,
        v,
        scores,
        weighted,
        sums,
        scales,
        query,
    }
}

fn floats<E>(numbers: &[E]) -> Stored<'_, E> {
    Stored {
        numbers,
        scales: &[],
    }
}

fn bytes<'a>(codes: &'a [i8], scales: &'a [bf16]) -> Stored<'a, i8> {
    Stored {
        numbers: codes,
        scales,
    }
}

fn part_len(dv: usize) -> usize {
    ROWS * (padded(dv) + 2)
}

/// Most parts that all blocks of a call are split into together; see [`Plan::new`].
fn max_parts(threads: usize) -> usize {
    8 * threads
}

/// A call, whose shapes were checked.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) attention: &'a Attention,
    /// `[t, n_heads, d]`
    pub(super) q: &'a [f32],
    pub(super) t: usize,
    pub(super) first_position: usize,
    pub(super) cache: &'a KvCache<'a>,
    pub(super) selected: Option<&'a Selected>,
}

/// A call, cut into tasks.
struct Plan<'a> {
    call: Call<'a>,
    /// Query heads of a key head.
    group: usize,
    /// Most rows of a block.
    most: usize,
    /// Blocks of rows of a key head.
    blocks: usize,
    /// Parts that a block's positions are split into.
    parts: usize,
}

/// Where tasks write.
#[derive(Clone, Copy)]
struct Sinks<'a> {
    parts: SharedMut<'a, f32>,
    out: SharedMut<'a, f32>,
}

/// One task.
struct Task {
    block: usize,
    part: usize,
    head: usize,
    rows: Range<usize>,
}

/// Attends.
pub(super) fn attend(cpu: &Cpu, call: Call<'_>, out: &mut [f32], buffers: &mut Buffers) {
    if call.t == 0 {
        return;
    }
    let plan = Plan::new(cpu, call);
    let sinks = Sinks {
        parts: SharedMut::new(&mut buffers.parts),
        out: SharedMut::new(out),
    };
    let memory = SharedMut::new(&mut buffers.memory);
    let size = memory_len(buffers.d, buffers.dv);
    let tasks = call.cache.n_kv_heads() * plan.blocks * plan.parts;
    cpu.run(tasks, plan.operations(), &|task, thread| {
        // SAFETY: a thread's memory is its own.
        let memory = unsafe { memory.slice(thread * size..(thread + 1) * size) };
        // Late queries see most: they go first, so that no long task remains at the end.
        plan.task(cpu, tasks - 1 - task, memory, sinks);
    });
    if plan.parts > 1 {
        let blocks = call.cache.n_kv_heads() * plan.blocks;
        let elements = blocks * plan.parts * ROWS * call.cache.dv();
        cpu.run(blocks, elements, &|block, _| plan.combine(block, sinks));
    }
}

impl<'a> Plan<'a> {
    fn new(cpu: &Cpu, call: Call<'a>) -> Self {
        let (t, group) = (call.t, call.attention.n_heads / call.cache.n_kv_heads());
        let most = match cpu.isa() {
            _ if call.cache.kind() == CacheType::F32 => ROWS_FLOAT,
            Isa::Amx => ROWS,
            Isa::Avx512Bf16 => ROWS_PAIRS,
            _ => ROWS_FLOAT,
        };
        // A list belongs to one query, so a block doesn't cross queries then.
        let blocks = match call.selected {
            Some(_) => t * group.div_ceil(most),
            None => (t * group).div_ceil(most),
        };
        let all = blocks * call.cache.n_kv_heads();
        let plan = Self {
            call,
            group,
            most,
            blocks,
            parts: 1,
        };
        let enough = all >= cpu.threads() * 2 || !cpu.shares(plan.operations());
        if call.selected.is_some() || enough {
            return plan;
        }
        // Less than 6 parts a thread in all, since `all` is below 2.
        let parts = (cpu.threads() * 4).div_ceil(all);
        Self {
            parts: parts.min(plan.longest().div_ceil(PART)),
            ..plan
        }
    }

    /// Most positions that the queries see together.
    fn longest(&self) -> usize {
        let call = &self.call;
        let seen = call.first_position + call.t;
        let window = call.attention.window.unwrap_or(usize::MAX);
        seen.min(window.saturating_add(call.t))
    }

    /// Multiplications of the call, at most.
    fn operations(&self) -> usize {
        let call = &self.call;
        let rows = call.t * call.attention.n_heads;
        rows.saturating_mul(self.longest())
            .saturating_mul(call.cache.d() + call.cache.dv())
    }

    /// Key head and query rows of a block.
    fn rows(&self, block: usize) -> (usize, Range<usize>) {
        let (head, block) = (block / self.blocks, block % self.blocks);
        let (offset, rows, inside) = match self.call.selected {
            Some(_) => {
                let per_query = self.group.div_ceil(self.most);
                let query = block / per_query;
                (query * self.group, self.group, block % per_query)
            }
            None => (0, self.call.t * self.group, block),
        };
        let (start, n) = split(rows, self.most, inside);
        (head, offset + start..offset + start + n)
    }

    fn task(&self, cpu: &Cpu, task: usize, memory: &mut [f32], sinks: Sinks<'_>) {
        let (block, part) = (task / self.parts, task % self.parts);
        let (head, rows) = self.rows(block);
        let task = Task {
            block,
            part,
            head,
            rows,
        };
        let c = self.call.cache;
        match c.data() {
            (CacheData::F32(k), Values::Own(CacheData::F32(v))) => {
                self.run(cpu, task, (floats(k), floats(v), c.dv()), memory, sinks);
            }
            (CacheData::F16(k), Values::Own(CacheData::F16(v))) => {
                self.run(cpu, task, (floats(k), floats(v), c.dv()), memory, sinks);
            }
            (CacheData::Bf16(k), Values::Own(CacheData::Bf16(v))) => {
                self.run(cpu, task, (floats(k), floats(v), c.dv()), memory, sinks);
            }
            (
                CacheData::Q8 { codes, scales },
                Values::Own(CacheData::Q8 {
                    codes: v_codes,
                    scales: v_scales,
                }),
            ) => {
                let (k, v) = (bytes(codes, scales), bytes(v_codes, v_scales));
                self.run(cpu, task, (k, v, c.dv()), memory, sinks);
            }
            // Values are the first part of the keys' rows.
            (CacheData::F32(k), _) => self.run_latent(cpu, task, floats(k), memory, sinks),
            (CacheData::F16(k), _) => self.run_latent(cpu, task, floats(k), memory, sinks),
            (CacheData::Bf16(k), _) => self.run_latent(cpu, task, floats(k), memory, sinks),
            (CacheData::Q8 { codes, scales }, _) => {
                self.run_latent(cpu, task, bytes(codes, scales), memory, sinks);
            }
        }
    }

    fn run_latent<E: Cached>(
        &self,
        cpu: &Cpu,
        task: Task,
        rows: Stored<'_, E>,
        memory: &mut [f32],
        sinks: Sinks<'_>,
    ) {
        let stride = self.call.cache.d();
        self.run(cpu, task, (rows, rows, stride), memory, sinks);
    }

    /// Runs a task over keys and values, whose rows are `stride` apart.
    fn run<E: Cached>(
        &self,
        cpu: &Cpu,
        task: Task,
        (keys, values, stride): (Stored<'_, E>, Stored<'_, E>, usize),
        memory: &mut [f32],
        sinks: Sinks<'_>,
    ) {
        let Task {
            block,
            part,
            head,
            rows,
        } = task;
        let cache = self.call.cache;
        let keys = cache.head(keys, head, (cache.d(), cache.d()));
        let values = cache.head(values, head, (stride, cache.dv()));
        let queries = self.queries(head);
        let wide = padded(values.width);
        let source = self.source(&queries, &rows, part);
        let (mut maxima, mut totals) = ([0.0; ROWS], [0.0; ROWS]);
        let mut memory = split_memory(memory, keys.width, values.width);
        dispatch(
            cpu.live(),
            Block {
                live: cpu.live(),
                queries,
                rows: rows.clone(),
                keys,
                values,
                source,
                memory: &mut memory,
                maxima: &mut maxima,
                totals: &mut totals,
            },
        );
        if self.parts == 1 {
            let sums = memory.sums.chunks_exact(wide).zip(&totals);
            for (row, (sums, &total)) in rows.zip(sums) {
                let at = queries.at(row) * values.width;
                // SAFETY: each row belongs to one block.
                let out = unsafe { sinks.out.slice(at..at + values.width) };
                // A row that sees nothing stays zero.
                let scale = if total == 0.0 { 0.0 } else { 1.0 / total };
                for (o, v) in out.iter_mut().zip(sums) {
                    *o = v * scale;
                }
            }
        } else {
            let at = (block * self.parts + part) * ROWS * (wide + 2);
            // SAFETY: each part belongs to one task.
            let out = unsafe { sinks.parts.slice(at..at + ROWS * (wide + 2)) };
            out[..ROWS * wide].copy_from_slice(memory.sums);
            out[ROWS * wide..][..ROWS].copy_from_slice(&maxima);
            out[ROWS * (wide + 1)..].copy_from_slice(&totals);
        }
    }

    fn queries(&self, head: usize) -> Queries<'a> {
        Queries {
            q: self.call.q,
            n_heads: self.call.attention.n_heads,
            group: self.group,
            head,
            first_position: self.call.first_position,
            window: self.call.attention.window,
            scale: self.call.attention.scale,
        }
    }

    fn source(&self, queries: &Queries<'_>, rows: &Range<usize>, part: usize) -> Source<'a> {
        if let Some(selected) = self.call.selected {
            return Source::List(selected.row(rows.start / self.group));
        }
        let first = queries.visible(rows.start).start;
        let end = queries.visible(rows.end - 1).end;
        let at = |part: usize| first + (end - first) * part / self.parts;
        Source::Range(at(part), at(part + 1))
    }

    /// Adds up the parts of a block.
    fn combine(&self, block: usize, sinks: Sinks<'_>) {
        let (head, rows) = self.rows(block);
        let (queries, dv) = (self.queries(head), self.call.cache.dv());
        let wide = padded(dv);
        let size = ROWS * (wide + 2);
        let at = block * self.parts * size;
        // SAFETY: the parts were written before and are only read now.
        let parts = unsafe { sinks.parts.read(at..at + self.parts * size) };
        for (r, row) in rows.enumerate() {
            let at = queries.at(row) * dv;
            // SAFETY: each row belongs to one block.
            let out = unsafe { sinks.out.slice(at..at + dv) };
            out.fill(0.0);
            let ends = |part: &[f32]| (part[ROWS * wide + r], part[ROWS * (wide + 1) + r]);
            let max = parts
                .chunks_exact(size)
                .fold(f32::NEG_INFINITY, |m, part| m.max(ends(part).0));
            let mut total = 0.0;
            for part in parts.chunks_exact(size) {
                let (its_max, its_total) = ends(part);
                // A part whose scores are all NaN has no maximum, but a total.
                if its_max == f32::NEG_INFINITY && its_total == 0.0 {
                    continue;
                }
                let weight = (its_max - max).exp();
                total += weight * its_total;
                for (o, v) in out.iter_mut().zip(&part[r * wide..]) {
                    *o += weight * v;
                }
            }
            if total != 0.0 {
                out.iter_mut().for_each(|o| *o /= total);
            }
        }
    }
}
