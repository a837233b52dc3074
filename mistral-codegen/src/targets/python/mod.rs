//! Programs in Python: one module a library; what they check and share stands here.
//!
//! A program's modules lie in `python/` and are the same for every plan; what a plan decides is in
//! `settings.py`, `requirements.txt` and the README.

pub(crate) mod jax;
pub(crate) mod llama_cpp;
pub(crate) mod mistral_inference;
pub(crate) mod onnxruntime;
pub(crate) mod openvino;
mod packages;
mod settings;
pub(crate) mod transformers;
pub(crate) mod vllm;

use minijinja::{Value, context};
use mistral_core::files::FileSet;
use mistral_core::hardware::DeviceKind;
use mistral_core::model::{Architecture, AttentionKind, ModelSpec, PositionScale};
use mistral_core::plan::{KvPrecision, Plan, TokenizerMode};
use mistral_core::precision::Precision;

use super::{Page, engine, render_all, shown, unsupported};
use crate::CodegenError;
use crate::flags::why;
use crate::quote::shell;
use packages::Package;
pub(super) use packages::package;
use settings::Settings;

const PAGES: &[Page] = &[
    Page::plain(
        "settings.py",
        include_str!("../../../templates/python-common/settings.py.j2"),
    ),
    Page::plain(
        "requirements.txt",
        include_str!("../../../templates/python-common/requirements.txt.j2"),
    ),
    Page::plain(
        "README.md",
        include_str!("../../../templates/python-common/README.md.j2"),
    ),
];

/// A module that doesn't depend on the plan: its path and its text.
type Source = (&'static str, &'static str);

const CLI: Source = ("cli.py", include_str!("../../../python/common/cli.py"));
const FILES: Source = ("files.py", include_str!("../../../python/common/files.py"));
const STREAM: Source = (
    "stream.py",
    include_str!("../../../python/common/stream.py"),
);
const TEXT_HF: Source = ("text.py", include_str!("../../../python/common/text_hf.py"));
const TEXT_MISTRAL: Source = (
    "text.py",
    include_str!("../../../python/common/text_mistral.py"),
);

/// Files of a repository that a program with weights of its own kind reads.
const HF_FILES: &[&str] = &[
    "*.json",
    "*.jinja",
    "model*.safetensors",
    "tokenizer.model*",
];

/// A program, before it is written down.
struct Program<'p> {
    plan: &'p Plan,
    /// The library's name for people.
    library: &'static str,
    /// The library's package.
    package: Package,
    /// Every package that is imported, the library's included.
    requirements: Vec<Package>,
    sources: Vec<Source>,
    settings: Settings,
    /// What pip's environment needs when a package is compiled.
    environment: Option<&'static str>,
    /// Shell lines that come before the program's start.
    before: Vec<String>,
    /// Paragraphs of the README.
    notes: Vec<&'static str>,
    /// The model as people are told it.
    model: &'p str,
    /// Whether `--json` has the ids of all tokens.
    ids: bool,
}

impl Program<'_> {
    fn files(self) -> Result<FileSet, CodegenError> {
        let Self { plan, .. } = self;
        let made = |text: &str| Value::from_safe_string(text.to_owned());
        let reasons: Result<Vec<Value>, CodegenError> =
            plan.reasons.iter().map(engine::reason).collect();
        let revision = plan.model.revision.as_ref();
        let context = context! {
            plan => plan,
            model => self.model,
            local => plan.model.local_path.is_some(),
            revision => revision.filter(|_| plan.model.local_path.is_none()),
            library => made(self.library),
            version => made(&self.package.version),
            requirements => self.requirements.iter().map(Package::pinned).collect::<Vec<_>>(),
            checked => made(&packages::checked()),
            environment => self.environment.map(made),
            before => self.before.iter().map(|line| made(line)).collect::<Vec<_>>(),
            notes => self.notes.iter().map(|note| made(note)).collect::<Vec<_>>(),
            json_ids => self.ids,
            settings => self.settings.lines(),
            why => self.settings.why()?,
            reasons => reasons?,
        };
        let mut files = render_all(PAGES, &context, plan)?;
        for (path, text) in self.sources {
            files.add(path, text)?;
        }
        Ok(files)
    }
}

/// What runs a program, as far as the libraries care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Device {
    Cpu,
    Nvidia,
    Apple,
    Tpu,
    Other,
}

impl Device {
    /// A device that neither the plan nor the table knows is taken for NVIDIA's, as in containers.
    fn of(plan: &Plan) -> Self {
        if plan.placement.threads.is_some() {
            return Self::Cpu;
        }
        match plan.placement.device_kind_and_vendor() {
            Some((DeviceKind::Cpu, _)) => Self::Cpu,
            Some((DeviceKind::Tpu, _)) => Self::Tpu,
            Some((_, vendor)) => match vendor.as_str() {
                "NVIDIA" => Self::Nvidia,
                "Apple" => Self::Apple,
                _ => Self::Other,
            },
            None => Self::Nvidia,
        }
    }
}

