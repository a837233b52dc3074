//! The indexer of sparse attention: scores every key, keeps the best.

#![expect(
    unsafe_code,
    reason = "tasks write disjoint lists; loads through pointers"
)]

use super::cache::{CacheData, CacheType};
use super::selected::Selected;
use crate::cpu::SharedMut;
use crate::error::{check_len, check_room, check_rows, checked_end, checked_product};
use crate::linear::dots;
use crate::simd::{Element, Kernel, Simd, dispatch};
use crate::{Cpu, KernelError};

/// Parameters of an indexer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Indexer {
    /// Its query heads.
    pub n_heads: usize,
    /// Width of a query or key.
    pub head_dim: usize,
    /// Positions kept a query.
    pub topk: usize,
}

/// Memory that the indexer works in; sized once, reused by every call.
#[derive(Debug)]
pub struct IndexScratch {
    scores: Vec<f32>,
    order: Vec<u32>,
    capacity: usize,
    threads: usize,
}

impl IndexScratch {
    /// Room for caches of up to `capacity` positions.
    #[must_use]
    pub fn new(threads: usize, capacity: usize) -> Self {
        let threads = threads.max(1);
        Self {
            scores: vec![0.0; threads * capacity],
            order: vec![0; threads * capacity],
            capacity,
            threads,
        }
    }

    /// Bytes that [`IndexScratch::new`] allocates, or `None` beyond the address space.
    #[must_use]
    pub fn bytes(threads: usize, capacity: usize) -> Option<usize> {
        let each = size_of::<f32>() + size_of::<u32>();
        threads.max(1).checked_mul(capacity)?.checked_mul(each)
    }
}

/// Chooses for each query the `topk` visible positions with the highest
/// `Σ_h weights[h] · relu(q_h · k)`, ties to the lower position (DeepSeek-V3.2's indexer).
///
/// `q [t, n_heads, head_dim]`, `weights [t, n_heads]`, `keys [capacity, head_dim]` with position
/// `p` in slot `p % capacity`; query `i` stands at `first_position + i` and sees everything up to
/// itself. Positive factors on scores or weights change no choice, so none is taken. A NaN score
/// counts as the lowest. `selected` is overwritten with ascending lists.
///
/// # Errors
/// When lengths don't fit, a dimension is 0, positions exceed the capacity of the keys or of the
/// scratch, or the keys are [`CacheType::Q8`](super::CacheType): a choice between near-equal scores
/// hangs on them.
#[expect(
    clippy::too_many_arguments,
    reason = "the indexer's two projections, its cache and its output"
)]
pub fn index_topk(
    cpu: &Cpu,
    indexer: &Indexer,
    q: &[f32],
    weights: &[f32],
    first_position: usize,
    keys: CacheData<'_>,
    selected: &mut Selected,
    scratch: &mut IndexScratch,
) -> Result<(), KernelError> {
    let t = check(cpu, indexer, q, weights, first_position, keys, scratch)?;
    let (heads, d) = (indexer.n_heads, indexer.head_dim);
    selected.clear();
    for i in 0..t {
        let seen = first_position + i + 1;
        selected
            .ends
            .push(selected.positions.len() + seen.min(indexer.topk));
        selected
            .positions
            .resize(selected.positions.len() + seen.min(indexer.topk), 0);
    }
    let ends = &selected.ends;
    let out = SharedMut::new(&mut selected.positions);
    let scores = SharedMut::new(&mut scratch.scores);
    let order = SharedMut::new(&mut scratch.order);
    let room = scratch.capacity;
    let operations = t * (first_position + t) * heads * d;
    cpu.run(t, operations, &|i, thread| {
        let seen = first_position + i + 1;
        let start = if i == 0 { 0 } else { ends[i - 1] };
        // SAFETY: a query's list belongs to its task, and the scratch to the thread.
        let (out, scores, order) = unsafe {
            (
                out.slice(start..ends[i]),
                scores.slice(thread * room..thread * room + seen),
                order.slice(thread * room..thread * room + seen),
            )
        };
        let (q, weights) = (&q[i * heads * d..], &weights[i * heads..(i + 1) * heads]);
        match keys {
            CacheData::F32(keys) => score(cpu, (keys, d), q, weights, scores),
            CacheData::F16(keys) => score(cpu, (keys, d), q, weights, scores),
            CacheData::Bf16(keys) => score(cpu, (keys, d), q, weights, scores),
            CacheData::Q8 { .. } => unreachable!("refused by `check`"),
        }
        best(scores, out, order);
    });
    Ok(())
}

