//! The types of a model's description.

use serde::{Deserialize, Serialize};

/// A decoder-only model of the Mistral family, as plain data.
///
/// Field names are those of Mistral's `params.json`. Values are validated by every reader (see
/// [`ModelSpec::validate`]): a spec that a reader returned has no zero dimension, no head count
/// that doesn't divide, and one [`LayerSpec`] a layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// Version of this type's serialised form.
    pub schema: u32,
    /// The family member, which decides tensor names and nothing else.
    pub architecture: Architecture,
    /// Width of the residual stream.
    pub dim: usize,
    /// Number of decoder layers.
    pub n_layers: usize,
    /// Query heads a layer.
    pub n_heads: usize,
    /// Inner width of a dense feed-forward layer.
    pub hidden_dim: usize,
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Epsilon of the layer norms and of the final norm.
    pub norm_eps: f64,
    /// Longest sequence the model was made for, in tokens; `None` when the file doesn't say.
    pub max_seq_len: Option<usize>,
    /// Whether the output projection is the embedding itself.
    pub tied_embeddings: bool,
    /// Rotary position embedding of the layers that use one.
    pub rope: RopeSpec,
    /// How keys and values are made.
    pub attention: AttentionKind,
    /// Factor on `q·k` before the softmax, every mscale included.
    pub softmax_scale: f64,
    /// Growth of the query with its position.
    pub position_scale: PositionScale,
    /// The sparse-attention indexer, when some layer has one.
    pub indexer: Option<IndexerSpec>,
    /// The experts, when some layer has them.
    pub moe: Option<MoeSpec>,
    /// `logits = cap · tanh(logits / cap)` when set.
    pub logit_softcap: Option<f64>,
    /// One entry a layer, in order.
    pub layers: Vec<LayerSpec>,
    /// Id that begins a sequence.
    pub bos_token_id: Option<u32>,
    /// Ids that end a sequence.
    pub eos_token_ids: Vec<u32>,
}

/// The members of the family whose numbers are supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// Mistral 7B, Nemo, Small, Large 2, Codestral: GQA and a dense SwiGLU.
    Mistral,
    /// Mixtral 8x7B and 8x22B: GQA and experts.
    Mixtral,
    /// Ministral 8B 2410: full and sliding layers interleaved.
    Ministral,
    /// Ministral 3: YaRN and queries scaled by position.
    Ministral3,
    /// Small 4 and Large 3: latent attention, shared experts, expert groups.
    Mistral4,
    /// Large 4 (text): indexed sparse attention over shared latents.
    MistralLarge4,
}

/// One decoder layer, where layers differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerSpec {
    /// Sliding window `W`: query `i` sees keys `j` with `i - j < W`. `None` is full attention.
    pub window: Option<usize>,
    /// Whether this layer rotates queries and keys.
    pub rope: bool,
    /// Where this layer's choice of keys comes from.
    pub indexer: Indexer,
    /// The layer whose keys and values this one reads; itself unless the cache is shared.
    pub kv_source: usize,
    /// Dense or experts.
    pub feed_forward: FeedForward,
}

impl LayerSpec {
    /// Layers with these windows that rotate, keep their own keys and values and have no indexer; the
    /// first `dense` have a dense feed-forward part, the others experts.
    pub(super) fn plain(
        windows: impl IntoIterator<Item = Option<usize>>,
        dense: usize,
    ) -> Vec<LayerSpec> {
        let layers = windows.into_iter().enumerate();
        layers
            .map(|(i, window)| LayerSpec {
                window,
                rope: true,
                indexer: Indexer::None,
                kv_source: i,
                feed_forward: if i < dense {
                    FeedForward::Dense
                } else {
                    FeedForward::Moe
                },
            })
            .collect()
    }
}

/// The feed-forward part of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedForward {
    /// One SwiGLU of width [`ModelSpec::hidden_dim`].
    Dense,
    /// Routed experts ([`ModelSpec::moe`]).
    Moe,
}

/// Which keys a query may attend to, besides causality and window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Indexer {
    /// All of them.
    None,
    /// The top-k that this layer's own indexer scores highest.
    Full,
    /// The choice of the nearest earlier layer with [`Indexer::Full`].
    Shared,
}

/// How a layer makes keys and values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AttentionKind {
    /// Grouped-query attention.
    Gqa(GqaSpec),
    /// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434).
    Mla(MlaSpec),
}

/// Dimensions of grouped-query attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GqaSpec {
    /// Key and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
}

/// Dimensions of latent attention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MlaSpec {
    /// Rank of the query's low-rank projection; `None` projects directly.
    pub q_lora_rank: Option<usize>,
    /// Width of the latent that keys and values are expanded from.
    pub kv_lora_rank: usize,
    /// Part of a query or key head without rotation, in a layer that rotates.
    pub qk_nope_head_dim: usize,
    /// Rotated part; the key's is shared by all heads.
    pub qk_rope_head_dim: usize,
    /// Width of a value head.
    pub v_head_dim: usize,
    /// Epsilon of the norms on the latents (1e-6 in Small 4 and Large 3 whatever `norm_eps`).
    pub latent_norm_eps: f64,
}

