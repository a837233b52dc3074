//! The latent-attention architectures of Hugging Face `config.json`: `mistral4` (Small 4,
//! Large 3) and `mistral_large4_text`.

use serde_json::{Value, json};

use super::fields::Fields;
use super::hf::{Common, RopeFields};
use super::spec::{
    Architecture, AttentionKind, FeedForward, Indexer, IndexerSpec, LayerSpec, MlaSpec, ModelSpec,
    MoeSpec, PositionScale, RopeLayout, Scoring,
};
use crate::error::CoreError;

/// Epsilon of the latent norms in Small 4 and Large 3, which don't take the config's.
pub(super) const LATENT_NORM_EPS: f64 = 1e-6;

pub(super) fn read_mistral4(f: &Fields<'_>) -> Result<ModelSpec, CoreError> {
    let common = Common::read(f, 1e-6)?;
    let mla = read_mla(f, LATENT_NORM_EPS)?;
    let rope = RopeFields::read(f, 1e4)?;
    check_widths(f, &common, &mla, &rope, mla.qk_head_dim())?;
    let layout = match f.bool_or("rope_interleave", true)? {
        true => RopeLayout::Interleaved,
        false => RopeLayout::HalfSplit,
    };
    let moe = read_moe(f, f.bool_or("norm_topk_prob", true)?)?;
    let first_dense = f.usize_or("first_k_dense_replace", 0)?;
    let layers = LayerSpec::plain(vec![None; common.n_layers], first_dense);
    let scale = softmax_scale(&mla, &rope);
    let position_scale = rope.llama4.unwrap_or(PositionScale::None);
    let rope = rope.spec(mla.qk_rope_head_dim, layout);
    let attention = AttentionKind::Mla(mla);
    let mut spec = common.into_spec(Architecture::Mistral4, rope, attention, scale, layers);
    spec.position_scale = position_scale;
    spec.moe = Some(moe);
    Ok(spec)
}

pub(super) fn read_large4(f: &Fields<'_>) -> Result<ModelSpec, CoreError> {
    let common = Common::read(f, 1e-5)?;
    let mla = MlaSpec {
        q_lora_rank: None,
        ..read_mla(f, common.norm_eps)?
    };
    f.only("q_lora_rank", &Value::Null)?;
    let rope = RopeFields::read(f, 1e4)?;
    check_widths(f, &common, &mla, &rope, mla.qk_rope_head_dim)?;
    if rope.llama4.is_some() {
        return Err(f.unsupported("llama_4_scaling_beta", &json!(true)));
    }
    let moe = read_moe(f, true)?;
    let layers = read_layers(f, common.n_layers)?;
    let indexer = IndexerSpec {
        n_heads: f.usize_or("index_n_heads", 32)?,
        head_dim: f.usize_or("index_head_dim", 128)?,
        topk: f.usize_or("index_topk", 2048)?,
    };
    let softcap = f.f64_or("final_logit_softcapping", 30.0)?;
    let scale = softmax_scale(&mla, &rope);
    let mut rope = rope.spec(mla.qk_rope_head_dim, RopeLayout::Interleaved);
    rope.learned_scale = true;
    let attention = AttentionKind::Mla(mla);
    let mut spec = common.into_spec(Architecture::MistralLarge4, rope, attention, scale, layers);
    spec.position_scale = PositionScale::SsMax;
    spec.indexer = Some(indexer);
    spec.moe = Some(moe);
    spec.logit_softcap = Some(softcap);
    Ok(spec)
}

fn read_mla(f: &Fields<'_>, latent_norm_eps: f64) -> Result<MlaSpec, CoreError> {
    Ok(MlaSpec {
        q_lora_rank: f.usize_opt("q_lora_rank")?,
        kv_lora_rank: f.usize("kv_lora_rank")?,
        qk_nope_head_dim: f.usize("qk_nope_head_dim")?,
        qk_rope_head_dim: f.usize("qk_rope_head_dim")?,
        v_head_dim: f.usize("v_head_dim")?,
        latent_norm_eps,
    })
}

/// Redundant widths must agree: a file whose `head_dim` says something else was made for a
/// different reader.
fn check_widths(
    f: &Fields<'_>,
    common: &Common,
    mla: &MlaSpec,
    rope: &RopeFields,
    head_dim: usize,
) -> Result<(), CoreError> {
    f.only("head_dim", &json!(head_dim))?;
    f.only("qk_head_dim", &json!(mla.qk_head_dim()))?;
    f.only("num_key_value_heads", &json!(common.n_heads))?;
    let Some(partial) = rope.partial else {
        return Ok(());
    };
    let rotated = partial * head_dim as f64;
    if (rotated - mla.qk_rope_head_dim as f64).abs() < 1e-6 {
        return Ok(());
    }
    Err(f.unsupported("partial_rotary_factor", &json!(partial)))
}

