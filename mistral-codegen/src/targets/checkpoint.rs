//! What a plan says of the files that a model is stored in.

use mistral_core::model::Architecture;
use mistral_core::plan::Plan;
use mistral_core::precision::Precision;

/// Whether the checkpoint itself is stored in `precision`: its name says so, or it is one of the
/// families that Mistral releases in FP8.
pub(super) fn stored_as(plan: &Plan, precision: Precision) -> bool {
    let model = &plan.model;
    let name = model
        .local_path
        .as_ref()
        .or(model.hf_repo.as_ref())
        .unwrap_or(&model.id);
    let name = name.to_ascii_lowercase();
    let says = |marks: &[&str]| marks.iter().any(|m| name.contains(m));
    match precision {
        Precision::Fp8 => says(&["fp8"]) || (is_recent(plan) && !says(&["bf16", "base", "gguf"])),
        Precision::Nvfp4 => says(&["nvfp4"]),
        Precision::Mxfp4 => says(&["mxfp4"]),
        Precision::Int8 => says(&["int8", "w8a8", "w8a16"]),
        Precision::Awq => says(&["awq", "w4a16"]),
        Precision::Gptq => says(&["gptq"]),
        _ => false,
    }
}

/// Families since the end of 2025: released in FP8, with `params.json`, `consolidated*` and
/// `tekken.json`.
pub(super) fn is_recent(plan: &Plan) -> bool {
    plan.spec.as_ref().is_some_and(|spec| {
        matches!(
            spec.architecture,
            Architecture::Ministral3 | Architecture::Mistral4 | Architecture::MistralLarge4
        )
    })
}
