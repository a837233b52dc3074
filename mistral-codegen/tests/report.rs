//! What people see of a deployment: the tree, the page, and the difference between two plans.

use std::collections::BTreeMap;

use mistral_codegen::verify::{Check, Verdict};
use mistral_codegen::{Options, Plan, Target, diff, generate, report};
use mistral_core::catalog::Catalog;
use serde_json::{Value, json};

fn plan(id: &str, context: u32, device: &str) -> Plan {
    let plan: Value = json!({
        "schema": 1,
        "model": {"id": id, "hf_repo": "mistralai/Mistral-Nemo-Instruct-2407"},
        "precision": "bf16",
        "runtime": "vllm",
        "placement": {"device": device, "count": 1, "tensor_parallel": 1},
        "limits": {"context_tokens": context, "concurrency": 4},
        "memory": {"weight_bytes": 24_500_000_000_u64, "kv_bytes": 10_000_000_000_u64,
            "total_bytes": 36_000_000_000_u64, "device_bytes": 48_000_000_000_u64},
        "reasons": [{"rule": "context", "facts": {"tokens": context}}],
    });
    serde_json::from_value(plan).expect("a plan")
}

fn verdict(path: &str, ok: bool, detail: &str) -> Verdict {
    let check = Check {
        tool: "shellcheck",
        ok,
        detail: detail.to_owned(),
    };
    Verdict {
        files: BTreeMap::from([(path.to_owned(), vec![check])]),
        missing: BTreeMap::from([("hadolint", vec!["Dockerfile".to_owned()])]),
        versions: BTreeMap::from([("shellcheck", "version: 0.11.0".to_owned())]),
        ..Verdict::default()
    }
}

/// Plans of which each target takes one.
fn variants() -> Vec<Plan> {
    let of = |runtime: &str, precision: &str, tokenizer: &str| {
        let mut plan = plan("mistral-nemo-12b", 4096, "L40S");
        plan.runtime = runtime.parse().expect("a runtime");
        plan.precision = precision.parse().expect("a precision");
        plan.tokenizer = serde_json::from_value(json!(tokenizer)).expect("a tokenizer");
        plan
    };
    let mut several = of("vllm", "bf16", "mistral");
    several.placement.count = 16;
    several.placement.tensor_parallel = 8;
    several.placement.pipeline_parallel = 2;
    let mut tpu = of("vllm", "bf16", "mistral");
    tpu.placement.device = "TPU v6e (Trillium)".to_owned();
    let mut edge = of("llama-server", "q4_k_m", "gguf");
    edge.placement.device = "Raspberry Pi 5 16GB".to_owned();
    let mut local = of("llama-server", "q4_k_m", "gguf");
    local.model.local_path = Some("/models/m.gguf".to_owned());
    let mut hosted = of("mistral-api", "bf16", "mistral");
    hosted.placement.device = "api".to_owned();
    hosted.placement.count = 0;
    hosted.placement.tensor_parallel = 0;
    let mut openvino = of("vllm", "int8", "hf");
    openvino.placement.device = "EPYC 9654 Genoa (96c)".to_owned();
    let mut folder = of("vllm", "bf16", "hf");
    folder.model.local_path = Some("/models/m".to_owned());
    let mut sized = of("mistral-infer", "bf16", "mistral");
    let model = Catalog::embedded().get("mistral-nemo-12b");
    sized.spec = model.and_then(|m| m.spec().ok()).flatten();
    vec![
        sized,
        of("vllm", "bf16", "mistral"),
        of("llama-server", "q4_k_m", "gguf"),
        local,
        of("sglang", "bf16", "mistral"),
        of("tensorrt-llm", "bf16", "hf"),
        of("ollama", "q4_k_m", "gguf"),
        of("mistral-infer", "bf16", "mistral"),
        openvino,
        folder,
        several,
        tpu,
        edge,
        hosted,
    ]
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut unknown = Vec::new();
    for &target in Target::ALL {
        let options = Options::default();
        let mut refused = Vec::new();
        let mut made = 0;
        for plan in variants() {
            match generate(target, &plan, &options) {
                Ok(files) => {
                    made += 1;
                    let paths = files.iter().map(|file| file.path.as_str());
                    let strange = paths.filter(|path| report::purpose(path).is_none());
                    unknown.extend(strange.map(|path| format!("{}: {path}", target.name())));
                }
                Err(error) => refused.push(error.to_string()),
            }
        }
        assert!(made > 0, "{}: no plan fits: {refused:#?}", target.name());
    }
    unknown.dedup();
    assert!(unknown.is_empty(), "no purpose: {unknown:#?}");
    assert_eq!(report::purpose("unknown.bin"), None);
    // The name says less than the folder.
    for (path, of_copies) in [
        ("picker/service.yaml", "service.yaml"),
        ("picker/network-policy.yaml", "network-policy.yaml"),
        ("picker/deployment.yaml", "canary/deployment.yaml"),
        ("canary/route.yaml", "route.yaml"),
    ] {
        assert_ne!(report::purpose(path), report::purpose(of_copies), "{path}");
    }
}

