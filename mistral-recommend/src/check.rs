//! Whether a need can be meant: names that exist, amounts within reason.

use mistral_core::need::{HardwareNeed, Need};

use crate::{Context, RecommendError};

/// Checks a need and replaces names of devices and models by their listed ones.
pub(crate) fn check(mut need: Need, context: &Context<'_>) -> Result<Need, RecommendError> {
    if need.schema != Need::SCHEMA {
        return Err(RecommendError::Schema {
            expected: Need::SCHEMA,
            found: need.schema,
        });
    }
    amounts(&need)?;
    for machine in &mut need.hardware {
        check_machine(machine, context)?;
    }
    names("models", &mut need.models, context)?;
    names("excluded_models", &mut need.excluded_models, context)?;
    Ok(need)
}

/// Amounts that aren't a machine's.
fn amounts(need: &Need) -> Result<(), RecommendError> {
    let (latency, load, budget) = (&need.latency, &need.load, &need.budget);
    for (field, value) in [
        ("latency.ttft_ms", latency.ttft_ms),
        ("latency.tpot_ms", latency.tpot_ms),
        ("latency.answer_ms", latency.answer_ms),
        ("latency.tokens_per_s", latency.tokens_per_s),
        ("load.requests_per_day", load.requests_per_day),
        ("load.requests_per_s", load.requests_per_s),
        ("load.tokens_per_month", load.tokens_per_month),
        ("load.users", load.users.map(f64::from)),
        ("load.concurrency", load.concurrency.map(f64::from)),
    ] {
        let least = f64::MIN_POSITIVE;
        in_range(field, value, least, 1e18, "more than 0, at most 1e18")?;
    }
    for (field, value) in [
        ("budget.usd_per_month", budget.usd_per_month),
        ("budget.usd_per_hour", budget.usd_per_hour),
        ("budget.usd_per_mtok", budget.usd_per_mtok),
    ] {
        in_range(field, value, 0.0, 1e15, "0 to 1e15")?;
    }
    for (field, value) in [
        ("context_tokens", need.context_tokens),
        ("load.prompt_tokens", load.prompt_tokens),
        ("load.output_tokens", load.output_tokens),
    ] {
        in_range(field, value.map(f64::from), 1.0, 1e8, "1 to 1e8")?;
    }
    Ok(())
}

fn check_machine(machine: &mut HardwareNeed, context: &Context<'_>) -> Result<(), RecommendError> {
    let count = Some(f64::from(machine.count));
    in_range("hardware.count", count, 1.0, 4096.0, "1 to 4096")?;
    let memory_gb = machine.memory_gb;
    in_range("hardware.memory_gb", memory_gb, 0.1, 1e6, "0.1 to 1e6")?;
    let name = machine.device.as_deref().unwrap_or_default();
    let device = context.need_device("hardware.device", name)?;
    machine.device = Some(device.name.clone());
    Ok(())
}

/// Replaces names of models by their ids.
fn names(
    field: &'static str,
    list: &mut [String],
    context: &Context<'_>,
) -> Result<(), RecommendError> {
    for name in list {
        let model = context.catalog.find(name);
        *name = model
            .map(|m| m.id.clone())
            .ok_or_else(|| RecommendError::UnknownModel {
                field,
                name: name.chars().take(64).collect(),
            })?;
    }
    Ok(())
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
