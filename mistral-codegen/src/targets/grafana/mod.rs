//! A Grafana dashboard, alerts and a configuration of Prometheus for the plan's server.

mod alerts;
mod check;
mod dashboard;
mod metrics;
mod signals;

use minijinja::{Value, context};
use mistral_core::files::FileSet;
use mistral_core::plan::{Plan, Runtime};
use mistral_core::recommendation::Interval;

use self::metrics::Query;
use self::signals::Signals;
use super::{Page, engine, json_file, render_all, unsupported};
use crate::quote::sorted;
use crate::yaml::{Node, map};
use crate::{CodegenError, Options};

const TARGET: &str = "grafana";

const PAGES: &[Page] = &[Page::plain(
    "README.md",
    include_str!("../../../templates/grafana/README.md.j2"),
)];

/// Time that alerts take rates over: 20 scrapes of `prometheus.yaml`.
const WINDOW: &str = "5m";
/// The same in a dashboard: a variable that Grafana replaces.
const GRAFANA_WINDOW: &str = "$__rate_interval";

/// Share of the cache from which on it counts as full.
const CACHE_FULL: f64 = 0.95;
/// The file with the key, for servers whose metrics ask for it.
const KEY_FILE: &str = "key";

/// What is watched, and what the plan says of it.
struct Watched<'p> {
    /// Name that clients call the model: shown, and never part of an expression.
    name: &'p str,
    engine: &'static str,
    /// Prometheus' name for the servers: of `a-z`, `0-9` and `-`.
    job: String,
    /// Matchers of the servers that the dashboard shows.
    shown: String,
    concurrency: u32,
    start_minutes: u64,
    /// Predicted times.
    first_token: Option<Predicted>,
    next_token: Option<Predicted>,
}

/// A time that the plan predicts, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Predicted {
    usual: f64,
    /// The upper end of its interval, which is what alerts take for slow.
    most: f64,
}

/// The files that watch `plan`'s server.
pub(crate) fn generate(plan: &Plan, _: &Options) -> Result<FileSet, CodegenError> {
    let Some((table, names)) = signals::engine(plan.runtime) else {
        let expected = "vllm, sglang, llama-server or mistral-infer, whose metrics are known";
        return Err(unsupported(TARGET, "runtime", plan.runtime, expected));
    };
    let serving = engine::serving(TARGET, plan)?;
    if plan.limits.concurrency == 0 {
        return Err(unsupported(TARGET, "limits.concurrency", 0, "at least 1"));
    }
    let job = job(&serving.name);
    let watched = Watched {
        name: &serving.name,
        engine: plan.runtime.name(),
        shown: format!("job=\"{job}\",instance=~\"$instance\""),
        concurrency: plan.limits.concurrency,
        start_minutes: engine::start_seconds(plan).div_ceil(60).max(2),
        first_token: predicted("expected.ttft_ms", plan.expected.ttft_ms)?,
        next_token: predicted("expected.tpot_ms", plan.expected.tpot_ms)?,
        job,
    };
    let signals = |selector: String, window| {
        let query = Query {
            table,
            selector,
            window,
        };
        Signals::of(names, &query)
    };
    let shown = signals(watched.shown.clone(), GRAFANA_WINDOW)?;
    let judged = signals(format!("job=\"{}\"", watched.job), WINDOW)?;
    // The others serve their metrics without it: so do vLLM (`middleware/authenticate.py` of 0.33.0),
    // SGLang (`utils/auth.py` of 0.5.23) and our server (`/metrics` in its `http.rs`).
    let asks = plan.runtime == Runtime::LlamaServer && serving.key_env.is_some();
    let target = format!("{}:{}", engine::client_host(serving.bind), serving.port);
    let safe = |text: &str| Value::from_safe_string(text.to_owned());
    let context = context! {
        name => watched.name,
        job => safe(&watched.job),
        target => safe(&target),
        key_env => serving.key_env.as_deref().filter(|_| asks).map(safe),
        engine => safe(watched.engine),
        version => safe(&table.version),
        source => safe(&table.source),
        date => safe(&table.date),
        predicted => watched.first_token.or(watched.next_token).is_some(),
        reasons => engine::reasons(plan)?,
    };
    let mut files = render_all(PAGES, &context, plan)?;
    let dashboard = sorted(&dashboard::dashboard(&watched, &shown));
    files.add("dashboard.json", json_file(&dashboard)?)?;
    files.add("alerts.yaml", alerts::rules(&watched, &judged))?;
    files.add("prometheus.yaml", prometheus(&watched.job, &target, asks))?;
    Ok(files)
}

