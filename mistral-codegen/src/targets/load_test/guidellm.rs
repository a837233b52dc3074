//! A load test with GuideLLM, as the plan expects the load.
//!
//! What the plan decides is data (`scenario.json`), each setting checked against the table of
//! GuideLLM's version: no text of a plan is code.

use minijinja::{Value, context};
use mistral_core::catalog::Catalog;
use mistral_core::files::FileSet;
use mistral_core::plan::{Plan, TokenizerMode};
use serde_json::{Map, json};

use super::super::{Page, engine, json_file, render_all, shown, unsupported};
use super::{Load, load};
use crate::flags::{Command, Explained, GUIDELLM, Settings, Word, why};
use crate::quote::{markdown_block, sorted};
use crate::targets::python::package;
use crate::{CodegenError, Options};

const TARGET: &str = "guidellm";

const PAGES: &[Page] = &[
    Page::script(
        "load-test.sh",
        include_str!("../../../templates/guidellm/load-test.sh.j2"),
    ),
    Page::plain(
        "verdict.py",
        include_str!("../../../templates/guidellm/verdict.py.j2"),
    ),
    Page::plain(
        "requirements.txt",
        include_str!("../../../templates/guidellm/requirements.txt.j2"),
    ),
    Page::plain(
        "README.md",
        include_str!("../../../templates/guidellm/README.md.j2"),
    ),
];

/// Flags that take a kind with settings, and where a scenario has them: alone or in a list.
const FIELDS: &[(&str, &str, Holds)] = &[
    ("--backend", "backend", Holds::One),
    ("--profile", "profile", Holds::One),
    ("--constraint", "constraints", Holds::Several),
    ("--tokenizer", "tokenizer", Holds::One),
    ("--data", "data", Holds::Several),
    ("--seed", "seed", Holds::One),
    ("--metrics", "metrics", Holds::One),
    ("--output", "outputs", Holds::Several),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    One,
    Several,
}

/// Packages whose versions GuideLLM leaves open.
const PACKAGES: [&str; 3] = ["mistral-common", "torch", "transformers"];

/// Seconds that requests are sent.
const DURATION_S: u32 = 120;
/// Seconds without a byte after which an answer counts as lost.
const SILENCE_S: u32 = 300;
/// Answers of each outcome that the report keeps whole.
const KEPT: u32 = 20;
/// Where the report is put.
const REPORT: &str = "results/benchmarks.json";
const PAGE: &str = "results/benchmarks.html";

/// The load test of `plan`'s server.
pub(crate) fn guidellm(plan: &Plan, _: &Options) -> Result<FileSet, CodegenError> {
    let load = load(TARGET, plan)?;
    let (scenario, settings) = scenario(plan, &load)?;
    let command = command()?;
    let shell = command.shell_parts()?.join(" \\\n  ");
    let made = |text: String| Value::from_safe_string(text);
    let mut why = command.explained();
    why.extend(settings);
    let context = context! {
        model => load.serving.name,
        origin => load.origin,
        version => made(GUIDELLM.version.clone()),
        table_source => made(GUIDELLM.source.clone()),
        table_date => made(GUIDELLM.date.clone()),
        key_variable => made(GUIDELLM.api_key_env.clone()),
        command => made(shell.clone()),
        command_block => made(markdown_block("sh", &shell)?),
        report => made(REPORT.to_owned()),
        page => made(PAGE.to_owned()),
        key_env => load.serving.key_env.clone().map(made),
        key_required => load.serving.key_env.as_ref().map(|name| {
            made(format!("${{{name}:?set {name} to the key that the server asks for}}"))
        }),
        prompt_tokens => load.prompt_tokens,
        output_tokens => load.output_tokens,
        requests_per_minute => load.requests_per_minute,
        duration_s => DURATION_S,
        slowest => load.slowest.is_some(),
        gated => plan.model.gated,
        why => engine::why_lines(&why)?,
        packages => PACKAGES.map(|name| package(name).pinned()).to_vec(),
    };
    let mut files = render_all(PAGES, &context, plan)?;
    files.add("scenario.json", json_file(&sorted(&scenario))?)?;
    Ok(files)
}