fn score<E: Element>(
    cpu: &Cpu,
    (keys, d): (&[E], usize),
    q: &[f32],
    weights: &[f32],
    out: &mut [f32],
) {
    out.fill(0.0);
    let scores = Scores {
        keys,
        d,
        q,
        weights,
        out,
    };
    dispatch(cpu.live(), scores);
}

/// Scores of all positions for one query; they haven't wrapped, so their slots are themselves.
struct Scores<'a, E> {
    keys: &'a [E],
    d: usize,
    q: &'a [f32],
    weights: &'a [f32],
    /// Zeros.
    out: &'a mut [f32],
}

impl<E: Element> Kernel for Scores<'_, E> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (d, heads) = (self.d, self.weights.len());
        assert!(self.q.len() >= heads * d && self.keys.len() >= self.out.len() * d);
        let (positions, out) = (0..self.out.len(), self.out.as_mut_ptr());
        // SAFETY: keys and queries have `d` elements each by the assertion, positions are below
        // the length of `out`.
        unsafe {
            dots(
                s,
                (positions, |p| self.keys.as_ptr().add(p * d)),
                (heads, |h| self.q.as_ptr().add(h * d)),
                d,
                |p, h, dot| *out.add(p) += self.weights[h] * dot.max(0.0),
            );
        }
    }
}

/// Writes the positions of the highest scores into `out`, ascending.
fn best(scores: &[f32], out: &mut [u32], order: &mut [u32]) {
    for (p, slot) in order.iter_mut().enumerate() {
        *slot = p as u32;
    }
    let keep = out.len();
    if keep < order.len() && keep > 0 {
        // NaN first under this key, so that it never wins.
        let rank = |p: u32| {
            let score = scores[p as usize];
            if score.is_nan() {
                f32::NEG_INFINITY
            } else {
                score
            }
        };
        order.select_nth_unstable_by(keep - 1, |&a, &b| {
            rank(b).total_cmp(&rank(a)).then(a.cmp(&b))
        });
    }
    out.copy_from_slice(&order[..keep]);
    out.sort_unstable();
}

fn check(
    cpu: &Cpu,
    indexer: &Indexer,
    q: &[f32],
    weights: &[f32],
    first_position: usize,
    keys: CacheData<'_>,
    scratch: &IndexScratch,
) -> Result<usize, KernelError> {
    let op = "index_topk";
    for (parameter, found) in [
        ("n_heads", indexer.n_heads),
        ("head_dim", indexer.head_dim),
        ("topk", indexer.topk),
    ] {
        if found == 0 {
            return Err(KernelError::Parameter {
                op,
                parameter,
                found,
                expected: "at least 1",
            });
        }
    }
    if keys.kind() == CacheType::Q8 {
        let found = keys.kind();
        return Err(KernelError::CacheType { op, found });
    }
    let width = checked_product(op, "heads and width", &[indexer.n_heads, indexer.head_dim])?;
    let t = check_rows(op, "q", q.len(), width)?;
    check_len(op, "weights", weights.len(), t * indexer.n_heads)?;
    let capacity = check_rows(op, "keys", keys.len(), indexer.head_dim)?;
    let positions = checked_end(op, first_position, t)?;
    if positions > capacity {
        return Err(KernelError::CacheCapacity {
            op,
            oldest: 0,
            newest: positions.saturating_sub(1),
            capacity,
        });
    }
    let room = [
        ("positions", positions, scratch.capacity),
        ("threads", cpu.threads(), scratch.threads),
    ];
    check_room(op, &room).map(|()| t)
}
