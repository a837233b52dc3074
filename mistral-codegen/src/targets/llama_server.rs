//! llama.cpp's server: start script, Dockerfile, Compose file.

use minijinja::context;
use mistral_core::files::FileSet;
use mistral_core::plan::{KvPrecision, Plan};
use mistral_core::precision::Precision;

use super::engine::{self, Accelerator, Serving};
use super::launch::{KeyWay, Launch};
use super::{Page, render_all, unsupported};
use crate::flags::{Command, LLAMA_SERVER, Word, why};
use crate::{CodegenError, Options};

const TARGET: &str = "llama-server";

const PAGES: &[Page] = &[
    Page::script(
        "start.sh",
        include_str!("../../templates/llama-server/start.sh.j2"),
    ),
    Page::plain(
        "README.md",
        include_str!("../../templates/llama-server/README.md.j2"),
    ),
];

/// Files of a container, where the device is one that containers are described for.
const CONTAINER: &[Page] = &[
    Page::plain(
        "Dockerfile",
        include_str!("../../templates/llama-server/Dockerfile.j2"),
    ),
    Page::plain(
        "compose.yaml",
        include_str!("../../templates/llama-server/compose.yaml.j2"),
    ),
];

/// Makes the GGUF file when the plan names a repository that holds none.
const CONVERT: Page = Page::script(
    "convert.sh",
    include_str!("../../templates/llama-server/convert.sh.j2"),
);

/// Seconds after which the server gives up on a silent connection.
const TIMEOUT_S: u32 = 600;

/// Where the server gets its GGUF file from.
enum Source<'p> {
    /// A file of this machine.
    File(&'p str),
    /// A repository of GGUF files, downloaded by the server.
    Repository {
        repo: &'p str,
        file: Option<&'p str>,
    },
    /// A repository of other weights, to be converted into a file.
    Converted { repo: &'p str, file: String },
}

/// The files that serve `plan` with llama-server.
pub(crate) fn generate(plan: &Plan, _: &Options) -> Result<FileSet, CodegenError> {
    let launch = launch(plan)?;
    let convert = match source(plan)? {
        Source::Converted { repo, .. } => Some(repo),
        _ => None,
    };
    let accelerator = Accelerator::of(plan);
    let container = accelerator != Accelerator::Other;
    let own = context! {
        model => launch.model,
        convert => convert,
        quant => plan.precision.name().to_ascii_uppercase(),
        container => container,
        gpu => accelerator == Accelerator::Nvidia,
        mount => engine::mount(&launch.model),
        ..engine::common(plan, &launch)?
    };
    let around = container.then(|| CONTAINER.iter().chain(engine::COMPOSE));
    let pages = PAGES.iter().chain(around.into_iter().flatten());
    let mut files = render_all(pages, &own, plan)?;
    if convert.is_some() {
        files.insert(CONVERT.render(&own)?)?;
    }
    Ok(files)
}

/// How llama-server is started for `plan`.
pub(super) fn launch(plan: &Plan) -> Result<Launch, CodegenError> {
    let serving = engine::serving(TARGET, plan)?;
    if serving.name.contains(',') {
        return Err(refuse(
            "serve.served_name",
            &serving.name,
            "a name without commas",
        ));
    }
    let source = source(plan)?;
    let command = command(plan, &serving, &source)?;
    let (model, local) = match source {
        Source::File(path) => (path.to_owned(), true),
        Source::Converted { file, .. } => (file, true),
        Source::Repository { repo, .. } => (repo.to_owned(), false),
    };
    Ok(Launch {
        table: &LLAMA_SERVER,
        key: KeyWay::Environment,
        serving,
        command,
        model,
        local,
        shm_gib: 0,
    })
}

fn refuse(field: &'static str, found: impl std::fmt::Display, expected: &str) -> CodegenError {
    unsupported(TARGET, field, found, expected)
}

fn source(plan: &Plan) -> Result<Source<'_>, CodegenError> {
    let wide = matches!(
        plan.precision,
        Precision::F32 | Precision::Bf16 | Precision::F16
    );
    if !plan.precision.is_gguf() && !wide {
        return Err(refuse(
            "precision",
            plan.precision,
            "f32, bf16, f16 or a GGUF precision",
        ));
    }
    let name = engine::model_source(TARGET, plan)?;
    if plan.model.local_path.is_some() {
        return Ok(Source::File(name));
    }
    let file = plan.model.file.as_deref();
    if file.is_some() || engine::names_gguf(name) {
        if plan.model.revision.is_some() {
            return Err(refuse(
                "model.revision",
                "a revision",
                "none (the server downloads the default branch), or model.local_path",
            ));
        }
        return Ok(Source::Repository { repo: name, file });
    }
    Ok(Source::Converted {
        repo: name,
        file: format!("models/{}", engine::gguf_name(name, plan.precision)),
    })
}