/// A predicted time in seconds, with its upper end not below it.
fn predicted(
    field: &'static str,
    time: Option<Interval>,
) -> Result<Option<Predicted>, CodegenError> {
    let Some(time) = time else {
        return Ok(None);
    };
    for ms in [time.value, time.hi] {
        if !(ms > 0.0 && ms <= 1e12) {
            return Err(unsupported(TARGET, field, ms, "a time in milliseconds"));
        }
    }
    if time.hi < time.value {
        let expected = format!("an upper end of at least {}", time.value);
        return Err(unsupported(TARGET, field, time.hi, &expected));
    }
    // Up to whole milliseconds.
    let seconds = |ms: f64| (ms.ceil() / 1e3).max(0.001);
    Ok(Some(Predicted {
        usual: seconds(time.value),
        most: seconds(time.hi),
    }))
}

/// A name for Prometheus and for the dashboard's address: at most 40 characters.
fn job(name: &str) -> String {
    let mut job = String::new();
    for c in name.chars().map(|c| c.to_ascii_lowercase()) {
        match c {
            'a'..='z' | '0'..='9' => job.push(c),
            _ if job.is_empty() || job.ends_with('-') => {}
            _ => job.push('-'),
        }
    }
    job.truncate(40);
    match job.trim_end_matches('-') {
        "" => "model".to_owned(),
        job => job.to_owned(),
    }
}

/// A configuration of Prometheus that reads the server's metrics and judges them.
fn prometheus(job: &str, target: &str, key: bool) -> String {
    let credentials = match key {
        true => map! { "credentials_file" => KEY_FILE; },
        false => Node::Absent,
    };
    let document = map! {
        "global" => map! {
            "scrape_interval" => "15s";
            "evaluation_interval" => "15s";
        };
        "rule_files" => Node::texts(["alerts.yaml"]);
        "scrape_configs" => Node::List(vec![map! {
            "job_name" => job;
            "metrics_path" => "/metrics";
            "authorization" => credentials;
            "static_configs" => Node::List(vec![map! {
                "targets" => Node::texts([target]);
            }]);
        }]);
    };
    document.document("Prometheus reads the server's metrics; add the addresses of further copies.")
}

/// A dashboard's expression as Prometheus is asked it.
pub(crate) fn without_variable(expression: &str) -> String {
    expression.replace(GRAFANA_WINDOW, WINDOW)
}

/// What is wrong with the metrics that a dashboard or a file of rules asks for, by the table of the
/// engine that the plan names; empty when nothing is.
pub(crate) fn check_metrics(plan: &str, expressions: &[String]) -> String {
    let plan: Plan = match serde_json::from_str(plan) {
        Ok(plan) => plan,
        Err(e) => return format!("plan.json: {e}"),
    };
    let Some((table, _)) = signals::engine(plan.runtime) else {
        return format!("no metrics of {} are known", plan.runtime);
    };
    if expressions.is_empty() {
        return "no expression found".to_owned();
    }
    let found: Vec<String> = expressions
        .iter()
        .filter_map(|e| Some(format!("{} in {e}", check::check(table, e).err()?)))
        .collect();
    found.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_plain() {
        let cases = [
            ("mistral-7b-v0.3", "mistral-7b-v0-3"),
            ("Le modèle \"d'essai\" $(id)", "le-mod-le-d-essai-id"),
            ("{{ $x }}", "x"),
            ("日本", "model"),
            ("--------------------------------------------a", "a"),
            (
                "0123456789012345678901234567890123456789-and more",
                "0123456789012345678901234567890123456789",
            ),
        ];
        for (name, expected) in cases {
            assert_eq!(job(name), expected);
        }
    }
}
