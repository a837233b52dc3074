//! A load test with k6, as the plan expects the load.
//!
//! What the plan decides is data (`load.json`): no text of a plan is code.

use minijinja::{Value, context};
use mistral_core::files::FileSet;
use mistral_core::plan::Plan;
use serde::Serialize;

use super::super::{Page, json_file, render_all};
use super::load;
use crate::{CodegenError, Options};

const TARGET: &str = "k6";

const PAGES: &[Page] = &[
    Page::plain(
        "script.js",
        include_str!("../../../templates/k6/script.js.j2"),
    ),
    Page::plain(
        "README.md",
        include_str!("../../../templates/k6/README.md.j2"),
    ),
];

/// What the script reads.
#[derive(Serialize)]
struct Read<'p> {
    model: &'p str,
    base_url: String,
    key_variable: Option<&'p str>,
    prompt_tokens: u32,
    output_tokens: u32,
    requests_per_minute: u32,
    concurrency: u32,
    /// What nine of ten answers should keep: the upper ends of both predictions.
    answer_ms: Option<u64>,
}

/// The load test of `plan`'s server.
pub(crate) fn k6(plan: &Plan, _: &Options) -> Result<FileSet, CodegenError> {
    let load = load(TARGET, plan)?;
    let read = Read {
        model: &load.serving.name,
        base_url: format!("{}/v1", load.origin),
        key_variable: load.serving.key_env.as_deref(),
        prompt_tokens: load.prompt_tokens,
        output_tokens: load.output_tokens,
        requests_per_minute: load.requests_per_minute,
        concurrency: load.concurrency,
        answer_ms: load.answer_ms().map(|ms| ms as u64),
    };
    let context = context! {
        model => read.model,
        base_url => read.base_url,
        prompt_tokens => read.prompt_tokens,
        output_tokens => read.output_tokens,
        requests_per_minute => read.requests_per_minute,
        answer_ms => read.answer_ms,
        key_env => read.key_variable.map(|name| Value::from_safe_string(name.to_owned())),
    };
    let mut files = render_all(PAGES, &context, plan)?;
    files.add("load.json", json_file(&read)?)?;
    Ok(files)
}
