//! Which thread works on which query rows and positions.

#![expect(unsafe_code, reason = "tasks write disjoint rows")]

use super::block::{Block, Memory, Queries, ROWS, Source, TILE, padded};
use super::cache::{CacheData, HeadRows, Values};
use super::{Attention, KvCache, Selected};
use crate::Cpu;
use crate::cpu::SharedMut;
use crate::linear::split;
use crate::simd::{Element, dispatch};

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

    /// What this memory was made for: threads and widths.
    pub(super) fn capacity(&self) -> (usize, usize, usize) {
        (self.threads, self.d, self.dv)
    }
}

fn memory_len(d: usize, dv: usize) -> usize {
    ROWS * d + d * TILE + TILE * padded(dv) + ROWS * TILE + ROWS * padded(dv)
}

fn part_len(dv: usize) -> usize {
    ROWS * (padded(dv) + 2)
}

/// Most parts that all blocks of a call are split into together; see [`Plan::new`].
fn max_parts(threads: usize) -> usize {
    8 * threads
}

/// A call, cut into tasks.
struct Plan<'a> {
    attention: &'a Attention,
    q: &'a [f32],
    t: usize,
    first_position: usize,
    cache: &'a KvCache<'a>,
    selected: Option<&'a Selected>,
    /// Query heads of a key head.
    group: usize,
    /// Blocks of rows of a key head.
    blocks: usize,
    /// Parts that a block's positions are split into.
    parts: usize,
}

/// Attends; shapes were checked.
pub(super) fn attend(
    cpu: &Cpu,
    attention: &Attention,
    (q, t): (&[f32], usize),
    first_position: usize,
    cache: &KvCache<'_>,
    selected: Option<&Selected>,
    out: &mut [f32],
    buffers: &mut Buffers,
) {
    if t == 0 {
        return;
    }
    let plan = Plan::new(cpu, attention, (q, t), first_position, cache, selected);
    let out = SharedMut::new(out);
    let (memory, parts) = (
        SharedMut::new(&mut buffers.memory),
        SharedMut::new(&mut buffers.parts),
    );
    let size = memory_len(buffers.d, buffers.dv);
    let tasks = cache.n_kv_heads() * plan.blocks * plan.parts;
    cpu.run(tasks, &|task, thread| {
        // SAFETY: a thread's memory is its own.
        let memory = unsafe { memory.slice(thread * size..(thread + 1) * size) };
        // Late queries see most: they go first, so that no long task remains at the end.
        plan.task(cpu, tasks - 1 - task, memory, parts, out);
    });
    if plan.parts > 1 {
        let blocks = cache.n_kv_heads() * plan.blocks;
        cpu.run(blocks, &|block, _| plan.combine(block, parts, out));
    }
}

