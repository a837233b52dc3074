//! What a container's command says, held against the engine and the plan.

use mistral_core::plan::{Plan, Runtime};
use serde_json::Value;

use super::pods::{Pod, list};
use crate::flags::{FlagTable, LLAMA_SERVER, VLLM};
use crate::targets::cluster::copies;
use crate::targets::start_seconds;

/// Paths that say whether a server is well.
fn health(runtime: Runtime) -> &'static [&'static str] {
    match runtime {
        Runtime::Vllm => &["/health", "/ping"],
        Runtime::LlamaServer => &["/health", "/v1/health"],
        Runtime::Sglang => &["/health", "/health_generate"],
        Runtime::Ollama => &["/", "/api/version", "/api/tags"],
        _ => &["/health"],
    }
}

/// The table of the plan's engine, where it has one.
fn table(runtime: Runtime) -> Option<&'static FlagTable> {
    match runtime {
        Runtime::Vllm => Some(&VLLM),
        Runtime::LlamaServer => Some(&LLAMA_SERVER),
        _ => None,
    }
}

/// What a text in a command, argument or variable is for the container: `$$` is `$` there. A
/// variable that says the pod's place in a group has a value by then, here that of a worker.
fn given(text: &str) -> String {
    match text {
        "$(LWS_WORKER_INDEX)" => "1".to_owned(),
        "$(LWS_LEADER_ADDRESS)" => "leader".to_owned(),
        _ => text.replace("$$", "$"),
    }
}

fn words(value: &Value) -> Vec<String> {
    list(value).filter_map(Value::as_str).map(given).collect()
}

/// The number after a flag.
fn number(arguments: &[String], flag: &str) -> Option<u64> {
    let at = arguments.iter().position(|word| word == flag)?;
    arguments.get(at + 1)?.parse().ok()
}

/// What is wrong with the container of a pod that runs the plan's engine.
pub(super) fn findings(pod: &Pod<'_>, container: &Value, plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    let arguments = words(&container["args"]);
    if let Some(table) = table(plan.runtime)
        && let Err(e) = table.check_arguments(&arguments)
    {
        found.push(e.to_string());
    }
    if plan.runtime == Runtime::Vllm && !arguments.is_empty() {
        let size = |flag| number(&arguments, flag).unwrap_or(1);
        let needed = size("--tensor-parallel-size")
            * size("--pipeline-parallel-size")
            * size("--data-parallel-size");
        let limit = &container["resources"]["limits"]["nvidia.com/gpu"];
        let has = limit.as_u64().unwrap_or(0) * pod.a_copy;
        if has != needed {
            found.push(format!("{has} devices where the command uses {needed}"));
        }
        let nodes = size("--nnodes");
        if nodes != pod.a_copy {
            found.push(format!(
                "{} pods where the command waits for {nodes}",
                pod.a_copy
            ));
        }
    }
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str();
        if let Some(path) = path.filter(|path| !health(plan.runtime).contains(path)) {
            found.push(format!("{probe}: {} has no path {path}", plan.runtime));
        }
    }
    if pod.serves {
        found.extend(start(container, plan));
    }
    found
}

/// What is wrong with the time that a start may take.
fn start(container: &Value, plan: &Plan) -> Option<String> {
    let probe = &container["startupProbe"];
    if probe.is_null() {
        return Some(
            "no startupProbe: a server that loads would be taken for a broken one".to_owned(),
        );
    }
    let number = |key: &str, default: u64| probe[key].as_u64().unwrap_or(default);
    let allowed = number("initialDelaySeconds", 0)
        .saturating_add(number("failureThreshold", 3).saturating_mul(number("periodSeconds", 10)));
    let mut a_copy = plan.clone();
    a_copy.placement.count /= copies(plan);
    let needed = start_seconds(&a_copy);
    (allowed < needed)
        .then(|| format!("startupProbe allows {allowed} s where loading may take {needed} s"))
}
