//! The slice decoder against the differentiable one, which shares no arithmetic with it, on models
//! of made-up shapes: what the fixtures pin down for a few shapes must hold for all.
#![cfg(feature = "candle")]

mod support;

use candle_core::{DType, Device, Tensor};
use mistral_core::model::ModelSpec;
use mistral_infer::candle::Decoder;
use mistral_infer::weights::{Checkpoint, WeightStorage};
use mistral_infer::{LogitRows, Model, Run, SessionLimits};
use serde_json::{Value, json};
use support::Noise;

/// Accumulated rounding of two f32 decoders, relative to logits of about this size.
const TOLERANCE: f32 = 1e-3;

struct Dice(Noise);

impl Dice {
    /// A whole number from `low` to `high`.
    fn roll(&mut self, low: usize, high: usize) -> usize {
        let unit = (self.0.next() / 0.6 + 0.5).clamp(0.0, 0.999_999);
        low + (unit * (high - low + 1) as f32) as usize
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.roll(0, from.len() - 1)].clone()
    }
}

fn base(d: &mut Dice) -> Value {
    let kv = d.roll(1, 3);
    json!({"dim": 8 * d.roll(2, 9), "n_layers": 4, "head_dim": 2 * d.roll(2, 9),
        "hidden_dim": d.roll(5, 70), "n_heads": kv * d.roll(1, 4), "n_kv_heads": kv,
        "norm_eps": 1e-5, "vocab_size": d.roll(40, 90), "rope_theta": 1e4, "max_seq_len": 512})
}

fn yarn(d: &mut Dice) -> Value {
    json!({"factor": d.roll(2, 9) as f64, "original_max_position_embeddings": d.roll(8, 40),
        "beta": 32.0, "alpha": 1.0, "apply_scale": d.pick(&[true, false])})
}

fn moe(d: &mut Dice, groups: usize) -> Value {
    let per_group = d.roll(2, 4);
    let chosen = d.roll(1, groups);
    json!({"num_experts": groups * per_group, "num_experts_per_tok": d.roll(1, per_group * chosen),
        "expert_hidden_dim": d.roll(3, 40), "num_expert_groups": groups,
        "num_expert_groups_per_tok": chosen, "routed_scale": 0.5 * d.roll(1, 5) as f64,
        "num_shared_experts": d.roll(0, 2), "first_k_dense_replace": d.roll(0, 3)})
}

fn params(kind: &str, d: &mut Dice) -> String {
    let mut p = base(d);
    match kind {
        "window" => p["sliding_window"] = json!(d.roll(1, 20)),
        "interleaved" => p["sliding_window"] = json!([null, d.roll(1, 20)]),
        "yarn" => p["yarn"] = yarn(d),
        "scaled" => {
            p["yarn"] = yarn(d);
            p["llama_4_scaling"] =
                json!({"beta": 0.1, "original_max_position_embeddings": d.roll(4, 20)});
        }
        "mixtral" => {
            let experts = d.roll(2, 9);
            p["moe"] =
                json!({"num_experts": experts, "num_experts_per_tok": d.roll(1, experts.min(4))});
        }
        "latent" => {
            let rank = json!(d.roll(3, 30));
            p["q_lora_rank"] = d.pick(&[Value::Null, rank]);
            p["kv_lora_rank"] = json!(d.roll(3, 30));
            p["qk_nope_head_dim"] = json!(d.roll(1, 18));
            p["qk_rope_head_dim"] = json!(2 * d.roll(1, 8));
            p["v_head_dim"] = json!(d.roll(1, 18));
            p["yarn"] = yarn(d);
            p["moe"] = {
                let groups = d.roll(1, 3);
                moe(d, groups)
            };
        }
        _ => {}
    }
    p.to_string()
}

