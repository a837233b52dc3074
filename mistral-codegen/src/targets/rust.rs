//! A cargo project: an OpenAI-compatible server on `mistral-infer`.
//!
//! The server's sources lie in `server/` and are the same for every plan; what a plan decides is in
//! `src/plan.rs`, the manifest and the container files.

use minijinja::{Value, context};
use mistral_core::files::FileSet;
use mistral_core::plan::{KvPrecision, Plan, TokenizerMode};
use mistral_core::precision::Precision;

use super::engine::{self, Serving};
use super::{Page, json_file, render_all, shown, unsupported};
use crate::quote::{rust_str, toml_str};
use crate::{CodegenError, Dependency, Options};

const TARGET: &str = "rust";
/// The target that puts the model into a program of its own.
pub(super) const TARGET_EMBED: &str = "rust-embed";

const PAGES: &[Page] = &[
    Page::plain(
        "Cargo.toml",
        include_str!("../../templates/rust/Cargo.toml.j2"),
    ),
    Page::plain(
        "src/plan.rs",
        include_str!("../../templates/rust/plan.rs.j2"),
    ),
    Page::plain(
        ".gitignore",
        include_str!("../../templates/rust/gitignore.j2"),
    ),
    Page::plain(
        "README.md",
        include_str!("../../templates/rust/README.md.j2"),
    ),
];

/// Files of a container. Inside one the server listens on all addresses, which it refuses to do
/// without a key: a plan without one has none of these.
const CONTAINER: &[Page] = &[
    Page::plain(
        "Dockerfile",
        include_str!("../../templates/rust/Dockerfile.j2"),
    ),
    Page::plain(
        "compose.yaml",
        include_str!("../../templates/rust/compose.yaml.j2"),
    ),
    Page::plain(
        ".dockerignore",
        include_str!("../../templates/rust/dockerignore.j2"),
    ),
];

macro_rules! sources {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../server/", $path)))),*]
    };
}

/// Files that don't depend on the plan.
const SOURCES: &[(&str, &str)] = sources![
    "src/answer.rs",
    "src/backend.rs",
    "src/batching.rs",
    "src/chat.rs",
    "src/completions.rs",
    "src/connections.rs",
    "src/error.rs",
    "src/fields.rs",
    "src/generation.rs",
    "src/http.rs",
    "src/lib.rs",
    "src/log.rs",
    "src/main.rs",
    "src/metrics.rs",
    "src/mistral.rs",
    "src/options.rs",
    "src/settings.rs",
    "src/socket.rs",
    "src/stream.rs",
    "src/tools.rs",
    "src/worker.rs",
    "tests/api.rs",
    "tests/load.rs",
    "tests/support/mod.rs",
];

/// Tokens of a prompt that are computed together when the plan doesn't say.
const BATCH_TOKENS: u32 = 512;

/// Where released weights lie until they are quantised.
const RELEASED: &str = "model/released";

/// The file of what a search found for the kernels.
const SCHEDULES: &str = "schedules.json";

/// Longest line that the formatter makes.
const LINE: usize = 100;

/// The project that serves `plan`.
pub(crate) fn generate(plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    let serving = engine::serving(TARGET, plan)?;
    let released = quantised_here(plan);
    let model = match released {
        Some(repo) => format!("model/{}", engine::gguf_name(repo, plan.precision)),
        None => model_path(plan),
    };
    check(TARGET, plan, &model)?;
    let place = Place::of(&model);
    let schedules = schedules(plan, options)?;
    let precision = rust_str(plan.precision.name());
    let named = schedules.as_ref().map(|_| rust_str(SCHEDULES));
    let own = [
        ("PRECISION", "&str", precision),
        ("SCHEDULES", "Option<&str>", optional(named)),
    ];
    let lines: Value = constants(TARGET, plan, &serving, &model)?
        .into_iter()
        .chain(own.map(Constant::from))
        .map(|constant| {
            let line = constant.line("pub const");
            (constant.name, Value::from_safe_string(line))
        })
        .collect();
    let dependency = dependency(TARGET, &options.mistral_infer, &["constrain"])?;
    let context = context! {
        mistral_infer => Value::from_safe_string(dependency),
        build_inside => matches!(options.mistral_infer, Dependency::Version(_)),
        model => model,
        gguf => is_gguf(plan, &model),
        released => released.is_some(),
        schedules => schedules.is_some(),
        download => match released {
            Some(_) => RELEASED,
            None => place.folder,
        },
        mount => engine::mount(place.folder),
        inside => place.inside,
        constants => lines,
        ..engine::server(plan, &serving)?
    };
    let container = serving.key_env.is_some().then_some(CONTAINER);
    let pages = PAGES.iter().chain(container.into_iter().flatten());
    let mut files = render_all(pages, &context, plan)?;
    for (path, text) in SOURCES {
        files.add(path, *text)?;
    }
    if let Some(text) = schedules {
        files.add(SCHEDULES, text)?;
    }
    Ok(files)
}