fn softmax_scale(mla: &MlaSpec, rope: &RopeFields) -> f64 {
    (mla.qk_head_dim().max(1) as f64).powf(-0.5) * rope.softmax_mscale()
}

fn read_moe(f: &Fields<'_>, normalize: bool) -> Result<MoeSpec, CoreError> {
    let num_experts = match f.usize_opt("n_routed_experts")? {
        Some(n) => n,
        None => match f.usize_opt("num_local_experts")? {
            Some(n) => n,
            None => f.usize("num_experts")?,
        },
    };
    f.only("scoring_func", &json!("softmax"))?;
    Ok(MoeSpec {
        num_experts,
        num_experts_per_tok: f.usize_or("num_experts_per_tok", 4)?,
        expert_hidden_dim: f.usize("moe_intermediate_size")?,
        num_shared_experts: f.usize_or("n_shared_experts", 1)?,
        scoring: Scoring::Softmax,
        num_expert_groups: f.usize_or("n_group", 1)?,
        num_expert_groups_per_tok: f.usize_or("topk_group", 1)?,
        normalize,
        routed_scale: f.f64_or("routed_scaling_factor", 1.0)?,
    })
}

fn read_layers(f: &Fields<'_>, n: usize) -> Result<Vec<LayerSpec>, CoreError> {
    if let Some(kinds) = f.list_opt("layer_types", n)?
        && let Some(other) = kinds
            .iter()
            .find(|k| k.as_str() != Some("indexed_attention"))
    {
        return Err(f.unsupported("layer_types", other));
    }
    let interval = f.usize_or("no_rope_layer_interval", 4)?.max(1);
    let rope = match f.usize_list_opt("no_rope_layers", n)? {
        Some(flags) => flags.into_iter().map(|x| x != 0).collect(),
        None => (0..n)
            .map(|i| (i + 1) % interval != 0)
            .collect::<Vec<bool>>(),
    };
    let kv_source = match f.usize_list_opt("kv_source_layers", n)? {
        Some(sources) => sources,
        None => (0..n).collect(),
    };
    let indexers = read_indexers(f, n)?;
    let feed_forward = read_feed_forward(f, n)?;
    Ok((0..n)
        .map(|i| LayerSpec {
            window: None,
            rope: rope[i],
            indexer: indexers[i],
            kv_source: kv_source[i],
            feed_forward: feed_forward[i],
        })
        .collect())
}

fn read_indexers(f: &Fields<'_>, n: usize) -> Result<Vec<Indexer>, CoreError> {
    let freq = f.usize_or("index_topk_freq", 1)?.max(1);
    let offset = f.usize_or("index_skip_topk_offset", 2)?;
    let pattern = f.str_opt("index_topk_pattern")?;
    if let Some(kinds) = f.list_opt("indexer_types", n)? {
        return kinds
            .iter()
            .map(|kind| match kind.as_str() {
                Some("full") => Ok(Indexer::Full),
                Some("shared") => Ok(Indexer::Shared),
                _ => Err(f.unsupported("indexer_types", kind)),
            })
            .collect();
    }
    if let Some(pattern) = pattern {
        let kinds: Option<Vec<Indexer>> = pattern
            .chars()
            .map(|c| match c {
                'F' => Some(Indexer::Full),
                'S' => Some(Indexer::Shared),
                _ => None,
            })
            .collect();
        return kinds
            .filter(|k| k.len() == n)
            .ok_or_else(|| f.unsupported("index_topk_pattern", &json!(pattern)));
    }
    Ok((0..n)
        .map(|i| match (i + 1).saturating_sub(offset) % freq {
            0 => Indexer::Full,
            _ => Indexer::Shared,
        })
        .collect())
}

fn read_feed_forward(f: &Fields<'_>, n: usize) -> Result<Vec<FeedForward>, CoreError> {
    let first_dense = f.usize_or("first_k_dense_replace", 1)?;
    let Some(kinds) = f.list_opt("mlp_layer_types", n)? else {
        let kind = |i| {
            if i < first_dense {
                FeedForward::Dense
            } else {
                FeedForward::Moe
            }
        };
        return Ok((0..n).map(kind).collect());
    };
    kinds
        .iter()
        .map(|kind| match kind.as_str() {
            Some("dense") => Ok(FeedForward::Dense),
            Some("sparse") => Ok(FeedForward::Moe),
            _ => Err(f.unsupported("mlp_layer_types", kind)),
        })
        .collect()
}
