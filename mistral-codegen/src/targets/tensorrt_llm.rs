//! TensorRT-LLM: start script and options of `trtllm-serve`, a proxy that asks for the key,
//! Dockerfile, Compose file.

use minijinja::context;
use mistral_core::files::FileSet;
use mistral_core::plan::{KvPrecision, Plan, TokenizerMode};
use mistral_core::precision::Precision;

use super::alike::{self, LONGEST, TOGETHER};
use super::checkpoint::{is_recent, stored_as};
use super::engine::{self, Accelerator, Serving};
use super::launch::{KeyWay, Launch};
use super::{Page, render_all, unsupported};
use crate::flags::{Command, Explained, TENSORRT_LLM, Why, Word, why};
use crate::{CodegenError, Options};

const TARGET: &str = "tensorrt-llm";

const PAGES: &[Page] = &[
    Page::script(
        "start.sh",
        include_str!("../../templates/tensorrt-llm/start.sh.j2"),
    ),
    Page::plain(
        "options.yaml",
        include_str!("../../templates/tensorrt-llm/options.yaml.j2"),
    ),
    Page::plain(
        "README.md",
        include_str!("../../templates/tensorrt-llm/README.md.j2"),
    ),
    Page::plain(
        "Dockerfile",
        include_str!("../../templates/tensorrt-llm/Dockerfile.j2"),
    ),
    Page::plain(
        "compose.yaml",
        include_str!("../../templates/tensorrt-llm/compose.yaml.j2"),
    ),
    Page::plain(
        ".dockerignore",
        include_str!("../../templates/tensorrt-llm/dockerignore.j2"),
    ),
    Page::plain(
        ".env.example",
        include_str!("../../templates/common/env.j2"),
    ),
];

/// Share of the memory that is free after loading which the cache takes, when the plan says nothing
/// of it: the engine's own default.
const CACHE_SHARE: f64 = 0.9;

/// The options in `options.yaml`, with their reasons.
pub(super) struct YamlOptions {
    cache_share: f64,
    cache_type: &'static str,
    batch: u32,
}

impl YamlOptions {
    /// Each option with its value and why it is there.
    pub(super) fn explained(&self) -> Vec<Explained> {
        let row = |name: &str, value: String, why: Why| Explained {
            flag: name.to_owned(),
            value: Some(value),
            why,
        };
        vec![
            row(
                "kv_cache_config.free_gpu_memory_fraction",
                self.cache_share.to_string(),
                why(
                    "memory.kv_bytes",
                    "share of the memory left after loading that keys and values take",
                ),
            ),
            row(
                "kv_cache_config.dtype",
                self.cache_type.to_owned(),
                why("kv_precision", "storage of keys and values"),
            ),
            row(
                "kv_cache_config.enable_block_reuse",
                "true".to_owned(),
                why("serve", "beginnings that prompts share are computed once"),
            ),
            row(
                "cuda_graph_config.max_batch_size",
                self.batch.to_string(),
                why(
                    "limits.concurrency",
                    "graphs up to the sequences of a step, and none for more",
                ),
            ),
            row(
                "cuda_graph_config.enable_padding",
                "true".to_owned(),
                why(
                    "limits.concurrency",
                    "a batch between two graphs takes the larger one",
                ),
            ),
        ]
    }
}

/// The files that serve `plan` with TensorRT-LLM.
pub(crate) fn generate(plan: &Plan, _: &Options) -> Result<FileSet, CodegenError> {
    let (launch, options) = launch(plan)?;
    let option_lines = engine::why_lines(&options.explained())?;
    let own = context! {
        model => launch.model,
        mount => engine::mount(&launch.model),
        shm_gib => launch.shm_gib,
        cache_share => options.cache_share,
        cache_type => options.cache_type,
        batch => options.batch,
        option_lines => option_lines,
        ..engine::proxied(plan, &launch.serving, engine::common(plan, &launch)?)
    };
    let mut files = render_all(PAGES, &own, plan)?;
    engine::add_proxy(&mut files, &launch.serving, &own)?;
    Ok(files)
}

/// How `trtllm-serve` is started for `plan`, and its file of options.
pub(super) fn launch(plan: &Plan) -> Result<(Launch, YamlOptions), CodegenError> {
    let serving = engine::serving(TARGET, plan)?;
    check(plan)?;
    let command = command(plan, &serving)?;
    let options = YamlOptions {
        cache_share: cache_share(plan)?,
        cache_type: cache_type(plan)?,
        batch: plan.limits.concurrency,
    };
    let launch = Launch {
        table: &TENSORRT_LLM,
        key: KeyWay::Proxy,
        command,
        model: engine::model_source(TARGET, plan)?.to_owned(),
        local: plan.model.local_path.is_some(),
        serving,
        // Worker processes exchange tensors through shared memory.
        shm_gib: if plan.placement.count > 1 { 16 } else { 2 },
    };
    Ok((launch, options))
}

