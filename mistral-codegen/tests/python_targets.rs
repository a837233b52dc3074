//! Python programs: what a plan's fields become, what is refused by name, and that they run.

use std::path::{Path, PathBuf};
use std::process::Command;

use changed::changed;
use mistral_codegen::verify::{Checkers, Greedy, Verdict, Witness, verify};
use mistral_codegen::{CodegenError, FileSet, GeneratedFile, Options, Plan, Target, generate};
use proptest::prelude::*;
use serde_json::{Value, json};

#[path = "support/changed.rs"]
mod changed;

const TARGETS: &[Target] = &[
    Target::PythonTransformers,
    Target::PythonVllm,
    Target::MistralInference,
    Target::LlamaCppPython,
    Target::OpenvinoGenai,
    Target::OnnxruntimeGenai,
    Target::Jax,
];

/// Texts that would run, end or change a file if they weren't quoted.
const HOSTILE: &[&str] = &[
    "plain",
    "it's \"quoted\" \\ twice",
    "\"\"\" + __import__('os').system('touch hacked') + \"\"\"",
    "$(touch hacked) `touch hacked` ${HOME} {settings}",
    "# comment\\",
    "é 中 \u{1f980} \u{202e}txet",
    "{{ 7 * 7 }} {% raw %} %s %(x)d",
    "</code> | table | ``` # heading",
    "name==1.0 ; python_version < '3'",
];

fn plan(target: Target, changes: &[(&str, Value)]) -> Plan {
    let (precision, tokenizer, device) = match target {
        Target::PythonVllm | Target::MistralInference => ("bf16", "mistral", "L40S"),
        Target::LlamaCppPython => ("q8_0", "gguf", "L40S"),
        Target::OpenvinoGenai => ("f16", "hf", "Core i9-13900K DDR5-6400"),
        Target::OnnxruntimeGenai => ("f16", "hf", "L40S"),
        _ => ("bf16", "hf", "L40S"),
    };
    let plan = json!({
        "schema": 1,
        "model": {"id": "m", "hf_repo": "mistralai/Mistral-Nemo-Instruct-2407", "file": "m.gguf"},
        "precision": precision,
        "tokenizer": tokenizer,
        "runtime": "vllm",
        "placement": {"device": device, "count": 1, "tensor_parallel": 1},
        "limits": {"context_tokens": 4096, "concurrency": 4},
    });
    changed(plan, changes)
}

fn made(target: Target, changes: &[(&str, Value)]) -> Result<FileSet, CodegenError> {
    generate(target, &plan(target, changes), &Options::default())
}

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/tiny-mixtral")
}

/// What `mistral-infer` continues texts with; an example's test keeps it true.
fn greedy() -> Vec<Greedy> {
    serde_json::from_str(include_str!("data/tiny-mixtral-greedy.json")).expect("a list")
}

fn checkers(scratch: &Path) -> Checkers {
    Checkers::from_environment(std::env::vars_os(), scratch.to_path_buf())
}

fn checked(target: Target, files: &FileSet, checkers: &Checkers) -> Verdict {
    let verdict = verify(target, files, checkers).expect("checkers start");
    for (tool, paths) in &verdict.missing {
        println!(
            "{target:?}: {tool} is missing; not checked: {}",
            paths.join(", ")
        );
    }
    verdict
}

fn findings(target: Target, verdict: &Verdict) -> Vec<String> {
    let each = verdict.files.iter().flat_map(|(path, checks)| {
        let bad = checks.iter().filter(|check| !check.ok);
        bad.map(move |check| format!("{target:?} {path} {}: {}", check.tool, check.detail))
    });
    each.collect()
}

