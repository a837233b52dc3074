//! What a session takes, told before anything is allocated.

use mistral_core::model::{AttentionKind, ModelSpec};
use mistral_kernels::Isa;

use super::rows::parts;
use super::state::{Sizes, Widths, latent_shape, position_ids};

/// Bytes of a session's buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionBytes {
    /// Keys, values, latents and indexer keys of all sequences, and their token ids.
    pub(crate) cache: usize,
    /// Activations of one pass, and what kernels work in.
    pub(crate) working: usize,
    /// Rows of logits, and the rows that they are made from.
    pub(crate) logits: usize,
}

impl SessionBytes {
    /// `None` when a part is beyond the address space.
    pub(crate) fn new(spec: &ModelSpec, sizes: &Sizes, threads: usize) -> Option<SessionBytes> {
        let floats = |count: Option<usize>| count?.checked_mul(4);
        let width = spec.vocab_size.checked_add(spec.dim)?;
        let activations = Widths::new(spec).floats(spec).checked_mul(sizes.tokens);
        let scratch = scratch(spec, sizes, threads)?;
        let bytes = SessionBytes {
            cache: cache(spec, sizes)?,
            working: floats(activations?.checked_add(sizes.tokens))?.checked_add(scratch)?,
            logits: floats(sizes.logits.checked_mul(width))?,
        };
        bytes.total().map(|_| bytes)
    }

    pub(crate) fn total(&self) -> Option<usize> {
        self.cache
            .checked_add(self.working)?
            .checked_add(self.logits)
    }
}

fn cache(spec: &ModelSpec, sizes: &Sizes) -> Option<usize> {
    let mut sequence = position_ids(sizes).checked_mul(4)?;
    for part in parts(spec, sizes.cache) {
        sequence = sequence.checked_add(part.capacity_bytes(sizes)?)?;
    }
    sequence.checked_mul(sizes.sequences)
}

/// What kernels ask for. Their buffers are theirs to size: this follows them to within a tenth.
fn scratch(spec: &ModelSpec, sizes: &Sizes, threads: usize) -> Option<usize> {
    let (t, threads) = (sizes.tokens, threads.max(1));
    let moe = spec.moe.as_ref();
    let linear = product(t.min(512), t.min(16), Widths::new(spec).widest, threads)?;
    let angles = t.checked_mul(spec.rope.dim / 2)?.checked_mul(8)?;
    let chosen = t.checked_mul(moe.map_or(1, |m| m.num_experts_per_tok))?;
    let mut sum = [angles, chosen.checked_mul(8)?]
        .iter()
        .try_fold(linear, |sum, bytes| sum.checked_add(*bytes))?;
    let (d, dv) = match &spec.attention {
        AttentionKind::Gqa(g) => (g.head_dim, g.head_dim),
        AttentionKind::Mla(m) => {
            let shape = latent_shape(m, spec.n_heads, false);
            let queries = threads.checked_mul(12 * 4)?.checked_mul(shape.nope)?;
            let values = product(32 * spec.n_heads, 0, m.kv_lora_rank, threads)?;
            sum = sum.checked_add(queries)?.checked_add(values)?;
            (m.kv_lora_rank + m.qk_rope_head_dim, m.kv_lora_rank)
        }
    };
    sum = sum.checked_add(attention(d, dv).checked_mul(threads)?)?;
    if let Some(x) = &spec.indexer {
        let scores = sizes.seq_len.checked_mul(8)?.checked_mul(threads)?;
        let kept = x.topk.min(sizes.seq_len).checked_mul(t)?.checked_mul(4)?;
        sum = sum
            .checked_add(scores)?
            .checked_add(kept.checked_mul(sizes.sequences)?)?;
    }
    // Ends of the lists of chosen positions.
    sum = sum.checked_add(t.checked_mul(8)?.checked_mul(sizes.sequences)?)?;
    if let Some(m) = moe {
        let row = spec.dim.checked_add(2 * m.expert_hidden_dim + 3)?;
        let widest = spec.dim.max(m.expert_hidden_dim);
        sum = sum
            .checked_add(product(chosen, chosen, widest, threads)?)?
            .checked_add(row.checked_mul(chosen)?.checked_mul(4)?)?;
    }
    Some(sum)
}

/// Packed and quantised inputs of a matrix product, and each thread's panels.
fn product(rows: usize, few: usize, columns: usize, threads: usize) -> Option<usize> {
    /// Bytes of 256 quantised numbers.
    const GROUP: usize = 832;
    let panels = match Isa::best() {
        #[cfg(target_arch = "x86_64")]
        Isa::Amx => 768 << 10,
        #[cfg(target_arch = "x86_64")]
        best if best >= Isa::Avx512Vnni => 280 << 10,
        _ => 64 << 10,
    };
    rows.checked_mul(columns)?
        .checked_mul(4)?
        .checked_add(few.checked_mul(columns.div_ceil(256))?.checked_mul(GROUP)?)?
        .checked_add(threads.checked_mul(panels)?)
}

/// Of one thread: queries, a tile of keys and of values with their scales, scores, the same times
/// scales, sums, and parts of long caches.
fn attention(d: usize, dv: usize) -> usize {
    const ROWS: usize = 64;
    const TILE: usize = 64;
    const PARTS: usize = 8;
    const FEW: usize = 6;
    let dv = dv.next_multiple_of(32);
    let scales = d.max(dv).div_ceil(32) * TILE;
    let memory = (ROWS + TILE) * (d + dv) + 2 * ROWS * TILE + scales + FEW * d;
    4 * (memory + PARTS * ROWS * (dv + 2))
}
