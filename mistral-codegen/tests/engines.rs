//! Engine targets: what a plan's fields become, and what is refused by name.

use engines::{Made, Refused, are_refused, files_have, made, make_themselves};
use mistral_codegen::Target;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[path = "support/engines.rs"]
mod engines;

#[test]
fn commands() {
    use Target::{LlamaServer, Vllm};
    let rows: &[Made<'_>] = &[
        (
            Vllm,
            &[],
            "start.sh",
            &[
                "model=mistralai/Mistral-Nemo-Instruct-2407\n",
                "--dtype bfloat16",
                "VLLM_API_KEY=",
            ],
            &[
                "--quantization",
                "--pipeline-parallel-size",
                "HF_HUB_OFFLINE",
            ],
        ),
        (
            Vllm,
            &[("/precision", json!("fp8"))],
            "start.sh",
            &["--quantization fp8_per_tensor"],
            &[],
        ),
        (
            Vllm,
            &[
                ("/precision", json!("fp8")),
                ("/model/hf_repo", json!("x/y-FP8")),
            ],
            "start.sh",
            &["--dtype auto"],
            &["--quantization"],
        ),
        (
            Vllm,
            &[("/precision", json!("awq"))],
            "start.sh",
            &["--quantization awq"],
            &[],
        ),
        (
            Vllm,
            &[
                ("/placement/count", json!(4)),
                ("/placement/tensor_parallel", json!(2)),
            ],
            "start.sh",
            &["--tensor-parallel-size 2", "--data-parallel-size 2"],
            &[],
        ),
        (
            Vllm,
            &[("/tools", json!(true)), ("/reasoning", json!(true))],
            "start.sh",
            &[
                "--enable-auto-tool-choice",
                "--tool-call-parser mistral",
                "--reasoning-parser mistral",
            ],
            &[],
        ),
        (
            Vllm,
            &[("/model/local_path", json!("/data/a b"))],
            "start.sh",
            &["model='/data/a b'", "HF_HUB_OFFLINE=1"],
            &["--revision"],
        ),
        (
            Vllm,
            &[("/serve", json!({"bind": "::1", "port": 1234}))],
            "start.sh",
            &["\"${HOST:-::1}\"", "\"${PORT:-1234}\""],
            &["API_KEY"],
        ),
        (
            Vllm,
            &[("/memory", memory(95))],
            "start.sh",
            &["--gpu-memory-utilization 0.95"],
            &[],
        ),
        (
            LlamaServer,
            &[
                ("/precision", json!("q4_k_m")),
                ("/model/hf_repo", json!("x/y-GGUF")),
            ],
            "start.sh",
            &[
                "--hf-repo x/y-GGUF:Q4_K_M",
                "--ctx-size 16384",
                "--parallel 4",
                "--n-gpu-layers all",
            ],
            &["--threads", "--flash-attn"],
        ),
        (
            LlamaServer,
            &[
                ("/precision", json!("q8_0")),
                ("/kv_precision", json!("q8_0")),
            ],
            "start.sh",
            &[
                "model=models/Mistral-Nemo-Instruct-2407-Q8_0.gguf",
                "--flash-attn on",
                "convert.sh",
            ],
            &["--hf-repo"],
        ),
        (
            LlamaServer,
            &[
                ("/placement/threads", json!(8)),
                ("/model/local_path", json!("a.gguf")),
            ],
            "start.sh",
            &["--n-gpu-layers 0", "--threads 8", "model=a.gguf"],
            &["--n-gpu-layers all"],
        ),
        (
            LlamaServer,
            &[("/memory", memory(101))],
            "start.sh",
            &["--n-gpu-layers auto"],
            &[],
        ),
    ];
    files_have(rows);
}

/// A device of 100 GB whose plan needs `total` GB.
fn memory(total: u64) -> Value {
    let gb = 1_000_000_000;
    json!({"weight_bytes": gb, "kv_bytes": gb, "total_bytes": total * gb, "device_bytes": 100 * gb})
}

/// A target, a device, whether there is a container, and a part of its files or of the README.
#[test]
fn devices_decide_containers_and_layers() {
    use Target::{LlamaServer, Vllm};
    let rows = [
        (Vllm, "L40S", true, "driver: nvidia"),
        (Vllm, "a card of tomorrow", true, "driver: nvidia"),
        (Vllm, "MI300X", false, "install the vLLM that is built"),
        (Vllm, "TPU v5e", false, "install the vLLM that is built"),
        (
            LlamaServer,
            "RTX 4090",
            true,
            "FROM ghcr.io/ggml-org/llama.cpp:server-cuda",
        ),
        (
            LlamaServer,
            "Core i9-13900K DDR5-6400",
            true,
            "--n-gpu-layers 0",
        ),
        (LlamaServer, "Apple M4 Pro", false, "--n-gpu-layers all"),
    ];
    for (target, device, container, part) in rows {
        let files = made(target, &[("/placement/device", json!(device))]).expect(device);
        let all: String = files.iter().map(|f| f.contents.as_str()).collect();
        assert!(all.contains(part), "{target:?} {device}: no {part:?}");
        for path in ["Dockerfile", "compose.yaml", ".env.example"] {
            assert_eq!(
                files.get(path).is_some(),
                container,
                "{target:?} {device}: {path}"
            );
        }
        assert_eq!(
            all.contains("docker compose up"),
            container,
            "{target:?} {device}"
        );
        let cuda = all.contains("server-cuda") || all.contains("driver: nvidia");
        let nvidia = container && !device.starts_with("Core");
        assert_eq!(cuda, nvidia, "{target:?} {device}");
    }
    // What the plan says of a device that the table doesn't know.
    let own = json!({"device": "my board", "device_kind": "cpu", "vendor": "CPU", "count": 1, "tensor_parallel": 1});
    let files = made(LlamaServer, &[("/placement", own)]).expect("made");
    let script = &files.get("start.sh").expect("start.sh").contents;
    assert!(script.contains("--n-gpu-layers 0"), "{script}");
}

