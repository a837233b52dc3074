//! SGLang, TensorRT-LLM, Ollama and vLLM on TPUs: what a plan's fields become, and what is refused
//! by name.

use engines::{Made, Refused, are_refused, files_have, made, make_themselves, plan};
use mistral_codegen::{FileSet, Target};
use serde_json::{Value, json};

#[path = "support/engines.rs"]
mod engines;

#[test]
fn what_plans_become() {
    use Target::{Ollama, Sglang, TensorrtLlm, VllmTpu};
    let open = json!({"bind": "127.0.0.1", "port": 8000});
    let rows: &[Made<'_>] = &[
        (
            Sglang,
            &[
                ("/tools", json!(true)),
                (
                    "/sampling",
                    json!({"temperature": 0.3, "top_p": 0.9, "seed": 7}),
                ),
            ],
            "start.sh",
            &[
                "exec sglang serve",
                "--model-path \"$model\"",
                "--context-length 4096",
                "--max-running-requests 4",
                "--tool-call-parser mistral",
                "--preferred-sampling-params '{\"temperature\":0.3,\"top_p\":0.9}'",
                "--random-seed 7",
                "--config \"$settings\"",
                "umask 077",
            ],
            &["--api-key", "--quantization", "--load-format"],
        ),
        (
            Sglang,
            &[
                ("/precision", json!("fp8")),
                ("/kv_precision", json!("fp8")),
            ],
            "start.sh",
            &["--quantization fp8", "--kv-cache-dtype fp8_e4m3"],
            &[],
        ),
        (
            Sglang,
            &[("/serve", open.clone())],
            "start.sh",
            &["--port \"${PORT:-8000}\""],
            &["settings"],
        ),
        (
            TensorrtLlm,
            &[("/limits/max_batch_tokens", json!(8192))],
            "start.sh",
            &[
                "exec trtllm-serve serve \"$model\"",
                "--host \"${HOST:-127.0.0.1}\"",
                "--port \"${PORT:-18000}\"",
                "--max_seq_len 4096",
                "--max_batch_size 4",
                "--max_num_tokens 8192",
                "--config \"$options\"",
            ],
            &["--tool_parser"],
        ),
        (
            TensorrtLlm,
            &[("/kv_precision", json!("fp8"))],
            "options.yaml",
            &[
                "free_gpu_memory_fraction: 0.9",
                "dtype: \"fp8\"",
                "max_batch_size: 4",
            ],
            &["batch_sizes"],
        ),
        (
            TensorrtLlm,
            &[],
            "proxy.sh",
            &["caddy run", "127.0.0.1:18000"],
            &[],
        ),
        (
            Ollama,
            &[
                ("/precision", json!("q4_k_m")),
                ("/model/hf_repo", json!("x/y-GGUF")),
            ],
            "Modelfile",
            &[
                "FROM hf.co/x/y-GGUF:Q4_K_M\n",
                "PARAMETER num_ctx 4096\n",
                "PARAMETER temperature 0.7\n",
                "PARAMETER num_predict 4096\n",
            ],
            &["num_gpu", "TEMPLATE"],
        ),
        (
            Ollama,
            &[
                ("/precision", json!("q8_0")),
                ("/kv_precision", json!("q8_0")),
            ],
            "start.sh",
            &[
                "OLLAMA_HOST=\"${OLLAMA_HOST:-127.0.0.1:18000}\"",
                "OLLAMA_NUM_PARALLEL=4",
                "OLLAMA_KV_CACHE_TYPE=q8_0",
                "OLLAMA_FLASH_ATTENTION=true",
                "exec ollama serve",
            ],
            &[],
        ),
        (
            Ollama,
            &[("/precision", json!("q8_0"))],
            "create.sh",
            &[
                "hf download mistralai/Mistral-Nemo-Instruct-2407",
                "--quantize q8_0",
            ],
            &[],
        ),
        (
            Ollama,
            &[
                ("/model/local_path", json!("a b.gguf")),
                ("/placement/threads", json!(6)),
            ],
            "Modelfile",
            &[
                "FROM \"./a b.gguf\"",
                "PARAMETER num_gpu 0",
                "PARAMETER num_thread 6",
            ],
            &[],
        ),
        (
            VllmTpu,
            &[
                ("/placement/count", json!(4)),
                ("/placement/tensor_parallel", json!(4)),
            ],
            "start.sh",
            &[
                "--tensor-parallel-size 4",
                "VLLM_XLA_CACHE_PATH",
                "VLLM_API_KEY=",
            ],
            &["--data-parallel-size"],
        ),
    ];
    files_have(rows);
}

