//! Plans that between them make every field that cluster targets write.

use changed::changed;
use mistral_codegen::{Cluster, Options, Plan};
use serde_json::{Value, json};

#[path = "changed.rs"]
mod changed;

/// A plan for one L40S under vLLM, with `changes` by JSON pointer.
pub(crate) fn plan(changes: &[(&str, Value)]) -> Plan {
    let plan = json!({
        "schema": 1,
        "model": {"id": "mistral-nemo-12b", "hf_repo": "mistralai/Mistral-Nemo-Instruct-2407"},
        "precision": "bf16",
        "runtime": "vllm",
        "placement": {"device": "L40S", "count": 1, "tensor_parallel": 1},
        "limits": {"context_tokens": 16384, "concurrency": 8},
        "memory": {
            "weight_bytes": 24_500_000_000u64, "kv_bytes": 3_000_000_000u64,
            "total_bytes": 30_000_000_000u64, "device_bytes": 48_000_000_000u64,
        },
    });
    changed(plan, changes)
}

/// Options with every setting of a cluster given.
pub(crate) fn settled() -> Options {
    Options {
        cluster: Cluster {
            namespace: Some("chat".to_owned()),
            replicas: Some(2),
            max_replicas: Some(4),
            storage_class: Some("shared".to_owned()),
            storage_gib: Some(100),
            gateway: Some("edge".to_owned()),
            canary_percent: Some(5),
            canary_image: Some("registry.example/vllm:next".to_owned()),
            devices_per_node: Some(8),
        },
        image: Some("registry.example/own/server:1.0".to_owned()),
        ..Options::default()
    }
}

/// Name, plan and options of each sample.
pub(crate) fn samples() -> Vec<(&'static str, Plan, Options)> {
    let none = Options::default;
    let nodes =
        json!({"device": "H100-SXM", "count": 16, "tensor_parallel": 8, "pipeline_parallel": 2});
    vec![
        ("vllm", plan(&[]), none()),
        (
            "vllm settled",
            plan(&[("/model/gated", json!(true))]),
            settled(),
        ),
        ("vllm one copy", plan(&[]), one_copy()),
        (
            "vllm local",
            plan(&[("/model/local_path", json!("/data/nemo 12b"))]),
            none(),
        ),
        (
            "vllm on two devices",
            plan(&[
                ("/placement/count", json!(4)),
                ("/placement/tensor_parallel", json!(2)),
                ("/tools", json!(true)),
            ]),
            none(),
        ),
        ("vllm on two nodes", plan(&[("/placement", nodes)]), none()),
        (
            "llama-server on a device",
            plan(&[
                ("/runtime", json!("llama-server")),
                ("/precision", json!("q4_k_m")),
                ("/model/hf_repo", json!("x/y-GGUF")),
            ]),
            none(),
        ),
        (
            "llama-server on a processor",
            plan(&[
                ("/runtime", json!("llama-server")),
                ("/precision", json!("q4_k_m")),
                (
                    "/memory",
                    json!({"weight_bytes": 2_000_000_000u64, "kv_bytes": 500_000_000u64, "total_bytes": 3_000_000_000u64, "device_bytes": 8_000_000_000u64}),
                ),
                (
                    "/placement",
                    json!({"device": "Raspberry Pi 5 8GB", "count": 1, "tensor_parallel": 1, "threads": 4}),
                ),
            ]),
            none(),
        ),
        (
            "mistral-infer",
            plan(&[
                ("/runtime", json!("mistral-infer")),
                (
                    "/placement",
                    json!({"device": "EPYC 9554 Genoa (64c)", "count": 1, "tensor_parallel": 1, "threads": 16}),
                ),
            ]),
            settled(),
        ),
    ]
}

fn one_copy() -> Options {
    Options {
        cluster: Cluster {
            max_replicas: Some(1),
            ..Cluster::default()
        },
        ..Options::default()
    }
}
