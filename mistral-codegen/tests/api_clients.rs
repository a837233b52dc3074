//! Every client is built by its language's tools and run against a server made from an OpenAPI
//! document: the whole one of Mistral's where it lies beside the checkout, else an excerpt.

use std::path::PathBuf;

use changed::changed;
use checked::{checked, findings};
use mistral_codegen::verify::mock::Api;
use mistral_codegen::{FileSet, Options, Plan, Target, generate};
use serde_json::{Value, json};
use workspace::{target_folder, workspace};

#[path = "support/changed.rs"]
mod changed;
#[path = "support/checked.rs"]
mod checked;
#[path = "support/workspace.rs"]
mod workspace;

const CLIENTS: &[Target] = &[
    Target::ApiRust,
    Target::ApiPython,
    Target::ApiTypescript,
    Target::ApiCurl,
];

fn plan(changes: &[(&str, Value)]) -> Plan {
    let plan = json!({
        "schema": 1,
        "model": {"id": "mistral-small-4"},
        "precision": "fp8",
        "runtime": "mistral-api",
        "placement": {"device": "api", "count": 0, "tensor_parallel": 0},
        "limits": {"context_tokens": 32768, "concurrency": 4, "max_output_tokens": 800},
        "serve": {"bind": "127.0.0.1", "port": 8000, "api_key_env": "MISTRAL_API_KEY"},
        "sampling": {"temperature": 0.15, "top_p": 1.0, "seed": 7},
    });
    changed(plan, changes)
}

/// A plan whose model has a name that would run, end or change a file if it weren't quoted: clients
/// have to ask for exactly it.
fn named() -> Plan {
    let name = "it's \"é\" \\ \\n $(id) `id` ${HOME} $$ {{ 7 * 7 }} %s */ ?? </b> \u{202e}\u{1f980} #{x} no";
    plan(&[("/serve/served_name", json!(name))])
}

fn excerpt() -> PathBuf {
    workspace().join("mistral-codegen/testdata/openapi.yaml")
}

/// Mistral's own document, where it is.
fn whole() -> Option<PathBuf> {
    let path = workspace().join("../shared/data/corpus/openapi.yaml");
    path.is_file().then_some(path)
}

/// Builds and runs a client; what a checker found is shown.
fn passes(target: Target, plan: &Plan) {
    let files = generate(target, plan, &Options::default()).expect("made");
    let verdict = checked(target, &files, |checkers| {
        checkers.cargo_target = Some(target_folder());
        checkers.cargo_lock = Some(workspace().join("Cargo.lock"));
        checkers.openapi = Some(whole().unwrap_or_else(excerpt));
    });
    let found = findings(&verdict);
    assert!(found.is_empty(), "{}:\n{}", target.name(), found.join("\n"));
    println!("{}: {:?}", target.name(), verdict.versions);
}

#[test]
fn the_rust_client_keeps_its_word() {
    passes(Target::ApiRust, &named());
}

#[test]
fn the_python_client_keeps_its_word() {
    passes(Target::ApiPython, &named());
}

#[test]
fn what_is_wrong_with_a_file_is_in_its_own_verdict() {
    let mut files = FileSet::new();
    let made = generate(Target::ApiPython, &plan(&[]), &Options::default()).expect("made");
    for file in made.iter() {
        let mut file = file.clone();
        if file.path.as_str() == "main.py" {
            file.contents.push_str("\n\nprint(no_such_name)\n");
        }
        files.insert(file).expect("each path once");
    }
    let verdict = checked(Target::ApiPython, &files, |_| {});
    let tools = verdict.of("main.py").iter().filter(|check| !check.ok);
    let tools: Vec<&str> = tools.map(|check| check.tool).collect();
    for tool in ["ruff check", "mypy"] {
        assert!(
            tools.contains(&tool) || verdict.missing.contains_key(tool),
            "{tool}: {:?}",
            verdict.files
        );
    }
    assert!(verdict.passed("client.py"), "{:?}", verdict.of("client.py"));
}

#[test]
fn the_typescript_client_keeps_its_word() {
    passes(Target::ApiTypescript, &named());
}

#[test]
fn the_bash_client_keeps_its_word() {
    passes(Target::ApiCurl, &named());
}

/// A server of one's own on loopback asks for no key, and a client for it sends none.
#[test]
fn a_client_without_a_key_keeps_its_word() {
    let changes = [
        ("/runtime", json!("vllm")),
        (
            "/serve",
            json!({"bind": "127.0.0.1", "port": 8000, "api_key_env": null}),
        ),
    ];
    passes(Target::ApiCurl, &plan(&changes));
}

