//! Conditions that hold for every spec that a reader returns.

use super::spec::{
    AttentionKind, FeedForward, Indexer, IndexerSpec, ModelSpec, MoeSpec, PositionScale,
};
use crate::error::CoreError;

/// More layers than any model has by an order of magnitude; keeps per-layer lists small.
const MAX_LAYERS: usize = 4096;
/// Widths: the largest released is 28,672 (Large 2's feed-forward); 2^22 leaves room.
const MAX_WIDTH: usize = 1 << 22;
/// Entries of a vocabulary; the largest released has 204,800.
const MAX_VOCAB: usize = 1 << 24;
/// Heads or experts of a layer.
const MAX_COUNT: usize = 1 << 16;
/// Positions; the largest released context is 2^20.
const MAX_POSITIONS: usize = 1 << 31;

/// Checked before any list with one entry a layer is made.
pub(super) fn layer_count(n_layers: usize) -> Result<(), CoreError> {
    within("n_layers", n_layers, MAX_LAYERS)
}

fn within(field: &'static str, value: usize, max: usize) -> Result<(), CoreError> {
    require(field, value, (1..=max).contains(&value), || {
        format!("from 1 to {max}")
    })
}

fn require<T: std::fmt::Debug>(
    field: &'static str,
    found: T,
    holds: bool,
    expected: impl FnOnce() -> String,
) -> Result<(), CoreError> {
    if holds {
        return Ok(());
    }
    Err(CoreError::Inconsistent {
        field,
        found: format!("{found:?}"),
        expected: expected(),
    })
}

fn positive(field: &'static str, value: f64) -> Result<(), CoreError> {
    require(field, value, value.is_finite() && value > 0.0, || {
        "a positive number".to_owned()
    })
}

impl ModelSpec {
    /// Checks that dimensions are in range and fit each other. Readers have called this already;
    /// call it on a spec that you built or changed.
    ///
    /// # Errors
    /// [`CoreError::Inconsistent`] with the first field that fails.
    pub fn validate(&self) -> Result<(), CoreError> {
        layer_count(self.n_layers)?;
        require(
            "layers",
            self.layers.len(),
            self.layers.len() == self.n_layers,
            || format!("n_layers = {}", self.n_layers),
        )?;
        within("dim", self.dim, MAX_WIDTH)?;
        within("hidden_dim", self.hidden_dim, MAX_WIDTH)?;
        within("vocab_size", self.vocab_size, MAX_VOCAB)?;
        within("n_heads", self.n_heads, MAX_COUNT)?;
        if let Some(n) = self.max_seq_len {
            within("max_seq_len", n, MAX_POSITIONS)?;
        }
        positive("norm_eps", self.norm_eps)?;
        positive("softmax_scale", self.softmax_scale)?;
        if let Some(cap) = self.logit_softcap {
            positive("logit_softcap", cap)?;
        }
        self.validate_attention()?;
        self.validate_rope()?;
        self.validate_layers()?;
        if let Some(moe) = &self.moe {
            validate_moe(moe)?;
        }
        self.validate_ids()
    }

    fn validate_attention(&self) -> Result<(), CoreError> {
        match &self.attention {
            AttentionKind::Gqa(g) => {
                within("n_kv_heads", g.n_kv_heads, MAX_COUNT)?;
                within("head_dim", g.head_dim, MAX_WIDTH)?;
                require(
                    "n_heads",
                    self.n_heads,
                    self.n_heads.is_multiple_of(g.n_kv_heads),
                    || format!("a multiple of n_kv_heads = {}", g.n_kv_heads),
                )?;
                let rope = self.rope.dim;
                require("rope.dim", rope, rope <= g.head_dim, || {
                    "at most head_dim".to_owned()
                })?;
            }
            AttentionKind::Mla(m) => {
                within("kv_lora_rank", m.kv_lora_rank, MAX_WIDTH)?;
                within("qk_nope_head_dim", m.qk_nope_head_dim, MAX_WIDTH)?;
                within("qk_rope_head_dim", m.qk_rope_head_dim, MAX_WIDTH)?;
                within("v_head_dim", m.v_head_dim, MAX_WIDTH)?;
                if let Some(rank) = m.q_lora_rank {
                    within("q_lora_rank", rank, MAX_WIDTH)?;
                }
                positive("latent_norm_eps", m.latent_norm_eps)?;
                let rope = self.rope.dim;
                require("rope.dim", rope, rope == m.qk_rope_head_dim, || {
                    "qk_rope_head_dim".to_owned()
                })?;
            }
        }
        let widest = self
            .n_heads
            .saturating_mul(self.head_dim().max(self.v_head_dim()));
        require("n_heads * head_dim", widest, widest <= MAX_WIDTH, || {
            format!("≤ {MAX_WIDTH}")
        })
    }

