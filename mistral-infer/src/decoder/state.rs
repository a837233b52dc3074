//! Running state: every buffer of a session, made once and sized from the spec and the limits.

use mistral_core::model::{
    AttentionKind, FeedForward, Indexer, LayerSpec, MlaSpec, ModelSpec, MoeSpec,
};
use mistral_kernels::{
    AttentionScratch, CacheBuffer, CacheShape, CacheType, ExpertsScratch, IndexScratch,
    KernelError, Latent, LinearScratch, MlaScratch, RopeAngles, Routing, Selected,
};

use super::bytes::SessionBytes;
use crate::error::InferError;

/// How much a session holds at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Longest sequence, prompt and continuation, in tokens. The default is the model's own
    /// context, at most 4096.
    pub max_seq_len: Option<usize>,
    /// Sequences that run side by side.
    pub max_sequences: usize,
    /// Tokens of one forward pass; longer prompts are fed in pieces of this length.
    pub max_batch_tokens: usize,
    /// Rows of logits that one forward pass returns.
    pub max_logits: usize,
    /// Format of cached keys and values; the default follows the weights. [`CacheType::Q8`] takes
    /// about half the memory of 16 bits; `formats.md` has its error. An indexer's keys stay in f32.
    pub cache: Option<CacheType>,
}

impl Default for SessionLimits {
    /// One sequence, pieces of 512 tokens.
    fn default() -> Self {
        SessionLimits {
            max_seq_len: None,
            max_sequences: 1,
            max_batch_tokens: 512,
            max_logits: 1,
            cache: None,
        }
    }
}

/// Context when neither the caller nor the caller's memory says otherwise.
const DEFAULT_CONTEXT: usize = 4096;
/// Bounds that keep size arithmetic far from overflow.
const MAX_CONTEXT: usize = 1 << 31;
const MAX_SEQUENCES: usize = 1 << 16;
const MAX_BATCH: usize = 1 << 20;

/// Limits with every default filled in and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) seq_len: usize,
    pub(crate) sequences: usize,
    pub(crate) tokens: usize,
    pub(crate) logits: usize,
    pub(crate) cache: CacheType,
}

impl Sizes {
    pub(crate) fn new(
        spec: &ModelSpec,
        limits: &SessionLimits,
        weights: CacheType,
    ) -> Result<Sizes, InferError> {
        let check = |limit, found, max: usize| match (1..=max).contains(&found) {
            true => Ok(found),
            false => Err(InferError::Limit {
                limit,
                found,
                expected: format!("from 1 to {max}"),
            }),
        };
        let context = spec.max_seq_len.unwrap_or(MAX_CONTEXT);
        let seq_len = limits.max_seq_len.unwrap_or(context.min(DEFAULT_CONTEXT));
        let seq_len = check("max_seq_len", seq_len, context)?;
        let sequences = check("max_sequences", limits.max_sequences, MAX_SEQUENCES)?;
        let tokens = check("max_batch_tokens", limits.max_batch_tokens, MAX_BATCH)?;
        Ok(Sizes {
            seq_len,
            sequences,
            tokens: tokens.min(seq_len.saturating_mul(sequences)).max(sequences),
            logits: check("max_logits", limits.max_logits.max(sequences), MAX_BATCH)?,
            cache: limits.cache.unwrap_or(weights),
        })
    }
}

/// Widths that buffers are sized by.
pub(super) struct Widths {
    query: usize,
    key: usize,
    value_out: usize,
    latent: usize,
    absorbed: usize,
    mixed: usize,
    hidden: usize,
    indexer_query: usize,
    indexer_key: usize,
    indexer_heads: usize,
    pub(super) widest: usize,
}

