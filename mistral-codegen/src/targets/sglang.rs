//! SGLang: start script, Dockerfile, Compose file.

use minijinja::context;
use mistral_core::files::FileSet;
use mistral_core::plan::{KvPrecision, Plan, TokenizerMode};
use mistral_core::precision::Precision;
use serde_json::json;

use super::checkpoint::{is_recent, stored_as};
use super::engine::{self, Accelerator, Serving};
use super::launch::{KeyWay, Launch};
use super::{Page, render_all, unsupported};
use crate::flags::{Command, SGLANG, Word, why};
use crate::{CodegenError, Options};

const TARGET: &str = "sglang";

const PAGES: &[Page] = &[
    Page::script(
        "start.sh",
        include_str!("../../templates/sglang/start.sh.j2"),
    ),
    Page::plain(
        "README.md",
        include_str!("../../templates/sglang/README.md.j2"),
    ),
];

/// Files of a container, where the device is one that containers are described for.
const CONTAINER: &[Page] = &[
    Page::plain(
        "Dockerfile",
        include_str!("../../templates/sglang/Dockerfile.j2"),
    ),
    Page::plain(
        "compose.yaml",
        include_str!("../../templates/sglang/compose.yaml.j2"),
    ),
];

/// Most of a device's memory that weights and cache may take, activations beside them.
const STATIC_SHARE_MOST: f64 = 0.95;

/// The files that serve `plan` with SGLang.
pub(crate) fn generate(plan: &Plan, _: &Options) -> Result<FileSet, CodegenError> {
    let launch = launch(plan)?;
    let container = Accelerator::of(plan) == Accelerator::Nvidia;
    let own = context! {
        container => container,
        model => launch.model,
        mount => engine::mount(&launch.model),
        shm_gib => launch.shm_gib,
        own_tokenizer => plan.tokenizer == TokenizerMode::Mistral && !is_recent(plan),
        ..engine::common(plan, &launch)?
    };
    let around = container.then(|| CONTAINER.iter().chain(engine::COMPOSE));
    render_all(PAGES.iter().chain(around.into_iter().flatten()), &own, plan)
}

/// How SGLang is started for `plan`.
pub(super) fn launch(plan: &Plan) -> Result<Launch, CodegenError> {
    let serving = engine::serving(TARGET, plan)?;
    let command = command(plan, &serving)?;
    Ok(Launch {
        table: &SGLANG,
        key: KeyWay::Flag,
        command,
        model: engine::model_source(TARGET, plan)?.to_owned(),
        local: plan.model.local_path.is_some(),
        serving,
        // Worker processes exchange tensors through shared memory.
        shm_gib: if plan.placement.count > 1 { 16 } else { 2 },
    })
}

fn refuse(field: &'static str, found: impl std::fmt::Display, expected: &str) -> CodegenError {
    unsupported(TARGET, field, found, expected)
}

fn command(plan: &Plan, serving: &Serving) -> Result<Command<'static>, CodegenError> {
    let mut command = Command::new(&SGLANG, ["sglang", "serve"].map(Word::from));
    command
        .flag_from_variable(
            "--model-path",
            "model",
            why("model", "the repository or folder that is served"),
        )?
        .flag(
            "--served-model-name",
            &serving.name,
            why("serve.served_name", "what clients call the model"),
        )?;
    let remote = plan.model.local_path.is_none();
    if let Some(revision) = plan.model.revision.as_ref().filter(|_| remote) {
        command.flag(
            "--revision",
            revision,
            why("model.revision", "these weights and no later ones"),
        )?;
    }
    command
        .flag_from_env(
            "--host",
            "HOST",
            serving.bind,
            why("serve.bind", "the address that it listens on"),
        )?
        .flag_from_env(
            "--port",
            "PORT",
            serving.port,
            why("serve.port", "the port that it listens on"),
        )?;
    placement(&mut command, plan)?;
    limits(&mut command, plan)?;
    precision(&mut command, plan)?;
    formats(&mut command, plan)?;
    command.flag(
        "--preferred-sampling-params",
        preferred(plan)?,
        why(
            "sampling",
            "how tokens are chosen on /generate when a request doesn't say; on /v1 the \
             repository's generation_config.json decides",
        ),
    )?;
    if let Some(seed) = plan.sampling.seed {
        command.flag(
            "--random-seed",
            i64::try_from(seed)
                .map_err(|_| refuse("sampling.seed", seed, "at most 9223372036854775807"))?,
            why("sampling.seed", "the same request gets the same answer"),
        )?;
    }
    command.switch("--enable-metrics", why("serve", "counters for Prometheus"))?;
    if serving.key_env.is_some() {
        command.flag_from_variable(
            "--config",
            "settings",
            why(
                "serve.api_key_env",
                "the key, in a file that only its user can read",
            ),
        )?;
    }
    Ok(command)
}

