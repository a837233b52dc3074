//! The score of a candidate that keeps all limits: a weighted mean of parts from 0 to 1.

use std::collections::BTreeMap;

use mistral_core::catalog::{CatalogModel, Status};
use mistral_core::need::{Need, Priority, Task};
use mistral_core::precision::Precision;
use mistral_core::recommendation::{Hosting, Predicted};

use crate::candidate::Candidate;
use crate::demand::Demand;

/// The parts of a score, in the order of [`Weights`].
pub const PARTS: [&str; 8] = [
    "quality",
    "latency",
    "throughput",
    "headroom",
    "cost",
    "licence",
    "longevity",
    "provenance",
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

/// What each part of a score counts, before the need's priorities.
///
/// Invariant: finite, none negative, their sum is 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights([f64; PARTS.len()]);

impl Weights {
    /// Those of a user of whom nothing is known.
    pub const FIXED: Self = Self([0.40, 0.15, 0.06, 0.05, 0.16, 0.05, 0.09, 0.04]);

    /// Amounts in the order of [`PARTS`], scaled to a sum of 1; `None` when one is negative or not
    /// finite, or all are 0.
    #[must_use]
    pub fn new(amounts: [f64; PARTS.len()]) -> Option<Self> {
        let sum: f64 = amounts.iter().sum();
        let sound = amounts.iter().all(|a| a.is_finite() && *a >= 0.0);
        (sound && sum.is_finite() && sum > 0.0).then(|| Self(amounts.map(|a| a / sum)))
    }

    /// In the order of [`PARTS`].
    #[must_use]
    pub fn amounts(&self) -> [f64; PARTS.len()] {
        self.0
    }

    /// Each with its part's name.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        PARTS.into_iter().zip(self.0)
    }
}

/// What is left of the score of a candidate that isn't known to keep a limit on time: a limit
/// that holds for certain comes first.
const UNPROVEN: f64 = 0.5;

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

/// Scores a candidate by the weights of a user of whom nothing is known.
#[must_use]
pub fn score(c: &Candidate, model: &CatalogModel, need: &Need, demand: &Demand) -> Score {
    score_by(&Weights::FIXED, c, model, need, demand)
}

/// Scores a candidate by these weights.
#[must_use]
pub fn score_by(
    weights: &Weights,
    c: &Candidate,
    model: &CatalogModel,
    need: &Need,
    demand: &Demand,
) -> Score {
    Scorer::new(*weights, need, demand).score(c, Standing::of(model))
}

/// What weights multiply, in the order of [`PARTS`]: a candidate's score is their sum, and by the
/// fixed weights exactly [`Score::value`]. Parts are multiplied by what the need emphasises and by
/// what no weight may buy back, such as a speed that nobody waits for.
#[must_use]
pub fn features(
    parts: &BTreeMap<String, f64>,
    hosting: Hosting,
    predicted: &Predicted,
    need: &Need,
) -> [f64; PARTS.len()] {
    let parts = PARTS.map(|part| parts.get(part).copied());
    features_of(parts, &emphases(need), hosting, predicted, need)
}

/// A value of each part that can be known, in the order of [`PARTS`].
type Parts = [Option<f64>; PARTS.len()];

fn features_of(
    parts: Parts,
    emphasis: &[f64; PARTS.len()],
    hosting: Hosting,
    predicted: &Predicted,
    need: &Need,
) -> [f64; PARTS.len()] {
    let fixed = Weights::FIXED.0;
    let has = PARTS.map(|part| hosting == Hosting::SelfHosted || !own_machines_only(part));
    let mut values = parts.map(|part| part.unwrap_or(UNKNOWN));
    let (mut sum, mut weights, mut all) = (0.0, 0.0, 0.0);
    for i in 0..PARTS.len() {
        all += fixed[i] * emphasis[i];
        if has[i] {
            sum += fixed[i] * emphasis[i] * values[i];
            weights += fixed[i] * emphasis[i];
        }
    }
    // What the API doesn't have is worth what its other parts are worth on the whole.
    for i in 0..PARTS.len() {
        if !has[i] {
            values[i] = sum / weights;
        }
    }
    let task = need.task.unwrap_or(Task::Chat);
    let factor = usable(predicted, task) * sensible(predicted, need) * proven(predicted, need);
    std::array::from_fn(|i| values[i] * emphasis[i] * factor / all)
}

/// What a model's licence and age count, however it runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    licence: f64,
    longevity: f64,
}

impl Standing {
    pub(crate) fn of(model: &CatalogModel) -> Self {
        Self {
            licence: licence(model),
            longevity: longevity(model),
        }
    }
}

/// Scores candidates for one need; what is the same for all of them is computed once.
pub(crate) struct Scorer<'a> {
    weights: Weights,
    need: &'a Need,
    demand: &'a Demand,
    emphasis: [f64; PARTS.len()],
    /// What brings scores by these weights to the scale of the fixed ones.
    scale: f64,
}

