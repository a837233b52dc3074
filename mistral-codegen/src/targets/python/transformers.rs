//! `python-transformers`: a program on Hugging Face's transformers.

use mistral_core::files::FileSet;
use mistral_core::plan::{KvPrecision, Plan};

use super::{
    CLI, Device, FILES, HF_FILES, Program, STREAM, Source, check, common, dtype, package, text,
    text_note, whole_layers,
};
use crate::flags::why;
use crate::targets::{engine, unsupported};
use crate::{CodegenError, Options};

const TARGET: &str = "python-transformers";

const MAIN: Source = (
    "generate.py",
    include_str!("../../../python/transformers/generate.py"),
);

/// The program for `plan`.
pub(crate) fn generate(plan: &Plan, _: &Options) -> Result<FileSet, CodegenError> {
    check(TARGET, plan)?;
    whole_layers(TARGET, plan)?;
    let model = engine::model_source(TARGET, plan)?;
    let dtype = dtype(TARGET, plan.precision)?;
    if !matches!(plan.kv_precision, KvPrecision::Auto)
        && super::cache_dtype(TARGET, plan, dtype)? != dtype
    {
        let expected = "auto: keys and values have the weights' type";
        return Err(unsupported(
            TARGET,
            "kv_precision",
            "another type",
            expected,
        ));
    }
    let (encoder, behind_text) = text(TARGET, plan.tokenizer)?;
    let map = device_map(plan)?;
    let mut settings = common(plan, model);
    settings.set(
        "FILES",
        HF_FILES,
        why(
            "model.hf_repo",
            "the files that are downloaded; a second set of the same weights is not",
        ),
    );
    settings.set(
        "DTYPE",
        dtype,
        why("precision", "the type of weights, keys and values"),
    );
    settings.set(
        "DEVICE_MAP",
        map,
        why(
            "placement.device",
            "where the weights lie; `None` is the processor",
        ),
    );
    settings.set(
        "THREADS",
        plan.placement.threads,
        why(
            "placement.threads",
            "threads on a processor; `None` lets torch choose",
        ),
    );
    let library = package("transformers");
    let mut requirements = vec![
        package("huggingface-hub"),
        package("torch"),
        library.clone(),
    ];
    if map.is_some() {
        requirements.push(package("accelerate"));
    }
    requirements.extend(behind_text);
    let program = Program {
        plan,
        library: "transformers",
        package: library,
        requirements,
        sources: vec![CLI, FILES, STREAM, encoder, MAIN],
        settings,
        environment: None,
        before: Vec::new(),
        notes: vec![
            text_note(plan.tokenizer),
            "One answer is made at a time; a second prompt waits for the first.",
        ],
        model,
        ids: true,
    };
    program.files()
}

/// Where the library puts the weights.
fn device_map(plan: &Plan) -> Result<Option<&'static str>, CodegenError> {
    match (Device::of(plan), plan.placement.count) {
        (Device::Cpu, _) => Ok(None),
        (Device::Nvidia, 1) => Ok(Some("cuda:0")),
        // Layers on successive devices, as much on each.
        (Device::Nvidia, _) => Ok(Some("balanced")),
        (Device::Apple, 1) => Ok(Some("mps")),
        _ => Err(unsupported(
            TARGET,
            "placement.device",
            super::shown(&plan.placement.device),
            "a processor, devices of NVIDIA, or one of Apple",
        )),
    }
}
