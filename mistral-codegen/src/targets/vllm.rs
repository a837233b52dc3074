//! vLLM: start script, Dockerfile, Compose file.

use minijinja::context;
use mistral_core::files::FileSet;
use mistral_core::plan::{KvPrecision, Plan, TokenizerMode};

use super::alike::{self, LONGEST, STEP, TOGETHER};
use super::checkpoint::is_recent;
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
    alike::identity(
        &mut command,
        plan,
        ("--served-model-name", &serving.name),
        (serving.bind, serving.port),
        "the address that it listens on",
    )?;
    alike::parallel(
        &mut command,
        plan,
        ["--tensor-parallel-size", "--pipeline-parallel-size"],
        Some(("--data-parallel-size", engine::copies(TARGET, plan)?)),
    )?;
    let limits = &plan.limits;
    command
        .flag("--max-model-len", limits.context_tokens, LONGEST)?
        .flag("--max-num-seqs", limits.concurrency, TOGETHER)?;
    if let Some(tokens) = limits.max_batch_tokens {
        command.flag("--max-num-batched-tokens", tokens, STEP)?;
    }
    command.flag(
        "--gpu-memory-utilization",
        memory_share(plan)?,
        why(
            "memory.total_bytes",
            "share of each device's memory that the engine takes; other programs there need the rest",
        ),
    )?;
    precision(&mut command, plan)?;
    tokenizer(&mut command, plan)?;
    if plan.tools {
        command.switch(
            "--enable-auto-tool-choice",
            why("tools", "the model decides by itself when to call a tool"),
        )?;
    }
    alike::replies(&mut command, plan)?;
    command.flag(
        "--override-generation-config",
        alike::generation_config(TARGET, plan)?,
        why(
            "sampling",
            "how tokens are chosen when a request doesn't say, instead of the repository's own file",
        ),
    )?;
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
    alike::precision(command, plan, TARGET, "fp8_per_tensor")?;
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
        }
    }
    Ok(())
}
