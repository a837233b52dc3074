//! A plan for each engine.

use changed::changed;
use mistral_codegen::{Plan, Target};
use serde_json::{Value, json};

#[path = "changed.rs"]
mod changed;

/// A plan that `target` takes, with `changes` by JSON pointer.
pub(crate) fn plan(target: Target, changes: &[(&str, Value)]) -> Plan {
    let (runtime, device) = match target {
        Target::Sglang => ("sglang", "L40S"),
        Target::TensorrtLlm => ("tensorrt-llm", "H100 SXM"),
        Target::Ollama => ("ollama", "RTX 4090"),
        Target::VllmTpu => ("vllm", "TPU v6e"),
        _ => ("vllm", "L40S"),
    };
    let plan = json!({
        "schema": 1,
        "model": {"id": "m", "hf_repo": "mistralai/Mistral-Nemo-Instruct-2407"},
        "precision": "bf16",
        "runtime": runtime,
        "placement": {"device": device, "count": 1, "tensor_parallel": 1},
        "limits": {"context_tokens": 4096, "concurrency": 4},
    });
    changed(plan, changes)
}
