//! The differentiable decoder against the reference's logits, hidden states and choices.
#![cfg(feature = "candle")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Result, Tensor};
use mistral_core::model::ModelSpec;
use mistral_infer::candle::Decoder;

/// Largest distance of an f32 logit, as the fixtures state it.
const TOLERANCE: f32 = 2e-3;
/// Mean distance of a bf16 logit; single rows may differ by more where an expert flips.
const TOLERANCE_BF16: f32 = 0.1;

type Tensors = HashMap<String, Tensor>;

fn fixtures() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures");
    path.is_dir().then_some(path)
}

fn load(path: &Path) -> Tensors {
    candle_core::safetensors::load(path, &Device::Cpu).expect("fixtures are whole")
}

/// The canonical name's place in a Hugging Face file: a tensor, and perhaps rows of it.
fn hugging_face(tensors: &Tensors, name: &str) -> Result<Tensor> {
    if let Some(tensor) = tensors.get(name) {
        return Ok(tensor.clone());
    }
    let dense = [
        ("tok_embeddings.weight", "embed_tokens.weight"),
        (".attention_norm.", ".input_layernorm."),
        (".ffn_norm.", ".post_attention_layernorm."),
        (".attention.wq.", ".self_attn.q_proj."),
        (".attention.wk.", ".self_attn.k_proj."),
        (".attention.wv.", ".self_attn.v_proj."),
        (".attention.wo.", ".self_attn.o_proj."),
        (".attention.wq_a.", ".self_attn.q_a_proj."),
        (".attention.q_a_norm.", ".self_attn.q_a_layernorm."),
        (".attention.wq_b.", ".self_attn.q_b_proj."),
        (
            ".attention.wkv_a_with_mqa.",
            ".self_attn.kv_a_proj_with_mqa.",
        ),
        (".attention.kv_a_norm.", ".self_attn.kv_a_layernorm."),
        (".attention.wkv_b.", ".self_attn.kv_b_proj."),
        (".feed_forward.w1.", ".mlp.gate_proj."),
        (".feed_forward.w2.", ".mlp.down_proj."),
        (".feed_forward.w3.", ".mlp.up_proj."),
        (".shared_experts.w1.", ".mlp.shared_experts.gate_proj."),
        (".shared_experts.w2.", ".mlp.shared_experts.down_proj."),
        (".shared_experts.w3.", ".mlp.shared_experts.up_proj."),
    ];
    let renamed = dense
        .iter()
        .fold(name.to_owned(), |n, (from, to)| n.replace(from, to));
    let renamed = if name == "output.weight" {
        "lm_head.weight".to_owned()
    } else {
        format!("model.{renamed}")
    };
    let candidates = [
        renamed.clone(),
        renamed
            .replace(".experts.", ".block_sparse_moe.experts.")
            .replace(".gate.", ".block_sparse_moe.gate."),
        renamed.replace(".gate.", ".mlp.gate."),
    ];
    if let Some(tensor) = candidates.iter().find_map(|c| tensors.get(c)) {
        return Ok(tensor.clone());
    }
    stacked_expert(tensors, name)
}

/// Experts stored as one tensor: `gate_up_proj [e, 2·hidden, dim]`, `down_proj [e, dim, hidden]`.
fn stacked_expert(tensors: &Tensors, name: &str) -> Result<Tensor> {
    let parts: Vec<&str> = name.split('.').collect();
    let ["layers", layer, "experts", expert, matrix, "weight"] = parts[..] else {
        candle_core::bail!("{name}: missing");
    };
    let expert: usize = expert.parse().expect("canonical names number the experts");
    let get = |file: &str| {
        let name = format!("model.layers.{layer}.mlp.experts.{file}");
        tensors
            .get(&name)
            .ok_or_else(|| candle_core::Error::Msg(format!("{name}: missing")))
    };
    if matrix == "w2" {
        return get("down_proj")?.get(expert);
    }
    let both = get("gate_up_proj")?.get(expert)?;
    let hidden = both.dim(0)? / 2;
    both.narrow(0, if matrix == "w1" { 0 } else { hidden }, hidden)?
        .contiguous()
}

fn decoder(case: &Path, dtype: DType) -> Decoder {
    let config = std::fs::read_to_string(case.join("config.json")).expect("fixtures are whole");
    let spec = ModelSpec::from_hf_config(&config).expect("a supported model");
    let tensors = load(&case.join("model.safetensors"));
    let parameters = |name: &str, _: &[usize]| {
        let kept = name.ends_with("lerope.alpha")
            || spec.rope.learned_scale && name.ends_with(".gate.weight");
        hugging_face(&tensors, name)?.to_dtype(if kept { DType::F32 } else { dtype })
    };
    Decoder::new(&spec, &parameters).expect("all parameters are there")
}

fn distance(ours: &Tensor, theirs: &Tensor) -> Result<(f32, f32)> {
    let ours = ours.to_dtype(DType::F32)?.flatten_all()?;
    let difference = (ours - theirs.flatten_all()?)?.abs()?;
    Ok((
        difference.max_all()?.to_scalar()?,
        difference.mean_all()?.to_scalar()?,
    ))
}