fn refuse(field: &'static str, found: impl std::fmt::Display, expected: &str) -> CodegenError {
    unsupported(TARGET, field, found, expected)
}

fn check(plan: &Plan) -> Result<(), CodegenError> {
    if Accelerator::of(plan) != Accelerator::Nvidia {
        return Err(refuse(
            "placement.device",
            super::shown(&plan.placement.device),
            "a device of NVIDIA",
        ));
    }
    let copies = engine::copies(TARGET, plan)?;
    if copies > 1 {
        return Err(refuse(
            "placement.count",
            plan.placement.count,
            "tensor_parallel x pipeline_parallel: one server runs one copy of the model",
        ));
    }
    if is_recent(plan) {
        return Err(refuse(
            "model.spec",
            "a family since the end of 2025",
            "a family that is released in Hugging Face's format",
        ));
    }
    if plan.tokenizer == TokenizerMode::Gguf {
        return Err(refuse("tokenizer", "gguf", "mistral or hf"));
    }
    if plan.tools {
        return Err(refuse(
            "tools",
            true,
            "false: this version has no parser for Mistral's tool calls",
        ));
    }
    if plan.reasoning {
        return Err(refuse(
            "reasoning",
            true,
            "false: this version has no parser for Mistral's thoughts",
        ));
    }
    if let Some(seed) = plan.sampling.seed {
        return Err(refuse(
            "sampling.seed",
            seed,
            "none: the server takes seeds from requests only",
        ));
    }
    let p = plan.precision;
    match p {
        Precision::F16 | Precision::Bf16 => Ok(()),
        Precision::Fp8 | Precision::Nvfp4 if stored_as(plan, p) => Ok(()),
        Precision::Fp8 | Precision::Nvfp4 => Err(refuse(
            "precision",
            p,
            "a repository whose name says that it is stored so",
        )),
        other => Err(refuse("precision", other, "bf16, f16, fp8 or nvfp4")),
    }
}

fn cache_type(plan: &Plan) -> Result<&'static str, CodegenError> {
    match plan.kv_precision {
        KvPrecision::Auto => Ok("auto"),
        KvPrecision::Fp8 => Ok("fp8"),
        other => {
            let found = format!("{other:?}").to_ascii_lowercase();
            Err(refuse("kv_precision", found, "auto or fp8"))
        }
    }
}

/// The engine's share is of what is free after loading: the plan's cache in what weights leave.
fn cache_share(plan: &Plan) -> Result<f64, CodegenError> {
    let m = &plan.memory;
    if m.device_bytes == 0 || m.kv_bytes == 0 {
        return Ok(CACHE_SHARE);
    }
    let free = m.device_bytes.saturating_sub(m.weight_bytes);
    let share = if free == 0 {
        f64::INFINITY
    } else {
        m.kv_bytes as f64 / free as f64
    };
    if share > 0.98 || m.total_bytes > m.device_bytes {
        return Err(refuse(
            "memory.total_bytes",
            m.total_bytes,
            &format!("at most the {} bytes of a device", m.device_bytes),
        ));
    }
    Ok(((share * 100.0).ceil() / 100.0).max(CACHE_SHARE))
}

fn command(plan: &Plan, serving: &Serving) -> Result<Command<'static>, CodegenError> {
    let (address, port) = engine::behind_proxy(serving);
    let mut command = Command::new(
        &TENSORRT_LLM,
        [
            "trtllm-serve".into(),
            "serve".into(),
            Word::Variable("model"),
        ],
    );
    alike::identity(
        &mut command,
        plan,
        ("--served_model_name", &serving.name),
        (address, port),
        "the address that it listens on; with a key, the proxy's side",
    )?;
    alike::parallel(&mut command, plan, ["--tp_size", "--pp_size"], None)?;
    command
        .flag("--max_seq_len", plan.limits.context_tokens, LONGEST)?
        .flag("--max_batch_size", plan.limits.concurrency, TOGETHER)?;
    if let Some(tokens) = plan.limits.max_batch_tokens {
        command.flag(
            "--max_num_tokens",
            tokens,
            why("limits.max_batch_tokens", "tokens of a step"),
        )?;
    }
    // Without it a prompt must fit into one step.
    command
        .switch(
            "--enable_chunked_prefill",
            why(
                "limits.max_batch_tokens",
                "a prompt longer than a step is computed in several",
            ),
        )?
        .flag_from_variable(
            "--config",
            "options",
            why("memory", "the options in options.yaml"),
        )?
        .switch(
            "--no-telemetry",
            why("serve", "nothing is reported to the engine's makers"),
        )?;
    Ok(command)
}
