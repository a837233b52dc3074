//! Mistral's own `params.json` -> [`ModelSpec`].
//!
//! Field names: mistral-inference (`args.py`) and the released files. Fields of the image part
//! are skipped: the text decoder is described.

use serde_json::json;

use super::fields::{Fields, parse_object};
use super::hf::yarn_mscale;
use super::hf_mla::LATENT_NORM_EPS;
use super::spec::{
    Architecture, AttentionKind, GqaSpec, LayerSpec, MlaSpec, ModelSpec, MoeSpec, PositionScale,
    RopeLayout, RopeSpec, Scoring, YarnSpec,
};
use crate::error::CoreError;

const FILE: &str = "params.json";

const HARMLESS: &[&str] = &[
    "max_batch_size",
    "model_type",
    "vision_encoder",
    "vision_adapter",
    "image_token_id",
    "add_pre_mm_projector_layer_norm",
    "mm_projector_id",
];

impl ModelSpec {
    /// Reads a Mistral `params.json`.
    ///
    /// # Errors
    /// [`CoreError`] as for [`ModelSpec::from_hf_config`].
    pub fn from_params(text: &str) -> Result<ModelSpec, CoreError> {
        let map = parse_object(FILE, text)?;
        let f = Fields::new(FILE, "", &map);
        let spec = read(&f)?;
        f.finish()?;
        spec.validate()?;
        Ok(spec)
    }
}

fn read(f: &Fields<'_>) -> Result<ModelSpec, CoreError> {
    f.ignore(HARMLESS);
    f.only("causal", &json!(true))?;
    f.only("use_biases", &json!(false))?;
    let n_layers = f.usize("n_layers")?;
    super::validate::layer_count(n_layers)?;
    let dim = f.usize("dim")?;
    let n_heads = f.usize("n_heads")?;
    let hidden_dim = f.usize("hidden_dim")?;
    let windows = read_windows(f, n_layers)?;
    let mla = read_mla(f)?;
    let yarn = read_yarn(f)?;
    let position_scale = read_position_scale(f)?;
    let moe = read_moe(f, hidden_dim)?;
    let first_dense = moe.as_ref().map_or(n_layers, |(_, first)| *first);
    let theta = match f.f64_opt("rope_theta")? {
        Some(theta) => theta,
        // mistral-inference: the first release (with a window) had 1e4, everything after 1e6.
        None if windows.iter().any(Option::is_some) => 1e4,
        None => 1e6,
    };
    let architecture = architecture(&mla, &position_scale, moe.is_some(), &windows);
    let head_dim = match f.usize_opt("head_dim")? {
        Some(n) => n,
        None => dim / n_heads.max(1),
    };
    let n_kv_heads = f.usize_or("n_kv_heads", n_heads)?;
    let attention = match mla {
        Some(mla) => AttentionKind::Mla(mla),
        None => AttentionKind::Gqa(GqaSpec {
            n_kv_heads,
            head_dim,
        }),
    };
    let (rope, softmax_scale) = rope_and_scale(theta, yarn, &attention);
    let layers = LayerSpec::plain(windows, first_dense);
    Ok(ModelSpec {
        schema: ModelSpec::SCHEMA,
        architecture,
        dim,
        n_layers,
        n_heads,
        hidden_dim,
        vocab_size: f.usize("vocab_size")?,
        norm_eps: f.f64("norm_eps")?,
        max_seq_len: max_seq_len(f)?,
        tied_embeddings: f.bool_or("tied_embeddings", false)?,
        rope,
        attention,
        softmax_scale,
        position_scale,
        indexer: None,
        moe: moe.map(|(moe, _)| moe),
        logit_softcap: None,
        layers,
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
    })
}

fn max_seq_len(f: &Fields<'_>) -> Result<Option<usize>, CoreError> {
    let mut longest = None;
    for key in ["max_position_embeddings", "max_seq_len", "model_max_length"] {
        longest = longest.or(f.usize_opt(key)?);
    }
    Ok(longest)
}

fn architecture(
    mla: &Option<MlaSpec>,
    scale: &PositionScale,
    moe: bool,
    windows: &[Option<usize>],
) -> Architecture {
    let mixed = windows.iter().any(|w| *w != windows[0]);
    match (mla.is_some(), moe) {
        (true, _) => Architecture::Mistral4,
        (false, true) => Architecture::Mixtral,
        _ if *scale != PositionScale::None => Architecture::Ministral3,
        _ if mixed => Architecture::Ministral,
        _ => Architecture::Mistral,
    }
}

