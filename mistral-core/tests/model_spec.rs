//! `ModelSpec` from each of its three file forms.

use std::path::PathBuf;

use mistral_core::CoreError;
use mistral_core::model::{
    Architecture, AttentionKind, FeedForward, GgufValue, Indexer, ModelSpec, PositionScale,
    RopeLayout,
};

const MISTRAL: &str = r#"{"model_type": "mistral", "hidden_act": "silu", "hidden_size": 64,
  "intermediate_size": 96, "num_attention_heads": 4, "num_hidden_layers": 3,
  "num_key_value_heads": 2, "head_dim": 16, "rms_norm_eps": 1e-5, "vocab_size": 160,
  "sliding_window": null, "bos_token_id": 1, "eos_token_id": 2,
  "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}}"#;

fn fixtures() -> Option<PathBuf> {
    let dir = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/fixtures"
    ));
    dir.is_dir().then_some(dir)
}

fn edit(
    text: &str,
    change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>),
) -> String {
    let mut value: serde_json::Value = serde_json::from_str(text).unwrap();
    change(value.as_object_mut().unwrap());
    value.to_string()
}

fn with(key: &str, value: serde_json::Value) -> String {
    edit(MISTRAL, |map| {
        map.insert(key.to_owned(), value);
    })
}

#[test]
fn a_plain_config_is_read() {
    let spec = ModelSpec::from_hf_config(MISTRAL).unwrap();
    assert_eq!(spec.architecture, Architecture::Mistral);
    assert_eq!(
        (spec.dim, spec.n_layers, spec.n_heads, spec.n_kv_heads()),
        (64, 3, 4, 2)
    );
    assert_eq!(spec.softmax_scale, 0.25);
    assert_eq!(spec.rope.layout, RopeLayout::HalfSplit);
    assert!(spec.layers.iter().all(|l| l.window.is_none()));
}

#[test]
fn an_absent_window_differs_from_null() {
    let absent = edit(MISTRAL, |map| {
        map.remove("sliding_window");
    });
    let spec = ModelSpec::from_hf_config(&absent).unwrap();
    assert_eq!(spec.layers[0].window, Some(4096));
}

#[test]
fn old_and_new_rope_forms_agree() {
    let new = with(
        "rope_parameters",
        serde_json::json!({"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
            "original_max_position_embeddings": 32, "beta_fast": 32.0, "beta_slow": 1.0}),
    );
    let old = edit(MISTRAL, |map| {
        map.remove("rope_parameters");
        map.insert("rope_theta".into(), 1e4.into());
        map.insert(
            "rope_scaling".into(),
            serde_json::json!({"type": "yarn", "factor": 4.0,
                "original_max_position_embeddings": 32}),
        );
    });
    let (new, old) = (
        ModelSpec::from_hf_config(&new),
        ModelSpec::from_hf_config(&old),
    );
    let new = new.unwrap();
    assert_eq!(new, old.unwrap());
    assert!((new.rope.attention_factor - (0.1 * 4f64.ln() + 1.0)).abs() < 1e-12);
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    use serde_json::json;
    let rows: &[(&str, serde_json::Value, &str)] = &[
        ("model_type", json!("gpt_oss"), "gpt_oss"),
        ("hidden_act", json!("gelu"), "hidden_act"),
        ("attention_bias", json!(true), "attention_bias"),
        (
            "quantization_config",
            json!({"quant_method": "fp8"}),
            "quantization_config",
        ),
        (
            "rope_scaling",
            json!({"type": "linear", "factor": 2.0}),
            "rope_parameters",
        ),
        (
            "rope_parameters",
            json!({"rope_type": "longrope"}),
            "rope_parameters.rope_type",
        ),
        (
            "rope_parameters",
            json!({"rope_type": "default", "llama_4_scaling_beta": 0.1,
            "original_max_position_embeddings": 8}),
            "llama_4_scaling_beta",
        ),
        ("partial_rotary_factor", json!(0.5), "partial_rotary_factor"),
        ("qk_norm", json!(true), "qk_norm"),
        ("logit_scale", json!(0.5), "logit_scale"),
        (
            "layer_types",
            json!(["full_attention", "sliding_attention", "full_attention"]),
            "",
        ),
        ("num_attention_heads", json!(3), "n_heads"),
        ("num_hidden_layers", json!(1_000_000_000), "n_layers"),
        ("num_hidden_layers", json!(0), "n_layers"),
        ("num_key_value_heads", json!(0), "n_kv_heads"),
        ("vocab_size", json!(-1), "vocab_size"),
        ("vocab_size", json!(1u64 << 39), "vocab_size"),
        ("hidden_size", json!("64"), "hidden_size"),
        ("hidden_size", json!(null), "hidden_size"),
        ("head_dim", json!(15), "rope.dim"),
        ("rms_norm_eps", json!(0.0), "norm_eps"),
        ("eos_token_id", json!(160), "eos_token_ids"),
    ];
    for (key, value, named) in rows {
        // The old form only counts when the new one is absent.
        let text = edit(&with(key, value.clone()), |map| {
            if *key == "rope_scaling" {
                map.remove("rope_parameters");
            }
        });
        let error = ModelSpec::from_hf_config(&text).expect_err(key).to_string();
        let named = if *key == "rope_scaling" {
            "rope_scaling.rope_type"
        } else {
            named
        };
        assert!(error.contains(named), "{key} = {value}: {error}");
    }
}

