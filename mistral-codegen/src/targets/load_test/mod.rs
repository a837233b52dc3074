//! Load tests of a server of one's own: requests as the plan expects them, at its rate.

mod guidellm;
mod k6;

pub(crate) use guidellm::{check_scenario, explained, guidellm};
pub(crate) use k6::k6;

use mistral_core::plan::{Plan, Runtime};

use super::{engine, unsupported};
use crate::CodegenError;

/// Lengths of a chat when the plan doesn't say.
const PROMPT_TOKENS: u32 = 1000;
const OUTPUT_TOKENS: u32 = 250;
/// Seconds that an answer is taken to last when the plan predicts none, to turn its concurrency
/// into a rate.
const ANSWER_S: f64 = 10.0;

/// What is sent, where to, and how fast answers should come.
struct Load {
    /// Name, address and key of the server.
    serving: engine::Serving,
    /// `http://HOST:PORT`, without a path.
    origin: String,
    prompt_tokens: u32,
    output_tokens: u32,
    requests_per_minute: u32,
    concurrency: u32,
    /// Upper ends of the predicted times to the first token and between tokens, in milliseconds.
    slowest: Option<(f64, f64)>,
}

impl Load {
    /// What a whole answer may take at both upper ends, in milliseconds.
    fn answer_ms(&self) -> Option<f64> {
        answer_ms(self.slowest, self.output_tokens)
    }
}

fn answer_ms(slowest: Option<(f64, f64)>, output_tokens: u32) -> Option<f64> {
    slowest.map(|(first, next)| (first + next * f64::from(output_tokens - 1)).ceil())
}

/// The load that `plan` expects.
///
/// # Errors
/// [`CodegenError::Unsupported`] for the hosted API, whose answers are billed, and for numbers that
/// are no rate and no time.
fn load(target: &'static str, plan: &Plan) -> Result<Load, CodegenError> {
    if plan.runtime == Runtime::MistralApi {
        let expected = "a server of one's own: load on the hosted API is billed and limited";
        return Err(unsupported(target, "runtime", plan.runtime, expected));
    }
    let serving = engine::serving(target, plan)?;
    if plan.limits.concurrency == 0 {
        return Err(unsupported(target, "limits.concurrency", 0, "at least 1"));
    }
    let expected = &plan.expected;
    let context = plan.limits.context_tokens;
    let usual = OUTPUT_TOKENS.min(context / 4);
    let output_tokens = expected.output_tokens.unwrap_or(usual).max(1);
    // Templates add a few tokens to a prompt.
    let usual = PROMPT_TOKENS.min(context.saturating_sub(output_tokens) / 4 * 3);
    let prompt_tokens = expected.prompt_tokens.unwrap_or(usual).max(1);
    let sequence = prompt_tokens.saturating_add(output_tokens);
    if sequence > context {
        let needed = format!("at least {sequence}, which the expected chats take");
        return Err(unsupported(
            target,
            "limits.context_tokens",
            context,
            &needed,
        ));
    }
    let slowest = expected
        .ttft_ms
        .zip(expected.tpot_ms)
        .map(|(first, next)| (first.hi, next.hi));
    let usable = |number: f64| (0.0..=1e12).contains(&number);
    let answer_ms = answer_ms(slowest, output_tokens);
    if let Some(ms) = answer_ms.filter(|&ms| !usable(ms)) {
        let expected = "a time in milliseconds";
        return Err(unsupported(target, "expected", ms, expected));
    }
    let held = f64::from(plan.limits.concurrency) / answer_ms.map_or(ANSWER_S, |ms| ms / 1e3);
    let rate = expected.requests_per_s.unwrap_or(held);
    if !usable(rate) {
        let field = "expected.requests_per_s";
        return Err(unsupported(target, field, rate, "a finite rate"));
    }
    let host = engine::client_host(serving.bind);
    Ok(Load {
        origin: format!("http://{host}:{}", serving.port),
        serving,
        prompt_tokens,
        output_tokens,
        requests_per_minute: (rate * 60.0).round().clamp(1.0, 60_000.0) as u32,
        concurrency: plan.limits.concurrency,
        slowest,
    })
}