/// All distances of one case that are too large, as text.
fn check(case: &Path) -> Result<Vec<String>> {
    let decoder = decoder(case, DType::F32);
    let expected = load(&case.join("expected.safetensors"));
    let mut wrong = Vec::new();
    let mut compare = |name: &str, ours: &Tensor| -> Result<()> {
        let theirs = &expected[name];
        let (max, _) = distance(ours, theirs)?;
        if max.is_nan() || max > TOLERANCE {
            wrong.push(format!("{name}: differs by {max}"));
        }
        Ok(())
    };
    for batch in ["b1", "b2"] {
        let Some(ids) = expected.get(&format!("input_ids.{batch}")) else {
            continue;
        };
        let trace = decoder.forward_traced(&ids.to_dtype(DType::U32)?)?;
        compare(&format!("prefill.logits.{batch}"), &trace.logits)?;
        if batch == "b1" {
            compare("hidden.embed", &trace.embed)?;
            compare("hidden.final_norm", &trace.final_norm)?;
            compare("attn_out.layer.0", &trace.layers[0].attn_out)?;
            compare("mlp_out.layer.0", &trace.layers[0].mlp_out)?;
        }
        let prefix = if batch == "b1" { "" } else { "b2." };
        for (i, layer) in trace.layers.iter().enumerate() {
            if batch == "b1" {
                compare(&format!("hidden.layer.{i}"), &layer.hidden)?;
            }
            if let Some(routing) = &layer.routing {
                compare(&format!("{prefix}router.logits.layer.{i}"), &routing.logits)?;
                compare(
                    &format!("{prefix}router.weights.layer.{i}"),
                    &routing.weights,
                )?;
                let experts = routing.experts.to_dtype(DType::F32)?;
                let theirs = &expected[&format!("{prefix}router.experts.layer.{i}")];
                if distance(&experts, &theirs.to_dtype(DType::F32)?)?.0 != 0.0 {
                    compare(&format!("{prefix}router.experts.layer.{i}"), &experts)?;
                }
            }
        }
    }
    let ids = |name: &str| {
        expected[name]
            .to_dtype(DType::U32)?
            .get(0)?
            .to_vec1::<u32>()
    };
    let greedy = decoder.greedy(&ids("greedy.prompt")?, 32)?;
    if greedy != ids("greedy.tokens")? {
        wrong.push(format!("greedy tokens: {greedy:?}"));
    }
    wrong.extend(check_selections(&decoder, &expected)?);
    Ok(wrong)
}

/// Choices of keys as sets, without the masked ids that the reference also lists.
fn check_selections(decoder: &Decoder, expected: &Tensors) -> Result<Vec<String>> {
    let ids = expected["input_ids.b1"].to_dtype(DType::U32)?;
    let mut wrong = Vec::new();
    for (i, layer) in decoder.forward_traced(&ids)?.layers.iter().enumerate() {
        let name = format!("indexer.topk.layer.{i}");
        let (Some(selection), Some(theirs)) = (&layer.selection, expected.get(&name)) else {
            if layer.selection.is_some() || expected.contains_key(&name) {
                wrong.push(format!("{name}: one side made no choice"));
            }
            continue;
        };
        for (t, row) in theirs
            .get(0)?
            .to_dtype(DType::U32)?
            .to_vec2::<u32>()?
            .iter()
            .enumerate()
        {
            let mut seen: Vec<u32> = row.iter().copied().filter(|&j| j as usize <= t).collect();
            seen.sort_unstable();
            if seen != selection.positions[t] {
                wrong.push(format!(
                    "{name}, position {t}: {:?}, not {seen:?}",
                    selection.positions[t]
                ));
            }
        }
    }
    Ok(wrong)
}

#[test]
fn every_case_matches_the_reference() {
    let Some(fixtures) = fixtures() else { return };
    let mut cases: Vec<PathBuf> = std::fs::read_dir(fixtures)
        .expect("readable")
        .map(|entry| entry.expect("readable").path())
        .filter(|p| p.join("config.json").exists() && p.join("meta.json").exists())
        .collect();
    cases.sort();
    assert!(cases.len() >= 10, "found {} cases", cases.len());
    let mut report = String::new();
    for case in &cases {
        match check(case) {
            Ok(wrong) if wrong.is_empty() => {}
            Ok(wrong) => report += &format!("{}: {}\n", case.display(), wrong.join("; ")),
            Err(error) => report += &format!("{}: {error}\n", case.display()),
        }
    }
    assert!(report.is_empty(), "{report}");
}

#[test]
fn bf16_stays_near_the_reference() {
    let Some(fixtures) = fixtures() else { return };
    let mut report = String::new();
    for case in [
        "mistral_full",
        "mistral_swa",
        "mistral_yarn",
        "mixtral",
        "ministral3",
        "mistral4_small4",
    ] {
        let case = fixtures.join(case);
        let expected = load(&case.join("expected_bf16.safetensors"));
        let ids = load(&case.join("expected.safetensors"))["input_ids.b1"]
            .to_dtype(DType::U32)
            .expect("ids");
        let logits = decoder(&case, DType::BF16)
            .forward(&ids)
            .expect("a forward pass");
        assert_eq!(logits.dtype(), DType::BF16);
        let theirs = expected["prefill.logits.b1"]
            .to_dtype(DType::F32)
            .expect("logits");
        let (_, mean) = distance(&logits, &theirs).expect("equal shapes");
        if mean.is_nan() || mean > TOLERANCE_BF16 {
            report += &format!("{}: mean distance {mean}\n", case.display());
        }
    }
    assert!(report.is_empty(), "{report}");
}