/// Refuses what no program of `target` could do, by the field's name.
fn check(target: &'static str, plan: &Plan) -> Result<(), CodegenError> {
    let refuse = |field, found: String, expected: &str| unsupported(target, field, found, expected);
    let limits = &plan.limits;
    for (field, value) in [
        ("limits.context_tokens", Some(limits.context_tokens)),
        ("limits.concurrency", Some(limits.concurrency)),
        ("limits.max_batch_tokens", limits.max_batch_tokens),
        ("limits.max_output_tokens", limits.max_output_tokens),
        ("placement.threads", plan.placement.threads),
        ("placement.count", Some(plan.placement.count)),
    ] {
        if value == Some(0) {
            return Err(refuse(field, "0".to_owned(), "at least 1"));
        }
    }
    let s = &plan.sampling;
    for (field, value, least, most) in [
        ("sampling.temperature", s.temperature, 0.0, 2.0),
        ("sampling.top_p", s.top_p, f32::MIN_POSITIVE, 1.0),
        ("sampling.min_p", s.min_p, 0.0, 1.0),
    ] {
        if !(least..=most).contains(&value) {
            let above = if least > 0.0 { "above 0" } else { "from 0" };
            let expected = format!("a number {above} to {most}");
            return Err(refuse(field, value.to_string(), &expected));
        }
    }
    for (field, text) in [
        ("model.revision", plan.model.revision.as_deref()),
        ("model.file", plan.model.file.as_deref()),
    ] {
        if let Some(text) = text.filter(|text| text.is_empty() || !plain(text)) {
            let expected = "a text without control characters that doesn't begin with -";
            return Err(refuse(field, shown(text), expected));
        }
    }
    if plan.reasoning {
        let expected = "false: a program prints thoughts and answer as one text";
        return Err(refuse("reasoning", "true".to_owned(), expected));
    }
    Ok(())
}

fn plain(text: &str) -> bool {
    !text.starts_with('-') && !text.chars().any(char::is_control)
}

/// The settings that every program has.
fn common(plan: &Plan, model: &str) -> Settings {
    let mut settings = Settings::default();
    let local = plan.model.local_path.is_some();
    let source = if local {
        why("model.local_path", "a file or folder of this machine")
    } else {
        why("model.hf_repo", "the repository on the Hugging Face hub")
    };
    settings.set("MODEL", model, source);
    let revision = plan.model.revision.as_deref().filter(|_| !local);
    settings.set(
        "REVISION",
        revision,
        why("model.revision", "these files of it and no later ones"),
    );
    settings.set(
        "LOCAL",
        local,
        why("model.local_path", "whether nothing is downloaded"),
    );
    settings.set(
        "CONTEXT_TOKENS",
        plan.limits.context_tokens,
        why(
            "limits.context_tokens",
            "the longest sequence, prompt and answer; lower it first when memory runs out",
        ),
    );
    settings.set(
        "MAX_OUTPUT_TOKENS",
        plan.limits.max_output_tokens,
        why(
            "limits.max_output_tokens",
            "the longest answer; `None` takes what the context leaves",
        ),
    );
    sampling(&mut settings, plan);
    settings.set(
        "TOOLS",
        plan.tools,
        why("tools", "whether chats may offer functions"),
    );
    settings
}

fn sampling(settings: &mut Settings, plan: &Plan) {
    let s = &plan.sampling;
    settings.set(
        "TEMPERATURE",
        s.temperature,
        why("sampling.temperature", "0 takes the likeliest token"),
    );
    settings.set(
        "TOP_P",
        s.top_p,
        why(
            "sampling.top_p",
            "the likeliest tokens of this probability are kept; 1 keeps all",
        ),
    );
    settings.set(
        "TOP_K",
        s.top_k,
        why(
            "sampling.top_k",
            "so many of the likeliest tokens are kept; 0 keeps all",
        ),
    );
    settings.set(
        "MIN_P",
        s.min_p,
        why(
            "sampling.min_p",
            "tokens of this share of the likeliest's probability are kept",
        ),
    );
    settings.set(
        "SEED",
        s.seed,
        why("sampling.seed", "the same seed gives the same answer"),
    );
}

/// The module that encodes texts for a program that is given tokens, and the packages behind it.
fn text(
    target: &'static str,
    tokenizer: TokenizerMode,
) -> Result<(Source, Vec<Package>), CodegenError> {
    match tokenizer {
        TokenizerMode::Mistral => Ok((TEXT_MISTRAL, vec![package("mistral-common")])),
        TokenizerMode::Hf => Ok((TEXT_HF, vec![package("jinja2"), package("tokenizers")])),
        TokenizerMode::Gguf => Err(unsupported(target, "tokenizer", "gguf", "mistral or hf")),
    }
}

/// What the encoding module is chosen for.
fn text_note(tokenizer: TokenizerMode) -> &'static str {
    match tokenizer {
        TokenizerMode::Mistral => {
            "Texts are encoded by mistral-common from Mistral's own files (`tekken.json` or \
             `tokenizer.model.v*`), because the plan's `tokenizer` is `mistral`."
        }
        TokenizerMode::Hf | TokenizerMode::Gguf => {
            "Texts are encoded from `tokenizer.json`, chats by the template beside it, because the \
             plan's `tokenizer` is `hf`."
        }
    }
}

