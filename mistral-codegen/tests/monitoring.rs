//! Dashboards and alerts: they name metrics that servers have, programs that read them accept them, and
//! alerts fire when they should.

use std::collections::BTreeMap;
use std::time::Duration;

use mistral_codegen::verify::{Checkers, Verdict, verify};
use mistral_codegen::{FileSet, GeneratedFile, Options, Plan, Target, generate};
use proptest::prelude::*;
use serde_json::{Value, json};

#[path = "../server/src/metrics.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is a module of the server")]
mod metrics;

#[path = "support/alerts.rs"]
mod alerts;

const ENGINES: [(&str, &str); 4] = [
    ("vllm", "bf16"),
    ("sglang", "bf16"),
    ("llama-server", "q4_k_m"),
    ("mistral-infer", "bf16"),
];

fn plan(runtime: &str, changes: &[(&str, Value)]) -> Plan {
    let precision = ENGINES.iter().find(|(name, _)| *name == runtime);
    let mut plan = json!({
        "schema": 1,
        "model": {"id": "mistral-nemo-12b", "hf_repo": "mistralai/Mistral-Nemo-Instruct-2407"},
        "precision": precision.map_or("bf16", |(_, precision)| precision),
        "runtime": runtime,
        "placement": {"device": "L40S", "count": 1, "tensor_parallel": 1},
        "limits": {"context_tokens": 16384, "concurrency": 8},
        "serve": {"bind": "127.0.0.1", "port": 8000, "api_key_env": "SERVER_KEY"},
        "memory": {
            "weight_bytes": 24_500_000_000u64, "kv_bytes": 3_000_000_000u64,
            "total_bytes": 30_000_000_000u64, "device_bytes": 48_000_000_000u64,
        },
        "expected": {
            "ttft_ms": {"value": 200.0, "lo": 100.0, "hi": 400.2},
            "tpot_ms": {"value": 20.0, "lo": 10.0, "hi": 30.0},
        },
    });
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer begins with /");
        plan.pointer_mut(parent).expect("the parent exists")[name] = value.clone();
    }
    serde_json::from_value(plan).expect("a plan")
}

fn made(plan: &Plan) -> FileSet {
    generate(Target::Grafana, plan, &Options::default()).expect("made")
}

fn text<'f>(files: &'f FileSet, path: &str) -> &'f str {
    &files.get(path).unwrap_or_else(|| panic!("{path}")).contents
}

fn checked(files: &FileSet) -> Verdict {
    let folder = tempfile::tempdir().expect("a folder");
    let scratch = folder.path().join("scratch");
    let checkers = Checkers::from_environment(std::env::vars_os(), scratch);
    verify(Target::Grafana, files, &checkers).expect("checked")
}

/// `files` with `from` replaced in one of them.
fn with(files: &FileSet, path: &str, from: &str, to: &str) -> FileSet {
    assert!(text(files, path).contains(from), "{path} has no {from}");
    let mut out = FileSet::new();
    for file in files.iter() {
        let contents = match file.path.as_str() == path {
            true => file.contents.replacen(from, to, 1),
            false => file.contents.clone(),
        };
        let file = GeneratedFile {
            contents,
            ..file.clone()
        };
        out.insert(file).expect("a new path");
    }
    out
}

/// Name, kind and labels of what a page for Prometheus has.
fn served(page: &str) -> BTreeMap<String, (String, Vec<String>)> {
    let mut found: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a kind");
            found.insert(name.to_owned(), (kind.to_owned(), Vec::new()));
        } else if let Some((name, labels)) = line.split_once('{')
            && let Some((_, of)) = found.get_mut(name)
        {
            let labels = labels.split_once('}').expect("closed").0;
            *of = labels
                .split(',')
                .filter_map(|label| Some(label.split_once('=')?.0.to_owned()))
                .collect();
        }
    }
    found.retain(|name, _| !name.starts_with("process_"));
    found
}

