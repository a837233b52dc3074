//! What would change the first choice: every threshold is found by asking again.
//!
//! Nothing is extrapolated. A limit is moved outwards in steps until the first choice is another
//! one, then the two last values are brought together by bisection; both ends were asked, so that
//! what is told is true of the recommender that tells it.

mod axis;
mod break_even;
mod path;

use mistral_core::need::{HostingNeed, Need};
use mistral_core::reason::Fact;
use mistral_core::recommendation::{Change, Hosting, Recommendation, Winner};

use crate::Context;
use crate::answer::first;
use crate::candidate::Candidate;
use crate::demand::Demand;
use axis::{Axis, Scale};
pub(crate) use break_even::break_even;
pub use path::with;

/// The changes of a need that change its first choice.
pub(crate) fn changes(r: &Recommendation, context: &Context<'_>) -> Vec<Change> {
    let need = &r.need;
    let Some(best) = first(need, context) else {
        return Vec::new();
    };
    let ask = Ask {
        need,
        context,
        best: &best,
    };
    let mut list = Vec::new();
    for axis in axes(need, &best, context) {
        list.extend(axis.changes(&ask));
    }
    list.extend(switches(need, &best).filter_map(|(constraint, from, to)| {
        let then = ask.at(constraint, to.as_ref())?;
        (!same_kind(&then, &best)).then(|| Change {
            constraint: constraint.to_owned(),
            from,
            until: None,
            to,
            then: winner(&then),
        })
    }));
    list
}

/// Asking again.
pub(crate) struct Ask<'a> {
    need: &'a Need,
    context: &'a Context<'a>,
    best: &'a Candidate,
}

impl Ask<'_> {
    /// The first choice with this value; `None` when nothing keeps all limits.
    fn at(&self, constraint: &str, value: Option<&Fact>) -> Option<Candidate> {
        first(&with(self.need, constraint, value)?, self.context)
    }
}

/// Whether two candidates have the same model and host.
fn same_kind(a: &Candidate, b: &Candidate) -> bool {
    a.model == b.model && a.hosting == b.hosting
}

/// Whether two candidates are the same for a user: model, host, machines, precision.
fn same(a: &Candidate, b: &Candidate) -> bool {
    same_kind(a, b) && (&a.device, a.count, a.precision) == (&b.device, b.count, b.precision)
}

fn winner(c: &Candidate) -> Winner {
    Winner {
        model: c.model.to_string(),
        precision: c.precision,
        hosting: c.hosting,
        device: c.device.as_deref().map(str::to_owned),
        count: c.count,
        tensor_parallel: c.tensor_parallel,
        runtime: c.runtime,
        usd_per_month: c.predicted.usd_per_month.map(|i| i.value),
    }
}

/// The amounts that may be moved, with their values now.
fn axes(need: &Need, best: &Candidate, context: &Context<'_>) -> Vec<Axis> {
    let (p, l) = (&best.predicted, &need.latency);
    let demand = Demand::of(need);
    let mut list = Vec::new();
    // A limit that isn't there is tried from where the first choice would just keep it.
    let mut limit = |constraint, said: Option<f64>, predicted: Option<f64>| {
        if let Some(now) = said.or(predicted).filter(|v| *v > 0.0) {
            list.push(Axis {
                constraint,
                from: said.map(Fact::from),
                now,
                scale: Scale::Rounded,
                upwards: said.is_some(),
            });
        }
    };
    let month = p.usd_per_month.map(|i| i.value);
    limit("budget.usd_per_month", need.budget.usd_per_month, month);
    limit("budget.usd_per_hour", need.budget.usd_per_hour, None);
    limit("budget.usd_per_mtok", need.budget.usd_per_mtok, None);
    limit("latency.ttft_ms", l.ttft_ms, p.ttft_ms.map(|i| i.value));
    limit("latency.tpot_ms", l.tpot_ms, p.tpot_ms.map(|i| i.value));
    limit("latency.answer_ms", l.answer_ms, None);
    let mut amount = |constraint, from: Option<Fact>, now: f64, scale| {
        list.push(Axis {
            constraint,
            from,
            now,
            scale,
            upwards: true,
        });
    };
    if let [machine] = need.hardware.as_slice() {
        let listed = machine.device.as_deref().and_then(|d| context.device(d));
        if let Some(gb) = machine.memory_gb.or(listed.map(|d| d.memory_gb)) {
            amount("hardware.memory_gb", Some(gb.into()), gb, Scale::Rounded);
        }
        let count = f64::from(machine.count);
        amount("hardware.count", Some(count.into()), count, Scale::Counted);
    }
    let (path, now) = load(need, &demand);
    amount(path, Some(now.into()), now, Scale::Rounded);
    let context = f64::from(demand.context_tokens);
    amount(
        "context_tokens",
        Some(context.into()),
        context,
        Scale::Whole,
    );
    list
}

