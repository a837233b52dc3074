//! Hard limits: what a candidate must keep, and by how much it fails.

use mistral_core::catalog::CatalogModel;
use mistral_core::need::{HostingNeed, Need, Task};
use mistral_core::plan::Runtime;
use mistral_core::reason::Fact;
use mistral_core::recommendation::{Hosting, Interval};

use crate::candidate::{Candidate, HOURS_PER_MONTH};
use crate::demand::Demand;

/// A limit that a candidate breaks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Violation {
    /// The limit, by its path in the need.
    pub constraint: &'static str,
    /// The limit's value.
    pub from: Option<Fact>,
    /// The value that would let this candidate through.
    pub to: Option<Fact>,
    /// How far off it is, as a factor of at least 1; orders changes by size.
    pub excess: f64,
}

/// Licences that the Open Source Initiative approves.
const OPEN_SOURCE: &[&str] = &["Apache-2.0", "MIT"];
/// Licences that forbid use for profit without a contract.
const NOT_COMMERCIAL: &[&str] = &["LicenseRef-MRL", "LicenseRef-MNPL", "CC-BY-NC-4.0"];
/// Factor between switching something off altogether and a limit that is twice too small.
const SWITCH: f64 = 4.0;

/// Limits on the model itself, however it runs. `hosting` is who would run it.
pub(crate) fn of_model(
    model: &CatalogModel,
    hosting: Hosting,
    need: &Need,
    demand: &Demand,
) -> Vec<Violation> {
    let mut broken = Vec::new();
    let mut switch = |constraint, from: Fact, to: Option<Fact>| {
        broken.push(Violation {
            constraint,
            from: Some(from),
            to,
            excess: SWITCH,
        });
    };
    let licence = model.licence.as_ref().map(|l| l.value.as_str());
    // A need that doesn't say is taken as commercial: the mistake in the other direction costs more.
    let commercial = need.licence.commercial.unwrap_or(true);
    let own = hosting == Hosting::SelfHosted;
    if own && commercial && licence.is_some_and(|l| NOT_COMMERCIAL.contains(&l)) {
        switch("licence.commercial", true.into(), Some(false.into()));
    }
    if need.licence.open_source == Some(true) && !licence.is_some_and(|l| OPEN_SOURCE.contains(&l))
    {
        switch("licence.open_source", true.into(), Some(false.into()));
    }
    if need.licence.open_weights == Some(true) && !model.has_open_weights() {
        switch("licence.open_weights", true.into(), Some(false.into()));
    }
    match (need.hosting, hosting) {
        (Some(HostingNeed::Api), Hosting::SelfHosted) => {
            switch("hosting", "api".into(), Some("self_hosted".into()));
        }
        (Some(HostingNeed::SelfHosted), Hosting::Api) => {
            switch("hosting", "self_hosted".into(), Some("api".into()));
        }
        (Some(HostingNeed::Offline), Hosting::Api) => {
            switch("hosting", "offline".into(), Some("api".into()));
        }
        _ => {}
    }
    if !own {
        // Neither is the user's choice at the API.
        if let Some(runtime) = need.runtime.filter(|&r| r != Runtime::MistralApi) {
            switch("runtime", runtime.name().into(), None);
        }
        if let Some(precision) = need.precision {
            switch("precision", precision.name().into(), None);
        }
    }
    broken.extend(too_long(model, demand));
    broken
}

/// A context that the model doesn't have. Sound and pages aren't measured in it.
fn too_long(model: &CatalogModel, demand: &Demand) -> Option<Violation> {
    let measured = !matches!(demand.task, Task::Transcribe | Task::Speech | Task::Ocr);
    let longest = model.context_tokens.as_ref()?.value;
    (measured && longest < demand.context_tokens).then(|| Violation {
        constraint: "context_tokens",
        from: Some(demand.context_tokens.into()),
        to: Some(longest.into()),
        excess: f64::from(demand.context_tokens) / f64::from(longest.max(1)),
    })
}

/// Limits on memory, time, load and money; `device_gb` is what each of its devices has.
pub(crate) fn of_candidate(
    c: &Candidate,
    device_gb: f64,
    need: &Need,
    demand: &Demand,
) -> Vec<Violation> {
    let value = |i: Option<Interval>| i.map(|i| i.value);
    let (p, l, budget) = (&c.predicted, &need.latency, &need.budget);
    let answer = value(p.ttft_ms)
        .zip(value(p.tpot_ms))
        .map(|(first, each)| first + each * demand.work.output_tokens);
    let month = value(p.usd_per_month);
    let hour = month.map(|m| m / HOURS_PER_MONTH);
    let mtok = value(p.usd_per_mtok);
    let rate = value(p.tokens_per_s);
    // The mean load must be met with a fifth to spare; peaks queue.
    let mean = demand.output_tokens_per_month / (HOURS_PER_MONTH * 3600.0) * 1.2;
    let load = demand.load_is_said.then_some(mean);
    let memory = c.memory.as_ref().filter(|m| m.per_device > c.usable_bytes);
    [
        memory.map(|m| too_big(m.per_device, c.usable_bytes, device_gb)),
        at_most("latency.ttft_ms", l.ttft_ms, value(p.ttft_ms)),
        at_most("latency.tpot_ms", l.tpot_ms, value(p.tpot_ms)),
        at_most("latency.answer_ms", l.answer_ms, answer),
        at_most("budget.usd_per_month", budget.usd_per_month, month),
        at_most("budget.usd_per_hour", budget.usd_per_hour, hour),
        at_most("budget.usd_per_mtok", budget.usd_per_mtok, mtok),
        at_least("latency.tokens_per_s", l.tokens_per_s, rate),
        at_least("load", load, rate),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What a model breaks that needs `needed` bytes on a device of `device_gb` with `usable` ones: the
/// limit is the device's memory, of which an engine takes the same share of a larger one.
pub(crate) fn too_big(needed: f64, usable: f64, device_gb: f64) -> Violation {
    let excess = needed / usable.max(1.0);
    Violation {
        constraint: "hardware.memory_gb",
        from: Some(round(device_gb).into()),
        to: Some(((device_gb * excess * 10.0).ceil() / 10.0).into()),
        excess,
    }
}

fn at_most(constraint: &'static str, limit: Option<f64>, value: Option<f64>) -> Option<Violation> {
    let (limit, value) = limit.zip(value)?;
    (value > limit).then(|| Violation {
        constraint,
        from: Some(limit.into()),
        to: Some(round_up(value).into()),
        excess: value / limit.max(f64::MIN_POSITIVE),
    })
}

fn at_least(constraint: &'static str, limit: Option<f64>, value: Option<f64>) -> Option<Violation> {
    let (limit, value) = limit.zip(value)?;
    (value < limit).then(|| Violation {
        constraint,
        from: Some(round(limit).into()),
        to: Some(((value * 10.0).floor() / 10.0).into()),
        excess: limit / value.max(f64::MIN_POSITIVE),
    })
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn round_up(value: f64) -> f64 {
    if value < 10.0 {
        (value * 100.0).ceil() / 100.0
    } else {
        value.ceil()
    }
}
