//! The estimate's bias by device and engine, from measured runs.
//!
//! Logarithms of measured over predicted times are normal around a bias of their device and engine;
//! biases are normal around a mean of their class of engines; means around 0. Posteriors are those
//! of the normal-normal hierarchy (Gelman et al., Bayesian Data Analysis, 5.4), with reports weighted
//! as a Student t with four degrees of freedom weighs them (Lange, Little and Taylor 1989), so that an
//! absurd one counts for nearly nothing.

use std::collections::BTreeMap;

use mistral_core::estimate::EngineClass;
use mistral_core::plan::Runtime;
use mistral_core::reason::Reason;
use mistral_core::recommendation::{Interval, Predicted};
use mistral_core::report::RunReport;

use super::residual::{Residual, residual};
use crate::Context;

/// Standard deviations that an 80 % interval of a normal has to either side.
const TO_80: f64 = 1.281_55;
/// Degrees of freedom of the t, and reports that the usual scatter counts for.
const FREEDOM: f64 = 4.0;
/// Runs that scatter more than this widen an interval.
const USUAL_SCATTER: f64 = 0.2;
/// Rounds of reweighting; the weights stand still after about ten.
const ROUNDS: usize = 32;

/// What is believed before any report, as standard deviations of logarithms.
#[derive(Debug, Clone, Copy)]
struct Prior {
    /// Between classes of engines: small, so that one device's reports say little about others.
    class: f64,
    /// Between devices of a class.
    device: f64,
    /// Between runs on one device.
    run: f64,
}

/// The first token waits for more that no estimate knows (queues, warm-up), so runs scatter more.
const TTFT: Prior = Prior {
    class: 0.08,
    device: 0.4,
    run: 0.2,
};
const TPOT: Prior = Prior {
    class: 0.08,
    device: 0.3,
    run: 0.12,
};

/// What a forecast time is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Correction {
    /// The expected factor; 1 without reports.
    pub factor: f64,
    /// One of ten such factors lies below it.
    pub lo: f64,
    /// One of ten such factors lies above it.
    pub hi: f64,
    /// Reports of this device and engine that it stands on.
    pub reports: u32,
    /// Standard deviation of the logarithm of a single run's time around the corrected forecast.
    pub scatter: f64,
}

impl Correction {
    /// The time corrected. The interval narrows to what the reports leave open; it widens only when
    /// runs are seen to scatter more than usual.
    #[must_use]
    pub fn apply(&self, time: Interval) -> Interval {
        self.scale(time, self.factor)
    }

    fn scale(&self, i: Interval, factor: f64) -> Interval {
        let (up, down) = ((i.hi / i.value).ln(), (i.value / i.lo).ln());
        if !(up.is_finite() && down.is_finite() && factor.is_finite()) {
            return i;
        }
        let value = i.value * factor;
        Interval {
            value,
            lo: value / self.width(down).exp(),
            hi: value * self.width(up).exp(),
        }
    }

    /// Half the interval's width as a logarithm, where the forecast's own is `own`.
    fn width(&self, own: f64) -> f64 {
        let bias = (self.hi / self.lo).ln() / 2.0;
        let seen = (bias * bias + (TO_80 * self.scatter).powi(2)).sqrt();
        match self.reports {
            0 => own,
            _ if seen > own && self.scatter <= USUAL_SCATTER => own,
            _ => seen,
        }
    }
}

/// Both corrections of a device and engine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeviceCorrection {
    /// Of the time to the first token.
    pub ttft: Correction,
    /// Of the time between tokens.
    pub tpot: Correction,
}

/// A report that nothing was learned from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unused {
    /// Its place among the reports, from 0.
    pub report: usize,
    /// A stable name of the reason.
    pub code: &'static str,
    /// What was expected and what was found.
    pub because: String,
}

/// Corrections of all devices and engines.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Corrections {
    devices: BTreeMap<String, BTreeMap<Runtime, DeviceCorrection>>,
    /// For devices without reports, by class of engines, with the class's number of reports.
    classes: BTreeMap<EngineClass, (DeviceCorrection, u32)>,
    /// Reports that can't be compared with the estimate.
    pub unused: Vec<Unused>,
}