#[test]
fn text_that_is_no_object_is_refused() {
    let deep = "[".repeat(100_000);
    for text in [
        "",
        "null",
        "[]",
        "{",
        "{\"model_type\": \"mistral\"",
        deep.as_str(),
    ] {
        assert!(
            matches!(ModelSpec::from_hf_config(text), Err(CoreError::Json { .. })),
            "{text:.9}"
        );
        assert!(
            matches!(ModelSpec::from_params(text), Err(CoreError::Json { .. })),
            "{text:.9}"
        );
    }
}

#[test]
fn params_json_names_the_same_model() {
    let params = r#"{"dim": 64, "n_layers": 3, "head_dim": 16, "hidden_dim": 96, "n_heads": 4,
        "n_kv_heads": 2, "norm_eps": 1e-05, "vocab_size": 160, "rope_theta": 10000.0}"#;
    let mut spec = ModelSpec::from_params(params).unwrap();
    assert_eq!(spec.rope.layout, RopeLayout::Interleaved);
    spec.rope.layout = RopeLayout::HalfSplit;
    assert_eq!(spec, ModelSpec::from_hf_config(MISTRAL).unwrap());
    for (extra, named) in [
        (
            r#""quantization": {"qformat_weight": "fp8_e4m3"}"#,
            "quantization",
        ),
        (
            r#""moe": {"num_experts": 8, "num_experts_per_tok": 9}"#,
            "num_experts_per_tok",
        ),
        (
            r#""moe": {"num_experts": 8, "num_experts_per_tok": 2, "route_every_n": 2}"#,
            "moe.route",
        ),
        (r#""sliding_window": [1, 2]"#, "sliding_window"),
    ] {
        let text = params.replacen('{', &format!("{{{extra}, "), 1);
        let error = ModelSpec::from_params(&text).expect_err(extra).to_string();
        assert!(error.contains(named), "{extra}: {error}");
    }
}

#[test]
fn gguf_metadata_names_the_same_model() {
    let lookup = |key: &str| match key {
        "general.architecture" => Some(GgufValue::Text("llama".into())),
        "llama.block_count" => Some(GgufValue::Integer(3)),
        "llama.embedding_length" => Some(GgufValue::Integer(64)),
        "llama.feed_forward_length" => Some(GgufValue::Integer(96)),
        "llama.attention.head_count" => Some(GgufValue::Integer(4)),
        "llama.attention.head_count_kv" => Some(GgufValue::Integer(2)),
        "llama.attention.layer_norm_rms_epsilon" => Some(GgufValue::Float(1e-5)),
        "llama.rope.freq_base" => Some(GgufValue::Float(1e4)),
        "tokenizer.ggml.bos_token_id" => Some(GgufValue::Integer(1)),
        "tokenizer.ggml.eos_token_id" => Some(GgufValue::Integer(2)),
        _ => None,
    };
    let mut spec = ModelSpec::from_gguf_metadata(&lookup, false, 160).unwrap();
    spec.rope.layout = RopeLayout::HalfSplit;
    assert_eq!(spec, ModelSpec::from_hf_config(MISTRAL).unwrap());
    let foreign = |key: &str| match key {
        "general.architecture" => Some(GgufValue::Text("qwen3".into())),
        _ => None,
    };
    let error = ModelSpec::from_gguf_metadata(&foreign, false, 160).unwrap_err();
    assert!(
        matches!(error, CoreError::UnknownArchitecture { .. }),
        "{error}"
    );
}

/// Metadata of a tiny model of an architecture, with some values changed.
fn gguf(arch: &str, changes: &[(&str, GgufValue)]) -> Result<ModelSpec, CoreError> {
    let integer = |n| Some(GgufValue::Integer(n));
    let lookup = |key: &str| {
        let key = key
            .strip_prefix(arch)
            .and_then(|k| k.strip_prefix('.'))
            .unwrap_or(key);
        if let Some((_, value)) = changes.iter().find(|(changed, _)| *changed == key) {
            return Some(value.clone());
        }
        match key {
            "general.architecture" => Some(GgufValue::Text(arch.into())),
            "block_count" => integer(2),
            "embedding_length" => integer(64),
            "feed_forward_length" => integer(96),
            "attention.head_count" => integer(4),
            "attention.layer_norm_rms_epsilon" => Some(GgufValue::Float(1e-5)),
            "attention.kv_lora_rank" => integer(16),
            "attention.key_length_mla" => integer(24),
            "attention.value_length_mla" => integer(16),
            "rope.dimension_count" if arch == "mistral4" => integer(8),
            "rope.scaling.factor" => Some(GgufValue::Float(16.0)),
            "rope.scaling.original_context_length" => integer(128),
            _ => None,
        }
    };
    ModelSpec::from_gguf_metadata(&lookup, false, 160)
}

