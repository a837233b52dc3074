//! Checks of dashboards, alerts and Prometheus' configuration.

use std::path::Path;

use mistral_core::files::FileSet;
use serde_json::Value;

use super::child::Job;
use super::fields;
use super::{Check, Checkers, Verdict};
use crate::CodegenError;
use crate::targets::grafana;

const METRICS: &str = "metrics of the engine";
const RULES: &str = "promtool check rules";
const CONFIG: &str = "promtool check config";

pub(super) fn check(
    files: &FileSet,
    folder: &Path,
    checkers: &Checkers,
    verdict: &mut Verdict,
) -> Result<(), CodegenError> {
    let plan = files.get("plan.json").map_or("", |f| f.contents.as_str());
    for file in files.iter() {
        let path = file.path.as_str();
        let expressions = match path {
            "dashboard.json" => {
                let check = fields::check(&fields::GRAFANA, path, folder, checkers)?;
                verdict.add(path, check, fields::GRAFANA.0);
                let parsed = serde_json::from_str(&file.contents);
                let expressions = expressions(&parsed.unwrap_or(Value::Null));
                let check = parse(&expressions, folder, checkers)?;
                verdict.add(path, check, RULES);
                expressions
            }
            "alerts.yaml" => {
                let check = Job::new(RULES, &["check", "rules", path], folder).run(checkers)?;
                verdict.add(path, check, RULES);
                let parsed = serde_yaml_ng::from_str(&file.contents);
                expressions(&parsed.unwrap_or(Value::Null))
            }
            "prometheus.yaml" => {
                // A key's file isn't there yet, which only the whole check asks for.
                let arguments = ["check", "config", "--syntax-only", path];
                let check = Job::new(CONFIG, &arguments, folder).run(checkers)?;
                verdict.add(path, check, CONFIG);
                continue;
            }
            _ => continue,
        };
        verdict.judge(path, METRICS, grafana::check_metrics(plan, &expressions));
    }
    Ok(())
}

/// Every text under `expr`, wherever it is.
fn expressions(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match (name.as_str(), value) {
                ("expr", Value::String(text)) => vec![text.clone()],
                _ => expressions(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(expressions).collect(),
        _ => Vec::new(),
    }
}

/// Prometheus' own parser on a dashboard's expressions, as rules of a file beside the copy.
fn parse(
    expressions: &[String],
    folder: &Path,
    checkers: &Checkers,
) -> Result<Option<Check>, CodegenError> {
    let rules: Vec<Value> = expressions
        .iter()
        .enumerate()
        .map(|(i, e)| {
            serde_json::json!({
                "record": format!("panel:{i}"), "expr": grafana::without_variable(e),
            })
        })
        .collect();
    // JSON is YAML, too.
    let rules = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    let place = checkers.scratch.join("expressions.yaml");
    std::fs::write(&place, rules.to_string()).map_err(CodegenError::io(place))?;
    let arguments = ["check", "rules", "../expressions.yaml"];
    Job::new(RULES, &arguments, folder).run(checkers)
}
