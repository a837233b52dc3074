//! Model cases: which variants of a model a folder holds, and how each is loaded.

use std::error::Error;
use std::path::{Path, PathBuf};

use mistral_core::model::ModelSpec;
use mistral_infer::weights::{Checkpoint, WeightStorage};
use mistral_infer::{LoadOptions, Model};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::Context;
use crate::checks::{Numbers, check};
use crate::device::Device;
use crate::engine::{CpuEngine, Engine};
use crate::report::{Checks, Row, chain};
use crate::tensors::Tensors;

/// A description and weights that belong together.
struct Variant {
    /// What follows the case's name.
    suffix: &'static str,
    /// `config.json` form or `params.json`.
    spec: PathBuf,
    weights: Weights,
    /// The reference file's name, in the case's folder.
    expected: &'static str,
    numbers: Numbers,
}

/// Where a variant's weights are.
enum Weights {
    /// In these files.
    Files(Vec<PathBuf>),
    /// In a folder with an index of shards.
    Folder(PathBuf),
    /// Those of a f32 file, rounded to bf16.
    RoundedToBf16(PathBuf),
}

/// Runs every variant that lies in `folder`.
pub(crate) fn run(context: &Context, name: &str, folder: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    for variant in variants(folder) {
        let case = format!("{name}{}", variant.suffix);
        if context.device == Device::Candle && variant.numbers == Numbers::Bf16 {
            continue;
        }
        let mut checks = Checks::default();
        if let Err(error) = run_variant(context, folder, &variant, &mut checks) {
            checks.fail(chain(error.as_ref()));
        }
        rows.push(checks.into_row(case, "model"));
    }
    rows
}

fn variants(folder: &Path) -> Vec<Variant> {
    let file = |name: &str| folder.join(name);
    let has = |name: &str| file(name).is_file();
    let index = has("model.safetensors.index.json");
    let main = || match index {
        true => Weights::Folder(folder.to_owned()),
        false => Weights::Files(vec![file("model.safetensors")]),
    };
    let variant = |suffix, spec: &str, weights, numbers| Variant {
        suffix,
        spec: file(spec),
        weights,
        expected: match numbers {
            Numbers::F32 => "expected.safetensors",
            Numbers::Bf16 => "expected_bf16.safetensors",
        },
        numbers,
    };
    let mut all = vec![variant("", "config.json", main(), Numbers::F32)];
    if has("config_v4.json") {
        all.push(variant("/v4", "config_v4.json", main(), Numbers::F32));
    }
    if has("expected_bf16.safetensors") {
        let weights = match has("model_bf16.safetensors") {
            true => Weights::Files(vec![file("model_bf16.safetensors")]),
            false => Weights::RoundedToBf16(file("model.safetensors")),
        };
        all.push(variant("/bf16", "config.json", weights, Numbers::Bf16));
    }
    if has("native/params.json") {
        let native = folder.join("native");
        let files = consolidated(&native);
        all.push(match (files.is_empty(), has("expected_bf16.safetensors")) {
            (true, _) => variant("/native", "native/params.json", main(), Numbers::F32),
            (false, bf16) => {
                let numbers = if bf16 { Numbers::Bf16 } else { Numbers::F32 };
                variant(
                    "/native",
                    "native/params.json",
                    Weights::Files(files),
                    numbers,
                )
            }
        });
    }
    all
}

/// `consolidated.safetensors`, or its numbered parts.
fn consolidated(native: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(native).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or_default();
            name.starts_with("consolidated") && name.ends_with(".safetensors")
        })
        .collect();
    files.sort();
    files
}

fn run_variant(
    context: &Context,
    folder: &Path,
    variant: &Variant,
    checks: &mut Checks,
) -> Result<(), Box<dyn Error>> {
    let expected = Tensors::read(&folder.join(variant.expected))?;
    // The bf16 files hold results only; their inputs are those of the f32 run.
    let inputs = match variant.numbers {
        Numbers::F32 => None,
        Numbers::Bf16 => Some(Tensors::read(&folder.join("expected.safetensors"))?),
    };
    let mut engine = load(context, folder, variant, checks)?;
    let meta = read_meta(folder);
    let inputs = inputs.as_ref().unwrap_or(&expected);
    check(
        engine.as_mut(),
        variant.numbers,
        inputs,
        &expected,
        &meta,
        checks,
    )
}

