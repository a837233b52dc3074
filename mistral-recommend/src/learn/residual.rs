//! How far a measured run is from what the estimate says of it.

use mistral_core::estimate::{EngineClass, Shape, Workload};
use mistral_core::plan::Runtime;
use mistral_core::report::RunReport;

use crate::retrieve::Config;
use crate::{Context, RecommendError, candidate};

/// Logarithms of measured over predicted times; above 0 the run was slower than predicted.
#[derive(Debug, Clone, PartialEq)]
pub struct Residual {
    /// Name in the hardware table or beside it.
    pub device: String,
    /// Engine.
    pub runtime: Runtime,
    /// Of the time to the first token.
    pub ttft: Option<f64>,
    /// Of the time between tokens.
    pub tpot: Option<f64>,
}

/// Longest prompt, answer or cache of a report that is compared.
const MOST_TOKENS: u32 = 100_000_000;
/// Most sequences or devices of a report that is compared.
const MOST_AT_ONCE: u32 = 4096;

/// Compares a report with the plain estimate, whatever `context` has learned.
///
/// Local engines are measured a pass at a time, so their step is predicted without prompts in
/// between; serving engines as with [`RunShape::batch`](mistral_core::report::RunShape::batch)
/// requests always in flight. A time to the first token behind a filled cache isn't compared.
///
/// # Errors
/// [`RecommendError::Report`] when the report lacks what identifies a run or has amounts that can't
/// be meant, [`RecommendError::UnknownModel`], [`RecommendError::UnknownDevice`], and
/// [`RecommendError::Schema`].
pub fn residual(report: &RunReport, context: &Context<'_>) -> Result<Residual, RecommendError> {
    check(report)?;
    let lacks = |field, expected| RecommendError::Report {
        field,
        expected,
        found: "nothing".to_owned(),
    };
    let runtime = report
        .runtime
        .ok_or_else(|| lacks("runtime", "an engine that plans are made for"))?;
    let precision = report
        .precision
        .ok_or_else(|| lacks("precision", "a precision with a name"))?;
    let unknown = || RecommendError::UnknownModel {
        field: "report.model",
        name: report.model.chars().take(64).collect(),
    };
    let model = context.catalog.find(&report.model).ok_or_else(unknown)?;
    let device = context.need_device("report.machine.device", &report.machine.device)?;
    let mut shape = Shape::of(context.catalog, model)
        .ok_or_else(|| lacks("model", "a model with known dimensions"))?;
    let local = EngineClass::from(runtime).is_local();
    if local {
        // Local engines keep the encoder in a file of its own, which text alone doesn't load.
        shape.encoder_parameters = 0;
    }
    let config = Config {
        precision,
        runtime,
        tensor_parallel: report.machine.count,
        count: report.machine.count,
    };
    let setup = candidate::setup(&shape, config, device, context);
    let run = &report.shape;
    let batch = f64::from(run.batch);
    let work = Workload {
        prompt_tokens: f64::from(run.prompt_tokens),
        output_tokens: f64::from(run.output_tokens.max(1)),
    };
    let context_tokens = f64::from(run.depth) + work.prompt_tokens + work.output_tokens / 2.0;
    let (ttft, tpot) = if local {
        let step = 1e3 * setup.step_s(batch, context_tokens);
        (setup.ttft_ms(work, 1.0), step)
    } else {
        let whole = Workload {
            prompt_tokens: f64::from(run.depth) + work.prompt_tokens,
            ..work
        };
        (setup.ttft_ms(work, batch), setup.tpot_ms(whole, batch))
    };
    let cold = report.ttft_ms.filter(|_| run.depth == 0);
    Ok(Residual {
        device: device.name.clone(),
        runtime,
        ttft: cold.and_then(|measured| log_ratio(measured, ttft)),
        tpot: report
            .tpot_ms()
            .and_then(|measured| log_ratio(measured, tpot)),
    })
}

fn log_ratio(measured: f64, predicted: f64) -> Option<f64> {
    let log = (measured / predicted).ln();
    (predicted > 0.0 && log.is_finite()).then_some(log)
}

/// Whether the report's amounts can be meant and something was measured.
fn check(report: &RunReport) -> Result<(), RecommendError> {
    if report.schema != RunReport::SCHEMA {
        return Err(RecommendError::Schema {
            expected: RunReport::SCHEMA,
            found: report.schema,
        });
    }
    let run = &report.shape;
    for (field, found, least, most) in [
        ("shape.prompt_tokens", run.prompt_tokens, 1, MOST_TOKENS),
        ("shape.output_tokens", run.output_tokens, 0, MOST_TOKENS),
        ("shape.depth", run.depth, 0, MOST_TOKENS),
        ("shape.batch", run.batch, 1, MOST_AT_ONCE),
        ("machine.count", report.machine.count, 1, MOST_AT_ONCE),
    ] {
        if !(least..=most).contains(&found) {
            return Err(RecommendError::Report {
                field,
                expected: "an amount that a run can have",
                found: found.to_string(),
            });
        }
    }
    let rates = [
        ("ttft_ms", report.ttft_ms),
        ("decode_tokens_per_s", report.decode_tokens_per_s),
    ];
    for (field, value) in rates {
        if let Some(found) = value.filter(|v| !(1e-6..=1e9).contains(v)) {
            return Err(RecommendError::Report {
                field,
                expected: "1e-6 to 1e9",
                found: found.to_string(),
            });
        }
    }
    if rates.iter().all(|(_, value)| value.is_none()) {
        return Err(RecommendError::Report {
            field: "ttft_ms",
            expected: "a measured time or rate",
            found: "nothing".to_owned(),
        });
    }
    Ok(())
}
