//! Load tests of a server of one's own: what is sent, how it is judged, and what is refused.

use std::path::Path;
use std::process::{Command, Output};

use changed::changed;
use checked::findings;
use mistral_codegen::flags::GUIDELLM;
use mistral_codegen::verify::Verdict;
use mistral_codegen::{
    FileSet, GeneratedFile, Options, Plan, Target, diff, explain_target, generate,
};
use proptest::prelude::*;
use serde_json::{Value, json};

#[path = "support/changed.rs"]
mod changed;
#[path = "support/checked.rs"]
mod checked;

fn plan(changes: &[(&str, Value)]) -> Plan {
    let plan = json!({
        "schema": 1,
        "model": {"id": "mistral-nemo-12b", "hf_repo": "mistralai/Mistral-Nemo-Instruct-2407"},
        "precision": "bf16",
        "runtime": "vllm",
        "placement": {"device": "L40S", "count": 1, "tensor_parallel": 1},
        "limits": {"context_tokens": 16384, "concurrency": 8},
        "serve": {"bind": "127.0.0.1", "port": 8000, "api_key_env": "SERVER_KEY"},
        "expected": {
            "prompt_tokens": 900, "output_tokens": 101, "requests_per_s": 0.5,
            "ttft_ms": {"value": 200.0, "lo": 100.0, "hi": 400.0},
            "tpot_ms": {"value": 20.0, "lo": 10.0, "hi": 30.0},
        },
    });
    changed(plan, changes)
}

fn made(changes: &[(&str, Value)]) -> Result<FileSet, String> {
    generate(Target::Guidellm, &plan(changes), &Options::default()).map_err(|e| e.to_string())
}

fn text<'f>(files: &'f FileSet, path: &str) -> &'f str {
    &files.get(path).unwrap_or_else(|| panic!("{path}")).contents
}

fn scenario(changes: &[(&str, Value)]) -> Value {
    let files = made(changes).unwrap_or_else(|e| panic!("{changes:?}: {e}"));
    serde_json::from_str(text(&files, "scenario.json")).expect("JSON")
}

#[test]
fn a_scenario_is_what_the_plan_expects() {
    let expected = json!({"spec": {
        "backend": {
            "kind": "openai_http",
            "target": "http://127.0.0.1:8000",
            "model": "mistral-nemo-12b",
            "request_format": "/v1/chat/completions",
            "api_routes": {"/health": "v1/models"},
            "timeout": 300,
            "verify": true,
        },
        "profile": {"kind": "poisson", "rate": [0.5], "max_concurrency": 16},
        "constraints": [{"kind": "max_duration", "seconds": 120}],
        "tokenizer": {
            "kind": "huggingface_auto", "model": "mistralai/Mistral-Nemo-Instruct-2407",
        },
        "data": [{"kind": "synthetic_text", "prompt_tokens": 900, "output_tokens": 101}],
        "seed": {"kind": "static", "value": 1},
        "metrics": {
            "kind": "generative", "sample_size": 20, "slo": {"ttft_ms": 400.0, "tpot_ms": 30.0},
        },
        "outputs": [
            {"kind": "json", "path": "results/benchmarks.json"},
            {"kind": "html", "path": "results/benchmarks.html"},
            {"kind": "console"},
        ],
    }});
    assert_eq!(scenario(&[]), expected);
}