impl<'a> Scorer<'a> {
    pub(crate) fn new(weights: Weights, need: &'a Need, demand: &'a Demand) -> Self {
        let emphasis = emphases(need);
        let sum = |w: &Weights| w.0.iter().zip(emphasis).map(|(w, e)| w * e).sum::<f64>();
        Self {
            scale: sum(&Weights::FIXED) / sum(&weights),
            weights,
            need,
            demand,
            emphasis,
        }
    }

    /// [`Score::value`] alone.
    pub(crate) fn value(&self, c: &Candidate, standing: Standing) -> f64 {
        self.value_of(c, parts(c, standing, self.need, self.demand))
    }

    pub(crate) fn score(&self, c: &Candidate, standing: Standing) -> Score {
        let parts = parts(c, standing, self.need, self.demand);
        let named = PARTS.into_iter().zip(parts);
        Score {
            value: self.value_of(c, parts),
            parts: named
                .filter_map(|(name, part)| Some((name.to_owned(), round(part?))))
                .collect(),
        }
    }

    fn value_of(&self, c: &Candidate, parts: Parts) -> f64 {
        let features = features_of(parts, &self.emphasis, c.hosting, &c.predicted, self.need);
        let each = self.weights.0.iter().zip(features);
        round(each.map(|(w, f)| w * f).sum::<f64>() * self.scale)
    }
}

fn own_machines_only(part: &str) -> bool {
    matches!(part, "headroom" | "provenance")
}

fn emphases(need: &Need) -> [f64; PARTS.len()] {
    PARTS.map(|part| {
        if emphasised(part, &need.priorities) {
            EMPHASIS
        } else {
            1.0
        }
    })
}

/// The parts that can be known, each from 0 to 1.
fn parts(c: &Candidate, standing: Standing, need: &Need, demand: &Demand) -> Parts {
    let p = &c.predicted;
    let latency = p.ttft_ms.zip(p.tpot_ms).map(|(first, each)| {
        // Half of what is allowed is comfortable; a second and 50 ms (twice reading speed) when
        // nothing is said.
        let first_half = need.latency.ttft_ms.map_or(1000.0, |l| l / 2.0);
        let each_half = need.latency.tpot_ms.map_or(50.0, |l| l / 2.0);
        0.5 * (falling(first.value, first_half) + falling(each.value, each_half))
    });
    let throughput = p.tokens_per_s.map(|rate| {
        let wanted = demand.output_tokens_per_month / (730.0 * 3600.0) * 4.0;
        rate.value / (rate.value + wanted.max(1.0))
    });
    let headroom = c.memory.as_ref().map(|memory| {
        let left = 1.0 - memory.per_device / c.usable_bytes.max(1.0);
        // A third of the memory free is all that context growth asks for.
        (left * 3.0).clamp(0.0, 1.0)
    });
    let cost = p.usd_per_month.map(|usd| {
        let half = need.budget.usd_per_month.map_or(USUAL_USD, |b| b.max(1.0));
        falling(usd.value, half)
    });
    let provenance = (c.hosting == Hosting::SelfHosted).then(|| {
        // Files that others converted, or that are still to be converted, must be trusted or made.
        let converted = c
            .precision
            .is_some_and(|p| p.is_gguf() || p == Precision::Mlx4);
        if converted { 0.4 } else { 1.0 }
    });
    [
        Some(c.quality.value),
        latency,
        throughput,
        headroom,
        cost,
        Some(standing.licence),
        Some(standing.longevity),
        provenance,
    ]
}

/// Below reading speed everything else counts for little: nobody waits for a good answer that
/// comes at 0.8 tokens a second.
fn usable(predicted: &Predicted, task: Task) -> f64 {
    let background = matches!(
        task,
        Task::Embed | Task::Moderate | Task::Extract | Task::Transcribe
    );
    match predicted.tpot_ms {
        Some(each) if !background => (SLOWEST_MS / each.value.max(1e-9)).min(1.0),
        _ => 1.0,
    }
}

/// Without a budget, money still counts.
fn sensible(predicted: &Predicted, need: &Need) -> f64 {
    let b = &need.budget;
    let said = b
        .usd_per_month
        .or(b.usd_per_hour)
        .or(b.usd_per_mtok)
        .is_some();
    match predicted.usd_per_month {
        Some(usd) if !said && !need.priorities.contains(&Priority::Quality) => {
            falling(usd.value, EXTRAVAGANT_USD)
        }
        _ => 1.0,
    }
}

/// Less for a candidate of which nothing is known that a limit on time is about.
fn proven(p: &Predicted, need: &Need) -> f64 {
    let l = &need.latency;
    let unknown_time = p.ttft_ms.is_none() || p.tpot_ms.is_none();
    let time = l.ttft_ms.or(l.tpot_ms).or(l.answer_ms).is_some();
    if time && unknown_time || l.tokens_per_s.is_some() && p.tokens_per_s.is_none() {
        UNPROVEN
    } else {
        1.0
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
