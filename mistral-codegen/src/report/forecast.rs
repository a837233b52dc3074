//! What the estimate says of a plan.

use mistral_core::catalog::Catalog;
use mistral_core::estimate::{Coefficients, Setup, Shape, Workload};
use mistral_core::hardware::HardwareTable;
use mistral_core::plan::Plan;
use mistral_core::recommendation::Interval;
use serde::Serialize;

/// Longest prompt and answer of the requests that are predicted when the plan doesn't say what is
/// usual, in tokens: those of a chat.
const PROMPT: u32 = 1024;
const ANSWER: u32 = 256;

/// Predicted behaviour of a plan under requests of one size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Forecast {
    /// Tokens of each prompt.
    pub prompt_tokens: u32,
    /// Tokens of each answer.
    pub answer_tokens: u32,
    /// One request at a time.
    pub alone: Load,
    /// As many requests as the plan is sized for.
    pub full: Load,
}

/// What each request should see while `requests` are answered; intervals should hold eight of
/// ten measurements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Load {
    /// Requests in flight.
    pub requests: u32,
    /// Time to the first token, in milliseconds.
    pub ttft_ms: Interval,
    /// Time between tokens, in milliseconds.
    pub tpot_ms: Interval,
    /// Tokens generated a second, over all requests.
    pub tokens_per_s: Interval,
}

/// What [`mistral_core::estimate`] predicts for this plan; `None` when the plan's model or device
/// is in no table, and when layers lie on devices one after the other, which the estimate doesn't
/// know.
#[must_use]
pub fn forecast(plan: &Plan) -> Option<Forecast> {
    if plan.placement.pipeline_parallel > 1 {
        return None;
    }
    let catalog = Catalog::embedded();
    let listed = catalog.get(&plan.model.id);
    let shape = listed
        .and_then(|model| Shape::of(catalog, model))
        .or_else(|| plan.spec.clone().map(Shape::new))?;
    let device = HardwareTable::embedded().find(&plan.placement.device)?;
    let context = plan.limits.context_tokens;
    let longest = plan.limits.max_output_tokens.unwrap_or(context);
    let usual = plan.expected.output_tokens.unwrap_or(ANSWER);
    let answer_tokens = usual.min(longest).min(context / 2).max(1);
    let usual = plan.expected.prompt_tokens.unwrap_or(PROMPT);
    let prompt_tokens = usual.min(context.saturating_sub(answer_tokens)).max(1);
    let setup = Setup {
        shape: &shape,
        precision: plan.precision,
        kv: plan.kv_precision,
        device,
        count: plan.placement.tensor_parallel.max(1),
        engine: plan.runtime.into(),
        coefficients: Coefficients::embedded(),
    };
    let work = Workload {
        prompt_tokens: f64::from(prompt_tokens),
        output_tokens: f64::from(answer_tokens),
    };
    let copies = (plan.placement.count / plan.placement.tensor_parallel.max(1)).max(1);
    let load = |requests: u32| {
        let used = f64::from(copies.min(requests));
        let own = setup.forecast(work, (f64::from(requests) / used).ceil());
        let all = |x: f64| x * used;
        Load {
            requests,
            ttft_ms: own.ttft_ms,
            tpot_ms: own.tpot_ms,
            tokens_per_s: Interval {
                value: all(own.tokens_per_s.value),
                lo: all(own.tokens_per_s.lo),
                hi: all(own.tokens_per_s.hi),
            },
        }
    };
    Some(Forecast {
        prompt_tokens,
        answer_tokens,
        alone: load(1),
        full: load(plan.limits.concurrency.max(1)),
    })
}