#[test]
fn a_server_without_a_key_has_no_container() {
    let open = json!({"bind": "127.0.0.1", "port": 8000});
    let files = made(Target::Rust, &[("/serve", open)]).expect("made");
    for path in ["Dockerfile", "compose.yaml", ".dockerignore"] {
        assert!(files.get(path).is_none(), "{path}");
    }
    let page = &files.get("README.md").expect("README.md").contents;
    assert!(
        !page.contains("container") && page.contains("cargo run --release"),
        "{page}"
    );
}

#[test]
fn refusals_name_the_field() {
    use Target::{LlamaServer, Vllm};
    let rows: &[Refused<'_>] = &[
        (Vllm, "/precision", json!("q4_k_m"), "precision is q4_k_m"),
        (Vllm, "/precision", json!("nvfp4"), "precision is nvfp4"),
        (Vllm, "/kv_precision", json!("q8_0"), "kv_precision"),
        (Vllm, "/tokenizer", json!("gguf"), "tokenizer"),
        (
            Vllm,
            "/placement/tensor_parallel",
            json!(3),
            "placement.count",
        ),
        (
            Vllm,
            "/placement/tensor_parallel",
            json!(0),
            "placement.count",
        ),
        (
            Vllm,
            "/limits/context_tokens",
            json!(0),
            "--max-model-len expects a whole number from 1",
        ),
        (Vllm, "/memory", memory(99), "memory.total_bytes"),
        (
            Vllm,
            "/model/hf_repo",
            json!("--trust-remote-code"),
            "model.hf_repo",
        ),
        (Vllm, "/model/hf_repo", json!("a\nb"), "model.hf_repo"),
        (Vllm, "/model/hf_repo", json!(null), "model.hf_repo"),
        (
            Vllm,
            "/model/revision",
            json!("--help"),
            "--revision expects a text",
        ),
        (
            Vllm,
            "/serve",
            json!({"bind": "localhost; id", "port": 1}),
            "serve.bind",
        ),
        (
            Vllm,
            "/serve",
            json!({"bind": "0.0.0.0", "port": 1}),
            "serve.api_key_env is \"none\"",
        ),
        (
            Vllm,
            "/serve",
            json!({"bind": "::1", "port": 0}),
            "serve.port",
        ),
        (
            Vllm,
            "/serve",
            json!({"bind": "::1", "port": 1, "api_key_env": "A}; id; ${B"}),
            "serve.api_key_env",
        ),
        (
            Vllm,
            "/serve",
            json!({"bind": "::1", "port": 1, "served_name": "--port"}),
            "serve.served_name",
        ),
        (LlamaServer, "/precision", json!("awq"), "precision is awq"),
        (LlamaServer, "/kv_precision", json!("fp8"), "kv_precision"),
        (
            LlamaServer,
            "/limits/concurrency",
            json!(4_000_000),
            "limits.concurrency",
        ),
        (
            LlamaServer,
            "/serve",
            json!({"bind": "::1", "port": 1, "served_name": "a,b"}),
            "serve.served_name",
        ),
    ];
    are_refused(rows);
}

#[test]
fn the_same_plan_makes_the_same_files() {
    make_themselves(&[Target::Vllm, Target::LlamaServer]);
}

/// Another crate of a build may keep maps of serde_json in the order of insertion
/// (`preserve_order`): what is generated must not follow it.
/// JSON whose maps are sorted.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
enum Sorted {
    Map(BTreeMap<String, Sorted>),
    List(Vec<Sorted>),
    Leaf(Value),
}

#[test]
fn keys_have_one_order_in_every_build() {
    let sampling = json!({"temperature": 0.3, "top_p": 0.9, "top_k": 40, "min_p": 0.05});
    let limits = json!({"context_tokens": 4096, "concurrency": 4, "max_output_tokens": 512});
    let changes = &[("/sampling", sampling), ("/limits", limits)];
    let object = r#"{"max_new_tokens":512,"min_p":0.05,"temperature":0.3,"top_k":40,"top_p":0.9}"#;
    for target in [Target::Vllm, Target::Sglang] {
        let files = made(target, changes).expect("made");
        let script = &files.get("start.sh").expect("start.sh").contents;
        assert!(script.contains(object), "{target:?}: {script}");
    }
    for (target, path) in [
        (Target::Grafana, "dashboard.json"),
        (Target::Guidellm, "scenario.json"),
        (Target::Terraform, "main.tf.json"),
    ] {
        let files = made(target, &[]).expect("made");
        let text = &files.get(path).expect(path).contents;
        // Maps of this type are sorted in every build.
        let again: Sorted = serde_json::from_str(text).expect("JSON");
        assert_eq!(
            *text,
            serde_json::to_string_pretty(&again).expect("JSON") + "\n"
        );
    }
    let files = made(Target::Terraform, &[]).expect("made");
    let main = &files.get("main.tf.json").expect("main.tf.json").contents;
    let main: Value = serde_json::from_str(main).expect("JSON");
    let policy = &main["resource"]["aws_iam_role"]["server"]["assume_role_policy"];
    let policy = policy.as_str().expect("a text");
    let order = [
        "\"Statement\"",
        "\"Action\"",
        "\"Effect\"",
        "\"Principal\"",
        "\"Version\"",
    ];
    let places: Vec<_> = order.iter().map(|key| policy.find(key)).collect();
    assert!(places.is_sorted() && places[0].is_some(), "{policy}");
}
