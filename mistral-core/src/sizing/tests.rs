//! Sizes against files and against published figures.

use std::path::Path;

use super::*;
use crate::model::ModelSpec;
use crate::plan::KvPrecision;
use crate::precision::Precision;

/// Element counts of the fixture models, read from their `model.safetensors`.
const FIXTURES: &[(&str, u64)] = &[
    ("ministral3", 82_240),
    ("ministral_interleaved", 119_360),
    ("mistral4_large3", 167_320),
    ("mistral4_small4", 163_792),
    ("mistral_full", 113_088),
    ("mistral_large4_text", 359_124),
    ("mistral_nemo_tied", 84_288),
    ("mistral_swa", 106_944),
    ("mistral_yarn", 82_240),
    ("mixtral", 144_704),
    ("stories260k", 260_032),
];

#[test]
fn parameters_equal_the_elements_of_every_fixture() {
    let root = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/fixtures"
    ));
    if !root.exists() {
        return;
    }
    let mut failures = Vec::new();
    for &(case, expected) in FIXTURES {
        let folder = root.join(case);
        let config = std::fs::read_to_string(folder.join("config.json")).expect("a config");
        let spec = ModelSpec::from_hf_config(&config).expect("a known architecture");
        let bytes = std::fs::read(folder.join("model.safetensors")).expect("weights");
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("a valid file");
        let elements: u64 = file
            .iter()
            .map(|(_, t)| t.shape().iter().product::<usize>() as u64)
            .sum();
        assert_eq!(elements, expected, "{case}: the fact in this test");
        let counted = parameters(&spec).total;
        if counted != elements {
            failures.push(format!(
                "{case}: counted {counted}, the file has {elements}"
            ));
        }
        assert_eq!(weight_bytes(&spec, Precision::F32), 4 * elements, "{case}");
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

fn spec(config: &str) -> ModelSpec {
    ModelSpec::from_hf_config(config).expect("a complete configuration")
}

fn dense(dims: [usize; 7]) -> ModelSpec {
    let [layers, dim, ffn, heads, kv, head_dim, vocab] = dims;
    spec(&format!(
        r#"{{"model_type":"mistral","num_hidden_layers":{layers},"hidden_size":{dim},
        "intermediate_size":{ffn},"num_attention_heads":{heads},"num_key_value_heads":{kv},
        "head_dim":{head_dim},"vocab_size":{vocab},"rope_theta":1e6,"sliding_window":null}}"#
    ))
}

fn mixtral(dims: [usize; 7]) -> ModelSpec {
    let [layers, dim, ffn, heads, kv, head_dim, vocab] = dims;
    spec(&format!(
        r#"{{"model_type":"mixtral","num_hidden_layers":{layers},"hidden_size":{dim},
        "intermediate_size":{ffn},"num_attention_heads":{heads},"num_key_value_heads":{kv},
        "head_dim":{head_dim},"vocab_size":{vocab},"rope_theta":1e6,
        "num_local_experts":8,"num_experts_per_tok":2}}"#
    ))
}

const SMALL_4: &str = r#"{"model_type":"mistral4","num_hidden_layers":36,"hidden_size":4096,
    "intermediate_size":12288,"moe_intermediate_size":2048,"num_attention_heads":32,
    "q_lora_rank":1024,"kv_lora_rank":256,"qk_nope_head_dim":64,"qk_rope_head_dim":64,
    "v_head_dim":128,"vocab_size":131072,"n_routed_experts":128,"num_experts_per_tok":4,
    "n_shared_experts":1}"#;

const LARGE_3: &str = r#"{"model_type":"mistral4","num_hidden_layers":61,"hidden_size":7168,
    "intermediate_size":16384,"moe_intermediate_size":4096,"num_attention_heads":128,
    "q_lora_rank":1536,"kv_lora_rank":512,"qk_nope_head_dim":128,"qk_rope_head_dim":64,
    "v_head_dim":128,"vocab_size":131072,"n_routed_experts":128,"num_experts_per_tok":4,
    "n_shared_experts":1,"first_k_dense_replace":3}"#;

const LARGE_4: &str = r#"{"model_type":"mistral_large4_text","num_hidden_layers":72,
    "hidden_size":6144,"intermediate_size":24576,"moe_intermediate_size":6144,
    "num_attention_heads":64,"kv_lora_rank":512,"qk_nope_head_dim":64,"qk_rope_head_dim":64,
    "v_head_dim":128,"vocab_size":204800,"n_routed_experts":128,"num_experts_per_tok":4,
    "n_shared_experts":1}"#;

