//! vLLM: start script, Dockerfile, Compose file.

use minijinja::context;
use mistral_core::files::FileSet;
use mistral_core::plan::{KvPrecision, Plan, TokenizerMode};
use mistral_core::precision::Precision;
use serde_json::json;

use super::checkpoint::{is_recent, stored_as};
use super::engine::{self, Accelerator, Serving};
use super::launch::{KeyWay, Launch};
use super::{Page, render_all, unsupported};
use crate::flags::{Command, FlagTable, VLLM, Word, why};
use crate::{CodegenError, Options};

const TARGET: &str = "vllm-serve";

const PAGES: &[Page] = &[
    Page::script("start.sh", include_str!("../../templates/vllm/start.sh.j2")),
    Page::plain(
        "README.md",
        include_str!("../../templates/vllm/README.md.j2"),
    ),
];

/// Files of a container, where the device is one that containers are described for.
const CONTAINER: &[Page] = &[
    Page::plain(
        "Dockerfile",
        include_str!("../../templates/vllm/Dockerfile.j2"),
    ),
    Page::plain(
        "compose.yaml",
        include_str!("../../templates/vllm/compose.yaml.j2"),
    ),
];

/// Share of a GPU's memory that vLLM takes: its own default, and more where the plan needs it.
const MEMORY_SHARE: f64 = 0.92;
const MEMORY_SHARE_MOST: f64 = 0.97;

/// The files that serve `plan` with vLLM.
pub(crate) fn generate(plan: &Plan, _: &Options) -> Result<FileSet, CodegenError> {
    let launch = launch(plan)?;
    let container = Accelerator::of(plan) == Accelerator::Nvidia;
    let own = context! {
        container => container,
        model => launch.model,
        mount => engine::mount(&launch.model),
        shm_gib => launch.shm_gib,
        ..engine::common(plan, &launch)?
    };
    let around = container.then(|| CONTAINER.iter().chain(engine::COMPOSE));
    render_all(PAGES.iter().chain(around.into_iter().flatten()), &own, plan)
}

/// How vLLM is started for `plan`.
pub(super) fn launch(plan: &Plan) -> Result<Launch, CodegenError> {
    launch_on(&VLLM, plan)
}

/// How the version of vLLM that `table` describes is started for `plan`.
pub(super) fn launch_on(table: &'static FlagTable, plan: &Plan) -> Result<Launch, CodegenError> {
    let serving = engine::serving(TARGET, plan)?;
    let command = command(table, plan, &serving)?;
    Ok(Launch {
        table,
        key: KeyWay::Environment,
        command,
        model: engine::model_source(TARGET, plan)?.to_owned(),
        local: plan.model.local_path.is_some(),
        serving,
        // Worker processes exchange tensors through shared memory.
        shm_gib: if plan.placement.count > 1 { 16 } else { 2 },
    })
}