fn placement(command: &mut Command<'_>, plan: &Plan) -> Result<(), CodegenError> {
    let p = &plan.placement;
    let copies = engine::copies(TARGET, plan)?;
    command.flag(
        "--tp-size",
        p.tensor_parallel,
        why(
            "placement.tensor_parallel",
            "devices that each layer is cut over",
        ),
    )?;
    if p.pipeline_parallel > 1 {
        command.flag(
            "--pp-size",
            p.pipeline_parallel,
            why(
                "placement.pipeline_parallel",
                "groups of layers on successive devices",
            ),
        )?;
    }
    if copies > 1 {
        command.flag(
            "--dp-size",
            copies,
            why("placement.count", "whole copies of the model side by side"),
        )?;
    }
    if Accelerator::of(plan) == Accelerator::None {
        command.flag(
            "--device",
            "cpu",
            why("placement.device", "the processor computes"),
        )?;
    }
    Ok(())
}

fn limits(command: &mut Command<'_>, plan: &Plan) -> Result<(), CodegenError> {
    let l = &plan.limits;
    command
        .flag(
            "--context-length",
            l.context_tokens,
            why(
                "limits.context_tokens",
                "the longest sequence, prompt and answer; lower it first when memory runs out",
            ),
        )?
        .flag(
            "--max-running-requests",
            l.concurrency,
            why(
                "limits.concurrency",
                "sequences in the same moment; what memory was sized for",
            ),
        )?;
    if let Some(tokens) = l.max_batch_tokens {
        command.flag(
            "--chunked-prefill-size",
            tokens,
            why(
                "limits.max_batch_tokens",
                "tokens of a step: more for prompts, fewer for even answers",
            ),
        )?;
    }
    if let Some(share) = static_share(plan)? {
        command.flag(
            "--mem-fraction-static",
            share,
            why(
                "memory.total_bytes",
                "share of each device's memory for weights and cache; the rest is for activations",
            ),
        )?;
    }
    Ok(())
}

/// The share that weights and cache need, when the plan knows it; else the engine chooses.
fn static_share(plan: &Plan) -> Result<Option<f64>, CodegenError> {
    let m = &plan.memory;
    let needed = m.weight_bytes.saturating_add(m.kv_bytes);
    if m.device_bytes == 0 || needed == 0 {
        return Ok(None);
    }
    let share = needed as f64 / m.device_bytes as f64;
    if share > STATIC_SHARE_MOST || m.total_bytes > m.device_bytes {
        return Err(refuse(
            "memory.total_bytes",
            m.total_bytes,
            &format!(
                "weights and cache in at most {STATIC_SHARE_MOST} of the {} bytes of a device",
                m.device_bytes
            ),
        ));
    }
    // Two digits, rounded up; below the engine's own choice there is nothing to gain.
    Ok(Some(((share * 100.0).ceil() / 100.0).max(0.85)))
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
    let method = match p {
        Precision::F32 | Precision::F16 | Precision::Bf16 => None,
        // A checkpoint that is stored so says it itself.
        Precision::Fp8 | Precision::Mxfp4 | Precision::Awq | Precision::Gptq
            if stored_as(plan, p) =>
        {
            None
        }
        Precision::Nvfp4 | Precision::Int8 if stored_as(plan, p) => None,
        Precision::Fp8 => Some("fp8"),
        Precision::Mxfp4 => Some("mxfp4"),
        Precision::Awq => Some("awq"),
        Precision::Gptq => Some("gptq"),
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
    };
    if let Some(method) = method {
        command.flag(
            "--quantization",
            method,
            why("precision", "how weights are stored on the device"),
        )?;
    }
    let cache = match (plan.kv_precision, p) {
        (KvPrecision::Auto, _) => return Ok(()),
        (KvPrecision::Bf16, _) => "bfloat16",
        (KvPrecision::Fp8, _) => "fp8_e4m3",
        // There is no name for it: `auto` takes the type that is computed in.
        (KvPrecision::F16, Precision::F16) => "auto",
        (other, _) => {
            let found = format!("{other:?}").to_ascii_lowercase();
            return Err(refuse("kv_precision", found, "auto, bf16 or fp8"));
        }
    };
    command.flag(
        "--kv-cache-dtype",
        cache,
        why("kv_precision", "storage of keys and values"),
    )?;
    Ok(())
}

/// Which files are read, and how replies are taken apart.
fn formats(command: &mut Command<'_>, plan: &Plan) -> Result<(), CodegenError> {
    match plan.tokenizer {
        TokenizerMode::Gguf => return Err(refuse("tokenizer", "gguf", "mistral or hf")),
        TokenizerMode::Mistral if is_recent(plan) => {
            command.flag(
                "--load-format",
                "mistral",
                why(
                    "model.spec",
                    "of two sets of the same weights in the repository only consolidated* is \
                     loaded",
                ),
            )?;
        }
        TokenizerMode::Mistral | TokenizerMode::Hf => {}
    }
    if plan.tools {
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
    Ok(())
}

fn preferred(plan: &Plan) -> Result<String, CodegenError> {
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
