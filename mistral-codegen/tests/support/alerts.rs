//! Prometheus runs the alerts over made-up series: each fires where it should, and no other does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use mistral_codegen::FileSet;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ENGINES, made, plan, text};

/// Later than any alert waits.
const WHEN: &str = "30m";

/// Values by the metric's name with its labels, but for those that say whose it is.
type Series = BTreeMap<String, String>;
/// For each alert what it fires on, each by itself.
type Fires = BTreeMap<String, Vec<Series>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    without_server: Fires,
    engines: BTreeMap<String, Engine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Engine {
    healthy: Series,
    fires: Fires,
}

fn cases() -> Cases {
    serde_yaml_ng::from_str(include_str!("../data/alerts.yaml")).expect("cases")
}

/// Every alert of a file, in its order.
fn names(files: &FileSet) -> Vec<String> {
    let rules: Value = serde_yaml_ng::from_str(text(files, "alerts.yaml")).expect("YAML");
    let rules = rules["groups"][0]["rules"].as_array().expect("rules");
    let name = |rule: &Value| rule["alert"].as_str().expect("a name").to_owned();
    rules.iter().map(name).collect()
}

#[test]
fn every_alert_of_every_engine_has_its_case() {
    let cases = cases();
    let engines: Vec<&str> = cases.engines.keys().map(String::as_str).collect();
    assert_eq!(
        BTreeSet::from_iter(engines),
        ENGINES.map(|(name, _)| name).into()
    );
    for (runtime, engine) in &cases.engines {
        let tried: BTreeSet<String> = (cases.without_server.iter().chain(&engine.fires))
            .filter(|(_, series)| !series.is_empty())
            .map(|(alert, _)| alert.clone())
            .collect();
        let made = names(&made(&plan(runtime, &[])));
        assert_eq!(tried, BTreeSet::from_iter(made), "{runtime}");
    }
}

/// A name that no server has would leave an alert silent for nothing.
#[test]
fn made_up_series_are_those_of_the_engine() {
    for (runtime, engine) in cases().engines {
        let table = format!("{}/data/metrics/{runtime}.json", env!("CARGO_MANIFEST_DIR"));
        let table = std::fs::read_to_string(table).expect("a table");
        let table: Value = serde_json::from_str(&table).expect("JSON");
        let changed = engine.fires.values().flatten().flat_map(BTreeMap::keys);
        for series in engine.healthy.keys().chain(changed).filter(|s| *s != "up") {
            let (name, labels) = parts(series);
            let base = name.strip_suffix("_bucket").unwrap_or(name);
            let known = table["metrics"][base]["labels"].as_array();
            let known = known.unwrap_or_else(|| panic!("{runtime}: {series}"));
            for label in labels.split(',').filter(|label| !label.is_empty()) {
                let label = label.split('=').next().unwrap_or(label);
                let of_bucket = label == "le" && base != name;
                assert!(of_bucket || known.contains(&json!(label)), "{series}");
            }
        }
    }
}

/// A metric's name, and its labels without brackets.
fn parts(series: &str) -> (&str, &str) {
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    (name, labels.strip_suffix('}').expect("closed"))
}

#[test]
fn alerts_fire_alone_and_only_when_they_should() {
    if Command::new("promtool").arg("--version").output().is_err() {
        println!("skipped: no promtool");
        return;
    }
    let cases = cases();
    let mut failures = Vec::new();
    for (runtime, engine) in &cases.engines {
        let files = made(&plan(runtime, &[]));
        let folder = tempfile::tempdir().expect("a folder");
        files.write(folder.path()).expect("written");
        let names = names(&files);
        let healthy = fired(folder.path(), &names, &engine.healthy);
        if !healthy.is_empty() {
            failures.push(format!("{runtime}, healthy: {healthy:?}"));
        }
        let alone = cases.without_server.iter().map(|fires| (fires, None));
        let beside = engine.fires.iter().map(|f| (f, Some(&engine.healthy)));
        for ((alert, each), healthy) in alone.chain(beside) {
            for different in each {
                let mut series = healthy.cloned().unwrap_or_default();
                series.extend(different.clone());
                let found = fired(folder.path(), &names, &series);
                if found != [alert.as_str()] {
                    failures.push(format!("{runtime}, {different:?}: {found:?}, not {alert}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The alerts that fire on these series of one server.
fn fired<'n>(folder: &Path, names: &'n [String], series: &Series) -> Vec<&'n str> {
    let input: Vec<Value> = series
        .iter()
        .map(|(series, values)| {
            let (name, labels) = parts(series);
            let whose = "job=\"mistral-nemo-12b\",instance=\"a:1\"";
            let comma = if labels.is_empty() { "" } else { "," };
            json!({"series": format!("{name}{{{whose}{comma}{labels}}}"), "values": values})
        })
        .collect();
    let silent = |name: &String| json!({"eval_time": WHEN, "alertname": name, "exp_alerts": []});
    let document = json!({
        "rule_files": ["alerts.yaml"],
        "evaluation_interval": "1m",
        "tests": [{
            "interval": "1m", "input_series": input,
            "alert_rule_test": names.iter().map(silent).collect::<Vec<_>>(),
        }],
    });
    std::fs::write(folder.join("test.yaml"), document.to_string()).expect("written");
    let out = Command::new("promtool")
        .args(["test", "rules", "test.yaml"])
        .current_dir(folder)
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    // `alertname: NAME, time: 30m, ` and what was expected and found, for each that isn't silent.
    let fires = |name: &&str| said.contains(&format!("alertname: {name},"));
    let found: Vec<&str> = names.iter().map(String::as_str).filter(fires).collect();
    assert_eq!(out.status.success(), found.is_empty(), "{said}");
    found
}
