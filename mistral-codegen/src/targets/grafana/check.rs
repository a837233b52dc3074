//! PromQL held against the metrics of an engine's version.
//!
//! `promtool` knows PromQL and no engine; this knows which names, kinds and labels a server has.

use std::collections::BTreeSet;

use rusty_promql_parser::parser::function::get_function;
use rusty_promql_parser::{Expr, Grouping, GroupingAction, LabelMatcher, VectorSelector, expr};

use super::metrics::{Kind, Table};
use super::without_variable;

/// A longer expression isn't read.
const MOST_BYTES: usize = 16 << 10;
/// More brackets and signs outside of texts aren't read: the parser goes one call deeper for each.
const MOST_NESTED: usize = 128;
/// Labels that Prometheus adds to every sample.
const ADDED: [&str; 2] = ["instance", "job"];
/// What Prometheus itself says of every scrape, all gauges.
const OF_SCRAPES: [&str; 4] = [
    "scrape_duration_seconds",
    "scrape_samples_post_metric_relabeling",
    "scrape_samples_scraped",
    "up",
];
/// Functions of counters, and those that a counter's restart makes wrong.
const OF_COUNTERS: [&str; 3] = ["increase", "irate", "rate"];
const OF_GAUGES: [&str; 4] = ["delta", "deriv", "idelta", "predict_linear"];
/// Functions that a counter may stand in besides.
const OF_ALL: [&str; 6] = [
    "absent",
    "absent_over_time",
    "changes",
    "present_over_time",
    "resets",
    "timestamp",
];

/// What a function around an expression makes of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Around {
    /// A rate: counters only.
    Rate,
    /// A slope: gauges only.
    Slope,
    /// Whether there is something, or how often it changed.
    Anything,
    /// The value itself.
    Value,
}

/// What samples of a name are.
struct Samples {
    counts: bool,
    labels: BTreeSet<String>,
}

/// What is wrong with `expression`: metrics and labels that the server doesn't have, parts of what is no
/// histogram, rates of what is no counter and counters without one, quantiles without their bounds.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn check(table: &Table, expression: &str) -> Result<(), String> {
    if expression.len() > MOST_BYTES {
        return Err(format!("more than {MOST_BYTES} bytes"));
    }
    if nested(expression) > MOST_NESTED {
        return Err(format!("more than {MOST_NESTED} brackets and signs"));
    }
    let text = without_variable(expression);
    match expr(&text) {
        Ok((rest, parsed)) if rest.trim().is_empty() => {
            labels(table, &parsed, Around::Value).map(drop)
        }
        Ok((rest, _)) => Err(format!("not PromQL from {:?}", short(rest))),
        Err(_) => Err("not PromQL".to_owned()),
    }
}