impl Widths {
    pub(super) fn new(spec: &ModelSpec) -> Widths {
        let heads = spec.n_heads;
        let mut w = Widths {
            query: heads * spec.head_dim(),
            key: 0,
            value_out: heads * spec.v_head_dim(),
            latent: 0,
            absorbed: 0,
            mixed: 0,
            hidden: spec.hidden_dim,
            indexer_query: 0,
            indexer_key: 0,
            indexer_heads: 0,
            widest: spec.dim,
        };
        match &spec.attention {
            AttentionKind::Gqa(g) => w.key = g.n_kv_heads * g.head_dim,
            AttentionKind::Mla(m) => {
                w.latent = (m.kv_lora_rank + m.qk_rope_head_dim).max(m.q_lora_rank.unwrap_or(0));
                w.absorbed = heads * (m.kv_lora_rank + m.qk_rope_head_dim);
                w.mixed = heads * m.kv_lora_rank;
            }
        }
        if let Some(moe) = &spec.moe {
            w.hidden = w.hidden.max(moe.expert_hidden_dim * moe.num_shared_experts);
        }
        if let Some(x) = &spec.indexer {
            w.indexer_query = x.n_heads * x.head_dim;
            w.indexer_key = x.head_dim;
            w.indexer_heads = x.n_heads;
        }
        w.widest = [w.query, w.value_out, w.latent, w.hidden, spec.dim]
            .into_iter()
            .max()
            .unwrap_or(spec.dim);
        w
    }

    /// Floats of working memory a token.
    pub(super) fn floats(&self, spec: &ModelSpec) -> usize {
        let experts = spec.moe.as_ref().map_or(0, |m| m.num_experts);
        3 * spec.dim
            + self.query
            + 2 * self.key
            + self.value_out
            + 2 * self.latent
            + self.absorbed
            + self.mixed
            + 3 * self.hidden
            + self.indexer_query
            + 2 * self.indexer_key
            + self.indexer_heads
            + experts
    }
}

/// Keys and values of one layer and one sequence.
#[derive(Debug)]
pub(crate) enum LayerCache {
    /// Grouped-query attention; capacity is smaller than the context behind a window.
    Gqa {
        k: CacheBuffer,
        v: CacheBuffer,
        capacity: usize,
    },
    /// Latents with the rotated key part behind, `[capacity, width]`.
    Latent { rows: CacheBuffer, width: usize },
    /// Read from the layer that `kv_source` names.
    Shared,
}

/// What one sequence has seen.
#[derive(Debug)]
pub(crate) struct SequenceState {
    pub(crate) caches: Vec<LayerCache>,
    /// Keys of each layer's indexer, `[context, head_dim]`; empty without one.
    pub(crate) indexer_keys: Vec<CacheBuffer>,
    /// Tokens whose keys and values are cached.
    pub(crate) tokens: Vec<u32>,
    /// Positions that were ever written since it was empty; more than `tokens` after a rewind.
    pub(crate) written: usize,
    /// Tokens of the prefix that was put in; 0 when all was computed here. Behind a window it
    /// brought its last positions only.
    pub(crate) restored: usize,
    /// The positions that the last full indexer chose for the current run.
    pub(crate) selected: Selected,
}

/// Working memory of a forward pass, `[tokens, …]` each.
#[derive(Debug)]
pub(crate) struct Buffers {
    pub(crate) x: Vec<f32>,
    pub(crate) h: Vec<f32>,
    pub(crate) out: Vec<f32>,
    pub(crate) q: Vec<f32>,
    pub(crate) k: Vec<f32>,
    pub(crate) v: Vec<f32>,
    pub(crate) attended: Vec<f32>,
    pub(crate) latent: Vec<f32>,
    pub(crate) latent_normed: Vec<f32>,
    pub(crate) absorbed: Vec<f32>,
    pub(crate) mixed: Vec<f32>,
    pub(crate) gate: Vec<f32>,
    pub(crate) up: Vec<f32>,
    pub(crate) activated: Vec<f32>,
    pub(crate) router_logits: Vec<f32>,
    pub(crate) index_q: Vec<f32>,
    pub(crate) index_k: Vec<f32>,
    pub(crate) index_k_normed: Vec<f32>,
    pub(crate) index_weights: Vec<f32>,
    pub(crate) logit_rows: Vec<f32>,
    pub(crate) logits: Vec<f32>,
    pub(crate) positions: Vec<u32>,
}

/// Scratch memory that kernels ask for.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) linear: LinearScratch,
    pub(crate) attention: AttentionScratch,
    pub(crate) mla: Option<MlaScratch>,
    pub(crate) index: Option<IndexScratch>,
    pub(crate) experts: Option<ExpertsScratch>,
    pub(crate) routing: Routing,
    pub(crate) angles: RopeAngles,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) sizes: Sizes,
    pub(crate) sequences: Vec<SequenceState>,
    pub(crate) buffers: Buffers,
    pub(crate) scratch: Scratch,
}

