//! Ollama: Modelfile, scripts that make the model and serve it, a proxy that asks for the key,
//! Compose file.

use minijinja::{Value, context};
use mistral_core::files::FileSet;
use mistral_core::plan::{KvPrecision, Plan};
use mistral_core::precision::Precision;

use super::engine::{self, Accelerator, Serving};
use super::{Page, render_all, shown, unsupported};
use crate::flags::{Explained, OLLAMA, Why, why};
use crate::quote::modelfile;
use crate::{CodegenError, Options};

const TARGET: &str = "ollama";

const PAGES: &[Page] = &[
    Page::plain(
        "Modelfile",
        include_str!("../../templates/ollama/Modelfile.j2"),
    ),
    Page::script(
        "start.sh",
        include_str!("../../templates/ollama/start.sh.j2"),
    ),
    Page::script(
        "create.sh",
        include_str!("../../templates/ollama/create.sh.j2"),
    ),
    Page::plain(
        "README.md",
        include_str!("../../templates/ollama/README.md.j2"),
    ),
];

/// Files of a container, where the device is one that containers are described for.
const CONTAINER: &[Page] = &[
    Page::plain(
        "compose.yaml",
        include_str!("../../templates/ollama/compose.yaml.j2"),
    ),
    Page::plain(
        ".env.example",
        include_str!("../../templates/common/env.j2"),
    ),
];

