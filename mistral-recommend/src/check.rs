//! Whether a need can be meant: names that exist, amounts within reason.

use mistral_core::need::Need;

use crate::{Context, RecommendError};

/// Checks a need and replaces names of devices and models by their listed ones.
pub(crate) fn check(mut need: Need, context: &Context<'_>) -> Result<Need, RecommendError> {
    if need.schema != Need::SCHEMA {
        return Err(RecommendError::Schema {
            expected: Need::SCHEMA,
            found: need.schema,
        });
    }
    let positive: [(&'static str, Option<f64>); 9] = [
        ("latency.ttft_ms", need.latency.ttft_ms),
        ("latency.tpot_ms", need.latency.tpot_ms),
        ("latency.answer_ms", need.latency.answer_ms),
        ("latency.tokens_per_s", need.latency.tokens_per_s),
        ("load.requests_per_day", need.load.requests_per_day),
        ("load.requests_per_s", need.load.requests_per_s),
        ("load.tokens_per_month", need.load.tokens_per_month),
        ("load.users", need.load.users.map(f64::from)),
        ("load.concurrency", need.load.concurrency.map(f64::from)),
    ];
    for (field, value) in positive {
        in_range(
            field,
            value,
            f64::MIN_POSITIVE,
            1e18,
            "more than 0, at most 1e18",
        )?;
    }
    let money: [(&'static str, Option<f64>); 3] = [
        ("budget.usd_per_month", need.budget.usd_per_month),
        ("budget.usd_per_hour", need.budget.usd_per_hour),
        ("budget.usd_per_mtok", need.budget.usd_per_mtok),
    ];
    for (field, value) in money {
        in_range(field, value, 0.0, 1e15, "0 to 1e15")?;
    }
    let lengths: [(&'static str, Option<u32>); 3] = [
        ("context_tokens", need.context_tokens),
        ("load.prompt_tokens", need.load.prompt_tokens),
        ("load.output_tokens", need.load.output_tokens),
    ];
    for (field, value) in lengths {
        in_range(field, value.map(f64::from), 1.0, 1e8, "1 to 1e8")?;
    }
    for machine in &mut need.hardware {
        in_range(
            "hardware.count",
            Some(f64::from(machine.count)),
            1.0,
            4096.0,
            "1 to 4096",
        )?;
        in_range(
            "hardware.memory_gb",
            machine.memory_gb,
            0.1,
            1e6,
            "0.1 to 1e6",
        )?;
        let name = machine.device.as_deref().unwrap_or_default();
        match context.device(name) {
            Some(device) => machine.device = Some(device.name.clone()),
            None => {
                return Err(RecommendError::UnknownDevice {
                    field: "hardware.device",
                    name: name.chars().take(64).collect(),
                });
            }
        }
    }
    for (field, list) in [
        ("models", &mut need.models),
        ("excluded_models", &mut need.excluded_models),
    ] {
        for name in list.iter_mut() {
            match context.catalog.find(name) {
                Some(model) => *name = model.id.clone(),
                None => {
                    return Err(RecommendError::UnknownModel {
                        field,
                        name: name.chars().take(64).collect(),
                    });
                }
            }
        }
    }
    Ok(need)
}

fn in_range(
    field: &'static str,
    value: Option<f64>,
    least: f64,
    most: f64,
    expected: &'static str,
) -> Result<(), RecommendError> {
    match value {
        Some(found) if !(least..=most).contains(&found) => Err(RecommendError::OutOfRange {
            field,
            expected,
            found,
        }),
        _ => Ok(()),
    }
}
