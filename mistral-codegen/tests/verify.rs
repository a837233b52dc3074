//! The real checkers accept what is generated, whatever a plan's texts are, and find what is wrong.

use mistral_codegen::verify::{Checkers, Verdict, verify};
use mistral_codegen::{CodegenError, FileSet, GeneratedFile, Options, Plan, Target, generate};
use serde_json::{Value, json};

/// Texts that would run, end or change a file if they weren't quoted.
const HOSTILE: &[&str] = &[
    "plain",
    "it's \"quoted\" \\ twice",
    "$(touch hacked) `touch hacked` ${HOME} $$",
    "a: b # c - [d] {e} &f *g !h |i >j %k",
    "x' ; touch hacked ; echo 'y",
    "] }, { \"z\": [",
    "é 中 \u{1f980} \u{202e}txet",
    "{{ 7 * 7 }} {% raw %}",
    "</code> | table | ``` # heading",
];

fn plan(target: Target, text: &str) -> Plan {
    let (precision, tokenizer) = match target {
        Target::LlamaServer => ("q8_0", "gguf"),
        _ => ("bf16", "mistral"),
    };
    let plan = json!({
        "schema": 1,
        "model": {"id": text, "hf_repo": text, "local_path": text, "file": text},
        "precision": precision,
        "tokenizer": tokenizer,
        "runtime": "vllm",
        "placement": {"device": text, "count": 2, "tensor_parallel": 2},
        "limits": {"context_tokens": 4096, "concurrency": 4},
        "reasons": [{"rule": text, "facts": {text: text}, "sources": [text]}],
    });
    serde_json::from_value(plan).expect("a plan")
}

fn checked(target: Target, files: &FileSet) -> Verdict {
    let scratch = tempfile::tempdir().expect("a folder");
    let checkers = Checkers::from_environment(std::env::vars_os(), scratch.path().to_path_buf());
    let verdict = verify(target, files, &checkers).expect("checkers start");
    for tool in verdict.missing.keys() {
        println!("not checked: {tool} is not installed");
    }
    verdict
}

#[test]
fn hostile_texts_pass_every_checker() {
    let mut failures = Vec::new();
    for target in [Target::Vllm, Target::LlamaServer] {
        // Several a plan: starting the checkers takes the time. llama-server's names have no comma.
        let fitting = HOSTILE
            .iter()
            .filter(|text| target == Target::Vllm || !text.contains(','));
        let fitting: Vec<&str> = fitting.copied().collect();
        for texts in fitting.chunks(3) {
            let text = &texts.join(" ");
            let files = generate(target, &plan(target, text), &Options::default());
            let files = files.unwrap_or_else(|e| panic!("{target:?} {text:?}: {e}"));
            for (path, checks) in checked(target, &files).files {
                for check in checks.iter().filter(|check| !check.ok) {
                    failures.push(format!("{target:?} {text:?} {path}: {check:?}"));
                }
            }
            let compose = &files.get("compose.yaml").expect("compose.yaml").contents;
            let compose: Value = serde_yaml_ng::from_str(compose).expect("YAML");
            let services = compose["services"].as_object().expect("services");
            let service = services.values().next().expect("one service");
            let source = service["volumes"][0]["source"].as_str().expect("a mount");
            assert_eq!(
                source,
                format!("./{}", text.replace('$', "$$")),
                "{target:?}"
            );
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The script gives the engine its arguments letter by letter.
#[test]
fn the_script_passes_texts_on() {
    for (target, program) in [
        (Target::Vllm, "vllm"),
        (Target::LlamaServer, "llama-server"),
    ] {
        for text in HOSTILE.iter().filter(|text| !text.contains(',')) {
            let folder = tempfile::tempdir().expect("a folder");
            let files = generate(target, &plan(target, text), &Options::default()).expect("made");
            files.write(folder.path()).expect("written");
            // Stands in for the engine; the model has to be there.
            let stub = folder.path().join(program);
            std::fs::write(&stub, "#!/bin/sh\nprintf '%s\\0' \"$@\"\n").expect("written");
            make_executable(&stub);
            std::fs::create_dir_all(folder.path().join(text)).expect("made");
            let output = std::process::Command::new("bash")
                .arg("start.sh")
                .current_dir(folder.path())
                .env("PATH", with_first(folder.path()))
                .env("MISTRAL_SERVER_API_KEY", "k")
                .env_remove("MODEL_PATH")
                .output();
            let Ok(output) = output else {
                println!("skipped: no bash");
                return;
            };
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            let words: Vec<&str> = said.split('\0').collect();
            assert_eq!(
                words.iter().filter(|word| *word == text).count(),
                2,
                "{words:?} {errors}"
            );
            assert!(!folder.path().join("hacked").exists());
        }
    }
}

fn make_executable(path: &std::path::Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, mode).expect("made executable");
    }
    #[cfg(not(unix))]
    let _ = path;
}

fn with_first(folder: &std::path::Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).expect("folders without colons")
}

/// Each checker finds a mistake of its own kind.
#[test]
fn mistakes_are_found() -> Result<(), CodegenError> {
    let good = generate(
        Target::Vllm,
        &plan(Target::Vllm, "plain"),
        &Options::default(),
    )?;
    let rows = [
        ("start.sh", "if [[ -z", "if [[[ -z (", "bash -n"),
        (
            "start.sh",
            "[[ -z \"$model\" ]]",
            "[ -z $model ]",
            "shellcheck",
        ),
        ("start.sh", "--max-num-seqs", "--max-number-seqs", "flags"),
        (
            "start.sh",
            "--max-model-len 4096",
            "--max-model-len many",
            "flags",
        ),
        ("Dockerfile", "v0.33.0", "latest", "hadolint"),
        ("compose.yaml", "restart:", "restrat:", "check-jsonschema"),
        ("compose.yaml", "init: true", "init: [", "check-jsonschema"),
        ("plan.json", "{", "", "json"),
    ];
    let mut failures = Vec::new();
    for (path, from, to, tool) in rows {
        let mut files = FileSet::new();
        for file in good.iter() {
            let mut file: GeneratedFile = file.clone();
            if file.path.as_str() == path {
                let changed = file.contents.replacen(from, to, 1);
                assert_ne!(changed, file.contents, "{path} has {from:?}");
                file.contents = changed;
            }
            files.insert(file)?;
        }
        let verdict = checked(Target::Vllm, &files);
        let found = verdict
            .of(path)
            .iter()
            .any(|check| check.tool == tool && !check.ok);
        if !found && !verdict.missing.contains_key(tool) {
            failures.push(format!(
                "{tool} accepts {to:?} in {path}: {:?}",
                verdict.of(path)
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}