impl State {
    pub(crate) fn new(spec: &ModelSpec, sizes: Sizes, threads: usize) -> Result<State, InferError> {
        let widths = Widths::new(spec);
        let bytes = SessionBytes::new(spec, &sizes, threads)
            .and_then(|bytes| bytes.total())
            .ok_or(InferError::OutOfMemory { bytes: usize::MAX })?;
        // A probe: the allocator answers for the whole size before any part is taken.
        Vec::<u8>::new()
            .try_reserve_exact(bytes)
            .map_err(|_| InferError::OutOfMemory { bytes })?;
        Ok(State {
            sequences: (0..sizes.sequences)
                .map(|_| sequence(spec, &sizes))
                .collect::<Result<_, _>>()?,
            buffers: buffers(spec, &widths, &sizes),
            scratch: scratch(spec, &widths, &sizes, threads),
            sizes,
        })
    }

    /// Forgets a sequence.
    pub(crate) fn clear(&mut self, sequence: usize) {
        self.rewind(sequence, 0);
    }

    /// Forgets the tokens of a sequence from `len` on.
    pub(crate) fn rewind(&mut self, sequence: usize, len: usize) {
        let state = &mut self.sequences[sequence];
        state.tokens.truncate(len);
        if len == 0 {
            state.written = 0;
            state.restored = 0;
        }
    }
}

impl SequenceState {
    /// Whether decoding may go on behind the first `len` tokens: not when the ring of a layer with
    /// a window has already overwritten a position that the next token sees.
    pub(crate) fn can_rewind(
        &self,
        windows: impl Iterator<Item = Option<usize>>,
        len: usize,
    ) -> bool {
        self.caches
            .iter()
            .zip(windows)
            .all(|(cache, window)| match (cache, window) {
                (LayerCache::Gqa { capacity, .. }, Some(window)) => {
                    let oldest_seen = (len + 1).saturating_sub(window);
                    len == self.tokens.len() || oldest_seen >= self.oldest(Some(window), *capacity)
                }
                (LayerCache::Gqa { .. } | LayerCache::Latent { .. } | LayerCache::Shared, _) => {
                    true
                }
            })
    }

    /// Oldest position that a layer's cache still holds.
    pub(crate) fn oldest(&self, window: Option<usize>, capacity: usize) -> usize {
        window.map_or(0, |window| {
            let overwritten = self.written.saturating_sub(capacity);
            overwritten.max(self.restored.saturating_sub(window))
        })
    }

    /// Begins an empty sequence with tokens whose rows were put in; they are the first of
    /// `restored`.
    pub(crate) fn begin(&mut self, tokens: &[u32], restored: usize) {
        self.tokens.clear();
        self.tokens.extend_from_slice(tokens);
        self.written = tokens.len();
        self.restored = restored;
    }
}

/// Positions that a layer's ring holds: a window and the tokens of one pass.
pub(super) fn capacity(window: Option<usize>, sizes: &Sizes) -> usize {
    match window {
        Some(window) => sizes.seq_len.min(window.saturating_add(sizes.tokens)),
        None => sizes.seq_len,
    }
}

/// The rotated width that a layer's latents carry.
pub(crate) fn latent_shape(m: &MlaSpec, n_heads: usize, rope: bool) -> Latent {
    let (nope, rope) = m.split(rope);
    Latent {
        n_heads,
        nope,
        rope,
        v: m.v_head_dim,
        kv_lora: m.kv_lora_rank,
    }
}

/// Token ids that a sequence has room for from the start.
pub(super) fn position_ids(sizes: &Sizes) -> usize {
    sizes.seq_len.min(1 << 16)
}