/// Where the model's weights come from.
enum Source<'p> {
    /// A GGUF file or a folder of safetensors on this machine.
    Local(&'p str),
    /// A repository of GGUF files, and the precision that is taken of it.
    Hub(&'p str),
    /// A repository of safetensors, which is downloaded first.
    Released(&'p str),
}

/// A line of the Modelfile or a variable of the server.
struct Setting {
    name: &'static str,
    value: String,
    why: Why,
}

/// The files that serve `plan` with Ollama.
pub(crate) fn generate(plan: &Plan, _: &Options) -> Result<FileSet, CodegenError> {
    let serving = serving(plan)?;
    let source = source(plan)?;
    let parameters = parameters(plan)?;
    let environment = environment(plan, &serving)?;
    let from = match source {
        Source::Local(path) => engine::mount(path),
        Source::Hub(repo) => format!(
            "hf.co/{repo}:{}",
            plan.precision.name().to_ascii_uppercase()
        ),
        Source::Released(_) => "./models/released".to_owned(),
    };
    let released = match source {
        Source::Released(repo) => Some(repo),
        _ => None,
    };
    let accelerator = Accelerator::of(plan);
    let container = accelerator != Accelerator::Other && matches!(source, Source::Hub(_));
    let lines: Result<Vec<Value>, CodegenError> = parameters
        .iter()
        .map(|s| {
            let line = format!("{} {}", s.name, modelfile(&s.value)?);
            Ok(Value::from_safe_string(line))
        })
        .collect();
    let rows = |settings: &[Setting]| {
        settings
            .iter()
            .map(|s| context! { name => Value::from_safe_string(s.name.to_owned()), value => s.value })
            .collect::<Vec<_>>()
    };
    let own = context! {
        engine => Value::from_safe_string(OLLAMA.engine.clone()),
        version => Value::from_safe_string(OLLAMA.version.clone()),
        table_source => Value::from_safe_string(OLLAMA.source.clone()),
        table_date => Value::from_safe_string(OLLAMA.date.clone()),
        image => Value::from_safe_string(OLLAMA.image.clone()),
        from => Value::from_safe_string(modelfile(&from)?),
        from_shown => from,
        // An address and a port: nothing that a shell expands.
        inside_host => Value::from_safe_string(environment[0].value.clone()),
        parameters => lines?,
        environment => rows(&environment),
        why => engine::why_lines(&explained(plan)?)?,
        released => released,
        quantize => quantize(plan, &source)?,
        container => container,
        gpu => accelerator == Accelerator::Nvidia,
        local => matches!(source, Source::Local(_)),
        ..engine::proxied(plan, &serving, engine::server(plan, &serving)?)
    };
    let around = container.then_some(CONTAINER).into_iter().flatten();
    let mut files = render_all(PAGES.iter().chain(around), &own, plan)?;
    engine::add_proxy(&mut files, &serving, &own)?;
    Ok(files)
}

/// Each setting with its reason: lines of the Modelfile, then the server's variables.
pub(super) fn explained(plan: &Plan) -> Result<Vec<Explained>, CodegenError> {
    let serving = serving(plan)?;
    let explain = |s: Setting| Explained {
        flag: s.name.to_owned(),
        value: Some(s.value),
        why: s.why,
    };
    let all = parameters(plan)?
        .into_iter()
        .chain(environment(plan, &serving)?);
    Ok(all.map(explain).collect())
}

fn refuse(field: &'static str, found: impl std::fmt::Display, expected: &str) -> CodegenError {
    unsupported(TARGET, field, found, expected)
}

/// The plan's address, name and key; a name must be one that Ollama reads back as it is.
fn serving(plan: &Plan) -> Result<Serving, CodegenError> {
    let serving = engine::serving(TARGET, plan)?;
    let part = |text: &str| {
        !text.is_empty()
            && text.len() <= 80
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let parts: Vec<&str> = serving.name.split('/').collect();
    if parts.len() > 2 || !parts.iter().all(|text| part(text)) {
        return Err(refuse(
            "serve.served_name",
            shown(&serving.name),
            "letters, digits, -, _ and . with at most one / inside",
        ));
    }
    Ok(serving)
}

fn source(plan: &Plan) -> Result<Source<'_>, CodegenError> {
    let name = engine::model_source(TARGET, plan)?;
    let p = plan.precision;
    if plan.model.local_path.is_some() {
        return Ok(Source::Local(name));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    if !name.bytes().all(plain) {
        return Err(refuse(
            "model.hf_repo",
            shown(name),
            "a repository's name: letters, digits, -, _, . and /",
        ));
    }
    let quant = p.name().to_ascii_uppercase();
    let gguf = name.to_ascii_lowercase().contains("gguf") || plan.model.file.is_some();
    if !gguf {
        return Ok(Source::Released(name));
    }
    if let Some(file) = &plan.model.file
        && !file.to_ascii_uppercase().contains(&quant)
    {
        return Err(refuse(
            "model.file",
            shown(file),
            &format!("a file whose name has {quant}: that is what the repository is asked for"),
        ));
    }
    if plan.model.revision.is_some() {
        return Err(refuse(
            "model.revision",
            "a revision",
            "none (the server downloads the default branch), or model.local_path",
        ));
    }
    Ok(Source::Hub(name))
}

/// What weights are quantised to while the model is made; `None` to leave them.
fn quantize(plan: &Plan, source: &Source<'_>) -> Result<Option<&'static str>, CodegenError> {
    let p = plan.precision;
    let wide = matches!(p, Precision::F32 | Precision::F16 | Precision::Bf16);
    if !wide && !p.is_gguf() {
        return Err(refuse("precision", p, "bf16, f16 or a GGUF precision"));
    }
    match source {
        Source::Released(_) if !wide => match p {
            Precision::Q8_0 => Ok(Some("q8_0")),
            Precision::Q4KM => Ok(Some("q4_K_M")),
            Precision::Q4KS => Ok(Some("q4_K_S")),
            other => Err(refuse(
                "precision",
                other,
                "q8_0, q4_k_m or q4_k_s, or a repository of GGUF files",
            )),
        },
        _ => Ok(None),
    }
}

fn parameters(plan: &Plan) -> Result<Vec<Setting>, CodegenError> {
    let s = engine::sampling(TARGET, plan)?;
    if plan.reasoning {
        return Err(refuse(
            "reasoning",
            true,
            "false: which models think is said by Ollama's own library only",
        ));
    }
    let mut all = Vec::new();
    let mut add = |name, value: String, why| {
        // The table knows the parameter and its kind.
        OLLAMA.check(name, Some(&value))?;
        all.push(Setting { name, value, why });
        Ok::<(), CodegenError>(())
    };
    add(
        "PARAMETER num_ctx",
        plan.limits.context_tokens.to_string(),
        why(
            "limits.context_tokens",
            "the longest sequence, prompt and answer; the server's own choice depends on memory",
        ),
    )?;
    if let Some(tokens) = plan.limits.max_batch_tokens {
        add(
            "PARAMETER num_batch",
            tokens.to_string(),
            why(
                "limits.max_batch_tokens",
                "tokens of a prompt that are computed together",
            ),
        )?;
    }
    add(
        "PARAMETER num_predict",
        plan.limits
            .max_output_tokens
            .unwrap_or(plan.limits.context_tokens)
            .to_string(),
        why(
            "limits.max_output_tokens",
            "the longest answer when a request doesn't say",
        ),
    )?;
    if Accelerator::of(plan) == Accelerator::None {
        add(
            "PARAMETER num_gpu",
            "0".to_owned(),
            why("placement.device", "no layer lies on a graphics processor"),
        )?;
    }
    if let Some(threads) = plan.placement.threads {
        add(
            "PARAMETER num_thread",
            threads.to_string(),
            why("placement.threads", "threads that compute"),
        )?;
    }
    let chosen = "used when a request doesn't say";
    for (name, value, field) in [
        (
            "PARAMETER temperature",
            s.temperature.to_string(),
            "sampling.temperature",
        ),
        ("PARAMETER top_p", s.top_p.to_string(), "sampling.top_p"),
        ("PARAMETER top_k", s.top_k.to_string(), "sampling.top_k"),
        ("PARAMETER min_p", s.min_p.to_string(), "sampling.min_p"),
    ] {
        add(name, value, why(field, chosen))?;
    }
    if let Some(seed) = s.seed {
        let seed = i64::try_from(seed)
            .map_err(|_| refuse("sampling.seed", seed, "at most 9223372036854775807"))?;
        add(
            "PARAMETER seed",
            seed.to_string(),
            why("sampling.seed", "the same request gets the same answer"),
        )?;
    }
    Ok(all)
}

fn environment(plan: &Plan, serving: &Serving) -> Result<Vec<Setting>, CodegenError> {
    let (address, port) = engine::behind_proxy(serving);
    let host = match address {
        std::net::IpAddr::V4(ip) => format!("{ip}:{port}"),
        std::net::IpAddr::V6(ip) => format!("[{ip}]:{port}"),
    };
    let mut all = Vec::new();
    let mut add = |name, value: String, why| {
        OLLAMA.check(name, Some(&value))?;
        all.push(Setting { name, value, why });
        Ok::<(), CodegenError>(())
    };
    add(
        "OLLAMA_HOST",
        host,
        why(
            "serve.bind",
            "the address that it listens on; with a key, the proxy's side",
        ),
    )?;
    add(
        "OLLAMA_NUM_PARALLEL",
        plan.limits.concurrency.to_string(),
        why("limits.concurrency", "answers made at the same moment"),
    )?;
    add(
        "OLLAMA_MAX_LOADED_MODELS",
        "1".to_owned(),
        why("memory", "memory was sized for this model alone"),
    )?;
    add(
        "OLLAMA_KEEP_ALIVE",
        "24h".to_owned(),
        why("serve", "the model stays in memory between requests"),
    )?;
    add(
        "OLLAMA_NO_CLOUD",
        "true".to_owned(),
        why("serve", "nothing is sent to Ollama's own servers"),
    )?;
    let cache = match plan.kv_precision {
        KvPrecision::Auto => return Ok(all),
        KvPrecision::F16 => "f16",
        KvPrecision::Q8_0 => "q8_0",
        other => {
            let found = format!("{other:?}").to_ascii_lowercase();
            return Err(refuse("kv_precision", found, "auto, f16 or q8_0"));
        }
    };
    add(
        "OLLAMA_KV_CACHE_TYPE",
        cache.to_owned(),
        why("kv_precision", "storage of keys and values"),
    )?;
    if cache == "q8_0" {
        add(
            "OLLAMA_FLASH_ATTENTION",
            "true".to_owned(),
            why(
                "kv_precision",
                "quantised keys and values are only read by the fused attention",
            ),
        )?;
    }
    Ok(all)
}
