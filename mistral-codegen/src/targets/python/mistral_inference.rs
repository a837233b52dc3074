//! `mistral-inference`: a program on Mistral's own reference implementation.

use mistral_core::files::FileSet;
use mistral_core::plan::{Plan, TokenizerMode};

use super::{
    CLI, Device, FILES, Program, STREAM, Source, TEXT_MISTRAL, beyond_plain, cache_dtype, check,
    common, dtype, one_device, package, text_note,
};
use crate::flags::why;
use crate::targets::{engine, shown, unsupported};
use crate::{CodegenError, Options};

const TARGET: &str = "mistral-inference";

const MAIN: Source = (
    "generate.py",
    include_str!("../../../python/mistral-inference/generate.py"),
);

/// Files of a repository in Mistral's own form.
const OWN_FILES: &[&str] = &[
    "params.json",
    "consolidated.safetensors",
    "tekken.json",
    "tokenizer.m*",
];

/// The program for `plan`.
pub(crate) fn generate(plan: &Plan, _: &Options) -> Result<FileSet, CodegenError> {
    check(TARGET, plan)?;
    one_device(TARGET, plan)?;
    let model = engine::model_source(TARGET, plan)?;
    let refuse =
        |field, found: String, expected: &str| Err(unsupported(TARGET, field, found, expected));
    let dtype = dtype(TARGET, plan.precision)?;
    if cache_dtype(TARGET, plan, dtype)? != dtype {
        let expected = "auto: keys and values have the weights' type";
        return refuse("kv_precision", "another type".to_owned(), expected);
    }
    if plan.tokenizer != TokenizerMode::Mistral {
        let found = format!("{:?}", plan.tokenizer).to_lowercase();
        return refuse("tokenizer", found, "mistral");
    }
    if Device::of(plan) != Device::Nvidia {
        let found = shown(&plan.placement.device);
        return refuse(
            "placement.device",
            found,
            "a device of NVIDIA: its attention is xformers'",
        );
    }
    if let Some(found) = plan.spec.as_ref().and_then(beyond_plain) {
        let expected = "grouped-query attention with plain rotation, dense or with experts";
        return refuse("spec", found.to_owned(), expected);
    }
    let mut settings = common(plan, model);
    settings.set(
        "FILES",
        OWN_FILES,
        why(
            "model.hf_repo",
            "the files that are downloaded: Mistral's own form, not Hugging Face's",
        ),
    );
    settings.set(
        "DTYPE",
        dtype,
        why("precision", "the type of weights, keys and values"),
    );
    settings.set(
        "DEVICE",
        "cuda",
        why("placement.device", "where the weights lie"),
    );
    let library = package("mistral-inference");
    let program = Program {
        plan,
        library: "mistral-inference",
        package: library.clone(),
        requirements: vec![
            package("huggingface-hub"),
            library,
            package("mistral-common"),
            package("torch"),
        ],
        sources: vec![CLI, FILES, STREAM, TEXT_MISTRAL, MAIN],
        settings,
        environment: None,
        before: Vec::new(),
        notes: vec![
            text_note(plan.tokenizer),
            "The model must be in Mistral's own form: `params.json`, one `consolidated.safetensors` and the \
             tokenizer's file.",
            "The library's own `generate` keeps tokens of probability 0.8 whatever it is told, and shows nothing \
             before the end. The program therefore runs the model's `forward` itself: the plan's sampling holds, \
             and text is shown as it comes.",
        ],
        model,
        ids: true,
    };
    program.files()
}