/// The load in the terms of the need, or as assumed.
fn load(need: &Need, demand: &Demand) -> (&'static str, f64) {
    let said = &need.load;
    if let Some(v) = said.requests_per_day {
        ("load.requests_per_day", v)
    } else if let Some(v) = said.requests_per_s {
        ("load.requests_per_s", v)
    } else if let Some(v) = said.tokens_per_month {
        ("load.tokens_per_month", v)
    } else {
        ("load.requests_per_day", requests_per_day(demand))
    }
}

/// Requests a day of a demand.
fn requests_per_day(demand: &Demand) -> f64 {
    demand.output_tokens_per_month / demand.work.output_tokens.max(1.0) / (730.0 / 24.0)
}

type Switch = (&'static str, Option<Fact>, Option<Fact>);

/// The conditions that may be switched, with their values now and then.
fn switches(need: &Need, best: &Candidate) -> impl Iterator<Item = Switch> {
    let mut list: Vec<Switch> = Vec::new();
    let licence = &need.licence;
    if licence.commercial != Some(false) {
        let from = licence.commercial.unwrap_or(true).into();
        list.push(("licence.commercial", Some(from), Some(false.into())));
    }
    match licence.open_source {
        Some(true) => list.push(("licence.open_source", Some(true.into()), None)),
        _ => list.push(("licence.open_source", None, Some(true.into()))),
    }
    if licence.open_weights == Some(true) {
        list.push(("licence.open_weights", Some(true.into()), None));
    }
    let hosting = need.hosting.and_then(|h| serde_json::to_value(h).ok());
    let from = hosting.as_ref().and_then(|h| h.as_str()).map(Fact::from);
    match (need.hosting, best.hosting) {
        (None, Hosting::Api) => list.push(("hosting", None, Some("self_hosted".into()))),
        (None, Hosting::SelfHosted) => list.push(("hosting", None, Some("api".into()))),
        (Some(HostingNeed::Api), _) => list.push(("hosting", from, Some("self_hosted".into()))),
        _ => list.push(("hosting", from, None)),
    }
    if let Some(runtime) = need.runtime {
        list.push(("runtime", Some(runtime.name().into()), None));
    }
    if let Some(precision) = need.precision {
        list.push(("precision", Some(precision.name().into()), None));
    }
    if !need.models.is_empty() {
        list.push(("models", Some(need.models.join(", ").into()), None));
    }
    if !need.excluded_models.is_empty() {
        let from = need.excluded_models.join(", ");
        list.push(("excluded_models", Some(from.into()), None));
    }
    list.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_switched_can_be_set() {
        let context = Context::embedded("2026-11-23");
        let need = Need {
            models: vec!["ministral-3-8b".to_owned()],
            ..Need::default()
        };
        let best = first(&need, &context).expect("it is released");
        for (constraint, _, to) in switches(&need, &best) {
            assert!(
                with(&need, constraint, to.as_ref()).is_some(),
                "{constraint}"
            );
        }
        for axis in axes(&need, &best, &context) {
            assert!(
                with(&need, axis.constraint, Some(&5.0.into())).is_some()
                    || axis.constraint.starts_with("hardware")
            );
        }
    }
}