#[test]
fn the_table_of_our_server_is_what_it_serves() {
    let page = metrics::Metrics::default();
    page.request("/v1/models", 200);
    page.finished("stop");
    page.first_token.record(Duration::from_millis(1));
    let table = include_str!("../data/metrics/mistral-infer.json");
    let table: Value = serde_json::from_str(table).expect("JSON");
    let listed = table["metrics"].as_object().expect("metrics").iter();
    let texts = |labels: &Value| serde_json::from_value(labels.clone()).expect("texts");
    let listed: BTreeMap<_, (String, Vec<String>)> = listed
        .map(|(name, m)| {
            let kind = m["kind"].as_str().expect("a kind").to_owned();
            (name.clone(), (kind, texts(&m["labels"])))
        })
        .collect();
    assert_eq!(served(&page.page()), listed);
}

#[test]
fn what_is_made_passes_and_what_is_missing_is_said() {
    for (runtime, _) in ENGINES {
        let files = made(&plan(runtime, &[]));
        let verdict = checked(&files);
        assert!(verdict.ok(), "{runtime}: {verdict:?}");
        let tools = |path: &str| verdict.of(path).iter().map(|check| check.tool).collect();
        let alerts: Vec<&str> = tools("alerts.yaml");
        assert!(alerts.contains(&"metrics of the engine"), "{runtime}");
        let promtool = verdict.missing.contains_key("promtool check rules");
        assert_ne!(alerts.contains(&"promtool check rules"), promtool);
        let key = text(&files, "prometheus.yaml").contains("credentials_file");
        assert_eq!(key, runtime == "llama-server", "whose metrics ask for it");
    }
    let refused = |runtime| {
        let made = generate(Target::Grafana, &plan(runtime, &[]), &Options::default());
        made.expect_err(runtime).to_string()
    };
    for runtime in ["ollama", "tensorrt-llm", "mistral-api"] {
        let text = refused(runtime);
        assert!(text.contains("metrics are known"), "{text}");
    }
}

#[test]
fn planted_mistakes_are_found() {
    let files = made(&plan("vllm", &[]));
    let cases = [
        (
            "dashboard.json",
            "vllm:kv_cache_usage_perc",
            "vllm:gpu_cache_usage_perc",
            "no metric",
        ),
        (
            "dashboard.json",
            "vllm:time_to_first_token_seconds_bucket",
            "vllm:time_to_first_token_seconds",
            "no metric",
        ),
        (
            "alerts.yaml",
            "sum(vllm:num_requests_waiting{job=\\\"mistral-nemo-12b\\\"})",
            "sum(rate(vllm:num_requests_waiting{job=\\\"mistral-nemo-12b\\\"}[5m]))",
            "no counter",
        ),
        (
            "dashboard.json",
            "{job=\\\"mistral-nemo-12b\\\",",
            "{jobs=\\\"mistral-nemo-12b\\\",",
            "no label jobs",
        ),
        (
            "alerts.yaml",
            "sum by (le)",
            "sum by (bound)",
            "no label bound",
        ),
        (
            "alerts.yaml",
            "sum(vllm:num_requests",
            "sum((vllm:num_requests",
            "promtool",
        ),
        (
            "alerts.yaml",
            "for: \"10m\"",
            "for: \"10 minutes\"",
            "promtool",
        ),
        (
            "alerts.yaml",
            "{{ $labels.instance }}",
            "{{ $label.instance }}",
            "promtool",
        ),
        (
            "prometheus.yaml",
            "scrape_interval",
            "scrape_intervall",
            "promtool",
        ),
        (
            "dashboard.json",
            "\"fieldConfig\"",
            "\"fieldConfigs\"",
            "schema",
        ),
        (
            "dashboard.json",
            "\"graphTooltip\": 1",
            "\"graphTooltip\": \"1\"",
            "schema",
        ),
        (
            "dashboard.json",
            "sum(vllm:num_requests",
            "sum((vllm:num_requests",
            "promtool",
        ),
    ];
    for (path, from, to, part) in cases {
        let verdict = checked(&with(&files, path, from, to));
        let tool_missing = |tool: &str| verdict.missing.keys().any(|t| t.contains(tool));
        if tool_missing(part) || part == "schema" && tool_missing("check-jsonschema") {
            continue;
        }
        let wrong: Vec<_> = verdict.of(path).iter().filter(|c| !c.ok).collect();
        let said = |check: &&&mistral_codegen::verify::Check| {
            check.detail.contains(part) || check.tool.contains(part)
        };
        assert!(
            wrong.iter().any(|c| said(&c)),
            "{from} -> {to}: {verdict:?}"
        );
    }
}