/// The repository whose weights have to be quantised first: the plan wants a GGUF precision and
/// names neither a file nor a repository of such files.
fn quantised_here(plan: &Plan) -> Option<&str> {
    let model = &plan.model;
    if model.local_path.is_some() || model.file.is_some() || !plan.precision.is_gguf() {
        return None;
    }
    (model.hf_repo.as_deref()).filter(|repo| !engine::names_gguf(repo))
}

/// What the book has for the plan's precision, on whichever machines.
fn schedules(plan: &Plan, options: &Options) -> Result<Option<String>, CodegenError> {
    let Some(mut book) = options.schedules.clone() else {
        return Ok(None);
    };
    book.found.retain(|f| f.shapes.precision == plan.precision);
    if book.found.is_empty() {
        return Ok(None);
    }
    json_file(&book).map(Some)
}

/// The model's folder or file on this machine, or where a download puts it.
pub(super) fn model_path(plan: &Plan) -> String {
    match (&plan.model.local_path, &plan.model.file) {
        (Some(path), _) => path.clone(),
        (None, Some(file)) => format!("model/{file}"),
        (None, None) => "model".to_owned(),
    }
}

fn is_gguf_file(path: &str) -> bool {
    path.to_ascii_lowercase().ends_with(".gguf")
}

/// Whether the model is a GGUF file, or a folder with one.
fn is_gguf(plan: &Plan, model: &str) -> bool {
    plan.precision.is_gguf() || is_gguf_file(model)
}

/// What a container gets of the model's place: a folder, so that the other parts of a split file
/// are there, too.
struct Place<'p> {
    /// On this machine.
    folder: &'p str,
    /// The model's path in the container.
    inside: String,
}

impl<'p> Place<'p> {
    fn of(model: &'p str) -> Self {
        let (folder, file) = match model.rsplit_once('/') {
            _ if !is_gguf_file(model) => (model, None),
            Some(("", file)) => ("/", Some(file)),
            Some((folder, file)) => (folder, Some(file)),
            None => (".", Some(model)),
        };
        Self {
            folder,
            inside: file.map_or_else(|| "/model".to_owned(), |file| format!("/model/{file}")),
        }
    }
}

pub(super) fn check(target: &'static str, plan: &Plan, model: &str) -> Result<(), CodegenError> {
    let refuse = |field, found: &str, expected: &str| unsupported(target, field, found, expected);
    if model.is_empty() || model.chars().any(char::is_control) {
        return Err(refuse(
            "model.local_path",
            &shown(model),
            "a path without control characters",
        ));
    }
    let wide = [Precision::F32, Precision::Bf16, Precision::F16];
    if !plan.precision.is_gguf() && !wide.contains(&plan.precision) {
        return Err(refuse(
            "precision",
            &plan.precision.to_string(),
            "f32, bf16, f16 or a GGUF precision",
        ));
    }
    if plan.tokenizer == TokenizerMode::Gguf && !is_gguf(plan, model) {
        return Err(refuse("tokenizer", "gguf", "the tokenizer of a folder"));
    }
    let limits = &plan.limits;
    for (field, value) in [
        ("limits.context_tokens", Some(limits.context_tokens)),
        ("limits.concurrency", Some(limits.concurrency)),
        ("limits.max_batch_tokens", limits.max_batch_tokens),
        ("limits.max_output_tokens", limits.max_output_tokens),
        ("placement.threads", plan.placement.threads),
    ] {
        if value == Some(0) {
            return Err(refuse(field, "0", "at least 1"));
        }
    }
    let s = &plan.sampling;
    for (field, value, most) in [
        ("sampling.temperature", s.temperature, 2.0),
        ("sampling.top_p", s.top_p, 1.0),
        ("sampling.min_p", s.min_p, 1.0),
    ] {
        if !(0.0..=most).contains(&value) {
            return Err(refuse(
                field,
                &value.to_string(),
                &format!("a number from 0 to {most}"),
            ));
        }
    }
    if s.top_p == 0.0 {
        return Err(refuse("sampling.top_p", "0", "a number above 0"));
    }
    Ok(())
}