fn command(
    plan: &Plan,
    serving: &Serving,
    source: &Source<'_>,
) -> Result<Command<'static>, CodegenError> {
    let mut command = Command::new(&LLAMA_SERVER, [Word::from("llama-server")]);
    match source {
        Source::File(_) | Source::Converted { .. } => {
            command.flag_from_variable(
                "--model",
                "model",
                why("model", "the file that the weights are read from"),
            )?;
            command.switch(
                "--offline",
                why(
                    "model.local_path",
                    "the file is there, so nothing is asked of the network",
                ),
            )?;
        }
        Source::Repository {
            repo,
            file: Some(file),
        } => {
            command
                .flag(
                    "--hf-repo",
                    repo,
                    why(
                        "model.hf_repo",
                        "the repository that the server downloads on its first start",
                    ),
                )?
                .flag(
                    "--hf-file",
                    file,
                    why("model.file", "the file of that repository"),
                )?
                .switch(
                    "--no-mmproj",
                    why(
                        "model",
                        "text only: the part that reads images isn't downloaded",
                    ),
                )?;
        }
        Source::Repository { repo, file: None } => {
            let quant = plan.precision.name().to_ascii_uppercase();
            command
                .flag(
                    "--hf-repo",
                    format!("{repo}:{quant}"),
                    why(
                        "model.hf_repo",
                        "the repository that the server downloads on its first start",
                    ),
                )?
                .switch(
                    "--no-mmproj",
                    why(
                        "model",
                        "text only: the part that reads images isn't downloaded",
                    ),
                )?;
        }
    }
    command.flag(
        "--alias",
        &serving.name,
        why("serve.served_name", "what clients call the model"),
    )?;
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
    limits(&mut command, plan)?;
    placement(&mut command, plan)?;
    cache(&mut command, plan)?;
    sampling(&mut command, plan)?;
    command.switch(
        "--jinja",
        why(
            "tools",
            "the model's own chat template, which tool calls need",
        ),
    )?;
    // The page would be served without the key, and slots show other clients' prompts.
    command
        .switch(
            "--no-ui",
            why(
                "serve.api_key_env",
                "the server's page would be served without the key",
            ),
        )?
        .switch(
            "--no-slots",
            why(
                "serve.api_key_env",
                "the list of slots shows other clients' prompts",
            ),
        )?
        .switch("--metrics", why("serve", "counters for Prometheus"))?;
    command
        .flag(
            "--cors-origins",
            "localhost",
            why(
                "serve.bind",
                "pages of other sites may not use the server from a browser",
            ),
        )?
        .flag(
            "--timeout",
            TIMEOUT_S,
            why(
                "serve",
                "seconds after which a silent connection is given up",
            ),
        )?;
    Ok(command)
}