#[test]
fn parameters_equal_published_counts() {
    // Total and active; the exact ones are the tensor sums of the published files.
    let rows: &[(&str, ModelSpec, f64, f64, f64)] = &[
        (
            "7B v0.1",
            dense([32, 4096, 14336, 32, 8, 128, 32000]),
            7_241_732_096.0,
            7_241_732_096.0,
            0.0,
        ),
        (
            "7B v0.3",
            dense([32, 4096, 14336, 32, 8, 128, 32768]),
            7_248_023_552.0,
            7_248_023_552.0,
            0.0,
        ),
        (
            "8x7B",
            mixtral([32, 4096, 14336, 32, 8, 128, 32000]),
            46_702_792_704.0,
            12_879_925_248.0,
            0.0,
        ),
        (
            "8x22B",
            mixtral([56, 6144, 16384, 48, 8, 128, 32768]),
            140_630_071_296.0,
            39_161_468_928.0,
            0.0,
        ),
        (
            "Nemo",
            dense([40, 5120, 14336, 32, 8, 128, 131072]),
            12_247_782_400.0,
            12_247_782_400.0,
            0.0,
        ),
        (
            "Small 22B",
            dense([56, 6144, 16384, 48, 8, 128, 32768]),
            22_247_282_688.0,
            22_247_282_688.0,
            0.0,
        ),
        (
            "Small 24B",
            dense([40, 5120, 32768, 32, 8, 128, 131072]),
            23_572_403_200.0,
            23_572_403_200.0,
            0.0,
        ),
        (
            "Large 2",
            dense([88, 12288, 28672, 96, 8, 128, 32768]),
            122_610_069_504.0,
            122_610_069_504.0,
            0.0,
        ),
        // Published to the digits given: 118.97B/6.63B, 673B/40B without the vision part.
        ("Small 4", spec(SMALL_4), 118.97e9, 6.63e9, 0.001),
        ("Large 3", spec(LARGE_3), 673e9, 40e9, 0.002),
        ("Large 4", spec(LARGE_4), 1.05e12, 52e9, 0.03),
    ];
    let mut failures = Vec::new();
    for (name, spec, total, active, tolerance) in rows {
        let p = parameters(spec);
        for (what, got, want) in [("total", p.total, total), ("active", p.active, active)] {
            if (got as f64 - want).abs() > want * tolerance {
                failures.push(format!("{name} {what}: {got}, published {want}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_token_of_cache_is_what_the_published_shapes_give() {
    let rows = [
        ("7B", dense([32, 4096, 14336, 32, 8, 128, 32768]), 131_072.0),
        (
            "Nemo",
            dense([40, 5120, 14336, 32, 8, 128, 131072]),
            163_840.0,
        ),
        (
            "Large 2",
            dense([88, 12288, 28672, 96, 8, 128, 32768]),
            360_448.0,
        ),
        // 36 layers of 256 latent and 64 rotated values.
        ("Small 4", spec(SMALL_4), 23_040.0),
        ("Large 3", spec(LARGE_3), 70_272.0),
        // 54 layers of 576, 18 without rotation of 512, and 72 indexer keys of 128.
        (
            "Large 4",
            spec(LARGE_4),
            2.0 * (54.0 * 576.0 + 18.0 * 512.0 + 72.0 * 128.0),
        ),
    ];
    for (name, spec, bytes) in rows {
        assert_eq!(kv_bytes_per_token(&spec, KvPrecision::F16), bytes, "{name}");
        assert_eq!(
            kv_bytes(&spec, 10, KvPrecision::F16),
            10.0 * bytes,
            "{name}"
        );
        assert_eq!(kv_bytes(&spec, 10, KvPrecision::Fp8), 5.0 * bytes, "{name}");
    }
}

#[test]
fn windows_shared_latents_and_sparse_layers_bound_the_cache() {
    let mut windowed = dense([32, 4096, 14336, 32, 8, 128, 32000]);
    for layer in &mut windowed.layers {
        layer.window = Some(4096);
    }
    let full = kv_bytes_per_token(&windowed, KvPrecision::F16);
    assert_eq!(kv_bytes(&windowed, 32_768, KvPrecision::F16), 4096.0 * full);
    assert_eq!(
        kv_read_bytes(&windowed, 32_768, KvPrecision::F16),
        4096.0 * full
    );

    let mut shared = spec(LARGE_4);
    let before = kv_bytes_per_token(&shared, KvPrecision::F16);
    // Layers 39, 43, …, 71 read the latent of layer 35: nine layers without rotation.
    for i in (39..72).step_by(4) {
        shared.layers[i].kv_source = 35;
    }
    let after = kv_bytes_per_token(&shared, KvPrecision::F16);
    assert_eq!(before - after, 2.0 * 9.0 * 512.0);
    // A sparse layer reads 2048 latents, however deep, and all indexer keys.
    let deep = kv_read_bytes(&shared, 100_000, KvPrecision::F16);
    let deeper = kv_read_bytes(&shared, 200_000, KvPrecision::F16);
    assert_eq!(deeper - deep, 2.0 * 72.0 * 128.0 * 100_000.0);
}

#[test]
fn weights_at_a_precision_are_close_to_published_files() {
    let seven = dense([32, 4096, 14336, 32, 8, 128, 32768]);
    let eight_by_seven = mixtral([32, 4096, 14336, 32, 8, 128, 32000]);
    // GB of the files on the hub; GGUF files also hold the vocabulary.
    let rows = [
        ("7B bf16", &seven, Precision::Bf16, 14.496, 0.001),
        ("7B q8_0", &seven, Precision::Q8_0, 7.70, 0.01),
        ("7B q4_k_m", &seven, Precision::Q4KM, 4.37, 0.01),
        ("7B q5_k_m", &seven, Precision::Q5KM, 5.14, 0.01),
        ("7B q6_k", &seven, Precision::Q6K, 5.95, 0.01),
        ("7B q3_k_m", &seven, Precision::Q3KM, 3.52, 0.02),
        ("7B q4_0", &seven, Precision::Q4_0, 4.11, 0.01),
        ("8x7B bf16", &eight_by_seven, Precision::Bf16, 93.41, 0.001),
        ("8x7B q4_k_m", &eight_by_seven, Precision::Q4KM, 26.44, 0.08),
    ];
    let mut failures = Vec::new();
    for (name, spec, precision, gb, tolerance) in rows {
        let got = weight_bytes(spec, precision) as f64 / 1e9;
        if (got - gb).abs() > gb * tolerance {
            failures.push(format!("{name}: {got:.3} GB, published {gb}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn flops_follow_the_active_parameters() {
    let seven = dense([32, 4096, 14336, 32, 8, 128, 32768]);
    let matrices = 2.0 * (7_248_023_552.0 - 32768.0 * 4096.0 - 65.0 * 4096.0);
    // Scores and sums: 4 · heads · head_dim · keys · layers.
    assert_eq!(decode_flops(&seven, 0), matrices + 4.0 * 4096.0 * 32.0);
    assert_eq!(
        decode_flops(&seven, 999),
        matrices + 4.0 * 4096.0 * 1000.0 * 32.0
    );
    // A prompt is the sum of its tokens, less the logits of all but the last.
    let output = 2.0 * 32768.0 * 4096.0;
    let sum: f64 = (0..100).map(|i| decode_flops(&seven, i)).sum();
    let prompt = prefill_flops(&seven, 100, 0);
    assert!((sum - 99.0 * output - prompt).abs() < 1e-6 * sum);
    let rest = prefill_flops(&seven, 60, 40);
    let first = prefill_flops(&seven, 40, 0);
    assert!((first + rest - output - prompt).abs() < 1e-6 * prompt);

    let mut windowed = seven.clone();
    for layer in &mut windowed.layers {
        layer.window = Some(16);
    }
    let sum: f64 = (0..100).map(|i| decode_flops(&windowed, i)).sum();
    let prompt = prefill_flops(&windowed, 100, 0);
    assert!((sum - 99.0 * output - prompt).abs() < 1e-6 * sum);
}

#[test]
fn experts_read_by_a_batch() {
    // U(b) = E (1 - (1 - k/E)^b) for 8 experts, top 2.
    for (batch, expected) in [
        (0.0, 0.0),
        (1.0, 2.0),
        (2.0, 3.5),
        (4.0, 5.47),
        (8.0, 7.2),
        (16.0, 7.92),
    ] {
        assert!(
            (expected_experts(8, 2, batch) - expected).abs() < 0.01,
            "{batch}"
        );
    }
    let spec = mixtral([32, 4096, 14336, 32, 8, 128, 32000]);
    let one = decode_read_bytes(&spec, Precision::Bf16, 1.0) / 2.0;
    // The active parameters without the embedding.
    assert!((one / (12_879_925_248.0 - 32000.0 * 4096.0) - 1.0).abs() < 1e-9);
}

#[test]
fn absurd_dimensions_saturate() {
    let mut spec = dense([2, 64, 64, 4, 2, 16, 160]);
    spec.dim = usize::MAX;
    spec.vocab_size = usize::MAX;
    assert_eq!(parameters(&spec).total, u64::MAX);
    assert!(weight_bytes(&spec, Precision::Q4KM) > 1 << 62);
    assert!(activation_bytes(&spec, usize::MAX, usize::MAX, 4).is_finite());
}
