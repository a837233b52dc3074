//! What each engine's metrics tell of a server: the same questions, asked of different names.

use mistral_core::plan::Runtime;

use super::metrics::{self, Matcher, Query, Table};
use crate::CodegenError;

/// Where a time is found.
#[derive(Debug, Clone, Copy)]
enum Times {
    /// A histogram of seconds.
    Histogram(&'static str),
    /// Seconds in all, and what they were spent on.
    Mean(&'static str, &'static str),
}

/// A counter, of which some labels' values are counted.
type Counted = (&'static str, &'static [Matcher]);

/// The names that an engine has for what is asked.
pub(super) struct Names {
    running: &'static str,
    waiting: &'static str,
    prompt_tokens: &'static str,
    generated_tokens: &'static str,
    first_token: Option<Times>,
    next_token: Option<Times>,
    answer: Option<Times>,
    cache: Option<&'static str>,
    failed: Option<Counted>,
    refused: Option<Counted>,
    finished: Option<Counted>,
}

const VLLM: Names = Names {
    running: "vllm:num_requests_running",
    waiting: "vllm:num_requests_waiting",
    prompt_tokens: "vllm:prompt_tokens_total",
    generated_tokens: "vllm:generation_tokens_total",
    first_token: Some(Times::Histogram("vllm:time_to_first_token_seconds")),
    next_token: Some(Times::Histogram("vllm:inter_token_latency_seconds")),
    answer: Some(Times::Histogram("vllm:e2e_request_latency_seconds")),
    cache: Some("vllm:kv_cache_usage_perc"),
    failed: Some((
        "vllm:request_success_total",
        &[("finished_reason", "=\"error\"")],
    )),
    refused: Some(("vllm:admission_rejections_total", &[])),
    finished: Some(("vllm:request_success_total", &[])),
};

const SGLANG: Names = Names {
    running: "sglang:num_running_reqs",
    waiting: "sglang:num_queue_reqs",
    prompt_tokens: "sglang:prompt_tokens_total",
    generated_tokens: "sglang:generation_tokens_total",
    first_token: Some(Times::Histogram("sglang:time_to_first_token_seconds")),
    next_token: Some(Times::Histogram("sglang:inter_token_latency_seconds")),
    answer: Some(Times::Histogram("sglang:e2e_request_latency_seconds")),
    cache: Some("sglang:token_usage"),
    // The aborted requests that it counts are those that clients gave up; of a full queue and of waiting
    // too long it says 503.
    failed: Some((
        "sglang:http_responses_total",
        &[
            ("endpoint", "=~\"/v1/.*\""),
            ("status_code", "=~\"50[0-24-9]|5[1-9].\""),
        ],
    )),
    refused: Some((
        "sglang:http_responses_total",
        &[("endpoint", "=~\"/v1/.*\""), ("status_code", "=\"503\"")],
    )),
    finished: Some((
        "sglang:http_responses_total",
        &[("endpoint", "=~\"/v1/.*\"")],
    )),
};

const LLAMA_SERVER: Names = Names {
    running: "llamacpp:requests_processing",
    waiting: "llamacpp:requests_deferred",
    prompt_tokens: "llamacpp:prompt_tokens_total",
    generated_tokens: "llamacpp:tokens_predicted_total",
    first_token: None,
    next_token: Some(Times::Mean(
        "llamacpp:tokens_predicted_seconds_total",
        "llamacpp:tokens_predicted_total",
    )),
    answer: None,
    cache: None,
    failed: None,
    refused: None,
    finished: None,
};

const MISTRAL_INFER: Names = Names {
    running: "mistral_num_requests_running",
    waiting: "mistral_num_requests_waiting",
    prompt_tokens: "mistral_prompt_tokens_total",
    generated_tokens: "mistral_generation_tokens_total",
    first_token: Some(Times::Histogram("mistral_time_to_first_token_seconds")),
    next_token: Some(Times::Histogram("mistral_inter_token_latency_seconds")),
    answer: Some(Times::Histogram("mistral_e2e_request_latency_seconds")),
    cache: None,
    failed: Some(("mistral_http_requests_total", &[("status", "=~\"5..\"")])),
    refused: Some(("mistral_http_requests_total", &[("status", "=\"429\"")])),
    finished: Some(("mistral_http_requests_total", &[])),
};

/// What an engine serves, and its names for what is asked; `None` for one whose metrics weren't read.
pub(super) fn engine(runtime: Runtime) -> Option<(&'static Table, &'static Names)> {
    match runtime {
        Runtime::Vllm => Some((&metrics::VLLM, &VLLM)),
        Runtime::Sglang => Some((&metrics::SGLANG, &SGLANG)),
        Runtime::LlamaServer => Some((&metrics::LLAMA_SERVER, &LLAMA_SERVER)),
        Runtime::MistralInfer => Some((&metrics::MISTRAL_INFER, &MISTRAL_INFER)),
        _ => None,
    }
}

/// An expression with what it is called.
pub(super) type Named = (&'static str, String);

/// Expressions for what is asked of a server; those that its engine doesn't tell are empty.
#[derive(Debug)]
pub(super) struct Signals {
    pub(super) running: String,
    pub(super) waiting: String,
    pub(super) tokens: Vec<Named>,
    /// Seconds; the last of each is what alerts look at.
    pub(super) first_token: Vec<Named>,
    pub(super) next_token: Vec<Named>,
    pub(super) answer: Vec<Named>,
    /// From 0 to 1.
    pub(super) cache: Option<String>,
    /// Requests a second.
    pub(super) failed: Option<String>,
    pub(super) refused: Option<String>,
    pub(super) finished: Option<String>,
}

impl Signals {
    /// What is asked, by the names that an engine has for it.
    ///
    /// # Errors
    /// [`CodegenError::Metric`] for a name that the queried table doesn't have.
    pub(super) fn of(names: &Names, query: &Query<'_>) -> Result<Self, CodegenError> {
        let rate = |counted: Option<Counted>| {
            counted
                .map(|(counter, of)| query.rate(counter, of))
                .transpose()
        };
        Ok(Self {
            running: query.total(names.running)?,
            waiting: query.total(names.waiting)?,
            tokens: vec![
                ("prompts", query.rate(names.prompt_tokens, &[])?),
                ("answers", query.rate(names.generated_tokens, &[])?),
            ],
            first_token: times(query, names.first_token)?,
            next_token: times(query, names.next_token)?,
            answer: times(query, names.answer)?,
            cache: names.cache.map(|gauge| query.highest(gauge)).transpose()?,
            failed: rate(names.failed)?,
            refused: rate(names.refused)?,
            finished: rate(names.finished)?,
        })
    }
}

fn times(query: &Query<'_>, times: Option<Times>) -> Result<Vec<Named>, CodegenError> {
    match times {
        None => Ok(Vec::new()),
        Some(Times::Mean(seconds, count)) => {
            let mean = format!(
                "{} / {}",
                query.rate(seconds, &[])?,
                query.rate(count, &[])?
            );
            Ok(vec![("mean", mean)])
        }
        Some(Times::Histogram(name)) => Ok(vec![
            ("half of them below", query.quantile("0.5", name)?),
            ("19 of 20 below", query.quantile("0.95", name)?),
        ]),
    }
}