fn command(
    table: &'static FlagTable,
    plan: &Plan,
    serving: &Serving,
) -> Result<Command<'static>, CodegenError> {
    // The script holds the model in a variable, so that a container can have it elsewhere.
    let mut command = Command::new(
        table,
        ["vllm".into(), "serve".into(), Word::Variable("model")],
    );
    command.flag(
        "--served-model-name",
        &serving.name,
        why("serve.served_name", "what clients call the model"),
    )?;
    if let Some(revision) = plan
        .model
        .revision
        .as_ref()
        .filter(|_| plan.model.local_path.is_none())
    {
        command.flag(
            "--revision",
            revision,
            why("model.revision", "these weights and no later ones"),
        )?;
    }
    command.flag_from_env(
        "--host",
        "HOST",
        serving.bind,
        why("serve.bind", "the address that it listens on"),
    )?;
    command.flag_from_env(
        "--port",
        "PORT",
        serving.port,
        why("serve.port", "the port that it listens on"),
    )?;
    placement(&mut command, plan)?;
    command.flag(
        "--max-model-len",
        plan.limits.context_tokens,
        why(
            "limits.context_tokens",
            "the longest sequence, prompt and answer; lower it first when memory runs out",
        ),
    )?;
    command.flag(
        "--max-num-seqs",
        plan.limits.concurrency,
        why(
            "limits.concurrency",
            "sequences in the same moment; what memory was sized for",
        ),
    )?;
    if let Some(tokens) = plan.limits.max_batch_tokens {
        command.flag(
            "--max-num-batched-tokens",
            tokens,
            why(
                "limits.max_batch_tokens",
                "tokens of a step: more for prompts, fewer for even answers",
            ),
        )?;
    }
    command.flag("--gpu-memory-utilization", memory_share(plan)?, why("memory.total_bytes", "share of each device's memory that the engine takes; other programs there need the rest"))?;
    precision(&mut command, plan)?;
    tokenizer(&mut command, plan)?;
    if plan.tools {
        command.switch(
            "--enable-auto-tool-choice",
            why("tools", "the model decides by itself when to call a tool"),
        )?;
        command.flag(
            "--tool-call-parser",
            "mistral",
            why(
                "tools",
                "tool calls come back as the OpenAI interface has them",
            ),
        )?;
    }
    if plan.reasoning {
        command.flag(
            "--reasoning-parser",
            "mistral",
            why("reasoning", "thoughts come back apart from the answer"),
        )?;
    }
    command.flag("--override-generation-config", sampling(plan)?, why("sampling", "how tokens are chosen when a request doesn't say, instead of the repository's own file"))?;
    if let Some(seed) = plan.sampling.seed {
        command.flag(
            "--seed",
            seed,
            why("sampling.seed", "the same request gets the same answer"),
        )?;
    }
    Ok(command)
}

fn refuse(field: &'static str, found: impl std::fmt::Display, expected: &str) -> CodegenError {
    unsupported(TARGET, field, found, expected)
}

fn placement(command: &mut Command<'_>, plan: &Plan) -> Result<(), CodegenError> {
    let p = &plan.placement;
    let copies = engine::copies(TARGET, plan)?;
    command.flag(
        "--tensor-parallel-size",
        p.tensor_parallel,
        why(
            "placement.tensor_parallel",
            "devices that each layer is cut over",
        ),
    )?;
    if p.pipeline_parallel > 1 {
        command.flag(
            "--pipeline-parallel-size",
            p.pipeline_parallel,
            why(
                "placement.pipeline_parallel",
                "groups of layers on successive devices",
            ),
        )?;
    }
    if copies > 1 {
        command.flag(
            "--data-parallel-size",
            copies,
            why("placement.count", "whole copies of the model side by side"),
        )?;
    }
    Ok(())
}

/// vLLM's share of the device: the plan's own need when that is known and larger.
fn memory_share(plan: &Plan) -> Result<f64, CodegenError> {
    let m = &plan.memory;
    if m.device_bytes == 0 || m.total_bytes == 0 {
        return Ok(MEMORY_SHARE);
    }
    let needed = m.total_bytes as f64 / m.device_bytes as f64;
    if needed > MEMORY_SHARE_MOST {
        return Err(refuse(
            "memory.total_bytes",
            m.total_bytes,
            &format!(
                "at most {MEMORY_SHARE_MOST} of the {} bytes of a device",
                m.device_bytes
            ),
        ));
    }
    // Two digits, rounded up, so that the flag reads well and the need still fits.
    Ok(((needed * 100.0).ceil() / 100.0).max(MEMORY_SHARE))
}