/// Brackets and signs outside of quoted texts.
fn nested(expression: &str) -> usize {
    let (mut count, mut quote, mut escaped) = (0, None, false);
    for c in expression.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(q) if c == '\\' => escaped = q != '`',
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'' | '`') => quote = Some(c),
            None => count += usize::from(matches!(c, '(' | '[' | '-' | '+' | '^')),
        }
    }
    count
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The labels that the expression's result may have.
fn labels(table: &Table, e: &Expr, around: Around) -> Result<BTreeSet<String>, String> {
    match e {
        Expr::Number(_) | Expr::String(_) => Ok(BTreeSet::new()),
        Expr::VectorSelector(selector) => selected(table, selector, around),
        Expr::MatrixSelector(matrix) => selected(table, &matrix.selector, around),
        Expr::Paren(inner) => labels(table, inner, around),
        Expr::Unary(unary) => labels(table, &unary.expr, around),
        Expr::Subquery(sub) => labels(table, &sub.expr, Around::Value),
        Expr::Call(call) => {
            let known =
                get_function(&call.name).ok_or_else(|| format!("no function {}", call.name))?;
            let count = call.args.len();
            if count < known.min_args() || known.max_args().is_some_and(|most| count > most) {
                return Err(format!("{} with {count} arguments", call.name));
            }
            let name = call.name.as_str();
            let inside = match name {
                _ if OF_COUNTERS.contains(&name) => Around::Rate,
                _ if OF_GAUGES.contains(&name) => Around::Slope,
                _ if OF_ALL.contains(&name) => Around::Anything,
                _ => Around::Value,
            };
            let mut all = BTreeSet::new();
            for argument in &call.args {
                all.append(&mut labels(table, argument, inside)?);
            }
            if name == "histogram_quantile" && !all.remove("le") {
                return Err("histogram_quantile of something without the label le".to_owned());
            }
            Ok(all)
        }
        Expr::Aggregation(of) => {
            let inside = match of.op.as_str() {
                "count" | "group" => Around::Anything,
                _ => around,
            };
            if let Some(parameter) = &of.param {
                labels(table, parameter, Around::Value)?;
            }
            let inner = labels(table, &of.expr, inside)?;
            grouped(inner, of.grouping.as_ref())
        }
        Expr::Binary(binary) => {
            let mut all = labels(table, &binary.lhs, Around::Value)?;
            all.append(&mut labels(table, &binary.rhs, Around::Value)?);
            let matching = binary.modifier.as_ref().and_then(|m| m.matching.as_ref());
            for label in matching.iter().flat_map(|matching| &matching.labels) {
                known(label, &all)?;
            }
            Ok(all)
        }
    }
}

fn known(label: &str, all: &BTreeSet<String>) -> Result<(), String> {
    if all.contains(label) {
        return Ok(());
    }
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    Err(format!("no label {label} among {}", all.join(", ")))
}

fn grouped(
    mut inner: BTreeSet<String>,
    grouping: Option<&Grouping>,
) -> Result<BTreeSet<String>, String> {
    let Some(grouping) = grouping else {
        return Ok(BTreeSet::new());
    };
    for label in &grouping.labels {
        known(label, &inner)?;
    }
    let listed = |label: &String| grouping.labels.contains(label);
    let by = grouping.action == GroupingAction::By;
    inner.retain(|label| listed(label) == by);
    Ok(inner)
}

fn selected(
    table: &Table,
    selector: &VectorSelector,
    around: Around,
) -> Result<BTreeSet<String>, String> {
    let name = selector
        .name
        .as_deref()
        .ok_or("a selector without a metric's name")?;
    let samples = samples(table, name)?;
    for LabelMatcher { name: label, .. } in &selector.matchers {
        known(label, &samples.labels).map_err(|e| format!("{name}: {e}"))?;
    }
    match around {
        Around::Rate if !samples.counts => Err(format!("a rate of {name}, which is no counter")),
        Around::Slope if samples.counts => Err(format!("a slope of {name}, which is a counter")),
        Around::Value if samples.counts => {
            Err(format!("{name} only grows: its rate says something"))
        }
        _ => Ok(samples.labels),
    }
}

/// What a scrape has under `name`: a metric, or a part of one.
fn samples(table: &Table, name: &str) -> Result<Samples, String> {
    let with = |labels: &[String], more: &[&str], counts| Samples {
        counts,
        labels: (labels.iter().map(String::as_str))
            .chain(ADDED)
            .chain(more.iter().copied())
            .map(str::to_owned)
            .collect(),
    };
    if OF_SCRAPES.contains(&name) {
        return Ok(with(&[], &[], false));
    }
    if let Some(metric) = table.metrics.get(name) {
        return match metric.kind {
            Kind::Counter => Ok(with(&metric.labels, &[], true)),
            Kind::Gauge => Ok(with(&metric.labels, &[], false)),
            Kind::Summary => Ok(with(&metric.labels, &["quantile"], false)),
            Kind::Histogram => Err(format!(
                "no metric {name} alone: it is a histogram, with _bucket, _sum and _count"
            )),
        };
    }
    for (suffix, more) in [("_bucket", &["le"][..]), ("_sum", &[]), ("_count", &[])] {
        let Some(base) = name.strip_suffix(suffix) else {
            continue;
        };
        match table.metrics.get(base) {
            Some(metric) if metric.kind == Kind::Histogram => {
                return Ok(with(&metric.labels, more, true));
            }
            Some(metric) if metric.kind == Kind::Summary && suffix != "_bucket" => {
                return Ok(with(&metric.labels, more, true));
            }
            Some(_) => return Err(format!("{base} has no {suffix}: it isn't a histogram")),
            None => {}
        }
    }
    Err(format!("no metric {name}"))
}