#[test]
fn files_that_fail_are_told_apart() {
    let plan = plan("mistral-nemo-12b", 4096, "L40S");
    let files = generate(Target::Vllm, &plan, &Options::default()).expect("generates");
    let verdict = verdict("start.sh", false, "SC2086: quote this\nsecond line");
    let passing = verdict.passing(&files);
    assert_eq!(passing.len(), files.len() - 1);
    assert!(passing.get("start.sh").is_none());
    let tree = report::tree(&files, &verdict);
    for line in [
        "failed     start.sh ",
        "shellcheck: SC2086: quote this\n",
        "(not installed: hadolint)",
        "unchecked  README.md",
    ] {
        assert!(tree.contains(line), "{line:?} in\n{tree}");
    }
    assert!(!tree.contains("second line"), "{tree}");
}

#[test]
fn the_page_shows_plan_prediction_and_checks_and_runs_nothing() {
    let hostile = "<script>alert(1)</script>\"&'";
    let mut plan = plan(hostile, 4096, hostile);
    plan.serve.served_name = Some("name".to_owned());
    let files = generate(Target::Vllm, &plan, &Options::default()).expect("generates");
    let verdict = verdict("start.sh", false, "</pre><script>alert(2)</script>");
    let page = report::page(Target::Vllm, &plan, &files, &verdict);
    assert!(!page.contains("<script"), "texts are escaped");
    assert!(page.contains("alert(2)") && page.contains("in no table"));
    assert_eq!(page, report::page(Target::Vllm, &plan, &files, &verdict));

    let plan = self::plan("mistral-nemo-12b", 4096, "L40S");
    let page = report::page(Target::Vllm, &plan, &files, &Verdict::default());
    let shown = report::forecast(&plan).expect("both are in the tables");
    let rate = format!("{:.1}", shown.full.tokens_per_s.value);
    for part in [
        rate.as_str(),
        "were not checked",
        "--max-model-len",
        "keys and values 10.0 GB",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn more_requests_wait_longer_and_get_more_together() {
    let shown = report::forecast(&plan("mistral-nemo-12b", 4096, "L40S")).expect("predicted");
    let (alone, full) = (shown.alone, shown.full);
    assert_eq!((alone.requests, full.requests), (1, 4));
    assert!(full.tpot_ms.value >= alone.tpot_ms.value);
    assert!(full.tokens_per_s.value > alone.tokens_per_s.value);
    assert!(full.tokens_per_s.lo < full.tokens_per_s.value);
    assert!(report::forecast(&plan("mistral-nemo-12b", 4096, "no such device")).is_none());
    let mut cut = plan("mistral-nemo-12b", 4096, "L40S");
    cut.placement.count = 2;
    let copies = report::forecast(&cut).expect("two copies");
    assert!(copies.full.tpot_ms.value < full.tpot_ms.value);
    cut.placement.pipeline_parallel = 2;
    assert!(
        report::forecast(&cut).is_none(),
        "the estimate has no pipelines"
    );
}

#[test]
fn a_changed_plan_says_what_changes_and_why() {
    let old = plan("mistral-nemo-12b", 4096, "L40S");
    let mut new = plan("mistral-nemo-12b", 32768, "H100");
    new.tools = true;
    let changes = diff(Target::Vllm, &old, &new, &Options::default()).expect("both generate");
    let fields: Vec<_> = changes.fields.iter().map(|c| c.field.as_str()).collect();
    assert_eq!(
        fields,
        ["limits.context_tokens", "placement.device", "tools"]
    );
    let text = changes.to_string();
    for line in [
        "limits.context_tokens: 4096 -> 32768\n",
        "~ --max-model-len 4096 -> 32768  (limits.context_tokens: ",
        "+ --enable-auto-tool-choice set  (tools: ",
        "because of context:\n  tokens = 32768",
        "-  --max-model-len 4096 \\\n+  --max-model-len 32768 \\\n",
    ] {
        assert!(text.contains(line), "{line:?} in\n{text}");
    }
    let same = diff(Target::Vllm, &old, &old, &Options::default()).expect("generates");
    assert_eq!(same.to_string(), "nothing changes\n");
}
