//! The real checkers accept what is generated, whatever a plan's texts are, and find what is wrong.

use checked::findings;
use mistral_codegen::verify::Verdict;
use mistral_codegen::{CodegenError, FileSet, GeneratedFile, Options, Plan, Target, generate};
use serde_json::{Value, json};

#[path = "support/checked.rs"]
mod checked;
#[path = "support/engine_plan.rs"]
mod engine_plan;

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

/// A plan with `text` in every field that the target takes any text in.
fn plan(target: Target, text: &str) -> Plan {
    let mut changes = vec![
        ("/model/local_path", json!(text)),
        (
            "/reasons",
            json!([{"rule": text, "facts": {text: text}, "sources": [text]}]),
        ),
    ];
    match target {
        Target::LlamaServer => {
            changes.extend([("/precision", json!("q8_0")), ("/tokenizer", json!("gguf"))])
        }
        Target::Ollama => changes.push(("/tokenizer", json!("gguf"))),
        _ => {}
    }
    // Ollama changes names, and has repositories in its own form.
    if target != Target::Ollama {
        let names = ["/model/id", "/model/hf_repo", "/model/file"];
        changes.extend(names.map(|field| (field, json!(text))));
        changes.extend([
            ("/placement/count", json!(2)),
            ("/placement/tensor_parallel", json!(2)),
        ]);
    }
    // The others have to know the device.
    if matches!(target, Target::Vllm | Target::LlamaServer | Target::Sglang) {
        changes.push(("/placement/device", json!(text)));
    }
    engine_plan::plan(target, &changes)
}

fn checked(target: Target, files: &FileSet) -> Verdict {
    checked::checked(target, files, |_| {})
}

#[test]
fn hostile_texts_pass_every_checker() {
    let mut failures = Vec::new();
    for target in [
        Target::Vllm,
        Target::LlamaServer,
        Target::Sglang,
        Target::TensorrtLlm,
        Target::Ollama,
        Target::VllmTpu,
    ] {
        // What llama-server's names and a Modelfile's arguments can't hold is refused.
        let unfit: &[char] = match target {
            Target::LlamaServer => &[','],
            Target::Ollama => &['\u{202e}'],
            _ => &[],
        };
        let fitting = HOSTILE.iter().filter(|text| !text.contains(unfit));
        let fitting: Vec<&str> = fitting.copied().collect();
        // Several a plan: starting the checkers takes the time.
        for texts in fitting.chunks(3) {
            let text = &texts.join(" ");
            let files = generate(target, &plan(target, text), &Options::default());
            let files = files.unwrap_or_else(|e| panic!("{target:?} {text:?}: {e}"));
            let found = findings(&checked(target, &files));
            let named = found.iter().map(|f| format!("{target:?} {text:?} {f}"));
            failures.extend(named);
            let Some(compose) = files.get("compose.yaml") else {
                let none = matches!(target, Target::VllmTpu | Target::Ollama);
                assert!(none, "{target:?}: no container");
                continue;
            };
            let compose: Value = serde_yaml_ng::from_str(&compose.contents).expect("YAML");
            let services = compose["services"].as_object().expect("services");
            let mounts = services
                .values()
                .flat_map(|service| service["volumes"].as_array());
            let mut sources = mounts
                .flatten()
                .filter_map(|mount| mount["source"].as_str());
            let expected = format!("./{}", text.replace('$', "$$"));
            assert!(
                sources.any(|source| source == expected),
                "{target:?} {text:?}"
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