#[test]
fn the_excerpt_allows_nothing_that_the_document_refuses() {
    let Some(whole) = whole() else {
        println!("skipped: no document beside the checkout");
        return;
    };
    let excerpt = Api::read(&excerpt()).expect("readable");
    let whole = Api::read(&whole).expect("readable");
    let user = json!({"role": "user", "content": "a"});
    let call = json!({"id": "abcDEF123", "function": {"name": "f", "arguments": "{}"}});
    let bodies = [
        json!({}),
        json!({"model": "m", "messages": []}),
        json!({"model": "m", "messages": [user]}),
        json!({"model": "m", "messages": [user], "temperature": 1.5, "top_p": 1}),
        json!({"model": "m", "messages": [user], "temperature": 1.6}),
        json!({"model": "m", "messages": [user], "random_seed": -1}),
        json!({"model": "m", "messages": [user], "seed": 1}),
        json!({"model": "m", "messages": [user], "stream_options": {"include_usage": true}}),
        json!({"model": "m", "messages": [user], "stream": "yes"}),
        json!({"model": "m", "messages": [{"role": "usr", "content": "a"}]}),
        json!({"model": "m", "messages": [{"role": "user", "content": "a", "x": 1}]}),
        json!({"model": "m", "messages": [user, {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "content": "1", "tool_call_id": "abcDEF123", "name": "f"}]}),
        json!({"model": "m", "messages": [{"role": "tool", "tool_call_id": "x"}]}),
        json!({"model": "m", "messages": [user], "tools": [{"type": "function", "function":
            {"name": "f", "description": "d", "parameters": {"type": "object"}}}]}),
        json!({"model": "m", "messages": [user], "tools": [{"function": {"name": "f"}}]}),
        json!({"model": "m", "messages": [user], "tool_choice": "always"}),
        json!({"model": "m", "messages": [user], "response_format": {"type": "json_schema",
            "json_schema": {"name": "s", "schema": {}, "strict": true}}}),
        json!({"model": "m", "messages": [user], "response_format": {"type": "json"}}),
    ];
    for body in bodies {
        let (short, long) = (excerpt.flaw(&body), whole.flaw(&body));
        assert_eq!(
            short.is_none(),
            long.is_none(),
            "{body}: {short:?}, {long:?}"
        );
    }
}

#[test]
fn plans_that_a_client_can_not_keep_are_refused_by_name() {
    let rows = [
        ("/model/id", json!("my-own-model"), "model.id"),
        ("/model/id", json!("mistral-ocr-4.1"), "model.id"),
        ("/model/id", json!("mistral-embed"), "model.id"),
        (
            "/sampling",
            json!({"temperature": 1.6, "top_p": 1.0}),
            "sampling.temperature",
        ),
        (
            "/sampling",
            json!({"temperature": 0.1, "top_p": 2.0}),
            "sampling.top_p",
        ),
        (
            "/sampling",
            json!({"temperature": 0.1, "top_p": 1.0, "top_k": 9}),
            "sampling.top_k",
        ),
        (
            "/sampling",
            json!({"temperature": 0.1, "top_p": 1.0, "min_p": 0.1}),
            "sampling.min_p",
        ),
        (
            "/sampling",
            json!({"temperature": 0.1, "top_p": 1.0, "seed": u64::MAX}),
            "sampling.seed",
        ),
        (
            "/limits/max_output_tokens",
            json!(0),
            "limits.max_output_tokens",
        ),
        ("/serve/api_key_env", json!("A=B"), "serve.api_key_env"),
        (
            "/serve/served_name",
            json!("a\u{1b}[0m"),
            "serve.served_name",
        ),
    ];
    for target in CLIENTS {
        for (field, value, part) in &rows {
            let error = generate(
                *target,
                &plan(&[(field, value.clone())]),
                &Options::default(),
            );
            let text = error.expect_err(field).to_string();
            assert!(
                text.contains(part) && text.contains(target.name()),
                "{field}: {text}"
            );
        }
    }
    for usd in [-1.0, f64::NAN, f64::INFINITY] {
        let options = Options {
            usd_limit: Some(usd),
            ..Options::default()
        };
        let error = generate(Target::ApiCurl, &plan(&[]), &options).expect_err("no limit");
        assert!(error.to_string().contains("usd_limit"), "{error}");
    }
}

#[test]
fn a_server_of_ones_own_is_asked_by_its_address() {
    let changes = [
        ("/runtime", json!("mistral-infer")),
        ("/model/id", json!("my-own-model")),
        ("/serve/bind", json!("0.0.0.0")),
        ("/serve/port", json!(8123)),
    ];
    for target in CLIENTS {
        let files = generate(*target, &plan(&changes), &Options::default()).expect("made");
        let all: String = files.iter().map(|f| f.contents.as_str()).collect();
        assert!(
            all.contains("http://127.0.0.1:8123/v1"),
            "{}",
            target.name()
        );
        assert!(!all.contains("api.mistral.ai"), "{}", target.name());
    }
}

/// The load test reads what the plan expects; no text of a plan is in its script.
#[test]
fn a_load_test_is_made_from_what_is_expected() {
    let name = "it's `id` ${HOME} \"é\" */ {{ x }}";
    let changes = [
        ("/runtime", json!("vllm")),
        ("/serve/served_name", json!(name)),
        (
            "/expected",
            json!({
                "prompt_tokens": 900, "output_tokens": 101, "requests_per_s": 0.5,
                "ttft_ms": {"value": 200.0, "lo": 100.0, "hi": 400.0},
                "tpot_ms": {"value": 20.0, "lo": 10.0, "hi": 30.0},
            }),
        ),
    ];
    let files = generate(Target::K6, &plan(&changes), &Options::default()).expect("made");
    let load: Value =
        serde_json::from_str(&files.get("load.json").expect("made").contents).expect("JSON");
    assert_eq!(load["model"], name);
    assert_eq!(load["answer_ms"], 3400);
    assert_eq!(load["requests_per_minute"], 30);
    let script = &files.get("script.js").expect("made").contents;
    assert!(!script.contains("${HOME}"));
    let hosted = generate(Target::K6, &plan(&[]), &Options::default()).expect_err("billed");
    assert!(hosted.to_string().contains("runtime"), "{hosted}");
}