    fn validate_rope(&self) -> Result<(), CoreError> {
        let r = &self.rope;
        positive("rope.theta", r.theta)?;
        positive("rope.attention_factor", r.attention_factor)?;
        within("rope.dim", r.dim, MAX_WIDTH)?;
        require("rope.dim", r.dim, r.dim.is_multiple_of(2), || {
            "an even number".to_owned()
        })?;
        if let Some(y) = &r.yarn {
            positive("rope.yarn.factor", y.factor)?;
            positive("rope.yarn.beta_fast", y.beta_fast)?;
            positive("rope.yarn.beta_slow", y.beta_slow)?;
            let original = y.original_max_position_embeddings;
            within(
                "rope.yarn.original_max_position_embeddings",
                original,
                MAX_POSITIONS,
            )?;
        }
        if let PositionScale::Llama4 {
            beta,
            original_max_position_embeddings: n,
        } = self.position_scale
        {
            require("position_scale.beta", beta, beta.is_finite(), || {
                "finite".to_owned()
            })?;
            within(
                "position_scale.original_max_position_embeddings",
                n,
                MAX_POSITIONS,
            )?;
        }
        Ok(())
    }

    fn validate_layers(&self) -> Result<(), CoreError> {
        let mut indexed = false;
        for (i, layer) in self.layers.iter().enumerate() {
            if let Some(window) = layer.window {
                within("layers.window", window, MAX_POSITIONS)?;
            }
            let source = layer.kv_source;
            let owns = source <= i && self.layers[source].kv_source == source;
            require("layers.kv_source", source, owns, || {
                format!("a layer up to {i} that owns its keys and values")
            })?;
            // A shared latent is rotated or not at its source: both layers must read it alike.
            let alike = owns && self.layers[source].rope == layer.rope;
            require("layers.rope", layer.rope, alike, || {
                format!("as in source layer {source}")
            })?;
            indexed |= layer.indexer == Indexer::Full;
            require(
                "layers.indexer",
                layer.indexer,
                layer.indexer != Indexer::Shared || indexed,
                || "a full indexer in an earlier layer".to_owned(),
            )?;
            let moe = layer.feed_forward == FeedForward::Dense || self.moe.is_some();
            require("layers.feed_forward", layer.feed_forward, moe, || {
                "moe to be set".to_owned()
            })?;
        }
        match (&self.indexer, indexed) {
            (Some(spec), true) => validate_indexer(spec, self.rope.dim),
            (None, true) => require("indexer", "none", false, || "a specification".to_owned()),
            _ => Ok(()),
        }
    }

    fn validate_ids(&self) -> Result<(), CoreError> {
        let ids = self.bos_token_id.iter().chain(&self.eos_token_ids);
        for id in ids {
            let known = (*id as usize) < self.vocab_size;
            require("bos_token_id, eos_token_ids", *id, known, || {
                format!("below vocab_size = {}", self.vocab_size)
            })?;
        }
        Ok(())
    }
}

fn validate_indexer(spec: &IndexerSpec, rope_dim: usize) -> Result<(), CoreError> {
    within("indexer.n_heads", spec.n_heads, MAX_COUNT)?;
    within("indexer.head_dim", spec.head_dim, MAX_WIDTH)?;
    within("indexer.topk", spec.topk, MAX_POSITIONS)?;
    require(
        "indexer.head_dim",
        spec.head_dim,
        spec.head_dim >= rope_dim,
        || format!("at least rope.dim = {rope_dim}"),
    )
}

fn validate_moe(m: &MoeSpec) -> Result<(), CoreError> {
    within("moe.num_experts", m.num_experts, MAX_COUNT)?;
    within("moe.expert_hidden_dim", m.expert_hidden_dim, MAX_WIDTH)?;
    within("moe.num_expert_groups", m.num_expert_groups, m.num_experts)?;
    let (groups, chosen) = (m.num_expert_groups, m.num_expert_groups_per_tok);
    within("moe.num_expert_groups_per_tok", chosen, groups)?;
    require(
        "moe.num_experts",
        m.num_experts,
        m.num_experts.is_multiple_of(groups),
        || format!("a multiple of num_expert_groups = {groups}"),
    )?;
    let size = m.num_experts / groups;
    let k = m.num_experts_per_tok;
    require(
        "moe.num_experts_per_tok",
        k,
        (1..=chosen * size).contains(&k),
        || {
            format!(
                "from 1 to the {} experts of the chosen groups",
                chosen * size
            )
        },
    )?;
    require(
        "moe.num_expert_groups",
        groups,
        groups == 1 || size >= 2,
        || "groups of at least two experts".to_owned(),
    )?;
    let shared = m.num_shared_experts;
    require(
        "moe.num_shared_experts",
        shared,
        shared <= MAX_COUNT,
        || format!("≤ {MAX_COUNT}"),
    )?;
    positive("moe.routed_scale", m.routed_scale)
}
