//! `onnxruntime-genai`: a program on ONNX Runtime's generate() library.

use mistral_core::files::FileSet;
use mistral_core::model::Architecture;
use mistral_core::plan::{KvPrecision, Plan};
use mistral_core::precision::Precision;

use super::{CLI, Device, Program, Source, check, common, convert, hf_only, one_device, package};
use crate::flags::why;
use crate::targets::{engine, shown, unsupported};
use crate::{CodegenError, Options};

const TARGET: &str = "onnxruntime-genai";

const MAIN: Source = (
    "generate.py",
    include_str!("../../../python/onnxruntime/generate.py"),
);

/// The program for `plan`.
pub(crate) fn generate(plan: &Plan, _: &Options) -> Result<FileSet, CodegenError> {
    check(TARGET, plan)?;
    one_device(TARGET, plan)?;
    hf_only(TARGET, plan)?;
    let refuse =
        |field, found: String, expected: &str| Err(unsupported(TARGET, field, found, expected));
    let source = engine::model_source(TARGET, plan)?;
    if plan.sampling.min_p > 0.0 {
        return refuse(
            "sampling.min_p",
            plan.sampling.min_p.to_string(),
            "0: the library has no such filter",
        );
    }
    // Its model builder has Mistral's dense models and no experts.
    let dense = plan
        .spec
        .as_ref()
        .is_none_or(|spec| spec.architecture == Architecture::Mistral);
    if !dense && plan.model.local_path.is_none() {
        return refuse(
            "spec",
            "another architecture".to_owned(),
            "mistral: the package builds no model with experts, or model.local_path with a built one",
        );
    }
    if plan.kv_precision != KvPrecision::Auto {
        return refuse(
            "kv_precision",
            "a type of its own".to_owned(),
            "auto: keys and values have the model's type",
        );
    }
    let precision = match plan.precision {
        Precision::F32 => "fp32",
        Precision::F16 => "fp16",
        Precision::Bf16 => "bf16",
        Precision::Int8 => "int8",
        other => return refuse("precision", other.to_string(), "f32, bf16, f16 or int8"),
    };
    let (provider, name) = match Device::of(plan) {
        Device::Cpu => ("cpu", "onnxruntime-genai"),
        Device::Nvidia => ("cuda", "onnxruntime-genai-cuda"),
        _ => {
            return refuse(
                "placement.device",
                shown(&plan.placement.device),
                "a processor, or a device of NVIDIA",
            );
        }
    };
    if provider == "cpu" && matches!(plan.precision, Precision::F16 | Precision::Bf16) {
        return refuse(
            "precision",
            plan.precision.to_string(),
            "f32 or int8 on a processor",
        );
    }
    let (model, before) = convert(
        plan,
        source,
        "requirements-convert.txt",
        &[format!(
            "python -m onnxruntime_genai.models.builder -i weights -o model -p {precision} -e {provider}"
        )],
    )?;
    let mut settings = common(plan, model);
    settings.set(
        "PROVIDER",
        provider,
        why("placement.device", "what runs it, by ONNX Runtime's name"),
    );
    settings.set(
        "THREADS",
        plan.placement.threads,
        why(
            "placement.threads",
            "threads on a processor; `None` lets ONNX Runtime choose",
        ),
    );
    let library = package(name);
    let program = Program {
        plan,
        library: "onnxruntime-genai",
        package: library.clone(),
        requirements: vec![library.clone()],
        sources: vec![CLI, MAIN],
        settings,
        environment: None,
        before,
        notes: vec![
            "The library reads models that its own builder made. The builder needs torch and transformers, so it has an \
             environment of its own that can be deleted afterwards.",
        ],
        model: source,
        ids: true,
    };
    let mut files = program.files()?;
    if plan.model.local_path.is_none() {
        let needed = [
            library,
            package("onnx-ir"),
            package("torch"),
            package("transformers"),
        ];
        let lines: Vec<String> = needed.iter().map(|p| format!("{}\n", p.pinned())).collect();
        files.add("requirements-convert.txt", lines.concat())?;
    }
    Ok(files)
}
