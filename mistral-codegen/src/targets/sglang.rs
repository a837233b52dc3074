//! SGLang: start script, Dockerfile, Compose file.

use minijinja::context;
use mistral_core::files::FileSet;
use mistral_core::plan::{KvPrecision, Plan, TokenizerMode};
use mistral_core::precision::Precision;

use super::alike::{self, LONGEST, STEP, TOGETHER};
use super::checkpoint::is_recent;
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
    command.flag_from_variable(
        "--model-path",
        "model",
        why("model", "the repository or folder that is served"),
    )?;
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
        ["--tp-size", "--pp-size"],
        Some(("--dp-size", engine::copies(TARGET, plan)?)),
    )?;
    if Accelerator::of(plan) == Accelerator::None {
        command.flag(
            "--device",
            "cpu",
            why("placement.device", "the processor computes"),
        )?;
    }
    limits(&mut command, plan)?;
    precision(&mut command, plan)?;
    formats(&mut command, plan)?;
    command.flag(
        "--preferred-sampling-params",
        alike::generation_config(TARGET, plan)?,
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

fn limits(command: &mut Command<'_>, plan: &Plan) -> Result<(), CodegenError> {
    let l = &plan.limits;
    command
        .flag("--context-length", l.context_tokens, LONGEST)?
        .flag("--max-running-requests", l.concurrency, TOGETHER)?;
    if let Some(tokens) = l.max_batch_tokens {
        command.flag("--chunked-prefill-size", tokens, STEP)?;
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
    alike::precision(command, plan, TARGET, "fp8")?;
    let cache = match (plan.kv_precision, plan.precision) {
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
    alike::replies(command, plan)
}
