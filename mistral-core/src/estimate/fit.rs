//! Fits the constants of the estimate to measurements, and tells how well they hold on devices and
//! models that were left out.

use std::collections::BTreeSet;

use super::Coefficients;
use super::coefficients::is_young;
use super::measured::{Case, Kind, Unpredictable};
use super::{EngineClass, Spread};
use crate::recommendation::Interval;

/// A constant that is fitted: its name, and where it lies.
type Parameter = (&'static str, fn(&mut Coefficients) -> &mut f64);

/// All constants that are fitted. What isn't here comes from elsewhere; `source` of the embedded
/// [`Coefficients`] says from where.
const PARAMETERS: &[Parameter] = &[
    ("serving.bandwidth", |c| &mut c.serving.bandwidth),
    ("serving.compute_16", |c| &mut c.serving.compute_16),
    ("serving.compute_8", |c| &mut c.serving.compute_8),
    ("serving.step_s", |c| &mut c.serving.step_s),
    ("serving.sequence_s", |c| &mut c.serving.sequence_s),
    ("serving.first_token_s", |c| &mut c.serving.first_token_s),
    ("serving.other_bandwidth", |c| {
        &mut c.serving.other_bandwidth
    }),
    ("serving.other_compute", |c| &mut c.serving.other_compute),
    ("local_gpu.bandwidth", |c| &mut c.local_gpu.bandwidth),
    ("local_gpu.compute_other", |c| {
        &mut c.local_gpu.compute_other
    }),
    ("local_unified.bandwidth", |c| {
        &mut c.local_unified.bandwidth
    }),
    ("local_unified.compute_moe", |c| {
        &mut c.local_unified.compute_moe
    }),
    ("local_cpu.bandwidth", |c| &mut c.local_cpu.bandwidth),
    ("local_cpu.compute", |c| &mut c.local_cpu.compute),
    ("all_reduce_s", |c| &mut c.all_reduce_s),
    ("link", |c| &mut c.link),
];

/// Residuals beyond this count linearly: a wrong row doesn't bend the rest.
const BEND: f64 = 0.2;
/// The fit ends when steps are smaller than this share.
const FINEST: f64 = 0.002;

/// A measurement that was predicted by constants that never saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldOut {
    /// The row's id.
    pub id: String,
    /// What was left out together with it.
    pub group: String,
    /// What the estimate said.
    pub predicted: Interval,
    /// What was measured.
    pub measured: f64,
}

/// The constants that fit `cases` best, from `start` on: coordinate descent on the Huber loss
/// (Annals of Mathematical Statistics 35, 1964) of the logarithm of predicted to measured.
#[must_use]
pub fn fit(cases: &[&Case<'_>], start: &Coefficients) -> Coefficients {
    let mut best = start.clone();
    let mut least = loss(cases, &best);
    let mut step = 0.16;
    while step > FINEST {
        let mut improved = false;
        for (_, at) in PARAMETERS {
            for factor in [1.0 + step, 1.0 / (1.0 + step)] {
                let mut tried = best.clone();
                *at(&mut tried) *= factor;
                if !sound(&mut tried) {
                    continue;
                }
                let found = loss(cases, &tried);
                if found < least * (1.0 - 1e-6) {
                    (best, least, improved) = (tried, found, true);
                }
            }
        }
        if !improved {
            step /= 2.0;
        }
    }
    best
}

/// Shares are at most the whole.
fn sound(c: &mut Coefficients) -> bool {
    PARAMETERS.iter().all(|(name, at)| {
        let is_time = name.ends_with("_s");
        let value = *at(c);
        value.is_finite() && value > 0.0 && (is_time || value <= 1.0)
    })
}

fn loss(cases: &[&Case<'_>], coefficients: &Coefficients) -> f64 {
    let one = |case: &&Case<'_>| {
        let predicted = case.predict(coefficients).ok()?.value;
        let off = (predicted / case.row.value).ln().abs();
        Some(if off <= BEND {
            off * off / (2.0 * BEND)
        } else {
            off - BEND / 2.0
        })
    };
    cases.iter().filter_map(one).sum()
}

/// Predicts every case by constants fitted to the cases of all other groups, one group after the
/// other; `progress` hears of each.
///
/// # Errors
/// [`Unpredictable`] when a case can't be predicted at all.
pub fn leave_out(
    cases: &[Case<'_>],
    start: &Coefficients,
    group: impl Fn(&Case<'_>) -> String,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<HeldOut>, Unpredictable> {
    let groups: BTreeSet<String> = cases.iter().map(&group).collect();
    let mut found = Vec::new();
    for name in groups {
        progress(&name);
        let (out, rest): (Vec<&Case<'_>>, Vec<&Case<'_>>) =
            cases.iter().partition(|c| group(c) == name);
        let fitted = fit(&rest, start);
        for case in out {
            found.push(HeldOut {
                id: case.row.id.clone(),
                group: name.clone(),
                predicted: case.predict(&fitted)?,
                measured: case.row.value,
            });
        }
    }
    Ok(found)
}

/// The factors that hold eight of ten of the rows that were left out; `before` stands where there
/// are fewer than ten rows of a kind.
#[must_use]
pub fn spread(cases: &[Case<'_>], left_out: &[HeldOut], before: &Spread) -> Spread {
    let young = |case: &Case<'_>| is_young(case.device);
    let of = |wanted: &dyn Fn(&Case<'_>) -> bool, before: f64| {
        let mut off: Vec<f64> = left_out
            .iter()
            .filter(|h| cases.iter().any(|c| c.row.id == h.id && wanted(c)))
            .map(|h| (h.predicted.value / h.measured).ln().abs())
            .collect();
        off.sort_by(f64::total_cmp);
        match off.len() {
            ..10 => before,
            n => off[(n * 4).div_ceil(5) - 1].exp(),
        }
    };
    Spread {
        serving: of(
            &|c| c.class() == (EngineClass::Serving, Kind::Rate) && !young(c),
            before.serving,
        ),
        serving_other: of(
            &|c| c.class() == (EngineClass::Serving, Kind::Rate) && young(c),
            before.serving_other,
        ),
        local: of(
            &|c| c.class() == (EngineClass::Local, Kind::Rate),
            before.local,
        ),
        prompt: of(&|c| c.class().1 == Kind::Prompt, before.prompt),
        unseen: before.unseen,
    }
}

/// Share of the rows that lie inside their interval.
#[must_use]
pub fn coverage(rows: &[HeldOut]) -> f64 {
    let inside = |h: &&HeldOut| (h.predicted.lo..=h.predicted.hi).contains(&h.measured);
    rows.iter().filter(inside).count() as f64 / rows.len().max(1) as f64
}
