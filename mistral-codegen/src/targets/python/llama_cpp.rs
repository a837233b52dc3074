//! `llama-cpp-python`: a program on llama.cpp's Python package.

use mistral_core::files::FileSet;
use mistral_core::plan::{KvPrecision, Plan, TokenizerMode};
use mistral_core::precision::Precision;

use super::{CLI, Device, Program, STREAM, Source, check, common, package, whole_layers};
use crate::flags::why;
use crate::targets::{engine, unsupported};
use crate::{CodegenError, Options};

const TARGET: &str = "llama-cpp-python";

const MAIN: Source = (
    "generate.py",
    include_str!("../../../python/llama-cpp/generate.py"),
);

/// The program for `plan`.
pub(crate) fn generate(plan: &Plan, _: &Options) -> Result<FileSet, CodegenError> {
    check(TARGET, plan)?;
    whole_layers(TARGET, plan)?;
    let model = engine::model_source(TARGET, plan)?;
    if plan.model.local_path.is_none() && plan.model.file.is_none() {
        let expected = "a GGUF file of the repository, or model.local_path";
        return Err(refuse("model.file", "none", expected));
    }
    let wide = matches!(
        plan.precision,
        Precision::F32 | Precision::F16 | Precision::Bf16
    );
    if !wide && !plan.precision.is_gguf() {
        return Err(refuse(
            "precision",
            plan.precision,
            "one that GGUF files have",
        ));
    }
    match plan.tokenizer {
        TokenizerMode::Gguf => {}
        TokenizerMode::Mistral => return Err(refuse("tokenizer", "mistral", "gguf")),
        TokenizerMode::Hf => return Err(refuse("tokenizer", "hf", "gguf")),
    }
    let cache = match plan.kv_precision {
        KvPrecision::Auto => None,
        KvPrecision::F32 => Some("GGML_TYPE_F32"),
        KvPrecision::F16 => Some("GGML_TYPE_F16"),
        KvPrecision::Bf16 => Some("GGML_TYPE_BF16"),
        KvPrecision::Q8_0 => Some("GGML_TYPE_Q8_0"),
        KvPrecision::Fp8 => {
            return Err(refuse(
                "kv_precision",
                "fp8",
                "auto, f32, f16, bf16 or q8_0",
            ));
        }
    };
    let device = Device::of(plan);
    let mut settings = common(plan, model);
    let file = plan
        .model
        .file
        .as_deref()
        .filter(|_| plan.model.local_path.is_none());
    settings.set(
        "FILE",
        file,
        why("model.file", "the repository's file that is downloaded"),
    );
    settings.set(
        "CACHE_TYPE",
        cache,
        why(
            "kv_precision",
            "storage of keys and values; `None` is 16 bits",
        ),
    );
    // A quantised cache of values exists with this form of attention only.
    let flash = plan.kv_precision == KvPrecision::Q8_0;
    settings.set(
        "FLASH_ATTENTION",
        flash,
        why(
            "kv_precision",
            "attention in one pass, which stored bytes need",
        ),
    );
    settings.set(
        "BATCH_TOKENS",
        plan.limits.max_batch_tokens,
        why(
            "limits.max_batch_tokens",
            "tokens of a prompt that are computed together; `None` is 512",
        ),
    );
    settings.set(
        "GPU_LAYERS",
        if device == Device::Cpu {
            Layers(0)
        } else {
            Layers(-1)
        },
        why("placement.device", "layers on the device; -1 is all"),
    );
    settings.set(
        "THREADS",
        plan.placement.threads,
        why(
            "placement.threads",
            "threads on a processor; `None` lets llama.cpp choose",
        ),
    );
    let library = package("llama-cpp-python");
    let program = Program {
        plan,
        library: "llama-cpp-python",
        package: library.clone(),
        requirements: vec![package("huggingface-hub"), library],
        sources: vec![CLI, STREAM, MAIN],
        settings,
        environment: build(device)?,
        before: Vec::new(),
        notes: vec![
            "pip compiles llama.cpp for this machine: it needs a C++ compiler and some minutes.",
            "Chats are encoded by the template inside the GGUF file. Community conversions of some Mistral models \
             have none or another model's: prefer the files that Mistral releases.",
        ],
        model,
        ids: false,
    };
    program.files()
}

fn refuse(field: &'static str, found: impl std::fmt::Display, expected: &str) -> CodegenError {
    unsupported(TARGET, field, found, expected)
}

/// A number of layers, of which -1 is all.
struct Layers(i8);

impl super::settings::Python for Layers {
    fn python(&self) -> (String, String) {
        ("int".to_owned(), self.0.to_string())
    }
}

/// What the package is told when it compiles llama.cpp.
fn build(device: Device) -> Result<Option<&'static str>, CodegenError> {
    match device {
        Device::Cpu => Ok(Some("CMAKE_ARGS=\"-DGGML_NATIVE=ON\"")),
        Device::Nvidia => Ok(Some("CMAKE_ARGS=\"-DGGML_CUDA=ON\"")),
        Device::Apple => Ok(Some("CMAKE_ARGS=\"-DGGML_METAL=ON\"")),
        Device::Tpu => Err(refuse("placement.device", "a TPU", "a processor or a GPU")),
        Device::Other => Ok(Some("CMAKE_ARGS=\"-DGGML_VULKAN=ON\"")),
    }
}
