//! The differentiable decoder against the reference's logits, hidden states and choices.
#![cfg(feature = "candle")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Result, Tensor};
use mistral_core::model::ModelSpec;
use mistral_infer::candle::{Decoder, load as load_decoder};
use mistral_infer::weights::{Checkpoint, WeightStorage};

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

fn decoder(folder: &Path, dtype: DType) -> Decoder {
    let (spec, file) = match std::fs::read_to_string(folder.join("config.json")) {
        Ok(config) => (ModelSpec::from_hf_config(&config), "model.safetensors"),
        Err(_) => {
            let params = std::fs::read_to_string(folder.join("params.json"));
            let params = params.expect("a folder has one description");
            (ModelSpec::from_params(&params), "consolidated.safetensors")
        }
    };
    let spec = spec.expect("a supported model");
    let checkpoint = Checkpoint::open(&folder.join(file), WeightStorage::Mapped);
    load_decoder(
        &spec,
        &checkpoint.expect("fixtures are whole"),
        dtype,
        &Device::Cpu,
    )
    .expect("all parameters are there")
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

/// Mistral's own files hold interleaved rotations and other names; in bf16, both forms of a model
/// are the same numbers.
#[test]
fn native_files_give_the_same_model() {
    let Some(fixtures) = fixtures() else { return };
    for case in ["mistral_full", "mixtral", "mistral4_small4"] {
        let case = fixtures.join(case);
        let ids = load(&case.join("expected.safetensors"))["input_ids.b1"].to_dtype(DType::U32);
        let ids = ids.expect("ids");
        let native = decoder(&case.join("native"), DType::F32)
            .forward(&ids)
            .expect("a pass");
        let hugging_face = rounded(&case).forward(&ids).expect("a pass");
        let (max, _) = distance(&native, &hugging_face).expect("equal shapes");
        assert!(max < 1e-3, "{}: differs by {max}", case.display());
    }
}

/// The f32 decoder over weights rounded to bf16.
fn rounded(case: &Path) -> Decoder {
    let config = std::fs::read_to_string(case.join("config.json")).expect("fixtures are whole");
    let spec = ModelSpec::from_hf_config(&config).expect("a supported model");
    let path = case.join("model.safetensors");
    let checkpoint = Checkpoint::open(&path, WeightStorage::Mapped).expect("fixtures are whole");
    Decoder::new(&spec, &|name: &str, shape: &[usize]| {
        let weight = checkpoint
            .tensor(name, shape)
            .map_err(candle_core::Error::wrap)?;
        let tensor = Tensor::from_vec(weight.to_f32(), shape, &Device::Cpu)?;
        tensor.to_dtype(DType::BF16)?.to_dtype(DType::F32)
    })
    .expect("all parameters are there")
}
