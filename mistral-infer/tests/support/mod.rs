//! A tiny model with random weights and a tokenizer of single bytes, written by the test itself.

#![allow(dead_code, reason = "each test uses a part")]

#[path = "../tokenizer_files/mod.rs"]
mod tokenizer_files;

use std::path::Path;

use mistral_core::model::ModelSpec;
use mistral_infer::blueprint::for_each_tensor;
use mistral_infer::tokenizer::TokenizerVersion;
use mistral_infer::weights::{Checkpoint, WeightStorage};
use mistral_infer::{Model, Tokenizer};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// Ids below the bytes.
pub(crate) const CONTROL_TOKENS: usize = 10;
pub(crate) const VOCAB: usize = CONTROL_TOKENS + 256;

/// `params.json` of a dense model without a window.
pub(crate) fn dense() -> serde_json::Value {
    serde_json::json!({"dim": 32, "n_layers": 2, "head_dim": 8, "hidden_dim": 48, "n_heads": 4,
        "n_kv_heads": 2, "norm_eps": 1e-5, "vocab_size": VOCAB, "rope_theta": 1e4,
        "max_seq_len": 256})
}

/// With one field replaced.
pub(crate) fn with(mut params: serde_json::Value, key: &str, value: serde_json::Value) -> String {
    params[key] = value;
    params.to_string()
}

/// splitmix64 as numbers around zero.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 0.6
    }
}

/// A single-byte tokenizer.
pub(crate) fn tokenizer() -> Tokenizer {
    let file = tokenizer_file();
    Tokenizer::from_bytes("tekken.json", file.as_bytes()).expect("a valid tokenizer")
}

/// Its file, in tekken's form.
pub(crate) fn tokenizer_file() -> String {
    let bytes: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
    let listed = &tokenizer_files::CONTROL[..CONTROL_TOKENS];
    tokenizer_files::tekken_of(TokenizerVersion::V3, &bytes, listed, CONTROL_TOKENS).to_string()
}

/// Writes `params.json` and random weights for it.
pub(crate) fn write(dir: &Path, params: &str, seed: u64) {
    let spec = ModelSpec::from_params(params).expect("a valid description");
    write_weights(dir, &spec, seed);
    std::fs::write(dir.join("params.json"), params).expect("the folder is writable");
}

/// Writes random weights under their canonical names.
pub(crate) fn write_weights(dir: &Path, spec: &ModelSpec, seed: u64) {
    let mut noise = Noise(seed);
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for_each_tensor::<()>(spec, &mut |name, shape| {
        let norm = name.ends_with("norm.weight");
        let mut number = || {
            if norm {
                1.0 + noise.next()
            } else {
                noise.next()
            }
        };
        let count = shape.iter().product();
        let bytes = (0..count).flat_map(|_| number().to_le_bytes()).collect();
        tensors.push((name.to_owned(), shape.to_vec(), bytes));
        Ok(())
    })
    .expect("the visitor never fails");
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (
            name,
            TensorView::new(Dtype::F32, shape.clone(), bytes).expect("bytes fit the shape"),
        )
    });
    let file = dir.join("consolidated.safetensors");
    safetensors::serialize_to_file(views, None, &file).expect("the folder is writable");
}

/// A model of `params` with random weights.
pub(crate) fn model(params: &str, seed: u64) -> Model {
    described(
        ModelSpec::from_params(params).expect("a valid description"),
        seed,
    )
}

/// A model of a description with random weights.
pub(crate) fn described(spec: ModelSpec, seed: u64) -> Model {
    let dir = tempfile::tempdir().expect("a folder for a moment");
    write_weights(dir.path(), &spec, seed);
    let weights = Checkpoint::open(dir.path(), WeightStorage::Copied).expect("what was written");
    Model::from_parts(spec, &weights, Some(tokenizer()), 1).expect("weights that fit")
}

/// A model without a tokenizer, whose vocabulary may be smaller than one of bytes.
pub(crate) fn bare(params: &str, seed: u64) -> Model {
    let dir = tempfile::tempdir().expect("a folder for a moment");
    let spec = ModelSpec::from_params(params).expect("a valid description");
    write_weights(dir.path(), &spec, seed);
    let weights = Checkpoint::open(dir.path(), WeightStorage::Copied).expect("what was written");
    Model::from_parts(spec, &weights, None, 1).expect("weights that fit")
}

/// Descriptions with caches of every shape: full, ring, experts, latents.
pub(crate) fn shapes() -> Vec<(&'static str, String)> {
    let moe =
        serde_json::json!({"num_experts": 4, "num_experts_per_tok": 2, "expert_hidden_dim": 16});
    let mut latent = dense();
    for (key, value) in [
        ("q_lora_rank", 12),
        ("kv_lora_rank", 16),
        ("qk_nope_head_dim", 4),
        ("qk_rope_head_dim", 4),
        ("v_head_dim", 6),
    ] {
        latent[key] = serde_json::json!(value);
    }
    vec![
        ("dense", dense().to_string()),
        (
            "window",
            with(dense(), "sliding_window", serde_json::json!(7)),
        ),
        (
            "interleaved",
            with(dense(), "sliding_window", serde_json::json!([null, 5])),
        ),
        ("experts", with(dense(), "moe", moe.clone())),
        ("latent", with(latent, "moe", moe)),
    ]
}

/// Large 4 in small: two layers with an indexer, one that shares its choice, one that shares keys.
pub(crate) fn sparse() -> String {
    let text = r#"{"model_type": "mistral_large4_text", "hidden_size": 32,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4,
        "intermediate_size": 40, "moe_intermediate_size": 12, "n_routed_experts": 4,
        "n_shared_experts": 1, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
        "routed_scaling_factor": 1.0, "first_k_dense_replace": 1, "kv_lora_rank": 16,
        "qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "qk_head_dim": 8, "head_dim": 4,
        "v_head_dim": 6, "index_head_dim": 8, "index_n_heads": 4, "index_topk": 6,
        "indexer_types": ["full", "shared", "full", "full"], "kv_source_layers": [0, 1, 2, 1],
        "no_rope_layers": [1, 0, 1, 0], "layer_types": ["indexed_attention", "indexed_attention",
        "indexed_attention", "indexed_attention"], "mlp_layer_types": ["dense", "sparse", "sparse",
        "sparse"], "final_logit_softcapping": 30.0, "hidden_act": "silu", "rms_norm_eps": 1e-5,
        "max_position_embeddings": 256, "attention_bias": false, "tie_word_embeddings": false,
        "rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 8.0,
        "attention_factor": 1.0, "beta_fast": 32.0, "beta_slow": 1.0,
        "original_max_position_embeddings": 32}}"#;
    let mut config: serde_json::Value = serde_json::from_str(text).expect("valid JSON");
    config["vocab_size"] = serde_json::json!(VOCAB);
    config.to_string()
}

/// The descriptions of [`shapes`], and one with an indexer and shared latents.
pub(crate) fn specs() -> Vec<(&'static str, ModelSpec)> {
    let read = |params: String| ModelSpec::from_params(&params).expect("a valid description");
    let plain = shapes()
        .into_iter()
        .map(|(name, params)| (name, read(params)));
    let sparse = ModelSpec::from_hf_config(&sparse()).expect("a valid description");
    plain.chain([("sparse", sparse)]).collect()
}