fn precision(command: &mut Command<'_>, plan: &Plan) -> Result<(), CodegenError> {
    let p = plan.precision;
    let dtype = match p {
        Precision::F32 => "float32",
        Precision::F16 => "half",
        Precision::Bf16 => "bfloat16",
        _ => "auto",
    };
    command.flag(
        "--dtype",
        dtype,
        why("precision", "the type that is computed in"),
    )?;
    // A checkpoint that is stored in this precision says so itself; a flag beside that must name
    // the very same method, so none is given.
    let stored = stored_as(plan, p);
    match p {
        Precision::F32 | Precision::F16 | Precision::Bf16 => {}
        Precision::Fp8 if !stored => drop(command.flag(
            "--quantization",
            "fp8_per_tensor",
            why("precision", "how weights are stored on the device"),
        )?),
        Precision::Mxfp4 if !stored => drop(command.flag(
            "--quantization",
            "mxfp4",
            why("precision", "how weights are stored on the device"),
        )?),
        // Named, the engine refuses a checkpoint of another kind instead of loading it wide.
        Precision::Awq if !stored => drop(command.flag(
            "--quantization",
            "awq",
            why("precision", "how weights are stored on the device"),
        )?),
        Precision::Gptq if !stored => drop(command.flag(
            "--quantization",
            "gptq",
            why("precision", "how weights are stored on the device"),
        )?),
        Precision::Fp8 | Precision::Mxfp4 | Precision::Awq | Precision::Gptq => {}
        Precision::Nvfp4 | Precision::Int8 if stored => {}
        Precision::Nvfp4 | Precision::Int8 => {
            return Err(refuse(
                "precision",
                p,
                "a repository whose name says that it is stored so",
            ));
        }
        other => {
            return Err(refuse(
                "precision",
                other,
                "f32, bf16, f16, fp8, int8, awq, gptq, mxfp4 or nvfp4",
            ));
        }
    }
    let cache = match plan.kv_precision {
        KvPrecision::Auto => return Ok(()),
        KvPrecision::F16 => "float16",
        KvPrecision::Bf16 => "bfloat16",
        KvPrecision::Fp8 => "fp8",
        KvPrecision::F32 => return Err(refuse("kv_precision", "f32", "auto, f16, bf16 or fp8")),
        KvPrecision::Q8_0 => return Err(refuse("kv_precision", "q8_0", "auto, f16, bf16 or fp8")),
    };
    command.flag(
        "--kv-cache-dtype",
        cache,
        why("kv_precision", "storage of keys and values"),
    )?;
    Ok(())
}

fn tokenizer(command: &mut Command<'_>, plan: &Plan) -> Result<(), CodegenError> {
    match plan.tokenizer {
        TokenizerMode::Hf => drop(command.flag(
            "--tokenizer-mode",
            "hf",
            why("tokenizer", "which tokenizer files encode chats"),
        )?),
        TokenizerMode::Gguf => {
            return Err(refuse("tokenizer", "gguf", "mistral or hf"));
        }
        TokenizerMode::Mistral => {
            command.flag(
                "--tokenizer-mode",
                "mistral",
                why("tokenizer", "which tokenizer files encode chats"),
            )?;
            // Older repositories have Mistral's tokenizer and only Hugging Face weights, or both
            // forms: the engine's own detection decides there.
            if is_recent(plan) {
                command.flag(
                    "--config-format",
                    "mistral",
                    why(
                        "model.spec",
                        "this family's dimensions are in Mistral's own params.json",
                    ),
                )?;
                command.flag("--load-format", "mistral", why("model.spec", "of two sets of the same weights in the repository only consolidated* is loaded"))?;
            }
        }
    }
    Ok(())
}

/// What a request gets when it doesn't say, as the engine's JSON.
fn sampling(plan: &Plan) -> Result<String, CodegenError> {
    let s = engine::sampling(TARGET, plan)?;
    let mut fields = serde_json::Map::new();
    fields.insert("temperature".to_owned(), engine::decimal(s.temperature));
    fields.insert("top_p".to_owned(), engine::decimal(s.top_p));
    if s.top_k > 0 {
        fields.insert("top_k".to_owned(), json!(s.top_k));
    }
    if s.min_p > 0.0 {
        fields.insert("min_p".to_owned(), engine::decimal(s.min_p));
    }
    if let Some(tokens) = plan.limits.max_output_tokens {
        fields.insert("max_new_tokens".to_owned(), json!(tokens));
    }
    Ok(serde_json::Value::Object(fields).to_string())
}