/// Every program passes its checkers and, where its library is installed, says on the small model
/// what `mistral-infer` says.
#[test]
fn programs_pass_and_run() {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut checkers = checkers(scratch.path());
    let folder = assets();
    checkers.witness = folder.is_dir().then(|| Witness {
        folder: folder.canonicalize().expect("a folder"),
        gguf: std::env::var_os("TINY_MIXTRAL_GGUF").map(PathBuf::from),
        converted: None,
        greedy: greedy(),
    });
    let mut failures = Vec::new();
    for &target in TARGETS {
        if let Some(witness) = &mut checkers.witness {
            let openvino = target == Target::OpenvinoGenai;
            let folder = openvino.then(|| std::env::var_os("TINY_MIXTRAL_OPENVINO"));
            witness.converted = folder.flatten().map(PathBuf::from);
        }
        let files = made(target, &[("/tools", json!(true))]).expect("made");
        let verdict = checked(target, &files, &checkers);
        failures.extend(findings(target, &verdict));
        for (path, checks) in &verdict.files {
            let tools: Vec<&str> = checks.iter().map(|check| check.tool).collect();
            println!("{target:?} {path}: {}", tools.join(", "));
        }
        println!("{target:?}: {:?}", verdict.versions);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A program that says something else is found, with the first token that differs.
#[test]
fn another_continuation_is_found() {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut checkers = checkers(scratch.path());
    let mut greedy = greedy();
    greedy.truncate(1);
    greedy[0].token_ids[3] += 1;
    checkers.witness = Some(Witness {
        folder: assets(),
        gguf: None,
        converted: None,
        greedy,
    });
    let files = made(Target::Jax, &[]).expect("made");
    let verdict = checked(Target::Jax, &files, &checkers);
    let tool = "python3 greedy tokens";
    if verdict.missing.contains_key(tool) {
        println!("skipped: JAX is not installed");
        return;
    }
    let check = verdict.of("generate.py").iter().find(|c| c.tool == tool);
    let check = check.expect("it ran");
    assert!(
        !check.ok && check.detail.contains("from number 3 on"),
        "{check:?}"
    );
}

/// Each checker finds a mistake of its own kind.
#[test]
fn mistakes_are_found() -> Result<(), CodegenError> {
    let scratch = tempfile::tempdir().expect("a folder");
    let checkers = checkers(scratch.path());
    let good = made(Target::Jax, &[])?;
    let rows = [
        (
            "cli.py",
            "import argparse\n",
            "import argparse (\n",
            "python3 compile",
        ),
        (
            "cli.py",
            "import argparse\n",
            "import argparse\nimport os\n",
            "ruff check",
        ),
        ("cli.py", "    return 0\n", "    return  0\n", "ruff format"),
        ("cli.py", "    return 0\n", "    return \"0\"\n", "mypy"),
        (
            "cli.py",
            "settings.CONTEXT_TOKENS - prompt",
            "settings.CONTEXT - prompt",
            "mypy",
        ),
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
        let verdict = checked(Target::Jax, &files, &checkers);
        let found = verdict.of(path).iter().any(|c| c.tool == tool && !c.ok);
        if !found && !verdict.missing.contains_key(tool) {
            failures.push(format!("{tool} accepts {to:?}: {:?}", verdict.of(path)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// Every text of a plan as a program has it: read back by the interpreter from settings.py and
/// plan.json.
#[test]
fn hostile_texts_survive() {
    let mut failures = Vec::new();
    for &target in TARGETS {
        for text in HOSTILE {
            let files = match made(target, &everywhere(target, text)) {
                Ok(files) => files,
                Err(error) => {
                    failures.push(format!("{target:?} {text:?}: {error}"));
                    continue;
                }
            };
            let folder = tempfile::tempdir().expect("a folder");
            files.write(folder.path()).expect("written");
            let Some(read) = settings(folder.path()) else {
                println!("skipped: no python3");
                return;
            };
            for name in ["MODEL", "REVISION"] {
                let expected = if name == "MODEL" {
                    json!(text)
                } else {
                    Value::Null
                };
                if read[name] != expected {
                    failures.push(format!("{target:?} {name}: {} is not {text:?}", read[name]));
                }
            }
            let plan: Plan = serde_json::from_str(&files.get("plan.json").expect("it").contents)
                .expect("a plan");
            assert_eq!(
                plan,
                self::plan(target, &everywhere(target, text)),
                "{target:?}"
            );
            let pins = &files.get("requirements.txt").expect("it").contents;
            assert!(!pins.contains(text), "{target:?} {pins}");
            assert!(!folder.path().join("hacked").exists());
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// `text` in every field of a plan that takes any.
fn everywhere(target: Target, text: &str) -> Vec<(&'static str, Value)> {
    let vendor = match target {
        Target::OpenvinoGenai => "Intel",
        _ => "NVIDIA",
    };
    vec![
        (
            "/model",
            json!({"id": text, "hf_repo": text, "revision": text, "file": text, "local_path": text}),
        ),
        (
            "/serve",
            json!({"bind": text, "port": 1, "api_key_env": text, "served_name": text}),
        ),
        (
            "/placement",
            json!({"device": text, "vendor": vendor, "device_kind": "datacenter_gpu", "count": 1, "tensor_parallel": 1}),
        ),
        (
            "/reasons",
            json!([{"rule": text, "facts": {text: text}, "sources": [text]}]),
        ),
    ]
}

/// The constants of settings.py, as the interpreter reads them; `None` without one.
fn settings(folder: &Path) -> Option<Value> {
    let script = "import json, settings; print(json.dumps(\
        {n: v for n, v in vars(settings).items() if n.isupper()}))";
    let output = Command::new("python3")
        .args(["-B", "-c", script])
        .current_dir(folder)
        .env("PYTHONPATH", folder)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(serde_json::from_str(&text).unwrap_or_else(|e| {
        panic!("{e}: {text} {}", String::from_utf8_lossy(&output.stderr));
    }))
}

/// A target, changes of the plan, parts of settings.py, and of requirements.txt.
type Row<'a> = (Target, &'a [(&'a str, Value)], &'a [&'a str], &'a [&'a str]);

#[test]
fn plans_become_settings() {
    use Target::*;
    let tpu = json!({"device": "TPU v5e", "count": 4, "tensor_parallel": 4});
    let two = json!({"device": "L40S", "count": 2, "tensor_parallel": 1, "pipeline_parallel": 2});
    let cpu = json!({"device": "my board", "device_kind": "cpu", "vendor": "CPU", "count": 1, "tensor_parallel": 1, "threads": 8});
    let greedy = json!({"temperature": 0.0, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "seed": 7});
    let rows: &[Row<'_>] = &[
        (
            PythonTransformers,
            &[("/sampling", greedy)],
            &[
                "TEMPERATURE: Final[float] = 0.0",
                "TOP_P: Final[float] = 0.9",
                "TOP_K: Final[int] = 40",
                "MIN_P: Final[float] = 0.05",
                "SEED: Final[int | None] = 7",
                "DEVICE_MAP: Final[str | None] = \"cuda:0\"",
                "DTYPE: Final[str] = \"bfloat16\"",
            ],
            &["transformers==", "torch==", "accelerate==", "jinja2=="],
        ),
        (
            PythonTransformers,
            &[("/placement", two.clone())],
            &["\"balanced\""],
            &[],
        ),
        (
            PythonTransformers,
            &[
                ("/placement", cpu.clone()),
                ("/tokenizer", json!("mistral")),
            ],
            &[
                "DEVICE_MAP: Final[str | None] = None",
                "THREADS: Final[int | None] = 8",
            ],
            &["mistral-common=="],
        ),
        (
            PythonTransformers,
            &[("/model/revision", json!("abc"))],
            &[
                "REVISION: Final[str | None] = \"abc\"",
                "LOCAL: Final[bool] = False",
            ],
            &[],
        ),
        (
            PythonVllm,
            &[
                ("/precision", json!("fp8")),
                ("/kv_precision", json!("fp8")),
                ("/placement", two),
            ],
            &[
                "QUANTIZATION: Final[str | None] = \"fp8_per_tensor\"",
                "KV_CACHE_DTYPE: Final[str] = \"fp8\"",
                "PIPELINE_PARALLEL: Final[int] = 2",
                "TOKENIZER_MODE: Final[str] = \"mistral\"",
                "GPU_MEMORY_UTILIZATION: Final[float] = 0.92",
            ],
            &["vllm==0.33.0"],
        ),
        (
            MistralInference,
            &[],
            &["\"params.json\"", "DEVICE: Final[str] = \"cuda\""],
            &["mistral-inference==", "mistral-common=="],
        ),
        (
            LlamaCppPython,
            &[
                ("/kv_precision", json!("q8_0")),
                ("/placement", cpu.clone()),
            ],
            &[
                "CACHE_TYPE: Final[str | None] = \"GGML_TYPE_Q8_0\"",
                "FLASH_ATTENTION: Final[bool] = True",
                "GPU_LAYERS: Final[int] = 0",
                "FILE: Final[str | None] = \"m.gguf\"",
            ],
            &["llama-cpp-python=="],
        ),
        (LlamaCppPython, &[], &["GPU_LAYERS: Final[int] = -1"], &[]),
        (
            OpenvinoGenai,
            &[("/precision", json!("f32"))],
            &[
                "MODEL: Final[str] = \"model\"",
                "DEVICE: Final[str] = \"CPU\"",
                "DTYPE: Final[str | None] = \"f32\"",
            ],
            &["openvino-genai=="],
        ),
        (
            OnnxruntimeGenai,
            &[],
            &["PROVIDER: Final[str] = \"cuda\""],
            &["onnxruntime-genai-cuda=="],
        ),
        (
            OnnxruntimeGenai,
            &[("/placement", cpu.clone()), ("/precision", json!("f32"))],
            &["PROVIDER: Final[str] = \"cpu\""],
            &["onnxruntime-genai=="],
        ),
        (
            Jax,
            &[("/placement", tpu), ("/kv_precision", json!("f32"))],
            &[
                "TENSOR_PARALLEL: Final[int] = 4",
                "PLATFORMS: Final[str] = \"tpu\"",
                "CACHE_DTYPE: Final[str] = \"float32\"",
            ],
            &["jax[tpu]=="],
        ),
        (
            Jax,
            &[("/placement", cpu)],
            &["PLATFORMS: Final[str] = \"cpu\""],
            &["jax=="],
        ),
    ];
    let mut failures = Vec::new();
    for (target, changes, constants, pins) in rows {
        match made(*target, changes) {
            Err(error) => failures.push(format!("{target:?} {changes:?}: {error}")),
            Ok(files) => {
                for (path, parts) in [("settings.py", constants), ("requirements.txt", pins)] {
                    let text = &files.get(path).expect("it").contents;
                    for part in parts.iter().filter(|part| !text.contains(**part)) {
                        failures.push(format!("{target:?} {changes:?}: no {part:?} in\n{text}"));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn refusals_name_the_field() {
    let device = |name: &str| json!({"device": name, "count": 1, "tensor_parallel": 1});
    let cut = json!({"device": "L40S", "count": 2, "tensor_parallel": 2});
    let cpu = device("Core i9-13900K DDR5-6400");
    let rows: &[(Target, &str, Value, &str)] = &[
        (
            Target::PythonTransformers,
            "/precision",
            json!("fp8"),
            "precision is fp8",
        ),
        (
            Target::PythonTransformers,
            "/placement",
            cut.clone(),
            "placement.tensor_parallel is 2",
        ),
        (
            Target::PythonTransformers,
            "/placement",
            device("TPU v5e"),
            "placement.device",
        ),
        (
            Target::PythonTransformers,
            "/tokenizer",
            json!("gguf"),
            "tokenizer is gguf",
        ),
        (
            Target::PythonTransformers,
            "/kv_precision",
            json!("q8_0"),
            "kv_precision is q8_0",
        ),
        (
            Target::PythonTransformers,
            "/reasoning",
            json!(true),
            "reasoning is true",
        ),
        (
            Target::PythonTransformers,
            "/model/revision",
            json!("--help"),
            "model.revision",
        ),
        (
            Target::PythonTransformers,
            "/model/hf_repo",
            json!("a\nb"),
            "model.hf_repo",
        ),
        (
            Target::PythonTransformers,
            "/model/hf_repo",
            json!(null),
            "model.hf_repo",
        ),
        (
            Target::PythonTransformers,
            "/limits/context_tokens",
            json!(0),
            "limits.context_tokens",
        ),
        (
            Target::PythonTransformers,
            "/sampling",
            json!({"temperature": 3.0, "top_p": 1.0}),
            "sampling.temperature",
        ),
        (
            Target::PythonTransformers,
            "/sampling",
            json!({"temperature": 0.5, "top_p": 0.0}),
            "sampling.top_p",
        ),
        (
            Target::PythonVllm,
            "/placement",
            device("MI300X"),
            "placement.device",
        ),
        (
            Target::PythonVllm,
            "/precision",
            json!("q4_k_m"),
            "precision is q4_k_m",
        ),
        (
            Target::PythonVllm,
            "/placement",
            json!({"device": "L40S", "count": 3, "tensor_parallel": 2}),
            "placement.count",
        ),
        (
            Target::MistralInference,
            "/tokenizer",
            json!("hf"),
            "tokenizer is hf",
        ),
        (
            Target::MistralInference,
            "/placement",
            cut,
            "placement.tensor_parallel",
        ),
        (
            Target::MistralInference,
            "/placement",
            cpu.clone(),
            "placement.device",
        ),
        (
            Target::LlamaCppPython,
            "/tokenizer",
            json!("mistral"),
            "tokenizer is mistral",
        ),
        (
            Target::LlamaCppPython,
            "/precision",
            json!("awq"),
            "precision is awq",
        ),
        (
            Target::LlamaCppPython,
            "/model/file",
            json!(null),
            "model.file is none",
        ),
        (
            Target::LlamaCppPython,
            "/kv_precision",
            json!("fp8"),
            "kv_precision is fp8",
        ),
        (
            Target::OpenvinoGenai,
            "/precision",
            json!("bf16"),
            "precision is bf16",
        ),
        (
            Target::OpenvinoGenai,
            "/placement",
            device("L40S"),
            "placement.device",
        ),
        (
            Target::OpenvinoGenai,
            "/tokenizer",
            json!("mistral"),
            "tokenizer is mistral",
        ),
        (
            Target::OnnxruntimeGenai,
            "/placement",
            cpu,
            "precision is f16",
        ),
        (
            Target::OnnxruntimeGenai,
            "/sampling",
            json!({"temperature": 0.5, "top_p": 1.0, "min_p": 0.1}),
            "sampling.min_p",
        ),
        (
            Target::OnnxruntimeGenai,
            "/precision",
            json!("awq"),
            "precision is awq",
        ),
        (
            Target::Jax,
            "/precision",
            json!("int8"),
            "precision is int8",
        ),
        (
            Target::Jax,
            "/placement",
            device("Apple M4 Pro"),
            "placement.device",
        ),
        (
            Target::Jax,
            "/placement",
            json!({"device": "TPU v5e", "count": 4, "tensor_parallel": 2}),
            "placement.count",
        ),
    ];
    let mut failures = Vec::new();
    for (target, field, value, part) in rows {
        match made(*target, &[(field, value.clone())]) {
            Ok(_) => failures.push(format!("{target:?} {field} = {value}: accepted")),
            Err(error) if !error.to_string().contains(part) => {
                failures.push(format!("{target:?} {field} = {value}: {error}"));
            }
            Err(_) => {}
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_same_plan_makes_the_same_files() {
    for &target in TARGETS {
        let files = made(target, &[]).expect("made");
        let again = &files.get("plan.json").expect("it").contents;
        let plan: Plan = serde_json::from_str(again).expect("a plan");
        let from_file = generate(target, &plan, &Options::default()).expect("made");
        assert_eq!(files, from_file, "{target:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any text is in settings.py as a literal, and in plan.json, or the plan is refused.
    #[test]
    fn any_text_survives_or_is_refused(text in any::<String>()) {
        for &target in TARGETS {
            match made(target, &everywhere(target, &text)) {
                Ok(files) => {
                    let literal = mistral_codegen::quote::python_str(&text);
                    let module = &files.get("settings.py").expect("it").contents;
                    prop_assert!(module.contains(&literal), "{}", module);
                    prop_assert!(module.is_ascii());
                }
                Err(CodegenError::Unsupported { field, .. }) => {
                    prop_assert!(field.starts_with("model."), "{}", field);
                }
                Err(CodegenError::Unquotable { .. } | CodegenError::EmptyText { .. }) => {}
                Err(other) => return Err(TestCaseError::fail(other.to_string())),
            }
        }
    }
}