/// Each flag and setting with its value and reason.
pub(crate) fn explained(plan: &Plan) -> Result<Vec<Explained>, CodegenError> {
    let mut all = command()?.explained();
    all.extend(scenario(plan, &load(TARGET, plan)?)?.1);
    Ok(all)
}

/// What is wrong with the settings of a scenario; empty when nothing is.
pub(crate) fn check_scenario(text: &str) -> String {
    let scenario: serde_json::Value = match serde_json::from_str(text) {
        Ok(scenario) => scenario,
        Err(error) => return error.to_string(),
    };
    let Some(spec) = scenario["spec"].as_object() else {
        return "expected an object `spec`".to_owned();
    };
    for (name, value) in spec {
        let Some((flag, _, holds)) = FIELDS.iter().find(|(_, field, _)| field == name) else {
            return format!("no field spec.{name}");
        };
        let values = match (holds, value) {
            (Holds::One, value) => std::slice::from_ref(value),
            (Holds::Several, serde_json::Value::Array(values)) => values.as_slice(),
            (Holds::Several, _) => return format!("expected a list at spec.{name}"),
        };
        for value in values {
            if let Err(error) = GUIDELLM.check_settings(flag, value) {
                return error.to_string();
            }
        }
    }
    String::new()
}

/// The command; what the script is given stands first, so that it can say more.
fn command() -> Result<Command<'static>, CodegenError> {
    let program = [
        Word::from("guidellm"),
        Word::from("run"),
        Word::Variable("@"),
    ];
    let mut command = Command::new(&GUIDELLM, program);
    let reason = why(
        "expected",
        "what is sent and measured, as data; what the command line says besides comes before it",
    );
    command.flag("--config", "scenario.json", reason)?;
    Ok(command)
}

/// What GuideLLM reads, and why each setting is there.
fn scenario(plan: &Plan, load: &Load) -> Result<(serde_json::Value, Vec<Explained>), CodegenError> {
    let mut spec = Map::new();
    let mut explained = Vec::new();
    for settings in settings(plan, load)? {
        let flag = settings.flag();
        let (value, why) = settings.done();
        explained.extend(why);
        let Some((_, field, holds)) = FIELDS.iter().find(|(name, _, _)| *name == flag) else {
            continue;
        };
        match holds {
            Holds::One => drop(spec.insert((*field).to_owned(), value)),
            Holds::Several => {
                let list = spec.entry(*field).or_insert_with(|| json!([]));
                list.as_array_mut()
                    .expect("only lists stand there")
                    .push(value);
            }
        }
    }
    Ok((json!({"spec": spec}), explained))
}

fn settings(plan: &Plan, load: &Load) -> Result<Vec<Settings<'static>>, CodegenError> {
    let new = |flag, kind, field, text| Settings::new(&GUIDELLM, flag, kind, why(field, text));
    let rate = f64::from(load.requests_per_minute) / 60.0;
    let rate = (rate * 1e4).round() / 1e4;
    let metrics = new(
        "--metrics",
        "generative",
        "expected",
        "times and tokens of each answer",
    )?
    .with(
        "sample_size",
        KEPT,
        why(
            "expected",
            "so many answers of each outcome stand whole in the report, to be read",
        ),
    )?;
    Ok(vec![
        backend(load)?,
        new("--profile", "poisson", "expected.requests_per_s", "requests arrive one by one at random moments, as those of many users do")?
            .with("rate", json!([rate]), why("expected.requests_per_s", "requests a second"))?
            .with(
                "max_concurrency",
                load.concurrency.saturating_mul(2),
                why("limits.concurrency", "twice what the server is sized for: a server that falls behind is seen to, and isn't buried"),
            )?,
        new("--constraint", "max_duration", "expected", "ends the test")?
            .with("seconds", DURATION_S, why("expected", "seconds that requests are sent"))?,
        tokenizer(plan)?,
        new("--data", "synthetic_text", "expected", "made-up prompts, each with a beginning of its own, past any cache")?
            .with("prompt_tokens", load.prompt_tokens, why("expected.prompt_tokens", "tokens of a prompt"))?
            .with("output_tokens", load.output_tokens, why("expected.output_tokens", "tokens of an answer; servers that know `ignore_eos` answer with exactly so many"))?,
        new("--seed", "static", "expected", "the same prompts at the same moments in every run")?
            .with("value", 1, why("expected", "another number asks other prompts, which a cache of an earlier run doesn't know"))?,
        slowest(metrics, load)?,
        new("--output", "json", "expected", "the report for programs; verdict.py reads it")?
            .with("path", REPORT, why("expected", "where it is put"))?,
        new("--output", "html", "expected", "the report for people")?
            .with("path", PAGE, why("expected", "where it is put"))?,
        new("--output", "console", "expected", "the same in the terminal")?,
    ])
}

