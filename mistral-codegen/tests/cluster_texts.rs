//! Any text of a plan comes back unchanged from the files of machines and clusters, or is refused
//! by name.

use mistral_codegen::quote::shell_words;
use mistral_codegen::{CodegenError, FileSet, Target, generate};
use proptest::prelude::*;
use serde_json::{Value, json};

#[allow(dead_code, reason = "the samples are for another test")]
#[path = "support/plans.rs"]
mod plans;

const TARGETS: &[Target] = &[
    Target::Docker,
    Target::Compose,
    Target::Systemd,
    Target::Skypilot,
    Target::Terraform,
    Target::Kubernetes,
    Target::Kserve,
    Target::LlmD,
    Target::LeaderWorkerSet,
    Target::RayServe,
];

const HOSTILE: &[&str] = &[
    "it's \"quoted\" and `ticked`",
    "$(touch hacked)",
    "${HOME}",
    "$HOME",
    "$$",
    "$",
    "$(VLLM_API_KEY)",
    "{{ x }}",
    "{% raw %}",
    "%h %i %%",
    "%{ if true }",
    "${file(\"/etc/passwd\")}",
    "yes",
    "no",
    "null",
    "~",
    "on",
    "1e3",
    "0x1f",
    "2026-11-23",
    "- a",
    "a: b",
    "#",
    "a #b",
    "a\\",
    "\\n",
    "\\",
    "a\nb",
    "\r",
    "\t",
    "\0",
    "",
    " ",
    " a ",
    "été",
    "模型",
    "\u{202e}x",
    "\u{feff}",
    "😀",
    "a,b=c",
    "!!int 3",
    "&a",
    "*a",
    "<<",
    "]]>",
    "'",
    "\"",
    ";",
    "|| true",
    "--port",
    "-x",
];

/// The words of the engine's command as the engine gets them.
fn words(target: Target, files: &FileSet) -> Vec<String> {
    let text = |path: &str| files.get(path).expect(path).contents.clone();
    match target {
        Target::Docker | Target::Compose => text("Dockerfile")
            .lines()
            .filter_map(|l| l.strip_prefix("ENTRYPOINT ").or(l.strip_prefix("CMD ")))
            .flat_map(|l| serde_json::from_str::<Vec<String>>(l).expect("an exec form"))
            .collect(),
        Target::Systemd => unit_words(&text("mistral-serving.service")),
        Target::Skypilot => {
            let task: Value = serde_yaml_ng::from_str(&text("task.yaml")).expect("YAML");
            shell_words(task["run"].as_str().expect("a script")).expect("words")
        }
        Target::Terraform => {
            let script = text("user-data.sh");
            let (_, command) = script.rsplit_once("\nexec ").expect("a command");
            shell_words(command).expect("words")
        }
        Target::RayServe => {
            let service: Value = serde_yaml_ng::from_str(&text("ray-service.yaml")).expect("YAML");
            let config = service["spec"]["serveConfigV2"].as_str().expect("a text");
            let config: Value = serde_yaml_ng::from_str(config).expect("YAML");
            let llm = &config["applications"][0]["args"]["llm_configs"][0];
            let loading = &llm["model_loading_config"];
            let texts = [
                &loading["model_id"],
                &loading["model_source"],
                &llm["engine_kwargs"]["revision"],
            ];
            texts
                .iter()
                .filter_map(|t| t.as_str())
                .map(str::to_owned)
                .collect()
        }
        _ => {
            let path = match target {
                Target::Kserve => "inference-service.yaml",
                Target::LeaderWorkerSet => "leader-worker-set.yaml",
                _ => "deployment.yaml",
            };
            let object: Value = serde_yaml_ng::from_str(&text(path)).expect("YAML");
            let mut words = Vec::new();
            collect(&object, &mut words);
            words
        }
    }
}

/// The commands and arguments anywhere in an object, as the kubelet gives them on when no variable
/// of theirs exists.
fn collect(value: &Value, words: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match (key.as_str(), value) {
                    ("args" | "command", Value::Array(list)) => {
                        words.extend(list.iter().filter_map(Value::as_str).map(expanded));
                    }
                    (_, value) => collect(value, words),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, words)),
        _ => {}
    }
}

/// Kubernetes' expansion: `$$` is `$`, and a `$(NAME)` that is left would be a variable.
fn expanded(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '$' && chars.next_if_eq(&'$').is_none() && chars.peek() == Some(&'(') {
            out.push_str("VARIABLE");
        }
        out.push(c);
    }
    out
}

/// The words of `ExecStart` by the rules of systemd.service(5).
fn unit_words(unit: &str) -> Vec<String> {
    let (_, rest) = unit.split_once("ExecStart=").expect("a command");
    let joined = rest.replace(" \\\n", " ");
    let line = joined.lines().next().expect("a line");
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' if !quoted => words.extend(word.take()),
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' => word
                .get_or_insert_default()
                .push(chars.next().expect("an escaped character")),
            '%' | '$' => {
                assert_eq!(chars.next(), Some(c), "{line}");
                word.get_or_insert_default().push(c);
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Whether a refusal says which field or format it is about.
fn named(error: &CodegenError) -> bool {
    matches!(
        error,
        CodegenError::Unsupported { .. }
            | CodegenError::FlagValue { .. }
            | CodegenError::Unquotable { .. }
            | CodegenError::EmptyText { .. }
    )
}

/// Checks one text in one field; returns whether the target took it.
fn check(target: Target, field: &str, text: &str) -> bool {
    let nodes =
        json!({"device": "H100-SXM", "count": 16, "tensor_parallel": 8, "pipeline_parallel": 2});
    let mut changes = vec![(field, json!(text))];
    if target == Target::LeaderWorkerSet {
        changes.push(("/placement", nodes));
    }
    let plan = plans::plan(&changes);
    match generate(target, &plan, &mistral_codegen::Options::default()) {
        Err(e) => {
            assert!(named(&e), "{} {field} {text:?}: {e}", target.name());
            false
        }
        Ok(files) => {
            let words = words(target, &files);
            assert!(
                words.iter().any(|word| word == text),
                "{} {field} {text:?} isn't among {words:?}",
                target.name()
            );
            true
        }
    }
}

#[test]
fn hostile_texts_survive_or_are_refused() {
    for target in TARGETS {
        let mut taken = 0;
        for field in ["/model/id", "/model/hf_repo", "/model/revision"] {
            taken += HOSTILE
                .iter()
                .filter(|text| check(*target, field, text))
                .count();
        }
        // Refusing everything would be no answer.
        assert!(taken > 60, "{}: {taken}", target.name());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_survives_or_is_refused(text in any::<String>(), ascii in "[ -~]{0,16}") {
        for target in TARGETS {
            check(*target, "/model/id", &text);
            check(*target, "/model/id", &ascii);
            check(*target, "/model/hf_repo", &ascii);
        }
    }
}
