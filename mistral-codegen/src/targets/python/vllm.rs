//! `python-vllm`: vLLM's `LLM` class in a program, without a server.

use mistral_core::files::FileSet;
use mistral_core::plan::{KvPrecision, Plan, TokenizerMode};
use mistral_core::precision::Precision;

use super::{CLI, Device, Program, Settings, Source, check, common, package};
use crate::flags::why;
use crate::targets::checkpoint::{is_recent, stored_as};
use crate::targets::{engine, shown, unsupported};
use crate::{CodegenError, Options};

const TARGET: &str = "python-vllm";

const MAIN: Source = (
    "generate.py",
    include_str!("../../../python/vllm/generate.py"),
);

/// Share of a device's memory that the engine takes: its own default, and the most that a plan's
/// need may raise it to.
const MEMORY_SHARE: f32 = 0.92;
const MEMORY_SHARE_MOST: f64 = 0.97;

/// The program for `plan`.
pub(crate) fn generate(plan: &Plan, _: &Options) -> Result<FileSet, CodegenError> {
    check(TARGET, plan)?;
    let model = engine::model_source(TARGET, plan)?;
    if Device::of(plan) != Device::Nvidia {
        let found = shown(&plan.placement.device);
        let expected = "a device of NVIDIA, which the package on the index is built for";
        return Err(refuse("placement.device", found, expected));
    }
    let mut settings = common(plan, model);
    tokenizer(&mut settings, plan)?;
    precision(&mut settings, plan)?;
    placement(&mut settings, plan)?;
    settings.set(
        "CONCURRENCY",
        plan.limits.concurrency,
        why(
            "limits.concurrency",
            "sequences in the same moment; what memory is set aside for",
        ),
    );
    settings.set(
        "BATCH_TOKENS",
        plan.limits.max_batch_tokens,
        why(
            "limits.max_batch_tokens",
            "tokens of a step; `None` lets the engine choose",
        ),
    );
    let library = package("vllm");
    let program = Program {
        plan,
        library: "vLLM",
        package: library.clone(),
        requirements: vec![library],
        sources: vec![CLI, MAIN],
        settings,
        environment: None,
        before: Vec::new(),
        notes: vec![
            "The class answers when an answer is whole: nothing is shown before. `Model` in `generate.py` can be \
             given many prompts in one call, which is what the class is fast at; the command line gives it one.",
        ],
        model,
        ids: true,
    };
    program.files()
}

fn refuse(field: &'static str, found: impl std::fmt::Display, expected: &str) -> CodegenError {
    unsupported(TARGET, field, found, expected)
}

fn tokenizer(settings: &mut Settings, plan: &Plan) -> Result<(), CodegenError> {
    let mode = match plan.tokenizer {
        TokenizerMode::Mistral => "mistral",
        TokenizerMode::Hf => "hf",
        TokenizerMode::Gguf => return Err(refuse("tokenizer", "gguf", "mistral or hf")),
    };
    settings.set(
        "TOKENIZER_MODE",
        mode,
        why("tokenizer", "which tokenizer files encode texts and chats"),
    );
    let own = plan.tokenizer == TokenizerMode::Mistral && is_recent(plan);
    settings.set("MISTRAL_FORMAT", own, why("model.spec", "whether dimensions and weights are read from Mistral's own files (`params.json`, `consolidated*`)"));
    Ok(())
}

fn precision(settings: &mut Settings, plan: &Plan) -> Result<(), CodegenError> {
    let p = plan.precision;
    let dtype = match p {
        Precision::F32 => "float32",
        Precision::F16 => "float16",
        Precision::Bf16 => "bfloat16",
        _ => "auto",
    };
    settings.set(
        "DTYPE",
        dtype,
        why("precision", "the type that is computed in"),
    );
    // A checkpoint that is stored so says so itself.
    let method = match p {
        Precision::F32 | Precision::F16 | Precision::Bf16 => None,
        _ if stored_as(plan, p) => None,
        Precision::Fp8 => Some("fp8_per_tensor"),
        Precision::Mxfp4 => Some("mxfp4"),
        Precision::Awq => Some("awq"),
        Precision::Gptq => Some("gptq"),
        other => {
            let expected = "f32, bf16, f16, fp8, mxfp4, awq, gptq, or what the repository's name says that it is stored as";
            return Err(refuse("precision", other, expected));
        }
    };
    settings.set(
        "QUANTIZATION",
        method,
        why(
            "precision",
            "how weights are stored on the device; `None` is as the files have them",
        ),
    );
    let cache = match plan.kv_precision {
        KvPrecision::Auto => "auto",
        KvPrecision::F16 => "float16",
        KvPrecision::Bf16 => "bfloat16",
        KvPrecision::Fp8 => "fp8",
        KvPrecision::F32 => return Err(refuse("kv_precision", "f32", "auto, f16, bf16 or fp8")),
        KvPrecision::Q8_0 => return Err(refuse("kv_precision", "q8_0", "auto, f16, bf16 or fp8")),
    };
    settings.set(
        "KV_CACHE_DTYPE",
        cache,
        why("kv_precision", "storage of keys and values"),
    );
    Ok(())
}

fn placement(settings: &mut Settings, plan: &Plan) -> Result<(), CodegenError> {
    let p = &plan.placement;
    let group = engine::product(
        TARGET,
        "placement.tensor_parallel",
        p.tensor_parallel,
        p.pipeline_parallel,
    )?;
    if group == 0 || group != p.count {
        let expected = "tensor_parallel x pipeline_parallel: one program is one copy of the model";
        return Err(refuse("placement.count", p.count, expected));
    }
    settings.set(
        "TENSOR_PARALLEL",
        p.tensor_parallel,
        why(
            "placement.tensor_parallel",
            "devices that each layer is cut over",
        ),
    );
    settings.set(
        "PIPELINE_PARALLEL",
        p.pipeline_parallel,
        why(
            "placement.pipeline_parallel",
            "groups of layers on successive devices",
        ),
    );
    let m = &plan.memory;
    let needed = if m.device_bytes == 0 {
        0.0
    } else {
        m.total_bytes as f64 / m.device_bytes as f64
    };
    if needed > MEMORY_SHARE_MOST {
        let expected = format!(
            "at most {MEMORY_SHARE_MOST} of the {} bytes of a device",
            m.device_bytes
        );
        return Err(refuse("memory.total_bytes", m.total_bytes, &expected));
    }
    // Two digits, rounded up, so that the setting reads well and the need still fits.
    let share = MEMORY_SHARE.max((needed * 100.0).ceil() as f32 / 100.0);
    settings.set("GPU_MEMORY_UTILIZATION", share, why("memory.total_bytes", "share of each device's memory that the engine takes; other programs there need the rest"));
    Ok(())
}
