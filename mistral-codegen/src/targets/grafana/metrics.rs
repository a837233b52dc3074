//! Which metrics an engine's version serves, and expressions over them that can't name another one.
//!
//! The tables in `data/metrics` are read out of the engines' packages by `readers/metrics.py`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use mistral_core::plan::Runtime;
use serde::Deserialize;

use crate::CodegenError;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metric {
    pub(super) kind: Kind,
    pub(super) labels: Vec<String>,
}

/// The metrics of an engine's version.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    pub(super) engine: String,
    pub(super) version: String,
    /// What it was read from.
    pub(super) source: String,
    /// When, as `YYYY-MM-DD`.
    pub(super) date: String,
    pub(super) metrics: BTreeMap<String, Metric>,
}

macro_rules! table {
    ($name:ident, $file:literal) => {
        static $name: LazyLock<Table> = LazyLock::new(|| {
            serde_json::from_str(include_str!(concat!("../../../data/metrics/", $file)))
                .expect("tests read every table")
        });
    };
}
table!(VLLM, "vllm.json");
table!(SGLANG, "sglang.json");
table!(LLAMA_SERVER, "llama-server.json");
table!(MISTRAL_INFER, "mistral-infer.json");

/// What the engine serves; `None` for one whose metrics weren't read.
pub(super) fn table(runtime: Runtime) -> Option<&'static Table> {
    match runtime {
        Runtime::Vllm => Some(&VLLM),
        Runtime::Sglang => Some(&SGLANG),
        Runtime::LlamaServer => Some(&LLAMA_SERVER),
        Runtime::MistralInfer => Some(&MISTRAL_INFER),
        _ => None,
    }
}

/// A label with how its value is compared: `status=~"5.."`.
pub(super) type Matcher = (&'static str, &'static str);

/// Expressions over the metrics of one job.
pub(super) struct Query<'t> {
    pub(super) table: &'t Table,
    /// Matchers that every metric gets.
    pub(super) selector: String,
    /// Time that rates are taken over.
    pub(super) window: &'static str,
}

impl Query<'_> {
    fn refuse(&self, metric: &str, expected: String) -> CodegenError {
        CodegenError::Metric {
            engine: self.table.engine.clone(),
            version: self.table.version.clone(),
            metric: metric.to_owned(),
            expected,
        }
    }

    /// The metric with its matchers, if it is of that kind.
    fn select(
        &self,
        name: &str,
        ending: &str,
        kind: Kind,
        matchers: &[Matcher],
    ) -> Result<String, CodegenError> {
        let metric = self.table.metrics.get(name);
        let metric =
            metric.ok_or_else(|| self.refuse(name, "a metric of this version".to_owned()))?;
        if metric.kind != kind {
            return Err(self.refuse(name, format!("a {kind:?}").to_lowercase()));
        }
        let mut selector = self.selector.clone();
        for (label, matcher) in matchers {
            if !metric.labels.iter().any(|known| known == label) {
                return Err(self.refuse(name, format!("a label {label}")));
            }
            selector += &format!(",{label}{matcher}");
        }
        Ok(format!("{name}{ending}{{{selector}}}"))
    }

    /// All copies' gauges, added up.
    pub(super) fn total(&self, gauge: &str) -> Result<String, CodegenError> {
        Ok(format!(
            "sum({})",
            self.select(gauge, "", Kind::Gauge, &[])?
        ))
    }

    /// The fullest copy's gauge.
    pub(super) fn highest(&self, gauge: &str) -> Result<String, CodegenError> {
        Ok(format!(
            "max({})",
            self.select(gauge, "", Kind::Gauge, &[])?
        ))
    }

    /// How fast a counter grows a second, all copies together.
    pub(super) fn rate(&self, counter: &str, of: &[Matcher]) -> Result<String, CodegenError> {
        let metric = self.select(counter, "", Kind::Counter, of)?;
        Ok(format!("sum(rate({metric}[{}]))", self.window))
    }

    /// A quantile of a histogram over all copies.
    pub(super) fn quantile(&self, q: &str, histogram: &str) -> Result<String, CodegenError> {
        let metric = self.select(histogram, "_bucket", Kind::Histogram, &[])?;
        let window = self.window;
        Ok(format!(
            "histogram_quantile({q}, sum by (le) (rate({metric}[{window}])))"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_and_say_their_source() {
        for runtime in Runtime::ALL {
            let Some(table) = table(*runtime) else {
                continue;
            };
            assert_eq!(table.engine, runtime.to_string());
            assert!(!table.source.is_empty() && table.date.len() == 10);
            assert!(table.metrics.len() >= 10, "{runtime}");
            let totals = |(name, m): (&String, &Metric)| {
                m.kind == Kind::Counter && !name.ends_with("_total") && !name.ends_with("_max")
            };
            assert!(!table.metrics.iter().any(totals), "{runtime}");
        }
    }

    #[test]
    fn expressions_name_what_is_there() {
        let query = Query {
            table: &VLLM,
            selector: "job=\"x\"".to_owned(),
            window: "5m",
        };
        let running = query.total("vllm:num_requests_running").expect("a gauge");
        assert_eq!(running, "sum(vllm:num_requests_running{job=\"x\"})");
        let failed = [("finished_reason", "=\"error\"")];
        let failed = query.rate("vllm:request_success_total", &failed);
        let failed = failed.expect("a counter with that label");
        assert!(failed.contains("{job=\"x\",finished_reason=\"error\"}[5m]"));
        for (refused, part) in [
            (
                query.total("vllm:gpu_cache_usage_perc"),
                "a metric of this version",
            ),
            (query.total("vllm:prompt_tokens_total"), "a gauge"),
            (query.rate("vllm:num_requests_running", &[]), "a counter"),
            (
                query.rate("vllm:prompt_tokens_total", &[("user", "=\"x\"")]),
                "a label user",
            ),
            (
                query.quantile("0.5", "vllm:kv_cache_usage_perc"),
                "a histogram",
            ),
        ] {
            let text = refused.expect_err(part).to_string();
            assert!(text.contains(part), "{text}");
        }
    }
}
