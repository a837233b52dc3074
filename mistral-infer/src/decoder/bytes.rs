//! What a session takes, told before anything is allocated.

use mistral_core::model::{AttentionKind, ModelSpec};
use mistral_kernels::{AttentionScratch, ExpertsScratch, IndexScratch, LinearScratch, MlaScratch};

use super::rows::parts;
use super::state::{Sizes, Widths, latent_shape, moe, position_ids};

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

/// What kernels ask for.
fn scratch(spec: &ModelSpec, sizes: &Sizes, threads: usize) -> Option<usize> {
    let t = sizes.tokens;
    let linear = LinearScratch::bytes(threads, t, Widths::new(spec).widest)?;
    let angles = t.checked_mul(spec.rope.dim / 2)?.checked_mul(8)?;
    let mut sum = linear.checked_add(angles)?;
    let (d, dv) = match &spec.attention {
        AttentionKind::Gqa(g) => (g.head_dim, g.head_dim),
        AttentionKind::Mla(m) => {
            let shape = latent_shape(m, spec.n_heads, false);
            sum = sum.checked_add(MlaScratch::bytes(threads, &shape)?)?;
            (m.kv_lora_rank + m.qk_rope_head_dim, m.kv_lora_rank)
        }
    };
    sum = sum.checked_add(AttentionScratch::bytes(threads, d, dv)?)?;
    let mut chosen = 0;
    if let Some(x) = &spec.indexer {
        sum = sum.checked_add(IndexScratch::bytes(threads, sizes.seq_len)?)?;
        chosen = x.topk.min(sizes.seq_len).checked_mul(t)?.checked_mul(4)?;
    }
    // The chosen positions, and the ends of their lists.
    let lists = chosen.checked_add(t.checked_mul(8)?)?;
    sum = sum.checked_add(lists.checked_mul(sizes.sequences)?)?;
    let top_k = match moe(spec) {
        Some(m) => {
            let (top_k, hidden) = (m.num_experts_per_tok, m.expert_hidden_dim);
            let experts = ExpertsScratch::bytes(threads, t, top_k, spec.dim, hidden)?;
            sum = sum.checked_add(experts)?;
            top_k
        }
        None => 1,
    };
    sum.checked_add(t.checked_mul(top_k)?.checked_mul(8)?)
}