impl MlaSpec {
    /// Width of a query or key head: the same in layers with and without rotation.
    #[must_use]
    pub fn qk_head_dim(&self) -> usize {
        self.qk_nope_head_dim + self.qk_rope_head_dim
    }

    /// `(nope, rope)` widths of a head in a layer that rotates or doesn't.
    #[must_use]
    pub fn split(&self, rope: bool) -> (usize, usize) {
        if rope {
            (self.qk_nope_head_dim, self.qk_rope_head_dim)
        } else {
            (self.qk_head_dim(), 0)
        }
    }
}

/// Rotary position embedding (arXiv 2104.09864).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RopeSpec {
    /// Base of the frequencies.
    pub theta: f64,
    /// Rotated width of a head (`head_dim`, or MLA's `qk_rope_head_dim`).
    pub dim: usize,
    /// YaRN's change of the frequencies.
    pub yarn: Option<YarnSpec>,
    /// Factor on cos and sin.
    pub attention_factor: f64,
    /// Whether the file holds `alpha`, a learned exponent per frequency (`inv_freq · e^alpha`).
    pub learned_scale: bool,
    /// Pairing of the rotated elements in this file's weights.
    pub layout: RopeLayout,
}

/// Which elements of a head rotate together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RopeLayout {
    /// Pairs `(2i, 2i+1)`: Mistral's own files, and MLA everywhere.
    Interleaved,
    /// Pairs `(i, i + dim/2)`: Hugging Face files.
    HalfSplit,
}

/// YaRN (arXiv 2309.00071).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct YarnSpec {
    /// Context extension.
    pub factor: f64,
    /// Context of pre-training.
    pub original_max_position_embeddings: usize,
    /// Rotations above which a frequency is kept (`beta` in `params.json`).
    pub beta_fast: f64,
    /// Rotations below which a frequency is divided by `factor` (`alpha` in `params.json`).
    pub beta_slow: f64,
    /// Whether the correction range is rounded outwards to whole dimensions.
    pub truncate: bool,
}

/// Growth of queries with position.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PositionScale {
    /// None.
    None,
    /// `1 + beta · ln(1 + ⌊pos / original_max_position_embeddings⌋)` (Llama 4's scaling).
    Llama4 {
        /// Strength.
        beta: f64,
        /// Width of a step.
        original_max_position_embeddings: usize,
    },
    /// `s_h · ln(pos + 1) + b_h`, learned per head (SSMax, arXiv 2501.19399).
    SsMax,
}

/// The indexer of sparse attention: scores every key, keeps the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexerSpec {
    /// Its heads.
    pub n_heads: usize,
    /// Their width; the first `rope.dim` elements rotate in layers that do.
    pub head_dim: usize,
    /// Keys kept a query.
    pub topk: usize,
}

/// Routed experts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MoeSpec {
    /// Experts a layer.
    pub num_experts: usize,
    /// Experts a token.
    pub num_experts_per_tok: usize,
    /// Inner width of an expert.
    pub expert_hidden_dim: usize,
    /// Experts that every token passes; one SwiGLU of their summed width.
    pub num_shared_experts: usize,
    /// How logits become scores.
    pub scoring: Scoring,
    /// Groups that the experts are divided into; 1 is no grouping.
    pub num_expert_groups: usize,
    /// Groups a token may choose from.
    pub num_expert_groups_per_tok: usize,
    /// Whether the chosen scores are divided by their sum.
    pub normalize: bool,
    /// Factor on the chosen weights.
    pub routed_scale: f64,
}

/// How a router's logits become scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scoring {
    /// Softmax over all experts.
    Softmax,
    /// Sigmoid of each logit, chosen with an additive bias, weighted without it.
    Sigmoid,
}

impl ModelSpec {
    /// Version of the serialised form that this code writes.
    pub const SCHEMA: u32 = 1;

    /// Key and value heads (MLA expands the latent to `n_heads` of them).
    #[must_use]
    pub fn n_kv_heads(&self) -> usize {
        match &self.attention {
            AttentionKind::Gqa(g) => g.n_kv_heads,
            AttentionKind::Mla(_) => self.n_heads,
        }
    }

    /// Width of a query head.
    #[must_use]
    pub fn head_dim(&self) -> usize {
        match &self.attention {
            AttentionKind::Gqa(g) => g.head_dim,
            AttentionKind::Mla(m) => m.qk_head_dim(),
        }
    }

    /// Width of a value head.
    #[must_use]
    pub fn v_head_dim(&self) -> usize {
        match &self.attention {
            AttentionKind::Gqa(g) => g.head_dim,
            AttentionKind::Mla(m) => m.v_head_dim,
        }
    }

    /// Whether layer `i` owns the keys and values that it reads.
    ///
    /// # Panics
    /// When `i` isn't a layer.
    #[must_use]
    pub fn owns_kv(&self, i: usize) -> bool {
        self.layers[i].kv_source == i
    }
}