/// Changes of the plan, where the scenario says something else then, and what.
type Row<'a> = (&'a [(&'a str, Value)], &'a str, Value);

#[test]
fn what_plans_become() {
    let none = json!({});
    let model = |value: Value| ("/model", value);
    let tokenizer = "/spec/tokenizer/model";
    let rows: &[Row<'_>] = &[
        (
            &[("/expected", none.clone())],
            "/spec/data/0/prompt_tokens",
            json!(1000),
        ),
        (
            &[("/expected", none.clone())],
            "/spec/data/0/output_tokens",
            json!(250),
        ),
        // Eight at once, ten seconds each.
        (
            &[("/expected", none.clone())],
            "/spec/profile/rate/0",
            json!(0.8),
        ),
        (
            &[("/expected", none.clone())],
            "/spec/metrics/slo",
            Value::Null,
        ),
        (
            &[
                ("/expected", none.clone()),
                ("/limits/context_tokens", json!(400)),
            ],
            "/spec/data/0",
            json!({"kind": "synthetic_text", "prompt_tokens": 225, "output_tokens": 100}),
        ),
        (
            &[("/expected/output_tokens", json!(1))],
            "/spec/metrics/slo",
            json!({"ttft_ms": 400.0}),
        ),
        (
            &[("/expected/requests_per_s", json!(1e-9))],
            "/spec/profile/rate/0",
            json!(0.0167),
        ),
        (
            &[("/limits/concurrency", json!(u32::MAX))],
            "/spec/profile/max_concurrency",
            json!(u32::MAX),
        ),
        (
            &[("/serve/bind", json!("::"))],
            "/spec/backend/target",
            json!("http://[::1]:8000"),
        ),
        (
            &[("/serve/served_name", json!("chat"))],
            "/spec/backend/model",
            json!("chat"),
        ),
        (
            &[("/model/revision", json!("abc"))],
            "/spec/tokenizer/load_kwargs",
            json!({"revision": "abc"}),
        ),
        (
            &[("/model/local_path", json!("/data/nemo"))],
            tokenizer,
            json!("/data/nemo"),
        ),
        // A file of weights has no tokenizer that transformers reads.
        (
            &[
                ("/tokenizer", json!("gguf")),
                model(
                    json!({"id": "mistral-nemo-12b", "hf_repo": "a/Nemo-GGUF", "local_path": "/nemo.gguf"}),
                ),
            ],
            tokenizer,
            json!("mistralai/Mistral-Nemo-Instruct-2407"),
        ),
        (
            &[
                ("/tokenizer", json!("gguf")),
                model(json!({"id": "own", "hf_repo": "me/own"})),
            ],
            tokenizer,
            json!("me/own"),
        ),
        (
            &[model(json!({"id": "mistral-nemo-12b"}))],
            tokenizer,
            json!("mistralai/Mistral-Nemo-Instruct-2407"),
        ),
    ];
    for (changes, pointer, value) in rows {
        let scenario = scenario(changes);
        let found = scenario.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(found, value, "{changes:?} {pointer}");
    }
}

#[test]
fn plans_without_a_load_are_refused_by_name() {
    let rows = [
        (vec![("/runtime", json!("mistral-api"))], "runtime"),
        (
            vec![("/limits/concurrency", json!(0))],
            "limits.concurrency",
        ),
        (
            vec![("/limits/context_tokens", json!(1000))],
            "limits.context_tokens is 1000, expected at least 1001",
        ),
        (
            vec![("/expected/prompt_tokens", json!(u32::MAX))],
            "limits.context_tokens",
        ),
        (
            vec![("/expected/requests_per_s", json!(-1.0))],
            "expected.requests_per_s",
        ),
        (
            vec![(
                "/expected/ttft_ms",
                json!({"value": 1.0, "lo": 0.0, "hi": 1e300}),
            )],
            "expected is",
        ),
        (
            vec![("/serve/api_key_env", json!("A B"))],
            "serve.api_key_env",
        ),
        (
            vec![(
                "/serve",
                json!({"bind": "0.0.0.0", "port": 1, "api_key_env": null}),
            )],
            "serve.api_key_env",
        ),
    ];
    for (changes, part) in &rows {
        for target in [Target::Guidellm, Target::K6] {
            let error = generate(target, &plan(changes), &Options::default());
            let error = error.expect_err(part).to_string();
            assert!(
                error.contains(part) && error.contains(target.name()),
                "{part}: {error}"
            );
        }
    }
    // Only this one counts tokens with the model's own tokenizer.
    for model in [
        json!({"id": "own"}),
        json!({"id": "own", "hf_repo": "me/own-GGUF"}),
    ] {
        let error = made(&[("/model", model)]).expect_err("no tokenizer");
        assert!(error.contains("model.hf_repo"), "{error}");
    }
    let error = made(&[("/model/local_path", json!("-x"))]).expect_err("looks like a flag");
    assert!(
        error.contains("--tokenizer.huggingface_auto.model"),
        "{error}"
    );
}

fn checked(files: &FileSet) -> Verdict {
    checked::checked(Target::Guidellm, files, |_| {})
}

/// What checkers found, one line each.
fn found(verdict: &Verdict) -> String {
    findings(verdict).join("\n")
}

#[test]
fn checkers_pass_what_is_made_and_find_what_is_not_known() {
    let files = made(&[]).expect("made");
    assert_eq!(found(&checked(&files)), "");
    let open = made(&[
        ("/serve/api_key_env", Value::Null),
        ("/expected", json!({})),
    ]);
    assert_eq!(found(&checked(&open.expect("made"))), "");
    let rows = [
        (
            "load-test.sh",
            "--config",
            "--scenaria",
            "no flag --scenaria",
        ),
        ("load-test.sh", "guidellm run", "guidellm", "no command"),
        (
            "scenario.json",
            "\"rate\"",
            "\"rates\"",
            "--profile.poisson.rates",
        ),
        (
            "scenario.json",
            "\"seed\"",
            "\"seeds\"",
            "no field spec.seeds",
        ),
        (
            "scenario.json",
            "\"console\"",
            "\"terminal\"",
            "--output.kind expects",
        ),
        (
            "scenario.json",
            "\"max_duration\"",
            "7",
            "--constraint.kind expects",
        ),
        ("scenario.json", "\"spec\"", "\"speck\"", "an object `spec`"),
    ];
    for (path, from, to, part) in rows {
        let mut broken = FileSet::new();
        for file in files.iter() {
            let mut file: GeneratedFile = file.clone();
            if file.path.as_str() == path {
                assert!(file.contents.contains(from), "{from}");
                file.contents = file.contents.replace(from, to);
            }
            broken.insert(file).expect("paths are apart");
        }
        let verdict = checked(&broken);
        assert!(!verdict.passed(path), "{path}: {from} -> {to}");
        assert!(
            found(&verdict).contains(part),
            "{part}: {}",
            found(&verdict)
        );
    }
}

#[test]
fn every_setting_says_why_it_is_there() {
    let explained = explain_target(Target::Guidellm, &plan(&[])).expect("explained");
    let scenario = scenario(&[]);
    // One for the command's flag, one for each number, text or list of the scenario.
    fn leaves(value: &Value) -> usize {
        match value {
            Value::Object(fields) if !fields.contains_key("/health") => {
                fields.values().map(leaves).sum()
            }
            Value::Array(items) if items.iter().all(Value::is_object) => {
                items.iter().map(leaves).sum()
            }
            _ => 1,
        }
    }
    assert_eq!(explained.len(), 1 + leaves(&scenario));
    let files = made(&[]).expect("made");
    let readme = text(&files, "README.md");
    for setting in &explained {
        assert!(!setting.why.text.is_empty() && !setting.why.field.is_empty());
        let line = format!(
            "`{}` (`{}`): {}",
            setting.flag, setting.why.field, setting.why.text
        );
        assert!(readme.contains(&line), "{line}");
        let known = GUIDELLM.check(&setting.flag, setting.value.as_deref());
        let list = setting.flag.ends_with(".rate");
        assert!(known.is_ok() || list, "{known:?}");
    }
    // Other targets explain the engine's command.
    let engine = explain_target(Target::K6, &plan(&[])).expect("explained");
    assert!(engine.iter().any(|flag| flag.flag == "--max-model-len"));
}

#[test]
fn a_changed_plan_says_which_settings_change() {
    let new = plan(&[("/expected/requests_per_s", json!(2.0))]);
    let changes = diff(Target::Guidellm, &plan(&[]), &new, &Options::default()).expect("compared");
    let shown = changes.to_string();
    for part in [
        "~ --profile.poisson.rate [0.5] -> [2.0]  (expected.requests_per_s: requests a second)",
        "-        0.5\n+        2.0\n",
    ] {
        assert!(shown.contains(part), "{part:?} in\n{shown}");
    }
    assert!(!shown.contains("--output.kind"), "{shown}");
}

/// The texts of a plan that a scenario has.
fn survives(text: &str) -> Result<(), TestCaseError> {
    let changes = [
        ("/serve/served_name", json!(text)),
        ("/model/local_path", json!(text)),
    ];
    let fits = !text.is_empty() && !text.starts_with('-') && !text.chars().any(char::is_control);
    match made(&changes) {
        Ok(files) => {
            let read: Value = serde_json::from_str(self::text(&files, "scenario.json"))
                .map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(&read["spec"]["backend"]["model"], text);
            let packed = text.to_ascii_lowercase().contains("gguf");
            prop_assert!(packed || read["spec"]["tokenizer"]["model"] == text);
            // It is in no script.
            let plain = made(&[]).expect("made");
            for path in ["load-test.sh", "verdict.py", "requirements.txt"] {
                prop_assert_eq!(self::text(&files, path), self::text(&plain, path));
            }
        }
        Err(error) => prop_assert!(!fits, "{}", error),
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_survives(text in any::<String>()) {
        survives(&text)?;
    }

    #[test]
    fn hostile_texts_survive(text in "[\"'\\\\$`{}#:&*!|>%@ a\\-\\[\\],.~?<=é\u{2028}\u{1f980}]{0,24}") {
        survives(&text)?;
    }
}

/// A folder with the files, and programs that stand in for GuideLLM.
fn prepared(files: &FileSet, report: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    files.write(folder.path()).expect("written");
    std::fs::create_dir(folder.path().join("bin")).expect("made");
    std::fs::write(folder.path().join("report"), report.to_string()).expect("written");
    let stub = folder.path().join("bin/guidellm");
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" > said\nprintf %s \"${}\" > key\ncp report results/benchmarks.json\n",
        GUIDELLM.api_key_env
    );
    std::fs::write(&stub, script).expect("written");
    executable(&stub);
    folder
}

fn executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("allowed");
}

