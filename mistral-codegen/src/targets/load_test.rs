//! A load test with k6, as the plan expects the load.
//!
//! What the plan decides is data (`load.json`): no text of a plan is code.

use minijinja::{Value, context};
use mistral_core::files::FileSet;
use mistral_core::plan::{Plan, Runtime};
use serde::Serialize;

use super::{Page, engine, render_all, unsupported};
use crate::{CodegenError, Options};

const TARGET: &str = "k6";

const PAGES: &[Page] = &[
    Page::plain("script.js", include_str!("../../templates/k6/script.js.j2")),
    Page::plain("README.md", include_str!("../../templates/k6/README.md.j2")),
];

/// Lengths of a chat when the plan doesn't say.
const PROMPT_TOKENS: u32 = 1000;
const OUTPUT_TOKENS: u32 = 250;
/// Seconds that an answer is taken to last when the plan predicts none, to turn its concurrency
/// into a rate.
const ANSWER_S: f64 = 10.0;

/// What the script reads.
#[derive(Serialize)]
struct Load<'p> {
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
    if plan.runtime == Runtime::MistralApi {
        let expected = "a server of one's own: load on the hosted API is billed and limited";
        return Err(unsupported(TARGET, "runtime", plan.runtime, expected));
    }
    let serving = engine::serving(TARGET, plan)?;
    if plan.limits.concurrency == 0 {
        return Err(unsupported(TARGET, "limits.concurrency", 0, "at least 1"));
    }
    let load = load(plan, &serving)?;
    let context = context! {
        model => load.model,
        base_url => load.base_url,
        prompt_tokens => load.prompt_tokens,
        output_tokens => load.output_tokens,
        requests_per_minute => load.requests_per_minute,
        answer_ms => load.answer_ms,
        key_env => load.key_variable.map(|name| Value::from_safe_string(name.to_owned())),
    };
    let mut files = render_all(PAGES, &context, plan)?;
    let text = serde_json::to_string_pretty(&load);
    let text = text.map_err(|source| CodegenError::Plan { source })?;
    files.add("load.json", text + "\n")?;
    Ok(files)
}

fn load<'p>(plan: &Plan, serving: &'p engine::Serving) -> Result<Load<'p>, CodegenError> {
    let expected = &plan.expected;
    let output_tokens = expected.output_tokens.unwrap_or(OUTPUT_TOKENS).max(1);
    let answer_ms = expected
        .ttft_ms
        .zip(expected.tpot_ms)
        .map(|(first, next)| (first.hi + next.hi * f64::from(output_tokens - 1)).ceil());
    let usable = |number: f64| (0.0..=1e12).contains(&number);
    if let Some(ms) = answer_ms.filter(|&ms| !usable(ms)) {
        return Err(unsupported(
            TARGET,
            "expected",
            ms,
            "a time in milliseconds",
        ));
    }
    let held = f64::from(plan.limits.concurrency) / answer_ms.map_or(ANSWER_S, |ms| ms / 1e3);
    let rate = expected.requests_per_s.unwrap_or(held);
    if !usable(rate) {
        let field = "expected.requests_per_s";
        return Err(unsupported(TARGET, field, rate, "a finite rate"));
    }
    Ok(Load {
        model: &serving.name,
        base_url: format!(
            "http://{}:{}/v1",
            engine::client_host(serving.bind),
            serving.port
        ),
        key_variable: serving.key_env.as_deref(),
        prompt_tokens: expected.prompt_tokens.unwrap_or(PROMPT_TOKENS).max(1),
        output_tokens,
        requests_per_minute: (rate * 60.0).round().clamp(1.0, 60_000.0) as u32,
        concurrency: plan.limits.concurrency,
        answer_ms: answer_ms.map(|ms| ms as u64),
    })
}