fn limits(command: &mut Command<'_>, plan: &Plan) -> Result<(), CodegenError> {
    let l = &plan.limits;
    // The server shares its context among the slots; the plan's is a sequence's own.
    let all = engine::product(
        TARGET,
        "limits.concurrency",
        l.context_tokens,
        l.concurrency,
    )?;
    command
        .flag(
            "--ctx-size",
            all,
            why(
                "limits.context_tokens",
                "tokens of all slots together: the server shares them out",
            ),
        )?
        .flag(
            "--parallel",
            l.concurrency,
            why("limits.concurrency", "answers made at the same moment"),
        )?;
    if let Some(tokens) = l.max_batch_tokens {
        command.flag(
            "--batch-size",
            tokens,
            why(
                "limits.max_batch_tokens",
                "tokens of a prompt that are computed together",
            ),
        )?;
    }
    // Without a bound a request that names none runs until the context is full.
    command.flag("--predict", l.max_output_tokens.unwrap_or(l.context_tokens), why("limits.max_output_tokens", "the longest answer when a request doesn't say, so that none runs until the context is full"))?;
    Ok(())
}

fn placement(command: &mut Command<'_>, plan: &Plan) -> Result<(), CodegenError> {
    let p = &plan.placement;
    if p.count == 0 {
        return Err(refuse("placement.count", 0, "at least 1"));
    }
    if let Some(threads) = p.threads {
        command.flag(
            "--threads",
            threads,
            why("placement.threads", "threads that compute"),
        )?;
    }
    if Accelerator::of(plan) == Accelerator::None {
        command.flag(
            "--n-gpu-layers",
            0,
            why("placement.device", "how many layers lie on the device"),
        )?;
        return Ok(());
    }
    let m = &plan.memory;
    let fits = m.device_bytes == 0 || m.total_bytes <= m.device_bytes;
    command.flag(
        "--n-gpu-layers",
        if fits { "all" } else { "auto" },
        why("placement.device", "how many layers lie on the device"),
    )?;
    if p.count > 1 {
        command.flag(
            "--split-mode",
            if p.tensor_parallel > 1 {
                "row"
            } else {
                "layer"
            },
            why(
                "placement.tensor_parallel",
                "how layers are cut over the devices",
            ),
        )?;
    }
    Ok(())
}

fn cache(command: &mut Command<'_>, plan: &Plan) -> Result<(), CodegenError> {
    let kind = match plan.kv_precision {
        KvPrecision::Auto => return Ok(()),
        KvPrecision::F32 => "f32",
        KvPrecision::F16 => "f16",
        KvPrecision::Bf16 => "bf16",
        KvPrecision::Q8_0 => "q8_0",
        KvPrecision::Fp8 => {
            return Err(refuse(
                "kv_precision",
                "fp8",
                "auto, f32, f16, bf16 or q8_0",
            ));
        }
    };
    if kind == "q8_0" {
        // Quantised values are only read by the fused attention.
        command.flag(
            "--flash-attn",
            "on",
            why(
                "kv_precision",
                "quantised keys and values are only read by the fused attention",
            ),
        )?;
    }
    command
        .flag(
            "--cache-type-k",
            kind,
            why("kv_precision", "storage of keys"),
        )?
        .flag(
            "--cache-type-v",
            kind,
            why("kv_precision", "storage of values"),
        )?;
    Ok(())
}

/// All four are given, since the server's own defaults differ from "not limited".
fn sampling(command: &mut Command<'_>, plan: &Plan) -> Result<(), CodegenError> {
    let s = &plan.sampling;
    command
        .flag("--temperature", s.temperature, why("sampling.temperature", "used when a request doesn't say"))?
        .flag("--top-p", s.top_p, why("sampling.top_p", "used when a request doesn't say; 1 keeps all, which isn't the server's own default"))?;
    command.flag("--top-k", s.top_k, why("sampling.top_k", "used when a request doesn't say; 0 keeps all, which isn't the server's own default"))?.flag("--min-p", s.min_p, why("sampling.min_p", "used when a request doesn't say; 0 keeps all, which isn't the server's own default"))?;
    if let Some(seed) = s.seed {
        let seed =
            u32::try_from(seed).map_err(|_| refuse("sampling.seed", seed, "at most 4294967295"))?;
        command.flag(
            "--seed",
            seed,
            why("sampling.seed", "the same request gets the same answer"),
        )?;
    }
    Ok(())
}
