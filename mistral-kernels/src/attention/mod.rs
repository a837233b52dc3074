//! Attention over a cache of keys and values.

mod block;
mod cache;
mod cached;
mod index;
mod mla;
#[cfg(target_arch = "x86_64")]
mod pairs;
mod plan;
mod q8;
#[cfg(target_arch = "x86_64")]
mod q8_vnni;
#[cfg(target_arch = "x86_64")]
mod rounded;
mod rows;
mod scores;
mod selected;
#[cfg(target_arch = "x86_64")]
mod tiles;
mod values;
mod view;
mod widen;

pub use cache::{CacheBuffer, CacheData, CacheDataMut, CacheShape, CacheType, append};
pub use index::{IndexScratch, Indexer, index_topk};
pub use mla::{Latent, MlaScratch, mla_absorb_query, mla_project_value};
pub use selected::Selected;
pub use view::KvCache;

use plan::Call;

use crate::error::{check_len, check_room, check_rows, checked_end};
use crate::{Cpu, KernelError};

/// Parameters of an attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Query heads; a multiple of the cache's heads. Query head `h` reads key head
    /// `h · n_kv_heads / n_heads`.
    pub n_heads: usize,
    /// Factor on `q · k`, positive.
    pub scale: f32,
    /// Sliding window `W`: query `i` sees keys `j` with `i - j < W`. `None` is full attention.
    pub window: Option<usize>,
}

impl Attention {
    /// First position that the query at `position` sees.
    #[must_use]
    pub fn first_visible(&self, position: usize) -> usize {
        self.window.map_or(0, |window| {
            position.saturating_sub(window.saturating_sub(1))
        })
    }
}

/// Memory that attention works in; sized once, reused by every call.
#[derive(Debug)]
pub struct AttentionScratch {
    buffers: plan::Buffers,
}

impl AttentionScratch {
    /// Room for attention on `threads` threads over keys of width up to `d` and values of width up
    /// to `dv`, with any number of heads, queries and positions.
    #[must_use]
    pub fn new(threads: usize, d: usize, dv: usize) -> Self {
        Self {
            buffers: plan::Buffers::new(threads, d, dv),
        }
    }

    /// Bytes that [`AttentionScratch::new`] allocates for widths below 2²⁴, or `None` beyond the
    /// address space.
    #[must_use]
    pub fn bytes(threads: usize, d: usize, dv: usize) -> Option<usize> {
        (d.max(dv) < 1 << 24)
            .then(|| plan::Buffers::bytes(threads, d, dv))
            .flatten()
    }
}

/// Causal attention: `out [t, n_heads, dv]` from `q [t, n_heads, d]`, whose first query stands at
/// `first_position`.
///
/// The keys and values of all positions up to the last query's must have been appended. Scores,
/// softmax and sums are f32, whatever the cache's type; but keys in [`CacheType::Q8`] and up to six
/// queries of a key head (decoding) multiply in integers on sets with VNNI, with the queries rounded
/// to the same blocks. And with more rows than that, widths that are multiples of 32 and a cache that
/// isn't f32, [`Isa::Avx512Bf16`](crate::Isa) and [`Isa::Amx`](crate::Isa) multiply in bf16: queries,
/// keys, values and the weights of positions are rounded to it, each by at most 2⁻⁹ of itself. Other
/// sets multiply in f32.
///
/// # Errors
/// When lengths or head counts don't fit, or the cache's capacity is smaller than the span of
/// positions that the queries see together (`window + t - 1` for a sliding window).
pub fn attention(
    cpu: &Cpu,
    attention: &Attention,
    q: &[f32],
    first_position: usize,
    cache: &KvCache<'_>,
    out: &mut [f32],
    scratch: &mut AttentionScratch,
) -> Result<(), KernelError> {
    let t = check(cpu, attention, q, first_position, cache, out, scratch)?;
    let call = Call {
        attention,
        q,
        t,
        first_position,
        cache,
        selected: None,
    };
    plan::attend(cpu, call, out, &mut scratch.buffers);
    Ok(())
}

/// Attention of each query to some positions only (sparse attention).
///
/// As [`attention`], but query `i` sees just the positions `selected.row(i)`, which must be
/// ascending and among those that causality and window allow. A query without any yields zeros.
///
/// # Errors
/// As [`attention`], and when a row isn't ascending or names a position that isn't visible.
#[expect(
    clippy::too_many_arguments,
    reason = "the arguments of attention and the selection"
)]
pub fn attention_selected(
    cpu: &Cpu,
    attention: &Attention,
    q: &[f32],
    first_position: usize,
    cache: &KvCache<'_>,
    selected: &Selected,
    out: &mut [f32],
    scratch: &mut AttentionScratch,
) -> Result<(), KernelError> {
    let t = check(cpu, attention, q, first_position, cache, out, scratch)?;
    check_len("attention", "selected (queries)", selected.queries(), t)?;
    for i in 0..t {
        let last = first_position + i;
        let mut first = attention.first_visible(last);
        for &p in selected.row(i) {
            let found = p as usize;
            if found < first || found > last {
                return Err(KernelError::SelectedPosition {
                    op: "attention",
                    query: i,
                    found,
                    first,
                    last,
                });
            }
            first = found + 1;
        }
    }
    let selected = Some(selected);
    let call = Call {
        attention,
        q,
        t,
        first_position,
        cache,
        selected,
    };
    plan::attend(cpu, call, out, &mut scratch.buffers);
    Ok(())
}

/// Checks shapes and returns the number of queries.
fn check(
    cpu: &Cpu,
    attention: &Attention,
    q: &[f32],
    first_position: usize,
    cache: &KvCache<'_>,
    out: &[f32],
    scratch: &AttentionScratch,
) -> Result<usize, KernelError> {
    let op = "attention";
    let heads = attention.n_heads;
    if heads == 0 || !heads.is_multiple_of(cache.n_kv_heads()) {
        return Err(KernelError::Parameter {
            op,
            parameter: "n_heads",
            found: heads,
            expected: "a positive multiple of the cache's heads",
        });
    }
    if attention.window == Some(0) {
        return Err(KernelError::Parameter {
            op,
            parameter: "window",
            found: 0,
            expected: "at least 1",
        });
    }
    if !(attention.scale > 0.0 && attention.scale.is_finite()) {
        let found = attention.scale;
        return Err(KernelError::Scale { op, found });
    }
    let (threads, d, dv) = scratch.buffers.capacity();
    let room = [
        ("threads", cpu.threads(), threads),
        ("elements of a key", cache.d(), d),
        ("elements of a value", cache.dv(), dv),
    ];
    check_room(op, &room)?;
    let t = check_rows(op, "q", q.len(), heads * cache.d())?;
    check_len(op, "out", out.len(), t * heads * cache.dv())?;
    let end = checked_end(op, first_position, t)?;
    if t > 0 {
        let oldest = attention.first_visible(first_position);
        let newest = end - 1;
        if newest - oldest >= cache.capacity() {
            return Err(KernelError::CacheCapacity {
                op,
                oldest,
                newest,
                capacity: cache.capacity(),
            });
        }
    }
    Ok(t)
}