/// Where requests go.
fn backend(load: &Load) -> Result<Settings<'static>, CodegenError> {
    let protocol = why("runtime", "the server speaks OpenAI's protocol");
    Settings::new(&GUIDELLM, "--backend", "openai_http", protocol)?
        .with(
            "target",
            load.origin.as_str(),
            why("serve.port", "the server"),
        )?
        .with(
            "model",
            load.serving.name.as_str(),
            why("serve.served_name", "the name that it knows the model by"),
        )?
        .with(
            "request_format",
            "/v1/chat/completions",
            why("runtime", "requests are chats, streamed"),
        )?
        .with(
            "api_routes",
            json!({"/health": "v1/models"}),
            why(
                "serve.api_key_env",
                "asked before the test: every server has it, and asks for the key there",
            ),
        )?
        .with(
            "timeout",
            SILENCE_S,
            why(
                "expected",
                "seconds of silence after which an answer is lost",
            ),
        )?
        .with(
            "verify",
            true,
            why(
                "serve.api_key_env",
                "no key for a server with another's certificate, where it has one",
            ),
        )
}

/// Adds the latencies that answers should keep.
fn slowest(metrics: Settings<'static>, load: &Load) -> Result<Settings<'static>, CodegenError> {
    let Some((first, next)) = load.slowest else {
        return Ok(metrics);
    };
    // Shorter than the clock of any measurement; 0 is no objective.
    let at_least = |ms: f64| ms.max(0.01);
    let metrics = metrics.with(
        "slo.ttft_ms",
        at_least(first),
        why(
            "expected.ttft_ms",
            "milliseconds to the first token: the upper end of the prediction",
        ),
    )?;
    if load.output_tokens == 1 {
        return Ok(metrics);
    }
    metrics.with(
        "slo.tpot_ms",
        at_least(next),
        why(
            "expected.tpot_ms",
            "milliseconds from token to token: the upper end of the prediction",
        ),
    )
}

/// What counts the tokens of prompts: the model's own folder or repository, or the catalogue's
/// where the plan's has GGUF files, which come without a tokenizer that transformers reads.
fn tokenizer(plan: &Plan) -> Result<Settings<'static>, CodegenError> {
    let model = &plan.model;
    let catalog = Catalog::embedded();
    let listed = || catalog.get(&model.id)?.repository.as_ref();
    let packed = plan.tokenizer == TokenizerMode::Gguf;
    let own = model
        .local_path
        .as_ref()
        .filter(|path| !packed && !engine::names_gguf(path));
    let repository = model
        .hf_repo
        .as_ref()
        .filter(|name| !engine::names_gguf(name));
    let (field, source, revision) = match (own, repository, listed()) {
        (Some(path), _, _) => ("model.local_path", path, None),
        (None, _, Some(listed)) if packed => ("model.id", &listed.value, None),
        (None, Some(name), _) => ("model.hf_repo", name, model.revision.as_ref()),
        (None, None, Some(listed)) => ("model.id", &listed.value, None),
        (None, None, None) => {
            let expected = "a repository or folder with tokenizer.json or tekken.json: prompts are \
                            made to a length in tokens";
            let found = shown(model.hf_repo.as_deref().unwrap_or(""));
            return Err(unsupported(TARGET, "model.hf_repo", found, expected));
        }
    };
    let reason = why(field, "counts the tokens of prompts");
    let settings = Settings::new(&GUIDELLM, "--tokenizer", "huggingface_auto", reason)?.with(
        "model",
        source.as_str(),
        why(field, "the model's own tokenizer"),
    )?;
    match revision {
        None => Ok(settings),
        Some(revision) => settings.with(
            "load_kwargs",
            json!({"revision": revision}),
            why("model.revision", "the same commit as the weights"),
        ),
    }
}