#[test]
fn refusals_name_the_field() {
    use Target::{Ollama, Sglang, TensorrtLlm, VllmTpu};
    let rows: &[Refused<'_>] = &[
        (Sglang, "/precision", json!("q4_k_m"), "precision is q4_k_m"),
        (Sglang, "/precision", json!("nvfp4"), "precision is nvfp4"),
        (
            Sglang,
            "/kv_precision",
            json!("q8_0"),
            "kv_precision is q8_0",
        ),
        (Sglang, "/tokenizer", json!("gguf"), "tokenizer is gguf"),
        (
            Sglang,
            "/limits/concurrency",
            json!(0),
            "--max-running-requests expects",
        ),
        (
            TensorrtLlm,
            "/placement/device",
            json!("MI300X"),
            "placement.device",
        ),
        (
            TensorrtLlm,
            "/placement/count",
            json!(2),
            "placement.count is 2",
        ),
        (TensorrtLlm, "/tools", json!(true), "tools is true"),
        (TensorrtLlm, "/reasoning", json!(true), "reasoning is true"),
        (TensorrtLlm, "/precision", json!("awq"), "precision is awq"),
        (TensorrtLlm, "/precision", json!("fp8"), "precision is fp8"),
        (
            TensorrtLlm,
            "/kv_precision",
            json!("bf16"),
            "kv_precision is bf16",
        ),
        (Ollama, "/precision", json!("fp8"), "precision is fp8"),
        (Ollama, "/precision", json!("q5_k_m"), "precision is q5_k_m"),
        (Ollama, "/reasoning", json!(true), "reasoning is true"),
        (Ollama, "/kv_precision", json!("fp8"), "kv_precision is fp8"),
        (Ollama, "/model/id", json!("a b"), "serve.served_name"),
        (Ollama, "/model/hf_repo", json!("a/b c"), "model.hf_repo"),
        (Ollama, "/model/file", json!("x-Q4_K_M.gguf"), "model.file"),
        (
            VllmTpu,
            "/placement/device",
            json!("L40S"),
            "placement.device",
        ),
        (
            VllmTpu,
            "/placement/count",
            json!(16),
            "placement.count is 16",
        ),
        (
            VllmTpu,
            "/precision",
            json!("nvfp4"),
            "target vllm-tpu can't serve this plan: precision",
        ),
        (
            VllmTpu,
            "/tokenizer",
            json!("gguf"),
            "target vllm-tpu can't serve this plan: tokenizer",
        ),
        (VllmTpu, "/kv_precision", json!("q8_0"), "kv_precision"),
    ];
    are_refused(rows);
}

#[test]
fn the_engine_names_its_target() {
    assert_eq!(
        "vllm".parse::<Target>().expect("an engine's name"),
        Target::Vllm
    );
    assert_eq!(Target::Vllm.name(), "vllm-serve");
    for target in [Target::Sglang, Target::TensorrtLlm, Target::Ollama] {
        let explained = mistral_codegen::explain(&plan(target, &[])).expect("explained");
        assert!(explained.len() > 5, "{target:?}");
        let files = made(target, &[]).expect("made");
        let page = &files.get("README.md").expect("README.md").contents;
        for line in &explained {
            assert!(
                page.contains(line.why.text),
                "{target:?}: {} isn't explained",
                line.flag
            );
        }
    }
}

#[test]
fn the_same_plan_makes_the_same_files() {
    make_themselves(&[
        Target::Sglang,
        Target::TensorrtLlm,
        Target::Ollama,
        Target::VllmTpu,
    ]);
}