/// The type of weights that aren't quantised, by the name that numpy and torch share.
fn dtype(target: &'static str, precision: Precision) -> Result<&'static str, CodegenError> {
    match precision {
        Precision::F32 => Ok("float32"),
        Precision::Bf16 => Ok("bfloat16"),
        Precision::F16 => Ok("float16"),
        other => Err(unsupported(target, "precision", other, "f32, bf16 or f16")),
    }
}

/// The type of keys and values: the weights' unless the plan says otherwise.
fn cache_dtype(
    target: &'static str,
    plan: &Plan,
    weights: &'static str,
) -> Result<&'static str, CodegenError> {
    match plan.kv_precision {
        KvPrecision::Auto => Ok(weights),
        KvPrecision::F32 => Ok("float32"),
        KvPrecision::F16 => Ok("float16"),
        KvPrecision::Bf16 => Ok("bfloat16"),
        KvPrecision::Fp8 | KvPrecision::Q8_0 => {
            let name = match plan.kv_precision {
                KvPrecision::Fp8 => "fp8",
                _ => "q8_0",
            };
            Err(unsupported(
                target,
                "kv_precision",
                name,
                "auto, f32, bf16 or f16",
            ))
        }
    }
}

/// Refuses a plan whose layers are cut over several devices.
fn whole_layers(target: &'static str, plan: &Plan) -> Result<(), CodegenError> {
    let p = &plan.placement;
    if p.tensor_parallel == 1 {
        return Ok(());
    }
    let expected = "1: each layer lies whole on one device";
    Err(unsupported(
        target,
        "placement.tensor_parallel",
        p.tensor_parallel,
        expected,
    ))
}

/// What a model has that a plain decoder (grouped-query attention, unscaled rotation in every
/// layer, one window for all, softmax over the chosen experts) doesn't compute.
fn beyond_plain(spec: &ModelSpec) -> Option<&'static str> {
    let first = spec.layers.first();
    let moe = spec.moe.as_ref();
    let rows = [
        (
            "an architecture other than mistral and mixtral",
            !matches!(
                spec.architecture,
                Architecture::Mistral | Architecture::Mixtral
            ),
        ),
        (
            "latent attention",
            matches!(spec.attention, AttentionKind::Mla(_)),
        ),
        ("scaled rotation", spec.rope.yarn.is_some()),
        (
            "queries scaled by position",
            !matches!(spec.position_scale, PositionScale::None),
        ),
        ("capped scores", spec.logit_softcap.is_some()),
        (
            "layers of several kinds",
            spec.layers.iter().any(|layer| {
                first.is_some_and(|first| {
                    layer.window != first.window
                        || layer.feed_forward != first.feed_forward
                        || !layer.rope
                })
            }),
        ),
        (
            "shared experts or expert groups",
            moe.is_some_and(|m| m.num_shared_experts > 0 || m.num_expert_groups > 1),
        ),
    ];
    rows.iter().find(|(_, found)| *found).map(|(name, _)| *name)
}

/// Refuses a plan for more than one device.
fn one_device(target: &'static str, plan: &Plan) -> Result<(), CodegenError> {
    whole_layers(target, plan)?;
    if plan.placement.count == 1 {
        return Ok(());
    }
    let expected = "1: the program runs on one device";
    let found = plan.placement.count;
    Err(unsupported(target, "placement.count", found, expected))
}

/// Refuses a plan whose texts aren't encoded from `tokenizer.json`.
fn hf_only(target: &'static str, plan: &Plan) -> Result<(), CodegenError> {
    let found = match plan.tokenizer {
        TokenizerMode::Hf => return Ok(()),
        TokenizerMode::Mistral => "mistral",
        TokenizerMode::Gguf => "gguf",
    };
    let expected = "hf: the tokenizer is converted with the model";
    Err(unsupported(target, "tokenizer", found, expected))
}

/// The folder that a converted model is in, and the shell lines that put it there: none for a
/// folder of this machine, which is taken for a converted one.
fn convert<'p>(
    plan: &'p Plan,
    source: &'p str,
    requirements: &str,
    steps: &[String],
) -> Result<(&'p str, Vec<String>), CodegenError> {
    if plan.model.local_path.is_some() {
        return Ok((source, Vec::new()));
    }
    let revision = match &plan.model.revision {
        Some(revision) => format!(" --revision {}", shell(revision)?),
        None => String::new(),
    };
    let mut lines = vec![
        "# once: the model in the library's own form".to_owned(),
        "python3 -m venv .convert".to_owned(),
        format!(".convert/bin/pip install -r {requirements}"),
        format!(
            ".convert/bin/hf download {}{revision} --local-dir weights",
            shell(source)?
        ),
    ];
    lines.extend(steps.iter().map(|step| format!(".convert/bin/{step}")));
    Ok(("model", lines))
}