fn large4(d: &mut Dice) -> String {
    let rope = 2 * d.roll(1, 5);
    let experts = d.roll(2, 8);
    let text = json!({"model_type": "mistral_large4_text", "hidden_size": 8 * d.roll(2, 8),
        "num_hidden_layers": 6, "num_attention_heads": d.roll(1, 6), "intermediate_size": 40,
        "vocab_size": 60, "rms_norm_eps": 1e-5, "kv_lora_rank": d.roll(4, 24),
        "qk_rope_head_dim": rope, "qk_nope_head_dim": d.roll(1, 12), "v_head_dim": d.roll(1, 12),
        "index_n_heads": 16, "index_head_dim": rope + d.roll(0, 8), "index_topk": d.roll(3, 20),
        "indexer_types": ["full", "shared", "full", "shared", "full", "shared"],
        "kv_source_layers": [0, 1, 2, 1, 4, 2], "no_rope_layers": [1, 1, 0, 1, 1, 0],
        "moe_intermediate_size": d.roll(3, 30), "n_routed_experts": experts,
        "num_experts_per_tok": d.roll(1, experts), "n_shared_experts": 1,
        "final_logit_softcapping": 5.0, "max_position_embeddings": 256,
        "rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 8.0,
            "original_max_position_embeddings": 32, "attention_factor": 1.0}});
    json!({"model_type": "mistral_large4", "text_config": text}).to_string()
}

fn check(name: &str, spec: &ModelSpec, seed: u64) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    support::write_weights(dir.path(), spec, seed);
    let weights = Checkpoint::open(dir.path(), WeightStorage::Copied).map_err(|e| e.to_string())?;
    let parameter = |name: &str, shape: &[usize]| {
        let tensor = weights
            .tensor(name, shape)
            .map_err(candle_core::Error::wrap)?;
        Tensor::from_vec(tensor.to_f32(), shape, &Device::Cpu)?.to_dtype(DType::F32)
    };
    let witness = Decoder::new(spec, &parameter).map_err(|e| e.to_string())?;
    let vocab = u32::try_from(spec.vocab_size).unwrap();
    let ids: Vec<u32> = (0..45u32)
        .map(|i| (i * 31 + i * i * 7 + seed as u32) % vocab)
        .collect();
    let input = Tensor::from_slice(&ids, (1, ids.len()), &Device::Cpu).unwrap();
    let expected: Vec<f32> = witness
        .forward(&input)
        .and_then(|t| t.flatten_all()?.to_vec1())
        .map_err(|e| e.to_string())?;
    let model = Model::from_parts(spec.clone(), &weights, None, 2).map_err(|e| e.to_string())?;
    // Whole, in passes of seven, and one by one.
    for piece in [45, 7, 1] {
        let limits = SessionLimits {
            max_batch_tokens: piece,
            max_logits: piece,
            ..SessionLimits::default()
        };
        let mut session = model.session(limits).map_err(|e| e.to_string())?;
        let mut found = Vec::new();
        for tokens in ids.chunks(piece) {
            let runs = [Run {
                sequence: 0,
                tokens,
                logits: LogitRows::All,
            }];
            found.extend_from_slice(session.forward(&runs).map_err(|e| e.to_string())?);
        }
        for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
            if (a - b).abs() > TOLERANCE * b.abs().max(1.0) || !a.is_finite() {
                let at = i / spec.vocab_size;
                return Err(format!(
                    "{name} {seed}, passes of {piece}, position {at}: {a} {b}"
                ));
            }
        }
    }
    Ok(())
}

#[test]
fn both_decoders_agree_on_made_up_shapes() {
    let mut failures = Vec::new();
    for seed in 0..6 {
        for kind in [
            "plain",
            "window",
            "interleaved",
            "yarn",
            "scaled",
            "mixtral",
            "latent",
        ] {
            let mut dice = Dice(Noise(seed * 100 + kind.len() as u64));
            let params = params(kind, &mut dice);
            match ModelSpec::from_params(&params) {
                Ok(spec) => failures.extend(check(kind, &spec, seed).err()),
                Err(error) => failures.push(format!("{kind} {seed}: {error}: {params}")),
            }
        }
        let config = large4(&mut Dice(Noise(seed + 7)));
        let spec = ModelSpec::from_hf_config(&config).unwrap();
        failures.extend(check("large 4", &spec, seed).err());
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