/// The right side of the manifest's line for `mistral-infer`.
pub(super) fn dependency(
    target: &'static str,
    dependency: &Dependency,
    features: &[&str],
) -> Result<String, CodegenError> {
    let (key, text) = match dependency {
        Dependency::Version(version) => ("version", version.as_str()),
        Dependency::Path(path) => {
            let text = path.to_str().ok_or_else(|| {
                unsupported(
                    target,
                    "mistral_infer path",
                    path.display(),
                    "a path that is valid text",
                )
            })?;
            ("path", text)
        }
    };
    let features = match features {
        [] => String::new(),
        some => format!(", features = {some:?}"),
    };
    Ok(format!(
        "{{ {key} = {}, default-features = false{features} }}",
        toml_str(text)
    ))
}

/// A value of the plan as Rust has it.
pub(super) struct Constant {
    pub(super) name: &'static str,
    kind: &'static str,
    pub(super) value: String,
}

impl From<(&'static str, &'static str, String)> for Constant {
    fn from((name, kind, value): (&'static str, &'static str, String)) -> Self {
        Self { name, kind, value }
    }
}

impl Constant {
    /// Its line, behind `const` or `pub const`.
    pub(super) fn line(&self, keyword: &str) -> String {
        line(keyword, (self.name, self.kind, &self.value))
    }
}

/// Each value of the plan that the programs have.
pub(super) fn constants(
    target: &'static str,
    plan: &Plan,
    serving: &Serving,
    model: &str,
) -> Result<Vec<Constant>, CodegenError> {
    let limits = &plan.limits;
    let sampling = &plan.sampling;
    let batch = limits
        .max_batch_tokens
        .unwrap_or(BATCH_TOKENS)
        .min(limits.context_tokens);
    let key = serving.key_env.as_ref().map(|name| rust_str(name));
    let rows = [
        ("SERVED_NAME", "&str", rust_str(&serving.name)),
        ("MODEL_PATH", "&str", rust_str(model)),
        ("HOST", "&str", rust_str(&serving.bind.to_string())),
        ("PORT", "u16", serving.port.to_string()),
        ("KEY_VARIABLE", "Option<&str>", optional(key)),
        ("CONTEXT_TOKENS", "usize", limits.context_tokens.to_string()),
        ("BATCH_TOKENS", "usize", batch.to_string()),
        ("CONCURRENCY", "usize", limits.concurrency.to_string()),
        (
            "CACHE",
            "Option<CacheType>",
            optional(cache(target, plan.kv_precision)?),
        ),
        (
            "MAX_OUTPUT_TOKENS",
            "Option<usize>",
            optional(limits.max_output_tokens),
        ),
        ("THREADS", "Option<usize>", optional(plan.placement.threads)),
        ("TEMPERATURE", "f32", format!("{:?}", sampling.temperature)),
        ("TOP_P", "f32", format!("{:?}", sampling.top_p)),
        ("TOP_K", "usize", sampling.top_k.to_string()),
        ("MIN_P", "f32", format!("{:?}", sampling.min_p)),
        ("SEED", "Option<u64>", optional(sampling.seed)),
        ("TOOLS", "bool", plan.tools.to_string()),
    ];
    Ok(rows.into_iter().map(Constant::from).collect())
}

/// The type that the server keeps keys and values in.
fn cache(
    target: &'static str,
    precision: KvPrecision,
) -> Result<Option<&'static str>, CodegenError> {
    match precision {
        KvPrecision::Auto => Ok(None),
        KvPrecision::F32 => Ok(Some("CacheType::F32")),
        KvPrecision::F16 => Ok(Some("CacheType::F16")),
        KvPrecision::Bf16 => Ok(Some("CacheType::Bf16")),
        KvPrecision::Q8_0 => Ok(Some("CacheType::Q8")),
        KvPrecision::Fp8 => Err(unsupported(
            target,
            "kv_precision",
            "fp8",
            "auto, f32, f16, bf16 or q8_0",
        )),
    }
}

pub(super) fn optional(value: Option<impl std::fmt::Display>) -> String {
    value.map_or_else(|| "None".to_owned(), |value| format!("Some({value})"))
}

/// A public constant's line.
pub(super) fn constant(name: &str, kind: &str, value: &str) -> String {
    line("pub const", (name, kind, value))
}

/// A constant's line as the formatter writes it: that breaks after `=` when the value fits a line of
/// its own and not the rest of this one; a literal that fits neither stays.
fn line(keyword: &str, (name, kind, value): (&str, &str, &str)) -> String {
    let line = format!("{keyword} {name}: {kind} = {value};");
    let own = format!("    {value};");
    if line.len() <= LINE || own.len() > LINE {
        return line;
    }
    format!("{keyword} {name}: {kind} =\n{own}")
}