const HOSTILE: [&str; 8] = [
    "a\" or up{job=\"b",
    "{{ $labels.instance }}{{ end }}",
    "$instance ${source} [[instance]]",
    "yes",
    "a'b`c\\d",
    "日本 é \u{202e}",
    "# no: comment",
    "<script>alert(1)</script>",
];

fn survives(name: &str) {
    for (runtime, _) in ENGINES {
        let plan = plan(runtime, &[("/serve/served_name", json!(name))]);
        let files = made(&plan);
        let dashboard: Value = serde_json::from_str(text(&files, "dashboard.json")).expect("JSON");
        assert_eq!(dashboard["title"], name);
        let job = dashboard["uid"].as_str().expect("an address");
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(
            job.chars().all(plain) && (1..=40).contains(&job.len()),
            "{job}"
        );
        // No other text of the plan is in what Prometheus reads.
        let alike = made(&self::plan(runtime, &[("/serve/served_name", json!(job))]));
        for path in ["alerts.yaml", "prometheus.yaml"] {
            assert_eq!(text(&files, path), text(&alike, path), "{name}");
        }
        assert_eq!(dashboard["panels"], {
            let alike: Value = serde_json::from_str(text(&alike, "dashboard.json")).expect("JSON");
            alike["panels"].clone()
        });
    }
}

#[test]
fn hostile_names_are_shown_and_nothing_else() {
    HOSTILE.into_iter().for_each(survives);
}

proptest! {
    #[test]
    fn any_name_is_shown_and_nothing_else(name in "[^\\p{C}-][^\\p{C}]{0,60}") {
        survives(&name);
    }
}

#[test]
fn lines_across_are_what_the_plan_predicts() {
    let lines = |changes: &[(&str, Value)], title: &str| {
        let files = made(&plan("vllm", changes));
        let board: Value = serde_json::from_str(text(&files, "dashboard.json")).expect("JSON");
        let panels = board["panels"].as_array().expect("panels");
        let panel = panels.iter().find(|panel| panel["title"] == title);
        let defaults = &panel.expect("that panel")["fieldConfig"]["defaults"];
        let style = defaults["custom"]["thresholdsStyle"]["mode"].clone();
        let steps = defaults["thresholds"]["steps"].as_array().expect("steps");
        let values: Vec<Value> = steps[1..].iter().map(|s| s["value"].clone()).collect();
        json!([style, values])
    };
    let first = "Time to the first token";
    let exact = json!({"value": 30.0, "lo": 30.0, "hi": 30.0});
    let rows = [
        (vec![], first, json!(["line", [0.2, 0.401]])),
        (vec![], "Time between tokens", json!(["line", [0.02, 0.03]])),
        (vec![], "Requests", json!(["line", [8.0]])),
        (vec![("/expected", json!({}))], first, json!(["off", []])),
        (
            vec![("/expected/ttft_ms", exact)],
            first,
            json!(["line", [0.03]]),
        ),
    ];
    for (changes, title, expected) in rows {
        assert_eq!(lines(&changes, title), expected, "{changes:?}");
    }
}

#[test]
fn numbers_that_are_no_times_are_refused() {
    for hi in [-1.0, 0.0, 1e300] {
        let time = json!({"value": 1.0, "lo": 1.0, "hi": hi});
        let plan = plan("vllm", &[("/expected/ttft_ms", time)]);
        let error = generate(Target::Grafana, &plan, &Options::default()).expect_err("refused");
        assert!(error.to_string().contains("expected.ttft_ms"), "{error}");
    }
}
