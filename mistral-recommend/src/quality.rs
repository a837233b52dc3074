//! How good a model's answers should be for a job.
//!
//! Published scores are few and of different kinds, so the base is one score that nearly all
//! models have or can be given: MMLU. Where it isn't published, it is predicted from size and
//! date; the nine published results lie within 0.045 of that curve.

use mistral_core::capability::Capability;
use mistral_core::catalog::CatalogModel;
use mistral_core::need::Task;
use mistral_core::precision::Precision;
use mistral_core::reason::Reason;

/// A quality from 0 to 1 and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Quality {
    /// From 0 (guessing) to 1.
    pub value: f64,
    /// What it stands on.
    pub reason: Reason,
}

/// `logit(MMLU) = a + b ln(sqrt(total * active) in 10^9) + c (years after 2023-09-27)`, least
/// squares over the nine models of the catalogue with a published MMLU; a test fits it again.
const CURVE: [f64; 3] = [-0.3168, 0.3452, 0.3441];

/// Years between two dates `YYYY-MM-DD`, to a day.
fn years_after(date: &str, since: (f64, f64, f64)) -> Option<f64> {
    let mut parts = date.split('-').map(|p| p.parse::<f64>().ok());
    let (y, m, d) = (
        parts.next()??,
        parts.next()??,
        parts.next().flatten().unwrap_or(1.0),
    );
    Some((y - since.0) + (m - since.1) / 12.0 + (d - since.2) / 365.25)
}

/// Size as the curve takes it, in 10^9: the geometric mean of all and active parameters. A model
/// behind the API alone is given the size that its price suggests (20·10^9 a dollar a million
/// generated tokens, as the open models are priced).
fn effective_size(model: &CatalogModel) -> Option<(f64, &'static str)> {
    if let Some(p) = model.parameters() {
        return Some((
            (p.total as f64 * p.active as f64).sqrt() / 1e9,
            "size_and_date",
        ));
    }
    let price = model.price.as_ref()?.value.usd_per_mtok_out?;
    Some(((price * 20.0).clamp(1.0, 400.0), "price_and_date"))
}

fn benchmark(model: &CatalogModel, names: &[&str]) -> Option<(f64, String)> {
    model
        .benchmarks
        .iter()
        .find(|b| names.contains(&b.name.as_str()))
        .map(|b| (b.value, b.source.clone()))
}

/// Knowledge and language: published or predicted MMLU.
fn base(model: &CatalogModel) -> (f64, &'static str, Option<String>) {
    if let Some((value, source)) = benchmark(model, &["MMLU", "MMLU 5-shot"]) {
        return (value, "published_mmlu", Some(source));
    }
    let Some((size, basis)) = effective_size(model) else {
        return (0.6, "unknown", None);
    };
    let since = (2023.0, 9.0, 27.0);
    // A model without a date is newer than the catalogue's documents.
    let released = model
        .released
        .as_ref()
        .and_then(|r| years_after(&r.value, since))
        .unwrap_or(3.0);
    let z = CURVE[0] + CURVE[1] * size.max(0.1).ln() + CURVE[2] * released;
    (1.0 / (1.0 + (-z).exp()), basis, None)
}

/// How much better than its base a model is at a job, from what it was made for. These steps are
/// judgement: a specialist of a size beats the generalist of twice that size.
fn bonus(model: &CatalogModel, task: Task) -> f64 {
    let specialised = |prefixes: &[&str]| prefixes.iter().any(|p| model.id.starts_with(p));
    match task {
        Task::Fim if model.can(Capability::Fim) => 0.10,
        Task::Code | Task::Agents if specialised(&["devstral"]) => 0.10,
        Task::Code if specialised(&["codestral"]) => 0.07,
        Task::Code | Task::Agents if model.can(Capability::Agents) => 0.05,
        Task::Reasoning if specialised(&["magistral", "mathstral"]) => 0.08,
        Task::Reasoning if model.can(Capability::Reasoning) => 0.08,
        Task::Reasoning => -0.05,
        Task::Chat | Task::Rag | Task::Summarise | Task::Translate | Task::Extract
            if specialised(&[
                "devstral",
                "codestral",
                "mathstral",
                "magistral",
                "pixtral",
                "leanstral",
            ]) =>
        {
            -0.06
        }
        // Made for nothing else.
        Task::Ocr if model.can(Capability::Ocr) => 0.45,
        Task::Moderate if model.can(Capability::Moderation) => 0.45,
        Task::Ocr | Task::Moderate => -0.15,
        Task::Translate if model.can(Capability::Multilingual) => 0.03,
        _ => 0.0,
    }
}