impl<'a> Plan<'a> {
    fn new(
        cpu: &Cpu,
        attention: &'a Attention,
        (q, t): (&'a [f32], usize),
        first_position: usize,
        cache: &'a KvCache<'a>,
        selected: Option<&'a Selected>,
    ) -> Self {
        let group = attention.n_heads / cache.n_kv_heads();
        // A list belongs to one query, so a block doesn't cross queries then.
        let blocks = match selected {
            Some(_) => t * group.div_ceil(ROWS),
            None => (t * group).div_ceil(ROWS),
        };
        let all = blocks * cache.n_kv_heads();
        let longest = attention
            .window
            .map_or(first_position + t, |w| (w + t).min(first_position + t));
        let wanted = cpu.threads() * 2;
        let parts = if selected.is_some() || cpu.threads() == 1 || all >= wanted {
            1
        } else {
            // At most twice `wanted` parts in all, since `all` is below `wanted`.
            (cpu.threads() * 4)
                .div_ceil(all)
                .min(longest.div_ceil(PART))
        };
        Self {
            attention,
            q,
            t,
            first_position,
            cache,
            selected,
            group,
            blocks,
            parts,
        }
    }

    /// Key head and query rows of a block.
    fn rows(&self, block: usize) -> (usize, std::ops::Range<usize>) {
        let (head, block) = (block / self.blocks, block % self.blocks);
        let (offset, rows, inside) = match self.selected {
            Some(_) => {
                let per_query = self.group.div_ceil(ROWS);
                let query = block / per_query;
                (query * self.group, self.group, block % per_query)
            }
            None => (0, self.t * self.group, block),
        };
        let (start, n) = split(rows, ROWS, inside);
        (head, offset + start..offset + start + n)
    }

    fn task(
        &self,
        cpu: &Cpu,
        task: usize,
        memory: &mut [f32],
        parts: SharedMut<'_, f32>,
        out: SharedMut<'_, f32>,
    ) {
        let (block, part) = (task / self.parts, task % self.parts);
        let (head, rows) = self.rows(block);
        let (d, dv) = (self.cache.d(), self.cache.dv());
        let (k, v) = self.cache.data();
        let (ks, vs) = ((d, d), (dv, dv));
        // The same rows, of which values are the first part.
        let of_keys = (d, dv);
        let c = self.cache;
        let (h, work) = (head, (block, part, head, rows));
        match (k, v) {
            (CacheData::F32(k), Values::Own(CacheData::F32(v))) => {
                self.run(
                    cpu,
                    work,
                    c.head(k, h, ks),
                    c.head(v, h, vs),
                    memory,
                    parts,
                    out,
                );
            }
            (CacheData::F16(k), Values::Own(CacheData::F16(v))) => {
                self.run(
                    cpu,
                    work,
                    c.head(k, h, ks),
                    c.head(v, h, vs),
                    memory,
                    parts,
                    out,
                );
            }
            (CacheData::Bf16(k), Values::Own(CacheData::Bf16(v))) => {
                self.run(
                    cpu,
                    work,
                    c.head(k, h, ks),
                    c.head(v, h, vs),
                    memory,
                    parts,
                    out,
                );
            }
            (CacheData::F32(k), _) => {
                self.run(
                    cpu,
                    work,
                    c.head(k, h, ks),
                    c.head(k, h, of_keys),
                    memory,
                    parts,
                    out,
                );
            }
            (CacheData::F16(k), _) => {
                self.run(
                    cpu,
                    work,
                    c.head(k, h, ks),
                    c.head(k, h, of_keys),
                    memory,
                    parts,
                    out,
                );
            }
            (CacheData::Bf16(k), _) => {
                self.run(
                    cpu,
                    work,
                    c.head(k, h, ks),
                    c.head(k, h, of_keys),
                    memory,
                    parts,
                    out,
                );
            }
        }
    }

    fn run<E: Element>(
        &self,
        cpu: &Cpu,
        (block, part, head, rows): (usize, usize, usize, std::ops::Range<usize>),
        keys: HeadRows<'_, E>,
        values: HeadRows<'_, E>,
        memory: &mut [f32],
        parts: SharedMut<'_, f32>,
        out: SharedMut<'_, f32>,
    ) {
        let queries = self.queries(head);
        let wide = padded(values.width);
        let source = self.source(&queries, &rows, part);
        let (q, memory) = memory.split_at_mut(ROWS * keys.width);
        let (k, memory) = memory.split_at_mut(keys.width * TILE);
        let (v, memory) = memory.split_at_mut(TILE * wide);
        let (scores, memory) = memory.split_at_mut(ROWS * TILE);
        let sums = &mut memory[..ROWS * wide];
        let (mut maxima, mut totals) = ([0.0; ROWS], [0.0; ROWS]);
        let mut memory = Memory {
            q,
            k,
            v,
            scores,
            sums,
        };
        dispatch(
            cpu.live(),
            Block {
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
        let dv = values.width;
        if self.parts == 1 {
            for (r, row) in rows.enumerate() {
                let at = queries.at(row) * dv;
                // SAFETY: each row belongs to one block.
                let out = unsafe { out.slice(at..at + dv) };
                let scale = if totals[r] == 0.0 {
                    0.0
                } else {
                    1.0 / totals[r]
                };
                for (o, v) in out.iter_mut().zip(&memory.sums[r * wide..]) {
                    *o = v * scale;
                }
            }
        } else {
            let at = (block * self.parts + part) * ROWS * (wide + 2);
            // SAFETY: each part belongs to one task.
            let out = unsafe { parts.slice(at..at + ROWS * (wide + 2)) };
            out[..ROWS * wide].copy_from_slice(memory.sums);
            out[ROWS * wide..][..ROWS].copy_from_slice(&maxima);
            out[ROWS * (wide + 1)..].copy_from_slice(&totals);
        }
    }

    fn queries(&self, head: usize) -> Queries<'a> {
        Queries {
            q: self.q,
            n_heads: self.attention.n_heads,
            group: self.group,
            head,
            first_position: self.first_position,
            window: self.attention.window,
            scale: self.attention.scale,
        }
    }

    fn source(
        &self,
        queries: &Queries<'_>,
        rows: &std::ops::Range<usize>,
        part: usize,
    ) -> Source<'a> {
        if let Some(selected) = self.selected {
            return Source::List(selected.row(rows.start / self.group));
        }
        let first = queries.visible(rows.start).start;
        let end = queries.visible(rows.end - 1).end;
        let at = |part: usize| first + (end - first) * part / self.parts;
        Source::Range(at(part), at(part + 1))
    }

    /// Adds up the parts of a block.
    fn combine(&self, block: usize, parts: SharedMut<'_, f32>, out: SharedMut<'_, f32>) {
        let (head, rows) = self.rows(block);
        let (queries, dv) = (self.queries(head), self.cache.dv());
        let wide = padded(dv);
        let size = ROWS * (wide + 2);
        let at = block * self.parts * size;
        // SAFETY: the parts were written before and are only read now.
        let parts = unsafe { parts.read(at..at + self.parts * size) };
        for (r, row) in rows.enumerate() {
            let at = queries.at(row) * dv;
            // SAFETY: each row belongs to one block.
            let out = unsafe { out.slice(at..at + dv) };
            out.fill(0.0);
            let ends = |part: &[f32]| (part[ROWS * wide + r], part[ROWS * (wide + 1) + r]);
            let max = parts
                .chunks_exact(size)
                .fold(f32::NEG_INFINITY, |m, part| m.max(ends(part).0));
            let mut total = 0.0;
            for part in parts.chunks_exact(size) {
                let (its_max, its_total) = ends(part);
                if its_max == f32::NEG_INFINITY {
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