#[cfg(test)]
mod tests {
    use mistral_core::plan::Runtime;

    use super::super::signals::engine;
    use super::*;

    #[test]
    fn wrong_expressions_are_found() {
        let cases = [
            ("up{job=\"vllm:nothing\"} == 0", ""),
            ("sum(vllm:num_requests_running{job=\"a\"})", ""),
            (
                "sum by (model_name) (rate(vllm:generation_tokens_total[5m]))",
                "",
            ),
            ("rate(vllm:generation_tokens_total[$__rate_interval])", ""),
            (
                "histogram_quantile(0.95, sum by (le) (rate(vllm:time_to_first_token_seconds_bucket{job=\"a:b\"}[5m])))",
                "",
            ),
            (
                "rate(vllm:time_to_first_token_seconds_sum[5m]) / rate(vllm:time_to_first_token_seconds_count[5m])",
                "",
            ),
            ("deriv(vllm:num_requests_waiting[5m]) > 0", ""),
            ("absent(up{job=\"a\"})", ""),
            ("vllm:num_requests_running{job=\"(((-\"}", ""),
            ("sum(vllm:gpu_cache_usage_perc)", "no metric"),
            ("sum(vlm:num_requests_running)", "no metric"),
            ("sum(kv_cache_usage_perc)", "no metric"),
            ("rate(vllm:generation_tokens[5m])", "no metric"),
            (
                "rate(vllm:time_to_first_token_seconds[5m])",
                "it is a histogram",
            ),
            (
                "rate(vllm:num_requests_running_bucket[5m])",
                "has no _bucket",
            ),
            ("rate(vllm:num_requests_running_count[5m])", "has no _count"),
            ("rate(vllm:num_requests_running[5m])", "no counter"),
            ("vllm:prompt_tokens_total > 5", "only grows"),
            ("deriv(vllm:generation_tokens_total[5m])", "is a counter"),
            (
                "sum(vllm:num_requests_running{model=\"a\"})",
                "no label model",
            ),
            ("sum by (pod) (vllm:num_requests_running)", "no label pod"),
            (
                "sum by (model_name) (sum by (engine) (vllm:num_requests_running))",
                "no label model_name",
            ),
            (
                "histogram_quantile(0.5, sum(rate(vllm:time_to_first_token_seconds_bucket[5m])))",
                "without the label le",
            ),
            ("rates(vllm:generation_tokens_total[5m])", "rates"),
            ("{job=\"a\"}", "without a metric's name"),
            ("sum(vllm:num_requests_running", "PromQL"),
            ("up up", "PromQL"),
            ("", "PromQL"),
        ];
        let (table, _) = engine(Runtime::Vllm).expect("its metrics were read");
        for (expression, part) in cases {
            let found = check(table, expression).err().unwrap_or_default();
            assert!(
                found.contains(part) && found.is_empty() == part.is_empty(),
                "{expression}: {found}"
            );
        }
    }

    #[test]
    fn hostile_expressions_end() {
        let (table, _) = engine(Runtime::Vllm).expect("its metrics were read");
        for one in ["(", "-", "sum(", "up[5m:", "2^", "\"", "a{b=\"", "+-"] {
            let text = one.repeat(20_000);
            assert!(check(table, &text).is_err(), "{one}");
            assert!(check(table, &text[..12_000]).is_err(), "{one}");
        }
    }
}