impl Corrections {
    /// Learns from reports, in whatever order they are.
    #[must_use]
    pub fn learn<'r>(
        reports: impl IntoIterator<Item = &'r RunReport>,
        context: &Context<'_>,
    ) -> Self {
        let (mut residuals, mut unused) = (Vec::new(), Vec::new());
        for (report, r) in reports.into_iter().enumerate() {
            match residual(r, context) {
                Ok(residual) => residuals.push(residual),
                Err(error) => unused.push(Unused {
                    report,
                    code: error.code(),
                    because: error.to_string(),
                }),
            }
        }
        Self {
            unused,
            ..Self::of_residuals(&residuals)
        }
    }

    /// Learns from comparisons that were made before.
    #[must_use]
    pub fn of_residuals(residuals: &[Residual]) -> Self {
        let ttft = fit(residuals, |r| r.ttft, &TTFT);
        let tpot = fit(residuals, |r| r.tpot, &TPOT);
        let mut all = Self::default();
        for r in residuals {
            let class = EngineClass::from(r.runtime);
            let general = DeviceCorrection {
                ttft: ttft.class(class, &TTFT),
                tpot: tpot.class(class, &TPOT),
            };
            let key = (r.device.as_str(), r.runtime);
            let own = DeviceCorrection {
                ttft: ttft.devices.get(&key).copied().unwrap_or(general.ttft),
                tpot: tpot.devices.get(&key).copied().unwrap_or(general.tpot),
            };
            let entry = all.classes.entry(class).or_insert((general, 0));
            entry.1 += 1;
            let engines = all.devices.entry(r.device.clone()).or_default();
            engines.insert(r.runtime, own);
        }
        all
    }

    /// The corrections of a device and engine; those of its class of engines when it has no reports.
    #[must_use]
    pub fn get(&self, device: &str, runtime: Runtime) -> DeviceCorrection {
        let own = self.devices.get(device).and_then(|e| e.get(&runtime));
        let class = || self.classes.get(&EngineClass::from(runtime)).map(|c| c.0);
        own.copied().or_else(class).unwrap_or(DeviceCorrection {
            ttft: Class::default().general(&TTFT),
            tpot: Class::default().general(&TPOT),
        })
    }

    /// Corrects a forecast for answers of `output_tokens`.
    pub(crate) fn apply(
        &self,
        device: &str,
        runtime: Runtime,
        output_tokens: f64,
        predicted: &mut Predicted,
    ) {
        if !self.classes.contains_key(&EngineClass::from(runtime)) {
            // Nothing was measured: the forecast stays to the last bit.
            return;
        }
        let both = self.get(device, runtime);
        let (Some(ttft), Some(tpot)) = (predicted.ttft_ms, predicted.tpot_ms) else {
            return;
        };
        let (first, each) = (both.ttft.apply(ttft), both.tpot.apply(tpot));
        // Answers a second go with the time of an answer.
        let answer = |first: Interval, each: Interval| first.value + output_tokens * each.value;
        let faster = answer(ttft, tpot) / answer(first, each);
        if let Some(before) = predicted.tokens_per_s {
            let rate = both.tpot.scale(before, faster);
            predicted.tokens_per_s = Some(rate);
            predicted.joules_per_token = predicted.joules_per_token.map(|joules| {
                let watts = joules.value * before.value;
                Interval {
                    value: watts / rate.value,
                    lo: watts / rate.hi,
                    hi: watts / rate.lo,
                }
            });
        }
        (predicted.ttft_ms, predicted.tpot_ms) = (Some(first), Some(each));
    }

    /// Why a forecast was corrected; `None` when nothing was measured on engines of its class.
    #[must_use]
    pub fn reason(&self, device: &str, runtime: Runtime) -> Option<Reason> {
        let (_, class_reports) = self.classes.get(&EngineClass::from(runtime))?;
        let both = self.get(device, runtime);
        let round = |v: f64| (v * 1e3).round() / 1e3;
        Some(
            Reason::new("learned.bias")
                .fact("reports", both.ttft.reports.max(both.tpot.reports))
                .fact("reports_of_engine_class", *class_reports)
                .fact("ttft_factor", round(both.ttft.factor))
                .fact("tpot_factor", round(both.tpot.factor))
                .fact("tpot_factor_lo", round(both.tpot.lo))
                .fact("tpot_factor_hi", round(both.tpot.hi))
                .source("measured runs of the history"),
        )
    }
}

/// The mean of a class of engines.
#[derive(Debug, Clone, Copy, Default)]
struct Class {
    mean: f64,
    /// Variance of that mean; `None` before any report.
    variance: Option<f64>,
}

impl Class {
    /// The correction of a device of this class without reports.
    fn general(&self, prior: &Prior) -> Correction {
        let variance = self.variance.unwrap_or(prior.class.powi(2)) + prior.device.powi(2);
        correction(self.mean, variance, 0, prior.run)
    }
}

fn correction(mean: f64, variance: f64, reports: u32, scatter: f64) -> Correction {
    let half = TO_80 * variance.sqrt();
    Correction {
        factor: mean.exp(),
        lo: (mean - half).exp(),
        hi: (mean + half).exp(),
        reports,
        scatter,
    }
}

/// One quantity of all devices.
struct Fit<'a> {
    devices: BTreeMap<(&'a str, Runtime), Correction>,
    classes: BTreeMap<EngineClass, Class>,
}

