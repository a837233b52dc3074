//! Why a choice stands where it stands.

use mistral_core::catalog::CatalogModel;
use mistral_core::need::{Need, Ownership};
use mistral_core::reason::Reason;
use mistral_core::recommendation::{Hosting, Interval};

use crate::candidate::{Candidate, HOURS_PER_MONTH, USD_PER_KWH};
use crate::demand::Demand;
use crate::retrieve::Machines;

fn gb(bytes: f64) -> f64 {
    (bytes / 1e8).round() / 10.0
}

fn tidy(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// The reasons of a candidate, in the order of the limits.
pub(crate) fn reasons(
    c: &Candidate,
    model: &CatalogModel,
    machines: Option<&Machines>,
    need: &Need,
    demand: &Demand,
    estimate_source: &str,
) -> Vec<Reason> {
    let mut list: Vec<Reason> = fits(c, machines, demand).into_iter().collect();
    let (p, latency, budget) = (&c.predicted, &need.latency, &need.budget);
    for (rule, value, most, unit) in [
        ("meets_ttft", p.ttft_ms, latency.ttft_ms, "ms"),
        ("meets_tpot", p.tpot_ms, latency.tpot_ms, "ms"),
        (
            "within_budget",
            p.usd_per_month,
            budget.usd_per_month,
            "usd_per_month",
        ),
        (
            "within_budget",
            p.usd_per_mtok,
            budget.usd_per_mtok,
            "usd_per_mtok",
        ),
    ] {
        list.extend(kept(rule, value, most, unit).map(|r| r.source(estimate_source)));
    }
    if c.hosting == Hosting::Api {
        let mut reason = Reason::new("latency_not_predicted").source("no measurements of the API");
        let l = &need.latency;
        if l.ttft_ms
            .or(l.tpot_ms)
            .or(l.answer_ms)
            .or(l.tokens_per_s)
            .is_some()
        {
            // The limit isn't known to hold.
            reason = reason.fact("limited", true);
        }
        list.push(reason);
    }
    list.push(c.quality.reason.clone());
    list.push(cost(c, model, machines, demand));
    if let Some(licence) = &model.licence {
        list.push(
            Reason::new("licence")
                .fact("licence", licence.value.as_str())
                .fact("unverified", licence.unverified)
                .source(&licence.source),
        );
    }
    list.extend(longevity(model));
    if c.precision.is_some_and(|p| p.is_gguf()) {
        list.push(
            Reason::new("needs_gguf_conversion")
                .source("no GGUF file in Mistral's repositories listed"),
        );
    }
    if model.config.as_ref().is_none_or(|c| c.unverified) && c.hosting == Hosting::SelfHosted {
        let source = model
            .config
            .as_ref()
            .map_or("published parameter count", |c| c.source.as_str());
        list.push(Reason::new("dimensions_unverified").source(source));
    }
    list
}

fn fits(c: &Candidate, machines: Option<&Machines>, demand: &Demand) -> Option<Reason> {
    let m = c.memory.as_ref()?;
    Some(
        Reason::new("fits_memory")
            .fact("needs_gb_per_device", gb(m.per_device))
            .fact("usable_gb_per_device", gb(c.usable_bytes))
            .fact("weights_gb", gb(m.weights))
            .fact("kv_cache_gb", gb(m.kv))
            .fact("context_tokens", demand.context_tokens)
            .fact("concurrency", demand.concurrency)
            .source("sizing from the model's dimensions")
            .source(machines.map_or("hardware table", |m| m.device.source.as_str())),
    )
}

/// A limit that was named, and what is predicted.
fn kept(rule: &str, value: Option<Interval>, most: Option<f64>, unit: &str) -> Option<Reason> {
    let (value, most) = value.zip(most)?;
    let reason = Reason::new(rule)
        .fact(&format!("predicted_{unit}"), tidy(value.value))
        .fact(&format!("limit_{unit}"), tidy(most));
    // The interval's end shows whether the limit is safe or only likely.
    Some(reason.fact("safe", value.hi <= most))
}

fn longevity(model: &CatalogModel) -> Option<Reason> {
    let status = model.status.as_ref()?;
    let name = serde_json::to_value(status.value).ok();
    let name = name.as_ref().and_then(|n| n.as_str()).unwrap_or_default();
    let mut r = Reason::new("longevity")
        .source(&status.source)
        .fact("status", name);
    if let Some(day) = &model.retires {
        r = r.fact("api_retires", day.value.as_str());
    }
    if let Some(next) = &model.replacement {
        r = r.fact("replacement", next.value.as_str());
    }
    Some(r)
}

fn cost(
    c: &Candidate,
    model: &CatalogModel,
    machines: Option<&Machines>,
    demand: &Demand,
) -> Reason {
    let tokens = demand.tokens_per_month() / 1e6;
    let Some(machines) = machines else {
        let mut r = Reason::new("api_price").fact("mtok_per_month", tidy(tokens));
        if let Some(price) = &model.price {
            for (name, value) in [
                ("usd_per_mtok_in", price.value.usd_per_mtok_in),
                ("usd_per_mtok_out", price.value.usd_per_mtok_out),
                ("usd_per_1000_pages", price.value.usd_per_1000_pages),
            ] {
                if let Some(v) = value {
                    r = r.fact(name, v);
                }
            }
            r = r.source(&price.source);
        }
        return r;
    };
    match (
        machines.ownership,
        &machines.device.price,
        machines.device.power_w,
    ) {
        (Ownership::Rented, Some(price), _) => Reason::new("rent")
            .fact("usd_per_hour_and_device", price.value)
            .fact("devices", c.count)
            .fact("hours_per_month", HOURS_PER_MONTH)
            .fact("unverified", price.unverified)
            .source(&price.source),
        (Ownership::Owned, _, Some(watts)) => Reason::new("energy")
            .fact("watts_per_device", watts)
            .fact("devices", c.count)
            .fact("usd_per_kwh", USD_PER_KWH)
            .source(&machines.device.source),
        _ => Reason::new("cost_unknown").fact("device", machines.device.name.as_str()),
    }
}
