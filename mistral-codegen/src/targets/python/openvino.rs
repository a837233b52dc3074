//! `openvino-genai`: a program on OpenVINO's generation library, for Intel's devices.

use mistral_core::files::FileSet;
use mistral_core::hardware::DeviceKind;
use mistral_core::plan::{KvPrecision, Plan};
use mistral_core::precision::Precision;

use super::{CLI, Program, Source, check, common, convert, hf_only, one_device, package};
use crate::flags::why;
use crate::targets::{engine, shown, unsupported};
use crate::{CodegenError, Options};

const TARGET: &str = "openvino-genai";

const MAIN: Source = (
    "generate.py",
    include_str!("../../../python/openvino/generate.py"),
);

/// The program for `plan`.
pub(crate) fn generate(plan: &Plan, _: &Options) -> Result<FileSet, CodegenError> {
    check(TARGET, plan)?;
    one_device(TARGET, plan)?;
    hf_only(TARGET, plan)?;
    let source = engine::model_source(TARGET, plan)?;
    let (weights, hint) = match plan.precision {
        Precision::F32 => ("fp32", Some("f32")),
        Precision::F16 => ("fp16", None),
        Precision::Int8 => ("int8", None),
        other => return Err(unsupported(TARGET, "precision", other, "f32, f16 or int8")),
    };
    let cache = match plan.kv_precision {
        KvPrecision::Auto => None,
        KvPrecision::F32 => Some("f32"),
        KvPrecision::F16 => Some("f16"),
        KvPrecision::Bf16 => Some("bf16"),
        KvPrecision::Fp8 | KvPrecision::Q8_0 => {
            return Err(unsupported(
                TARGET,
                "kv_precision",
                "8 bits",
                "auto, f32, f16 or bf16",
            ));
        }
    };
    let (model, before) = convert(
        plan,
        source,
        "requirements-convert.txt",
        &[format!(
            "optimum-cli export openvino --model weights --task text-generation-with-past --weight-format {weights} model"
        )],
    )?;
    let mut settings = common(plan, model);
    settings.set(
        "DEVICE",
        device(plan)?,
        why("placement.device", "what runs it, by OpenVINO's name"),
    );
    settings.set(
        "DTYPE",
        hint,
        why(
            "precision",
            "the type that is computed in; `None` is the device's own choice",
        ),
    );
    settings.set(
        "CACHE_PRECISION",
        cache,
        why(
            "kv_precision",
            "storage of keys and values; `None` is the device's own choice",
        ),
    );
    settings.set(
        "THREADS",
        plan.placement.threads,
        why(
            "placement.threads",
            "threads on a processor; `None` lets OpenVINO choose",
        ),
    );
    let library = package("openvino-genai");
    let program = Program {
        plan,
        library: "OpenVINO GenAI",
        package: library.clone(),
        requirements: vec![library],
        sources: vec![CLI, MAIN],
        settings,
        environment: None,
        before,
        notes: vec![
            "The library reads models in OpenVINO's own form. optimum-intel makes them; it needs older packages than \
             others, so it has an environment of its own that can be deleted afterwards.",
        ],
        model: source,
        ids: false,
    };
    let mut files = program.files()?;
    if plan.model.local_path.is_none() {
        let needed = package("optimum-intel").pinned();
        files.add("requirements-convert.txt", format!("{needed}\n"))?;
    }
    Ok(files)
}

/// OpenVINO's name of the plan's device.
fn device(plan: &Plan) -> Result<&'static str, CodegenError> {
    if plan.placement.threads.is_some() {
        return Ok("CPU");
    }
    match plan.placement.device_kind_and_vendor() {
        Some((DeviceKind::Cpu, _)) => Ok("CPU"),
        Some((kind, vendor)) if vendor == "Intel" && kind != DeviceKind::Npu => Ok("GPU"),
        _ => {
            let found = shown(&plan.placement.device);
            let expected = "a processor, or a GPU of Intel";
            Err(unsupported(TARGET, "placement.device", found, expected))
        }
    }
}