impl Fit<'_> {
    fn class(&self, class: EngineClass, prior: &Prior) -> Correction {
        let class = self.classes.get(&class).copied().unwrap_or_default();
        class.general(prior)
    }
}

fn fit<'a>(
    residuals: &'a [Residual],
    quantity: impl Fn(&Residual) -> Option<f64>,
    prior: &Prior,
) -> Fit<'a> {
    let mut groups: BTreeMap<(&str, Runtime), Vec<f64>> = BTreeMap::new();
    for r in residuals {
        if let Some(value) = quantity(r) {
            let group = groups.entry((r.device.as_str(), r.runtime)).or_default();
            group.push(value);
        }
    }
    // Sums of floats depend on their order, the answer must not.
    groups.values_mut().for_each(|g| g.sort_by(f64::total_cmp));
    let mut sums: BTreeMap<EngineClass, (f64, f64)> = BTreeMap::new();
    for ((_, runtime), values) in &groups {
        let group = Robust::of(values, 0.0, prior);
        let weight = 1.0 / (prior.device.powi(2) + prior.run.powi(2) / group.weight);
        let sum = sums.entry(EngineClass::from(*runtime)).or_default();
        sum.0 += weight * group.mean;
        sum.1 += weight;
    }
    let classes: BTreeMap<EngineClass, Class> = sums
        .into_iter()
        .map(|(class, (sum, weight))| {
            let variance = 1.0 / (1.0 / prior.class.powi(2) + weight);
            let mean = sum * variance;
            let variance = Some(variance);
            (class, Class { mean, variance })
        })
        .collect();
    let devices = groups
        .iter()
        .map(|(key, values)| {
            let class = classes[&EngineClass::from(key.1)];
            (*key, posterior(values, class, prior))
        })
        .collect();
    Fit { devices, classes }
}

/// A device's bias given its reports and its class.
fn posterior(values: &[f64], class: Class, prior: &Prior) -> Correction {
    let group = Robust::of(values, class.mean, prior);
    let (between, within) = (prior.device.powi(2), prior.run.powi(2) / group.weight);
    let to_class = within / (within + between);
    let mean = to_class * class.mean + (1.0 - to_class) * group.mean;
    let of_class = class.variance.unwrap_or(prior.class.powi(2));
    let variance = between * to_class + to_class.powi(2) * of_class;
    let reports = u32::try_from(values.len()).unwrap_or(u32::MAX);
    correction(mean, variance, reports, group.scatter)
}

/// A group's mean with each report weighted by how believable it is.
struct Robust {
    mean: f64,
    /// Sum of the weights, each at most 1.
    weight: f64,
    /// Standard deviation of a single run.
    scatter: f64,
}

impl Robust {
    /// `values` is sorted and not empty; `centre` is what is expected.
    fn of(values: &[f64], centre: f64, prior: &Prior) -> Self {
        let (run, device) = (prior.run.powi(2), prior.device.powi(2));
        let near = middle(values, centre);
        let weigh = |r: f64, believed: f64, variance: f64| {
            let z = (r - believed).powi(2) / (run + variance);
            ((FREEDOM + 1.0) / (FREEDOM + z)).min(1.0)
        };
        let mut weights: Vec<f64> = values.iter().map(|r| weigh(*r, near, device)).collect();
        for _ in 0..ROUNDS {
            let weight: f64 = weights.iter().sum();
            let sum: f64 = weights.iter().zip(values).map(|(w, r)| w * r).sum();
            for (w, r) in weights.iter_mut().zip(values) {
                // By what the others say, or an absurd report would vouch for itself.
                let variance = 1.0 / (1.0 / device + (weight - *w).max(0.0) / run);
                let believed = variance * (centre / device + (sum - *w * r) / run);
                *w = weigh(*r, believed, variance);
            }
        }
        let weight: f64 = weights.iter().sum();
        let mean = weights.iter().zip(values).map(|(w, r)| w * r).sum::<f64>() / weight;
        let off: f64 = weights
            .iter()
            .zip(values)
            .map(|(w, r)| w * (r - mean).powi(2))
            .sum();
        let scatter = (FREEDOM * run + off) / (FREEDOM + (weight - 1.0).max(0.0));
        Self {
            mean,
            weight,
            scatter: scatter.sqrt(),
        }
    }
}

/// The median of the values and what is expected; of two in the middle the one nearer to that.
fn middle(values: &[f64], centre: f64) -> f64 {
    let mut all = values.to_vec();
    all.push(centre);
    all.sort_by(f64::total_cmp);
    let (a, b) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
    if (a - centre).abs() <= (b - centre).abs() {
        a
    } else {
        b
    }
}
