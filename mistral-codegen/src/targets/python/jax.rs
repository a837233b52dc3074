//! `jax`: a decoder in JAX that fits on a few pages, for TPUs, GPUs and processors.

use mistral_core::files::FileSet;
use mistral_core::plan::Plan;

use super::{
    CLI, Device, FILES, HF_FILES, Program, STREAM, Source, beyond_plain, cache_dtype, check,
    common, dtype, package, text, text_note,
};
use crate::flags::why;
use crate::targets::{engine, shown, unsupported};
use crate::{CodegenError, Options};

const TARGET: &str = "jax";

const SOURCES: [Source; 4] = [
    ("decoder.py", include_str!("../../../python/jax/decoder.py")),
    (
        "generate.py",
        include_str!("../../../python/jax/generate.py"),
    ),
    ("loader.py", include_str!("../../../python/jax/loader.py")),
    ("sampler.py", include_str!("../../../python/jax/sampler.py")),
];

/// The program for `plan`.
pub(crate) fn generate(plan: &Plan, _: &Options) -> Result<FileSet, CodegenError> {
    check(TARGET, plan)?;
    let model = engine::model_source(TARGET, plan)?;
    let dtype = dtype(TARGET, plan.precision)?;
    let cache = cache_dtype(TARGET, plan, dtype)?;
    let (encoder, behind_text) = text(TARGET, plan.tokenizer)?;
    placement(plan)?;
    if let Some(found) = plan.spec.as_ref().and_then(beyond_plain) {
        let expected = "grouped-query attention with plain rotation, dense or with experts";
        return Err(unsupported(TARGET, "spec", found, expected));
    }
    let (platform, jax) = platform(plan)?;
    let mut settings = common(plan, model);
    settings.set(
        "FILES",
        HF_FILES,
        why(
            "model.hf_repo",
            "the files that are downloaded; a second set of the same weights is not",
        ),
    );
    settings.set("DTYPE", dtype, why("precision", "the type of weights and of what passes between layers; norms, softmax, router and scores are f32"));
    settings.set(
        "CACHE_DTYPE",
        cache,
        why("kv_precision", "the type of keys and values"),
    );
    settings.set(
        "TENSOR_PARALLEL",
        plan.placement.tensor_parallel,
        why(
            "placement.tensor_parallel",
            "devices that each layer's heads and inner width are cut over",
        ),
    );
    settings.set(
        "PLATFORMS",
        platform,
        why(
            "placement.device",
            "what runs it; the variable `JAX_PLATFORMS` says otherwise",
        ),
    );
    let library = package("jax");
    let mut requirements = vec![
        package("huggingface-hub"),
        package(jax),
        package("safetensors"),
    ];
    requirements.extend(behind_text);
    let mut sources = vec![CLI, FILES, STREAM, encoder];
    sources.extend(SOURCES);
    let program = Program {
        plan,
        library: "JAX",
        package: library,
        requirements,
        sources,
        settings,
        environment: None,
        before: Vec::new(),
        notes: vec![
            text_note(plan.tokenizer),
            "`decoder.py` is the whole model: grouped-query attention with its cache, rotation, SwiGLU and \
             experts, compiled once for 256 tokens of a prompt and once for one token. It reads \
             `config.json` and `model*.safetensors` of Mistral and Mixtral models; what it doesn't \
             compute (scaled rotation, latent attention, quantised weights) it refuses by name.",
            "The first answer waits for the compiler. One answer is made at a time.",
        ],
        model,
        ids: true,
    };
    program.files()
}

/// Whether the heads can be cut as the plan wants.
fn placement(plan: &Plan) -> Result<(), CodegenError> {
    let p = &plan.placement;
    let refuse =
        |field, found: u32, expected: &str| Err(unsupported(TARGET, field, found, expected));
    if p.tensor_parallel == 0 || p.count != p.tensor_parallel {
        let expected = "as many as tensor_parallel: each layer is cut over all devices";
        return refuse("placement.count", p.count, expected);
    }
    let kv = plan.spec.as_ref().map(|spec| spec.n_kv_heads());
    if let Some(kv) = kv.filter(|kv| !kv.is_multiple_of(p.tensor_parallel as usize)) {
        let expected = format!("a divisor of {kv} key heads");
        return refuse("placement.tensor_parallel", p.tensor_parallel, &expected);
    }
    Ok(())
}

/// The platform's name in JAX, and the package with what it needs.
fn platform(plan: &Plan) -> Result<(&'static str, &'static str), CodegenError> {
    match Device::of(plan) {
        Device::Cpu => Ok(("cpu", "jax")),
        Device::Tpu => Ok(("tpu", "jax[tpu]")),
        Device::Nvidia => Ok(("cuda", "jax[cuda13]")),
        Device::Apple | Device::Other => Err(unsupported(
            TARGET,
            "placement.device",
            shown(&plan.placement.device),
            "a TPU, a device of NVIDIA, or a processor",
        )),
    }
}