/// Share of the quality that a precision leaves, after llama.cpp's perplexity tables for 7B models
/// (general knowledge); small models lose more.
fn kept(precision: Option<Precision>, size: f64) -> f64 {
    let loss = match precision {
        None | Some(Precision::F32 | Precision::Bf16 | Precision::F16) => 0.0,
        Some(Precision::Q8_0) => 0.002,
        Some(Precision::Fp8 | Precision::Int8) => 0.005,
        Some(Precision::Q6K) => 0.006,
        Some(Precision::Q5KM) => 0.012,
        Some(Precision::Q5_0) => 0.018,
        Some(Precision::Q4KM) => 0.025,
        Some(
            Precision::Nvfp4
            | Precision::Mxfp4
            | Precision::Awq
            | Precision::Gptq
            | Precision::Iq4Xs,
        ) => 0.03,
        Some(Precision::Q4_0 | Precision::Mlx4) => 0.04,
        Some(Precision::Q3KM) => 0.08,
        _ => 0.25,
    };
    1.0 - loss * (24.0 / size.max(1.0)).powf(0.25).clamp(0.6, 2.0)
}

/// What is the same for all precisions of a model.
pub(crate) struct Grader<'m> {
    model: &'m CatalogModel,
    task: Task,
    mmlu: f64,
    basis: &'static str,
    source: Option<String>,
    size: f64,
    step: f64,
}

impl<'m> Grader<'m> {
    pub(crate) fn new(model: &'m CatalogModel, task: Task) -> Self {
        let (mmlu, basis, source) = base(model);
        Self {
            model,
            task,
            mmlu,
            basis,
            source,
            size: effective_size(model).map_or(24.0, |(s, _)| s),
            step: bonus(model, task),
        }
    }

    pub(crate) fn at(&self, precision: Option<Precision>) -> Quality {
        let native = self.model.native_precision.as_ref().map(|n| n.value);
        // Weights that are released in a precision lose nothing by staying in it.
        let kept = if precision == native {
            1.0
        } else {
            kept(precision, self.size)
        };
        // 0.25 is guessing, 0.95 the most that the test's own errors allow.
        let value = (((self.mmlu - 0.25) / 0.70 + self.step) * kept).clamp(0.0, 1.0);
        let tidy = |v: f64| (v * 1000.0).round() / 1000.0;
        let mut reason = Reason::new("quality_for_task")
            .fact("task", self.task.name())
            .fact("basis", self.basis)
            .fact("mmlu", tidy(self.mmlu))
            .fact("kept_by_precision", tidy(kept));
        if self.step != 0.0 {
            reason = reason.fact("made_for_task", self.step);
        }
        let source = self.source.as_deref();
        reason = reason.source(source.unwrap_or("curve over published MMLU results"));
        Quality { value, reason }
    }
}

/// The quality of a model for a job at a precision.
#[must_use]
pub fn quality(model: &CatalogModel, task: Task, precision: Option<Precision>) -> Quality {
    Grader::new(model, task).at(precision)
}

#[cfg(test)]
mod tests {
    use mistral_core::catalog::Catalog;

    use super::*;

    fn of(id: &str, task: Task, precision: Option<Precision>) -> f64 {
        quality(
            Catalog::embedded()
                .get(id)
                .unwrap_or_else(|| panic!("{id}")),
            task,
            precision,
        )
        .value
    }

    #[test]
    fn the_curve_meets_published_results() {
        let mut checked = 0;
        for model in Catalog::embedded().iter() {
            let Some((published, _)) = benchmark(model, &["MMLU", "MMLU 5-shot"]) else {
                continue;
            };
            let mut silent = model.clone();
            silent.benchmarks.clear();
            let (predicted, basis, _) = base(&silent);
            assert_eq!(basis, "size_and_date");
            assert!(
                (predicted - published).abs() < 0.045,
                "{}: {predicted} {published}",
                model.id
            );
            checked += 1;
        }
        assert!(checked >= 8);
    }

    #[test]
    fn order_that_everyone_would_expect() {
        let chat = |id| of(id, Task::Chat, None);
        assert!(chat("mistral-large-3") > chat("mistral-small-3.2"));
        assert!(chat("mistral-small-3.2") > chat("ministral-3-8b"));
        assert!(chat("ministral-3-8b") > chat("ministral-3-3b"));
        assert!(chat("ministral-3-8b") > chat("mistral-7b-v0.1"));
        assert!(of("codestral-22b", Task::Fim, None) > chat("codestral-22b"));
        let at = |p| of("ministral-3-8b", Task::Chat, Some(p));
        assert!(
            at(Precision::Fp8) > at(Precision::Q4KM) && at(Precision::Q4KM) > at(Precision::Q2K)
        );
    }
}