/// Texts that have broken other generators, in every field of a plan that holds one.
const HOSTILE: &[&str] = &[
    "it's \"quoted\" \\ twice",
    "$(touch hacked) `touch hacked` ${HOME} $$",
    "a: b # c - [d] {e} &f *g !h |i >j %k",
    "x' ; touch hacked ; echo 'y",
    "{{ 7 * 7 }} {% raw %}",
    "no",
    "1e3",
    "é 中 \u{1f980} \u{202e}txet",
    "a\nFROM b",
    "\"\"\"",
    "--port",
    "",
    " ",
    "\u{feff}\u{7f}",
];

#[test]
fn hostile_texts_survive_or_are_refused_by_name() {
    let fields = [
        "/model/id",
        "/model/hf_repo",
        "/model/local_path",
        "/model/revision",
        "/model/file",
        "/placement/device",
        "/serve/served_name",
        "/serve/bind",
        "/serve/api_key_env",
    ];
    let serve = json!({"bind": "127.0.0.1", "port": 8000, "api_key_env": "KEY"});
    let mut survived = 0;
    for target in [
        Target::Vllm,
        Target::Sglang,
        Target::TensorrtLlm,
        Target::Ollama,
        Target::VllmTpu,
    ] {
        for field in fields {
            for text in HOSTILE {
                let changes = [("/serve", serve.clone()), (field, json!(text))];
                let files = match made(target, &changes) {
                    Ok(files) => files,
                    Err(error) => {
                        let part = field.rsplit('/').next().expect("a name");
                        let named = error.contains(part)
                            || error.contains("served_name")
                            || error.contains("hf_repo")
                            || error.contains("--revision")
                            || error.contains("placement")
                            || error.contains("can't hold");
                        assert!(named, "{target:?} {field} = {text:?}: {error}");
                        continue;
                    }
                };
                survived += 1;
                holds(target, field, text, &files);
            }
        }
    }
    assert!(survived > 200, "{survived}");
}

/// Scripts and manifests say what the plan said, letter by letter.
fn holds(target: Target, field: &str, text: &str, files: &FileSet) {
    let about = format!("{target:?} {field} = {text:?}");
    let script = &files.get("start.sh").expect("start.sh").contents;
    let (_, command) = script.rsplit_once("\nexec ").expect("a command");
    let words = mistral_codegen::quote::shell_words(command);
    let words = words.unwrap_or_else(|| panic!("{about}: {command}"));
    let name = |flag: &str| {
        let at = words.iter().position(|word| word == flag)?;
        words.get(at + 1).cloned()
    };
    if matches!(field, "/serve/served_name" | "/model/id") && target != Target::Ollama {
        let found = name("--served-model-name").or(name("--served_model_name"));
        assert_eq!(found.as_deref(), Some(text), "{about}");
    }
    if matches!(field, "/model/local_path" | "/model/hf_repo") && target != Target::Ollama {
        let from = script.find("  model=").expect("a model") + 2;
        let to = from + script[from..].find("\nfi").expect("an end");
        let read = mistral_codegen::quote::shell_words(&script[from..to].replace("model=", ""));
        assert_eq!(read, Some(vec![text.to_owned()]), "{about}");
    }
    if let Some(compose) = files.get("compose.yaml") {
        let read: Value = serde_yaml_ng::from_str(&compose.contents)
            .unwrap_or_else(|e| panic!("{about}: {e}\n{}", compose.contents));
        let services = read["services"].as_object().expect("services");
        assert!(services.len() <= 3, "{about}");
        let source = services.values().next().expect("one")["volumes"][0]["source"].as_str();
        if field == "/model/local_path" && target != Target::Ollama {
            let source = source.expect("a mount").replace("$$", "$");
            assert!(source.ends_with(text), "{about}: {source}");
        }
    }
    let plan: Value = serde_json::from_str(&files.get("plan.json").expect("plan").contents)
        .expect("plan.json is JSON");
    assert_eq!(plan.pointer(field), Some(&json!(text)), "{about}");
}