fn started(folder: &Path, arguments: &[&str], key: Option<&str>) -> Option<Output> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::iter::once(folder.join("bin"));
    let path = std::env::join_paths(own.chain(std::env::split_paths(&path))).expect("joined");
    let mut command = Command::new("bash");
    command.arg(folder.join("load-test.sh")).args(arguments);
    // From elsewhere: the script finds its own folder.
    command
        .current_dir("/")
        .env("PATH", path)
        .env_remove("SERVER_KEY");
    if let Some(key) = key {
        command.env("SERVER_KEY", key);
    }
    match command.output() {
        Ok(output) => Some(output),
        Err(_) => {
            println!("skipped: no bash");
            None
        }
    }
}

/// A report as version 2 of GuideLLM's has it, as far as it is read.
fn report(good: u32, bad: u32, attained: Value) -> Value {
    let summary = json!({"successful": {"percentiles": {"p50": 20.0, "p90": 40.0}}});
    json!({"benchmarks": [{"metrics": {
        "request_totals": {"successful": good, "errored": bad, "incomplete": 1},
        "slo_attainment": attained,
        "time_to_first_token_ms": summary,
        "inter_token_latency_ms": summary,
    }}]})
}

#[test]
fn the_script_gives_the_key_and_judges() {
    let rows = [
        (
            report(100, 1, json!(0.9)),
            true,
            "90.0% of the answers as fast",
        ),
        (
            report(100, 0, Value::Null),
            true,
            "not held against a prediction",
        ),
        (
            report(97, 3, json!(1.0)),
            false,
            "failed: 3 of 100 requests failed",
        ),
        (
            report(100, 0, json!(0.5)),
            false,
            "failed: 50.0% of the answers were in time",
        ),
        (
            report(0, 0, Value::Null),
            false,
            "failed: nothing was answered",
        ),
        (
            json!({"benchmarks": []}),
            false,
            "failed: nothing was measured",
        ),
    ];
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: no python3");
        return;
    }
    let files = made(&[]).expect("made");
    for (report, good, part) in rows {
        let folder = prepared(&files, &report);
        let key = "it's $(id) \"k\"";
        let extra = ["--constraint", "kind=max_duration,seconds=5"];
        let Some(output) = started(folder.path(), &extra, Some(key)) else {
            return;
        };
        let shown = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.success(), good, "{shown}");
        assert!(shown.contains(part), "{part}: {shown}");
        let read = |name| std::fs::read_to_string(folder.path().join(name)).expect("written");
        let words = "run\n--constraint\nkind=max_duration,seconds=5\n--config\nscenario.json\n";
        assert_eq!(read("said"), words);
        assert_eq!(read("key"), key);
    }
    let folder = prepared(&files, &report(1, 0, Value::Null));
    let Some(output) = started(folder.path(), &[], None) else {
        return;
    };
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && shown.contains("set SERVER_KEY"),
        "{shown}"
    );
}