#[test]
fn yarn_in_gguf_scales_as_llama_cpp_does() {
    let log = 0.1 * 16f64.ln();
    let yarn = ("rope.scaling.type", GgufValue::Text("yarn".into()));
    // Architecture, multiplier, magnitude on cos and sin, magnitude on the softmax.
    for (arch, multiplier, rope, softmax) in [
        ("mistral3", None, 1.0 + log, 1.0),
        ("mistral3", Some(0.0), 1.0 + log, 1.0),
        ("mistral3", Some(1.0), 1.0, 1.0),
        ("mistral3", Some(0.5), (1.0 + log) / (1.0 + 0.5 * log), 1.0),
        ("mistral4", None, 1.0 + log, 1.0),
        ("mistral4", Some(f64::from(0.1f32)), 1.0, 1.0 + log),
    ] {
        let mut changes = vec![yarn.clone()];
        let key = "rope.scaling.yarn_log_multiplier";
        changes.extend(multiplier.map(|m| (key, GgufValue::Float(m))));
        let spec = gguf(arch, &changes).unwrap();
        let width = if arch == "mistral4" { 24f64 } else { 16.0 };
        let expected = softmax * softmax / width.sqrt();
        assert!(
            (spec.rope.attention_factor - rope).abs() < 1e-12,
            "{arch} {multiplier:?}"
        );
        assert!(
            (spec.softmax_scale - expected).abs() < 1e-12,
            "{arch} {multiplier:?}"
        );
    }
}

#[test]
fn gguf_experts_are_normalised_where_llama_cpp_does() {
    let experts = [
        ("expert_count", GgufValue::Integer(8)),
        ("expert_used_count", GgufValue::Integer(2)),
    ];
    for (arch, says, expected) in [
        ("llama", None, true),
        ("mistral4", None, false),
        ("mistral4", Some(true), true),
    ] {
        let mut changes = experts.to_vec();
        changes.extend(says.map(|flag| ("expert_weights_norm", GgufValue::Bool(flag))));
        let moe = gguf(arch, &changes).unwrap().moe.unwrap();
        assert_eq!(moe.normalize, expected, "{arch} {says:?}");
    }
}

#[test]
fn gguf_token_ids_that_no_vocabulary_has_are_refused() {
    for id in [160, 1 << 32, (1 << 32) + 2, u64::MAX] {
        for key in ["tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"] {
            let found = gguf("llama", &[(key, GgufValue::Integer(id))]);
            assert!(found.is_err(), "{key} = {id}");
        }
    }
}

#[test]
fn every_fixture_is_read_in_each_of_its_forms() {
    let Some(dir) = fixtures() else { return };
    let mut seen = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let case = entry.unwrap().path();
        let Ok(text) = std::fs::read_to_string(case.join("config.json")) else {
            continue;
        };
        seen += 1;
        let spec = ModelSpec::from_hf_config(&text).unwrap_or_else(|e| panic!("{case:?}: {e}"));
        if let Ok(old) = std::fs::read_to_string(case.join("config_v4.json")) {
            assert_eq!(ModelSpec::from_hf_config(&old).unwrap(), spec, "{case:?}");
        }
        if let Ok(native) = std::fs::read_to_string(case.join("native/params.json")) {
            let mut native = ModelSpec::from_params(&native).unwrap();
            native.max_seq_len = spec.max_seq_len;
            native.rope.layout = spec.rope.layout;
            assert_eq!(native, spec, "{case:?}");
        }
    }
    assert!(seen >= 10, "{seen}");
}

#[test]
fn large_4_differs_by_layer() {
    let Some(dir) = fixtures() else { return };
    let text = std::fs::read_to_string(dir.join("mistral_large4_text/config.json")).unwrap();
    let spec = ModelSpec::from_hf_config(&text).unwrap();
    assert_eq!(spec.architecture, Architecture::MistralLarge4);
    let AttentionKind::Mla(mla) = &spec.attention else {
        panic!("{:?}", spec.attention)
    };
    assert_eq!((mla.split(true), mla.split(false)), ((8, 8), (16, 0)));
    assert_eq!(spec.layers[5].kv_source, 2);
    assert_eq!(spec.layers[2].indexer, Indexer::Shared);
    assert_eq!(spec.layers[0].feed_forward, FeedForward::Dense);
    assert_eq!(spec.layers.iter().filter(|l| l.rope).count(), 4);
    assert_eq!(spec.position_scale, PositionScale::SsMax);
    assert_eq!(spec.logit_softcap, Some(30.0));
}
