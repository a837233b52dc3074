//! The command line of `codegen`: each option reaches the files or the checkers, and what has no
//! effect is refused.

#[path = "../codegen/program.rs"]
mod program;
#[path = "../codegen/settings.rs"]
mod settings;

use std::path::{Path, PathBuf};

use mistral_core::schedule::Schedule;
use mistral_examples::{Arguments, Outcome};
use serde_json::{Value, json};

/// A folder with a plan for vLLM, one for the API with an unlisted model, and files for options.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a folder"));
        let plan = json!({
            "schema": 1,
            "model": {"id": "mistral-nemo-12b", "hf_repo": "mistralai/Mistral-Nemo-Instruct-2407"},
            "precision": "bf16", "runtime": "vllm",
            "placement": {"device": "L40S", "count": 1, "tensor_parallel": 1},
            "limits": {"context_tokens": 4096, "concurrency": 4},
        });
        let mut hosted = plan.clone();
        hosted["model"] = json!({"id": "a-model-of-tomorrow"});
        hosted["runtime"] = json!("mistral-api");
        hosted["placement"] = json!({"device": "api", "count": 0, "tensor_parallel": 0});
        let mut infer = plan.clone();
        infer["runtime"] = json!("mistral-infer");
        place.write("plan.json", &plan);
        place.write("hosted.json", &hosted);
        place.write("infer.json", &infer);
        place.write("cluster.json", &json!({"namespace": "chat", "replicas": 3}));
        let found = json!({
            "machine": {"cpu": "a processor", "isa": "avx2", "threads": 2},
            "shapes": {"dim": 64, "hidden_dim": 128, "experts": 0, "precision": "bf16"},
            "schedule": serde_json::to_value(Schedule::default()).expect("plain data"),
            "gain": 1.1, "command": "tune kernels", "date": "2026-11-24",
        });
        place.write("book.json", &json!({"schema": 1, "found": [found]}));
        place.write("newer.json", &json!({"schema": 2, "found": []}));
        place.write("typo.json", &json!({"replica": 3}));
        place.write("lock", &json!(4));
        let shapes = json!({"dim": 64, "hidden_dim": 128, "experts": 0, "precision": "bf16"});
        let book = json!({"schema": 1, "found": [{
            "machine": {"cpu": "a processor", "isa": "avx2", "threads": 2},
            "shapes": shapes, "schedule": Schedule::default(),
            "gain": 1.1, "command": "tune kernels", "date": "2026-11-24",
        }]});
        place.write("book.json", &book);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, value: &Value) {
        std::fs::write(self.path(name), value.to_string()).expect("written");
    }

    /// The words of a command line; `@name` is a file of this folder.
    fn arguments(&self, line: &str) -> Result<Arguments, String> {
        let own = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.path(name).to_string_lossy().into_owned(),
            None => word.to_owned(),
        };
        let words = line.split(' ').map(own);
        Arguments::parse(words, &settings::OPTIONS).map_err(|e| e.to_string())
    }

    fn run(&self, line: &str) -> Result<Outcome, String> {
        program::run(&self.arguments(line)?).map_err(|e| e.to_string())
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_usage_names_every_option() {
    let all = settings::OPTIONS.valued.iter();
    for name in all.chain(settings::OPTIONS.switches) {
        let named = settings::USAGE
            .split(|c: char| !c.is_alphanumeric() && c != '-')
            .any(|word| word.strip_prefix("--") == Some(name));
        assert!(named, "--{name}");
    }
}

/// A command line, a file that it writes, and what that has.
#[test]
fn options_reach_the_files() {
    let rows = [
        (
            "@plan.json --target kubernetes --cluster @cluster.json",
            "autoscaler.yaml",
            "minReplicas: 3",
        ),
        (
            "@plan.json --target kubernetes --cluster @cluster.json",
            "service.yaml",
            "namespace: chat",
        ),
        (
            "@infer.json --target rust --schedules @book.json",
            "schedules.json",
            "a processor",
        ),
        (
            "@plan.json --target kubernetes --image registry.example/own:1",
            "deployment.yaml",
            "registry.example/own:1",
        ),
        (
            "@hosted.json --target api-curl --price-in 0.75 --price-out 2.5",
            "plan.sh",
            "MODEL=a-model-of-tomorrow",
        ),
        (
            "@hosted.json --target api-curl --price-in 0.75 --price-out 2.5 --usd-limit 0.125",
            "plan.sh",
            "0.125",
        ),
        (
            "@infer.json --target rust-embed --mistral-infer ^0.9",
            "Cargo.toml",
            "version = \"^0.9\"",
        ),
        (
            "@infer.json --target rust-embed --mistral-infer @",
            "Cargo.toml",
            "path = \"",
        ),
        (
            "@infer.json --target rust --schedules @book.json",
            "schedules.json",
            "a processor",
        ),
    ];
    let mut failures = Vec::new();
    for (line, file, part) in rows {
        let place = Place::new();
        let outcome = place.run(&format!("{line} --out @out"));
        let text = std::fs::read_to_string(place.path("out").join(file)).unwrap_or_default();
        if outcome != Ok(Outcome::Good) || !text.contains(part) {
            failures.push(format!(
                "{line}: {outcome:?}, no {part:?} in {file}:\n{text}"
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn options_reach_the_checkers() {
    let place = Place::new();
    let line = "@plan.json --verify --python @plan.json --gguf @plan.json --openapi @hosted.json \
        --definitions @ --terraform-providers @ --cargo-lock @lock";
    let arguments = place.arguments(line).expect("known options");
    let made = settings::checkers(&arguments, &workspace(), place.path("scratch"));
    let made = made.expect("everything is there");
    assert_eq!(made.python, Some(place.path("plan.json")));
    assert_eq!(made.openapi, Some(place.path("hosted.json")));
    assert_eq!(made.definitions, Some(place.path("")));
    assert_eq!(made.terraform_providers, Some(place.path("")));
    assert_eq!(made.cargo_lock, Some(place.path("lock")));
    let witness = made.witness.expect("the model of this repository");
    assert_eq!(witness.gguf, Some(place.path("plan.json")));
    assert_eq!(witness.greedy.len(), 2);

    let known = json!([{"prompt": "a", "token_ids": [1], "text": "b"}]);
    place.write("greedy.json", &known);
    let line = "@plan.json --verify --witness @ --greedy @greedy.json";
    let arguments = place.arguments(line).expect("known options");
    let made = settings::checkers(&arguments, &workspace(), place.path("scratch"));
    let witness = made.expect("made").witness.expect("it is given");
    assert_eq!(witness.folder, place.path(""));
    assert_eq!(witness.greedy[0].prompt, "a");
}

/// A command line, and a part of what is said.
#[test]
fn what_can_not_be_meant_is_refused() {
    let rows = [
        (
            "@plan.json --target nothing --out @out",
            "expected a target among rust,",
        ),
        ("@plan.json --out @out", "--target is missing"),
        ("@plan.json --target vllm", "--out is missing"),
        (
            "@plan.json --target vllm --out @out --clusters @cluster.json",
            "unknown option --clusters",
        ),
        (
            "@plan.json --target kubernetes --out @out --cluster @typo.json",
            "unknown field `replica`",
        ),
        (
            "@plan.json --target kubernetes --out @out --cluster @no.json",
            "no.json: ",
        ),
        (
            "@infer.json --target rust --out @out --schedules @newer.json",
            "expected 1",
        ),
        ("@cluster.json --target vllm --out @out", "not a plan"),
        (
            "@infer.json --target rust --out @out --schedules @plan.json",
            "not a book of schedules",
        ),
        (
            "@plan.json --target api-curl --out @out --openapi @plan.json",
            "--openapi has no effect without --verify",
        ),
        (
            "@plan.json --target vllm --out @out --verify --gguf @no.gguf",
            "no such file",
        ),
        (
            "@plan.json --target vllm --out @out --verify --witness @",
            "--witness and --greedy go together",
        ),
        (
            "@plan.json --target vllm --out @out --verify --witness @ --greedy @plan.json",
            "not known continuations",
        ),
        (
            "@plan.json --target vllm --diff @plan.json --verify",
            "--verify has no effect with --diff",
        ),
        (
            "@plan.json --target vllm --diff @plan.json --out @out",
            "--out has no effect with --diff",
        ),
        (
            "@hosted.json --target api-curl --out @out",
            "its prices a token",
        ),
        (
            "@hosted.json --target api-curl --out @out --price-in 1",
            "--price-in and --price-out go together",
        ),
        (
            "@hosted.json --target api-curl --out @out --usd-limit NaN",
            "expected dollars",
        ),
        (
            "@infer.json --target rust-embed --out @out --mistral-infer @no",
            "no such file or folder",
        ),
    ];
    let place = Place::new();
    let mut failures = Vec::new();
    for (line, part) in rows {
        match place.run(line) {
            Err(said) if said.contains(part) => {}
            other => failures.push(format!("{line}: expected {part:?}, found {other:?}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(!place.path("out").exists(), "nothing was written");
}

/// Checkers take what the command line gives them: an interpreter that isn't one fails every
/// Python file, a document that isn't OpenAPI ends the run.
#[test]
fn checkers_take_what_they_are_given() {
    let place = Place::new();
    let bad = Path::new("/bin/false");
    if bad.is_file() {
        let line =
            "@hosted.json --target python-transformers --out @out --verify --python /bin/false";
        place.write("hosted.json", &json!({
            "schema": 1, "model": {"id": "m", "hf_repo": "mistralai/Mistral-Nemo-Instruct-2407"},
            "precision": "bf16", "tokenizer": "hf", "runtime": "vllm",
            "placement": {"device": "L40S", "count": 1, "tensor_parallel": 1},
            "limits": {"context_tokens": 4096, "concurrency": 1},
        }));
        assert_eq!(place.run(line), Ok(Outcome::OutOfTolerance));
        assert!(
            !place.path("out/generate.py").exists(),
            "a file that fails isn't written"
        );
        assert!(place.path("out/plan.json").exists());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed =
        |name: &&str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    if ["bash", "curl", "jq"].iter().all(installed) {
        let place = Place::new();
        let line = "@hosted.json --target api-curl --price-in 1 --price-out 1 --out @out --verify --openapi @plan.json";
        let said = place.run(line).expect_err("no OpenAPI document");
        assert!(said.contains("OpenAPI"), "{said}");
    }
}
