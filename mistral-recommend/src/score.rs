//! The score of a candidate that keeps all limits: a weighted mean of parts from 0 to 1.

use std::collections::BTreeMap;

use mistral_core::catalog::{CatalogModel, Status};
use mistral_core::need::{Need, Priority, Task};
use mistral_core::precision::Precision;
use mistral_core::recommendation::Hosting;

use crate::candidate::Candidate;
use crate::demand::Demand;

/// The parts and their weights when the need names no priority.
const WEIGHTS: [(&str, f64); 8] = [
    ("quality", 0.40),
    ("latency", 0.15),
    ("throughput", 0.06),
    ("headroom", 0.05),
    ("cost", 0.16),
    ("licence", 0.05),
    ("longevity", 0.09),
    ("provenance", 0.04),
];
/// What an amount that can't be predicted counts for: neither well nor badly.
const UNKNOWN: f64 = 0.5;
/// What a priority multiplies its part's weight by.
const EMPHASIS: f64 = 3.0;
/// Dollars a month that halve the part `cost` when there is no budget.
const USUAL_USD: f64 = 400.0;
/// Dollars a month that halve the whole score when neither a budget nor quality above all was
/// named: hardly anyone means to spend this without saying so.
const EXTRAVAGANT_USD: f64 = 15_000.0;
/// Slowest step that a reader doesn't wait for, in milliseconds: 5 tokens a second.
const SLOWEST_MS: f64 = 200.0;

/// A score and its parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// From 0 to 1.
    pub value: f64,
    /// By name; a part that can't be known is absent and counts half.
    pub parts: BTreeMap<String, f64>,
}

fn emphasised(part: &str, priorities: &[Priority]) -> bool {
    priorities.iter().any(|p| {
        matches!(
            (p, part),
            (Priority::Quality, "quality")
                | (Priority::Speed, "latency")
                | (Priority::Throughput, "throughput")
                | (Priority::Cost, "cost")
                | (Priority::Size, "headroom")
                | (Priority::Longevity, "longevity")
        )
    })
}

/// 1 at nothing, one half at `half`, 0 at infinity.
fn falling(value: f64, half: f64) -> f64 {
    1.0 / (1.0 + value.max(0.0) / half.max(f64::MIN_POSITIVE))
}

/// Scores a candidate.
#[must_use]
pub fn score(c: &Candidate, model: &CatalogModel, need: &Need, demand: &Demand) -> Score {
    let mut parts = BTreeMap::new();
    parts.insert("quality".to_owned(), c.quality.value);
    let p = &c.predicted;
    if let (Some(first), Some(each)) = (p.ttft_ms, p.tpot_ms) {
        // Half of what is allowed is comfortable; a second and 50 ms (twice reading speed) when
        // nothing is said.
        let first_half = need.latency.ttft_ms.map_or(1000.0, |l| l / 2.0);
        let each_half = need.latency.tpot_ms.map_or(50.0, |l| l / 2.0);
        let value = 0.5 * (falling(first.value, first_half) + falling(each.value, each_half));
        parts.insert("latency".to_owned(), value);
    }
    if let Some(rate) = p.tokens_per_s {
        let wanted = demand.output_tokens_per_month / (730.0 * 3600.0) * 4.0;
        parts.insert(
            "throughput".to_owned(),
            rate.value / (rate.value + wanted.max(1.0)),
        );
    }
    if let Some(memory) = &c.memory {
        let left = 1.0 - memory.per_device / c.usable_bytes.max(1.0);
        // A third of the memory free is all that context growth asks for.
        parts.insert("headroom".to_owned(), (left * 3.0).clamp(0.0, 1.0));
    }
    if let Some(usd) = p.usd_per_month {
        let half = need.budget.usd_per_month.map_or(USUAL_USD, |b| b.max(1.0));
        parts.insert("cost".to_owned(), falling(usd.value, half));
    }
    if c.hosting == Hosting::SelfHosted {
        // Files that others converted, or that are still to be converted, must be trusted or made.
        let converted = c
            .precision
            .is_some_and(|p| p.is_gguf() || p == Precision::Mlx4);
        parts.insert("provenance".to_owned(), if converted { 0.4 } else { 1.0 });
    }
    parts.insert("licence".to_owned(), licence(model));
    parts.insert("longevity".to_owned(), longevity(model));

    let (mut sum, mut weights) = (0.0, 0.0);
    for (name, weight) in WEIGHTS {
        let own_machines_only = matches!(name, "headroom" | "provenance");
        if c.hosting == Hosting::Api && own_machines_only {
            continue;
        }
        let value = parts.get(name).copied().unwrap_or(UNKNOWN);
        let emphasis = if emphasised(name, &need.priorities) {
            EMPHASIS
        } else {
            1.0
        };
        sum += weight * emphasis * value;
        weights += weight * emphasis;
    }
    let value = sum / weights * usable(c, demand.task) * sensible(c, need);
    Score {
        value: round(value),
        parts: parts.into_iter().map(|(k, v)| (k, round(v))).collect(),
    }
}

/// Below reading speed everything else counts for little: nobody waits for a good answer that
/// comes at 0.8 tokens a second.
fn usable(c: &Candidate, task: Task) -> f64 {
    let background = matches!(
        task,
        Task::Embed | Task::Moderate | Task::Extract | Task::Transcribe
    );
    match c.predicted.tpot_ms {
        Some(each) if !background => (SLOWEST_MS / each.value.max(1e-9)).min(1.0),
        _ => 1.0,
    }
}

/// Without a budget, money still counts.
fn sensible(c: &Candidate, need: &Need) -> f64 {
    let b = &need.budget;
    let said = b
        .usd_per_month
        .or(b.usd_per_hour)
        .or(b.usd_per_mtok)
        .is_some();
    match c.predicted.usd_per_month {
        Some(usd) if !said && !need.priorities.contains(&Priority::Quality) => {
            falling(usd.value, EXTRAVAGANT_USD)
        }
        _ => 1.0,
    }
}

fn licence(model: &CatalogModel) -> f64 {
    match model.licence.as_ref().map(|l| l.value.as_str()) {
        Some("Apache-2.0" | "MIT") => 1.0,
        Some("LicenseRef-Modified-MIT") => 0.8,
        // Weights that can't be had leave no way out, and a licence that isn't known is a risk.
        None => 0.5,
        Some(_) => 0.2,
    }
}

fn longevity(model: &CatalogModel) -> f64 {
    match model.status.as_ref().map(|s| s.value) {
        Some(Status::Available) => 1.0,
        // Newer than the documents that list states.
        None => 0.9,
        Some(Status::Preview) => 0.7,
        Some(Status::Deprecated) => 0.4,
        Some(Status::Retired) => 0.15,
    }
}

fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