/// One window, none, or a pattern that repeats over the layers (null is full attention).
fn read_windows(f: &Fields<'_>, n_layers: usize) -> Result<Vec<Option<usize>>, CoreError> {
    let Some(serde_json::Value::Array(pattern)) = f.get("sliding_window") else {
        return Ok(vec![f.usize_opt("sliding_window")?; n_layers]);
    };
    let entries: Option<Vec<Option<usize>>> = pattern
        .iter()
        .map(|v| match v {
            v if v.is_null() => Some(None),
            v => v.as_u64().and_then(|n| usize::try_from(n).ok()).map(Some),
        })
        .collect();
    let divides = !pattern.is_empty() && n_layers.is_multiple_of(pattern.len());
    match entries {
        Some(entries) if divides => Ok(entries.iter().copied().cycle().take(n_layers).collect()),
        _ => Err(f.unsupported("sliding_window", &json!(pattern))),
    }
}

fn read_mla(f: &Fields<'_>) -> Result<Option<MlaSpec>, CoreError> {
    let Some(kv_lora_rank) = f.usize_opt("kv_lora_rank")? else {
        return Ok(None);
    };
    Ok(Some(MlaSpec {
        q_lora_rank: f.usize_opt("q_lora_rank")?,
        kv_lora_rank,
        qk_nope_head_dim: f.usize("qk_nope_head_dim")?,
        qk_rope_head_dim: f.usize("qk_rope_head_dim")?,
        v_head_dim: f.usize("v_head_dim")?,
        latent_norm_eps: LATENT_NORM_EPS,
    }))
}

/// YaRN and whether its magnitude scale applies.
fn read_yarn(f: &Fields<'_>) -> Result<Option<(YarnSpec, bool)>, CoreError> {
    let Some(y) = f.object_opt("yarn")? else {
        return Ok(None);
    };
    let yarn = YarnSpec {
        factor: y.f64("factor")?,
        original_max_position_embeddings: y.usize("original_max_position_embeddings")?,
        beta_fast: y.f64_or("beta", 32.0)?,
        beta_slow: y.f64_or("alpha", 1.0)?,
        truncate: true,
    };
    let apply_scale = y.bool_or("apply_scale", true)?;
    y.finish()?;
    Ok(Some((yarn, apply_scale)))
}

/// YaRN's magnitude goes on cos and sin in grouped-query attention, squared on the softmax in
/// latent attention.
fn rope_and_scale(
    theta: f64,
    yarn: Option<(YarnSpec, bool)>,
    attention: &AttentionKind,
) -> (RopeSpec, f64) {
    let magnitude = match &yarn {
        Some((yarn, true)) => yarn_mscale(yarn.factor, 1.0),
        _ => 1.0,
    };
    let (dim, head_dim, on_rope, on_softmax) = match attention {
        AttentionKind::Gqa(g) => (g.head_dim, g.head_dim, magnitude, 1.0),
        AttentionKind::Mla(m) => (m.qk_rope_head_dim, m.qk_head_dim(), 1.0, magnitude.powi(2)),
    };
    let rope = RopeSpec {
        theta,
        dim,
        yarn: yarn.map(|(yarn, _)| yarn),
        attention_factor: on_rope,
        learned_scale: false,
        layout: RopeLayout::Interleaved,
    };
    (rope, (head_dim.max(1) as f64).powf(-0.5) * on_softmax)
}

fn read_position_scale(f: &Fields<'_>) -> Result<PositionScale, CoreError> {
    let Some(s) = f.object_opt("llama_4_scaling")? else {
        return Ok(PositionScale::None);
    };
    let scale = PositionScale::Llama4 {
        beta: s.f64("beta")?,
        original_max_position_embeddings: s.usize("original_max_position_embeddings")?,
    };
    s.finish()?;
    Ok(scale)
}

/// The experts and the number of leading dense layers.
fn read_moe(f: &Fields<'_>, hidden_dim: usize) -> Result<Option<(MoeSpec, usize)>, CoreError> {
    let Some(m) = f.object_opt("moe")? else {
        return Ok(None);
    };
    m.only("route_every_n", &json!(1))?;
    m.ignore(&["expert_parallel", "expert_model_parallel"]);
    let moe = MoeSpec {
        num_experts: m.usize("num_experts")?,
        num_experts_per_tok: m.usize("num_experts_per_tok")?,
        expert_hidden_dim: m.usize_or("expert_hidden_dim", hidden_dim)?,
        num_shared_experts: m.usize_or("num_shared_experts", 0)?,
        scoring: Scoring::Softmax,
        num_expert_groups: m.usize_or("num_expert_groups", 1)?,
        num_expert_groups_per_tok: m.usize_or("num_expert_groups_per_tok", 1)?,
        normalize: true,
        routed_scale: m.f64_or("routed_scale", 1.0)?,
    };
    let first_dense = m.usize_or("first_k_dense_replace", 0)?;
    m.finish()?;
    Ok(Some((moe, first_dense)))
}