/// `meta.json`, or null without one.
fn read_meta(folder: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(folder.join("meta.json")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Reads a description in either form.
pub(crate) fn read_spec(path: &Path) -> Result<ModelSpec, Box<dyn Error>> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(if path.file_name().is_some_and(|n| n == "params.json") {
        ModelSpec::from_params(&text)?
    } else {
        ModelSpec::from_hf_config(&text)?
    })
}

fn load(
    context: &Context,
    folder: &Path,
    variant: &Variant,
    checks: &mut Checks,
) -> Result<Box<dyn Engine>, Box<dyn Error>> {
    let mut spec = read_spec(&variant.spec)?;
    let storage = WeightStorage::Mapped;
    let checkpoint = match &variant.weights {
        Weights::Files(files) => Checkpoint::open_files(files, storage)?,
        Weights::Folder(path) => Checkpoint::open(path, storage)?,
        Weights::RoundedToBf16(file) => {
            checks.remark("weights rounded to bf16 from model.safetensors");
            rounded(file)?
        }
    };
    let foreign = variant.suffix == "/native" && consolidated(&folder.join("native")).is_empty();
    if foreign {
        // A description without weights of its own: the other file's are paired its way.
        spec.rope.layout = read_spec(&folder.join("config.json"))?.rope.layout;
        checks.remark("params.json with the weights of model.safetensors");
    }
    let threads = LoadOptions::default().threads;
    engine(context, spec, &checkpoint, threads)
}

/// The engine for the device that was asked for.
pub(crate) fn engine(
    context: &Context,
    mut spec: ModelSpec,
    checkpoint: &Checkpoint,
    threads: usize,
) -> Result<Box<dyn Engine>, Box<dyn Error>> {
    // A reference may run past the context that its config states, which changes no number.
    spec.max_seq_len = None;
    match context.device {
        Device::Cpu => {
            let model = Model::from_parts(spec, checkpoint, None, threads)?;
            Ok(Box::new(CpuEngine { model }))
        }
        #[cfg(feature = "candle")]
        Device::Candle => Ok(Box::new(crate::candle_engine::CandleEngine::new(
            &spec, checkpoint,
        )?)),
        #[cfg(not(feature = "candle"))]
        Device::Candle => Err("this program was built without the feature candle".into()),
    }
}

/// The weights of a f32 file, rounded to nearest even. Large 4 keeps its routers and the exponents
/// of its frequencies in f32.
fn rounded(path: &Path) -> Result<Checkpoint, Box<dyn Error>> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let file = SafeTensors::deserialize(&bytes)?;
    let large4 = file
        .names()
        .iter()
        .any(|name| name.contains("lerope.alpha"));
    let kept =
        |name: &str| large4 && (name.ends_with(".gate.weight") || name.ends_with("lerope.alpha"));
    let mut halves: Vec<(String, Vec<usize>, Dtype, Vec<u8>)> = Vec::new();
    for (name, view) in file.iter() {
        let (dtype, data) = if view.dtype() != Dtype::F32 || kept(name) {
            (view.dtype(), view.data().to_vec())
        } else {
            let numbers = view
                .data()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b));
            let data = numbers
                .flat_map(|v| half::bf16::from_f32(v).to_le_bytes())
                .collect();
            (Dtype::BF16, data)
        };
        halves.push((name.to_owned(), view.shape().to_vec(), dtype, data));
    }
    let views: Result<Vec<(String, TensorView<'_>)>, _> = halves
        .iter()
        .map(|(name, shape, dtype, data)| {
            Ok::<_, safetensors::SafeTensorError>((
                name.clone(),
                TensorView::new(*dtype, shape.clone(), data)?,
            ))
        })
        .collect();
    let folder = tempfile::tempdir()?;
    let target = folder.path().join("model.safetensors");
    std::fs::write(&target, safetensors::serialize(views?, None)?)?;
    // Copied: the file goes away with its folder.
    Ok(Checkpoint::open_files(&[target], WeightStorage::Copied)?)
}