fn sequence(spec: &ModelSpec, sizes: &Sizes) -> Result<SequenceState, KernelError> {
    let buffer = |kind, heads, capacity, width| {
        let shape = CacheShape {
            heads,
            capacity,
            width,
        };
        CacheBuffer::new(kind, &shape)
    };
    let cache = |(i, layer): (usize, &LayerSpec)| {
        Ok(match &spec.attention {
            _ if layer.kv_source != i => LayerCache::Shared,
            AttentionKind::Gqa(g) => {
                let capacity = capacity(layer.window, sizes);
                let side = || buffer(sizes.cache, g.n_kv_heads, capacity, g.head_dim);
                LayerCache::Gqa {
                    k: side()?,
                    v: side()?,
                    capacity,
                }
            }
            AttentionKind::Mla(m) => {
                let width = m.kv_lora_rank + m.split(layer.rope).1;
                LayerCache::Latent {
                    rows: buffer(sizes.cache, 1, sizes.seq_len, width)?,
                    width,
                }
            }
        })
    };
    // Small beside the latents, and a choice between near-equal scores hangs on them.
    let keys = |layer: &LayerSpec| match (layer.indexer, &spec.indexer) {
        (Indexer::Full, Some(x)) => buffer(CacheType::F32, 1, sizes.seq_len, x.head_dim),
        _ => buffer(CacheType::F32, 0, 0, 0),
    };
    let topk = spec
        .indexer
        .as_ref()
        .map_or(0, |x| x.topk.min(sizes.seq_len));
    let layers = spec.layers.iter();
    Ok(SequenceState {
        caches: layers
            .clone()
            .enumerate()
            .map(cache)
            .collect::<Result<_, KernelError>>()?,
        indexer_keys: layers.map(keys).collect::<Result<_, _>>()?,
        tokens: Vec::with_capacity(position_ids(sizes)),
        written: 0,
        restored: 0,
        selected: Selected::new(sizes.tokens, topk),
    })
}

fn buffers(spec: &ModelSpec, w: &Widths, sizes: &Sizes) -> Buffers {
    let t = sizes.tokens;
    let zeros = |width: usize| vec![0.0f32; t * width];
    let experts = spec.moe.as_ref().map_or(0, |m| m.num_experts);
    Buffers {
        x: zeros(spec.dim),
        h: zeros(spec.dim),
        out: zeros(spec.dim),
        q: zeros(w.query),
        k: zeros(w.key),
        v: zeros(w.key),
        attended: zeros(w.value_out),
        latent: zeros(w.latent),
        latent_normed: zeros(w.latent),
        absorbed: zeros(w.absorbed),
        mixed: zeros(w.mixed),
        gate: zeros(w.hidden),
        up: zeros(w.hidden),
        activated: zeros(w.hidden),
        router_logits: zeros(experts),
        index_q: zeros(w.indexer_query),
        index_k: zeros(w.indexer_key),
        index_k_normed: zeros(w.indexer_key),
        index_weights: zeros(w.indexer_heads),
        logit_rows: vec![0.0; sizes.logits * spec.dim],
        logits: vec![0.0; sizes.logits * spec.vocab_size],
        positions: vec![0; t],
    }
}

/// The experts, where a layer has them.
pub(crate) fn moe(spec: &ModelSpec) -> Option<&MoeSpec> {
    let mut layers = spec.layers.iter();
    let has = layers.any(|layer| layer.feed_forward == FeedForward::Moe);
    spec.moe.as_ref().filter(|_| has)
}

fn scratch(spec: &ModelSpec, w: &Widths, sizes: &Sizes, threads: usize) -> Scratch {
    let t = sizes.tokens;
    let (mla, d, dv) = match &spec.attention {
        AttentionKind::Gqa(g) => (None, g.head_dim, g.head_dim),
        AttentionKind::Mla(m) => {
            // The unrotated part is widest in a layer that doesn't rotate.
            let shape = latent_shape(m, spec.n_heads, false);
            let d = m.kv_lora_rank + m.qk_rope_head_dim;
            (Some(MlaScratch::new(threads, &shape)), d, m.kv_lora_rank)
        }
    };
    let moe = moe(spec);
    let top_k = moe.map_or(1, |m| m.num_experts_per_tok);
    Scratch {
        linear: LinearScratch::new(threads, t, w.widest),
        attention: AttentionScratch::new(threads, d, dv),
        mla,
        index: spec
            .indexer
            .as_ref()
            .map(|_| IndexScratch::new(threads, sizes.seq_len)),
        experts: moe.map(|m| ExpertsScratch::new(threads, t, top_k, spec.dim, m.expert_hidden_dim)),
        routing: Routing::new(t, top_k),
        angles: RopeAngles::new(t, spec.rope.dim),
    }
}
