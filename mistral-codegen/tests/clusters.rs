//! Targets on machines and clusters: their files pass their checkers, which find planted mistakes.

use std::path::Path;
use std::process::Command;

use checked::findings;
use mistral_codegen::verify::Verdict;
use mistral_codegen::{Cluster, FileSet, Options, Target, generate};
use serde_json::{Value, json};

#[path = "support/checked.rs"]
mod checked;
#[path = "support/plans.rs"]
mod plans;

/// Targets for one machine.
const MACHINES: &[Target] = &[
    Target::Docker,
    Target::Compose,
    Target::Systemd,
    Target::Edge,
    Target::Skypilot,
    Target::Terraform,
];
/// Targets on Kubernetes.
const CLUSTERS: &[Target] = &[
    Target::Kubernetes,
    Target::Kserve,
    Target::LlmD,
    Target::LeaderWorkerSet,
    Target::RayServe,
];

fn checked(target: Target, files: &FileSet) -> Verdict {
    checked_by(None, target, files)
}

/// Checked by what is installed, or by one program of it and what is built in.
fn checked_by(only: Option<&str>, target: Target, files: &FileSet) -> Verdict {
    checked::checked(target, files, |checkers| {
        if let Some(program) = only {
            let folder = checkers.scratch.join("programs");
            std::fs::create_dir(&folder).expect("a folder");
            let mut places = checkers.path.iter().map(|place| place.join(program));
            if let Some(place) = places.find(|place| place.is_file()) {
                let place = place.canonicalize().expect("a file");
                std::os::unix::fs::symlink(place, folder.join(program)).expect("a link");
            }
            checkers.path = vec![folder];
        }
        // Whole definitions, where somebody has them.
        checkers.definitions = std::env::var_os("CODEGEN_DEFINITIONS").map(Into::into);
        checkers.terraform_providers = std::env::var_os("CODEGEN_PROVIDERS").map(Into::into);
    })
}

#[test]
fn machines_pass_every_checker() {
    samples_pass(MACHINES);
}

#[test]
fn clusters_pass_every_checker() {
    samples_pass(CLUSTERS);
}

fn samples_pass(targets: &[Target]) {
    let mut found = Vec::new();
    for target in targets {
        let mut made = 0;
        for (name, plan, options) in plans::samples() {
            match generate(*target, &plan, &options) {
                Err(e) => println!("{} refuses {name}: {e}", target.name()),
                Ok(files) => {
                    made += 1;
                    let verdict = checked(*target, &files);
                    let name = format!("{}, {name}", target.name());
                    found.extend(
                        findings(&verdict)
                            .iter()
                            .map(|text| format!("{name}: {text}")),
                    );
                }
            }
        }
        assert!(made > 0, "{} makes nothing of any sample", target.name());
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// A mistake: target, sample, file, what is replaced by what, and the checker that must find it.
type Mistake = (
    Target,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const MISTAKES: &[Mistake] = &[
    (
        Target::Docker,
        "vllm",
        "Dockerfile",
        "openai:v0.33.0",
        "openai:latest",
        "hadolint",
    ),
    (
        Target::Docker,
        "vllm",
        "run.sh",
        "\"$@\"",
        "$@",
        "shellcheck",
    ),
    (
        Target::Compose,
        "vllm",
        "compose.yaml",
        "read_only: true",
        "read_onli: true",
        "check-jsonschema",
    ),
    (
        Target::Systemd,
        "vllm",
        "mistral-serving.service",
        "Restart=on-failure",
        "Restart=sometimes",
        "systemd-analyze",
    ),
    (
        Target::Systemd,
        "vllm",
        "mistral-serving.service",
        "UMask=",
        "UMusk=",
        "systemd-analyze",
    ),
    (
        Target::Skypilot,
        "vllm",
        "task.yaml",
        "replicas: 1",
        "replicas: '1'",
        "SkyPilot",
    ),
    (
        Target::Skypilot,
        "vllm",
        "task.yaml",
        "disk_size:",
        "disksize:",
        "SkyPilot",
    ),
    (
        Target::Terraform,
        "vllm",
        "main.tf.json",
        "instance_type",
        "instance_kind",
        "hashicorp/aws",
    ),
    (
        Target::Terraform,
        "vllm",
        "main.tf.json",
        "${aws_iam_role.server.id}",
        "${aws_iam_role.serve.id}",
        "terraform validate",
    ),
    (
        Target::Kubernetes,
        "vllm",
        "canary/deployment.yaml",
        "replicas: 1",
        "replicas: \"1\"",
        "kubernetes-validate",
    ),
    (
        Target::Kubernetes,
        "vllm",
        "deployment.yaml",
        "enableServiceLinks:",
        "enableServiceLink:",
        "kubernetes-validate",
    ),
    (
        Target::Kubernetes,
        "vllm",
        "deployment.yaml",
        "apps/v1",
        "apps/v1beta1",
        "schema",
    ),
    (
        Target::Kubernetes,
        "vllm",
        "deployment.yaml",
        "port: http",
        "port: web",
        "references",
    ),
    (
        Target::Kubernetes,
        "vllm",
        "deployment.yaml",
        "path: \"/health\"",
        "path: \"/healthz\"",
        "references",
    ),
    (
        Target::Kubernetes,
        "vllm",
        "deployment.yaml",
        "periodSeconds: 10",
        "periodSeconds: 1",
        "references",
    ),
    (
        Target::Kubernetes,
        "vllm",
        "deployment.yaml",
        "nvidia.com/gpu: 1",
        "nvidia.com/gpu: 2",
        "references",
    ),
    (
        Target::Kubernetes,
        "vllm",
        "deployment.yaml",
        "--max-num-seqs",
        "--max-number-seqs",
        "references",
    ),
    (
        Target::Kubernetes,
        "vllm",
        "deployment.yaml",
        "claimName: mistral-",
        "claimName: mistrall-",
        "references",
    ),
    (
        Target::Kubernetes,
        "vllm",
        "deployment.yaml",
        "component: stable",
        "component: stale",
        "references",
    ),
    (
        Target::Kubernetes,
        "vllm",
        "service.yaml",
        "targetPort: http",
        "targetPort: 80",
        "references",
    ),
    (
        Target::Kubernetes,
        "vllm",
        "service.yaml",
        "namespace: mistral-serving",
        "namespace: None",
        "references",
    ),
    (
        Target::Kubernetes,
        "vllm",
        "autoscaler.yaml",
        "name: vllm_num_requests_waiting",
        "name: vllm_queue",
        "references",
    ),
    (
        Target::Kubernetes,
        "vllm",
        "canary/route.yaml",
        "weight: 10",
        "weight: ten",
        "HTTPRoute",
    ),
    (
        Target::Kubernetes,
        "vllm",
        "canary/route.yaml",
        "weight: 10",
        "weight: 20",
        "references",
    ),
    (
        Target::Kubernetes,
        "vllm",
        "kustomization.yaml",
        "- service.yaml",
        "- servic.yaml",
        "kubectl kustomize",
    ),
    (
        Target::Kserve,
        "vllm",
        "inference-service.yaml",
        "minReplicas: 1",
        "minReplicas: one",
        "InferenceService",
    ),
    (
        Target::Kserve,
        "vllm",
        "inference-service.yaml",
        "predictor:",
        "predicter:",
        "InferenceService",
    ),
    (
        Target::LlmD,
        "vllm",
        "pool.yaml",
        "number: 9002",
        "number: 9004",
        "references",
    ),
    (
        Target::LlmD,
        "vllm",
        "pool.yaml",
        "targetPorts:",
        "targetPort:",
        "InferencePool",
    ),
    (
        Target::LeaderWorkerSet,
        "vllm on two nodes",
        "leader-worker-set.yaml",
        "size: 2",
        "size: '2'",
        "LeaderWorkerSet",
    ),
    (
        Target::LeaderWorkerSet,
        "vllm on two nodes",
        "leader-worker-set.yaml",
        "--node-rank",
        "--node-rang",
        "references",
    ),
    (
        Target::LeaderWorkerSet,
        "vllm on two nodes",
        "leader-worker-set.yaml",
        "--nnodes\"\n              - \"2\"",
        "--nnodes\"\n              - \"3\"",
        "references",
    ),
    (
        Target::LeaderWorkerSet,
        "vllm on two nodes",
        "leader-worker-set.yaml",
        "nvidia.com/gpu: 8",
        "nvidia.com/gpu: 4",
        "references",
    ),
    (
        Target::Kubernetes,
        "vllm",
        "volume.yaml",
        "ReadWriteMany",
        "ReadWriteOnce",
        "references",
    ),
    (
        Target::Kubernetes,
        "vllm one copy",
        "canary/deployment.yaml",
        "affinity:",
        "affinities:",
        "references",
    ),
    (
        Target::RayServe,
        "vllm",
        "ray-service.yaml",
        "/instance: mistral",
        "/name: mistral",
        "references",
    ),
    (
        Target::RayServe,
        "vllm",
        "ray-service.yaml",
        "numOfHosts: 1",
        "numOfHosts: one",
        "RayService",
    ),
    (
        Target::RayServe,
        "vllm",
        "key_guard.py",
        "-> bool",
        "-> str",
        "mypy",
    ),
];

/// Checkers that are built in: their names are no programs'.
const BUILT_IN: [&str; 2] = ["references", "schema"];

/// The program of a checker.
fn program(tool: &str) -> &str {
    let first = tool.split(' ').next().unwrap_or(tool);
    match first {
        "kubectl"
        | "terraform"
        | "hadolint"
        | "shellcheck"
        | "systemd-analyze"
        | "kubernetes-validate"
        | "mypy" => first,
        _ if BUILT_IN.contains(&tool) => tool,
        // By the kind of the object.
        _ => "check-jsonschema",
    }
}

/// Each checker finds a mistake of its own kind; the others needn't start for it.
#[test]
fn mistakes_are_found() {
    let samples = plans::samples();
    let mut failures = Vec::new();
    for (target, sample, path, from, to, tool) in MISTAKES {
        let (_, plan, options) = samples.iter().find(|s| s.0 == *sample).expect("a sample");
        let good = generate(*target, plan, options).expect(sample);
        let mut files = FileSet::new();
        for file in good.iter() {
            let mut file = file.clone();
            if file.path.as_str() == *path {
                let changed = file.contents.replace(from, to);
                assert_ne!(changed, file.contents, "{path} has {from:?}");
                file.contents = changed;
            }
            files.insert(file).expect("the same paths");
        }
        let verdict = checked_by(Some(program(tool)), *target, &files);
        let is = |name: &str| match BUILT_IN.contains(tool) {
            true => name == *tool,
            false => name.contains(tool),
        };
        let found = verdict
            .files
            .values()
            .flatten()
            .any(|c| !c.ok && is(c.tool));
        if found {
            continue;
        }
        if let Some(name) = verdict.missing.keys().find(|name| is(name)) {
            println!("not checked: {name} is not installed");
        } else {
            failures.push(format!(
                "{tool} accepts {to:?} in {path} of {}",
                target.name()
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_same_plan_makes_the_same_files() {
    for target in MACHINES.iter().chain(CLUSTERS) {
        for (name, plan, options) in plans::samples() {
            let Ok(files) = generate(*target, &plan, &options) else {
                continue;
            };
            let text = &files.get("plan.json").expect("plan.json").contents;
            let again = serde_json::from_str(text).expect("a plan");
            let again = generate(*target, &again, &options).expect(name);
            assert_eq!(files, again, "{}, {name}", target.name());
        }
    }
}

/// The guard of Ray Serve lets through who has the key, and nobody else.
#[test]
fn the_guard_asks_for_the_key() {
    let python = |arguments: &[&str], folder: &Path| {
        Command::new("python3")
            .args(arguments)
            .current_dir(folder)
            .env("SERVE_API_KEY", "the right key")
            .output()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let there = python(&["-c", "import httpx, starlette"], folder.path());
    if !there.is_ok_and(|out| out.status.success()) {
        println!("skipped: no python3 with httpx and starlette");
        return;
    }
    let files = generate(Target::RayServe, &plans::plan(&[]), &Options::default());
    files.expect("made").write(folder.path()).expect("written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ask_guard.py");
    let script = script.to_str().expect("a path in text");
    let out = python(&[script], folder.path()).expect("starts");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said == "ok\n", "{said}{error}");
}

/// The gauge that copies are counted by is one that the server shows.
#[test]
fn the_autoscalers_gauge_is_the_servers() {
    let samples = plans::samples();
    let (_, plan, options) = samples.iter().find(|s| s.0 == "mistral-infer").expect("it");
    let cluster = generate(Target::Kubernetes, plan, options).expect("objects");
    let rules = &cluster
        .get("prometheus-adapter.values.yaml")
        .expect("rules")
        .contents;
    let rules: Value = serde_yaml_ng::from_str(rules).expect("YAML");
    let series = rules["rules"]["custom"][0]["seriesQuery"]
        .as_str()
        .expect("a query");
    let (name, _) = series.split_once('{').expect("labels");
    let server = generate(Target::Rust, plan, options).expect("a server");
    let metrics = &server.get("src/metrics.rs").expect("its metrics").contents;
    assert!(metrics.contains(&format!("\"{name}\"")), "{name}");
}

/// On a Jetson NVIDIA's runtime hands the device over, and refuses what reserves one.
#[test]
fn a_jetson_has_its_device_from_the_runtime() {
    let plan = plans::plan(&[("/placement/device", json!("Jetson AGX Orin 64GB"))]);
    let options = plans::settled();
    for (target, path) in [
        (Target::Edge, "compose.yaml"),
        (Target::Compose, "compose.yaml"),
        (Target::Docker, "run.sh"),
    ] {
        let files = generate(target, &plan, &options).expect(path);
        let text = &files.get(path).expect(path).contents;
        assert!(
            text.contains("runtime") && text.contains("NVIDIA_VISIBLE_DEVICES"),
            "{text}"
        );
        assert!(
            !text.contains("--gpus") && !text.contains("reservations"),
            "{text}"
        );
        let found = findings(&checked(target, &files));
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}

/// A machine of AWS starts when it may read the key and reach a registry.
#[test]
fn a_machine_starts_after_its_rights() {
    let files = generate(Target::Terraform, &plans::plan(&[]), &Options::default()).expect("files");
    let main = &files.get("main.tf.json").expect("main").contents;
    let main: Value = serde_json::from_str(main).expect("JSON");
    let before = &main["resource"]["aws_instance"]["server"]["depends_on"];
    let needed = [
        "aws_iam_role_policy.key",
        "aws_vpc_security_group_egress_rule.https",
    ];
    assert_eq!(*before, json!(needed));
    for name in needed {
        let (kind, name) = name.split_once('.').expect("a resource");
        assert!(main["resource"][kind][name].is_object(), "{kind} {name}");
    }
}

/// A target, changes of the plan, and a part of the refusal.
type Refusal<'a> = (Target, &'a [(&'a str, Value)], &'a str);

#[test]
fn refusals_name_the_field() {
    let api = json!({"device": "api", "count": 0, "tensor_parallel": 0});
    let rows: &[Refusal<'_>] = &[
        (
            Target::Kubernetes,
            &[("/serve", json!({"bind": "127.0.0.1", "port": 8000}))],
            "serve.api_key_env",
        ),
        (
            Target::Kubernetes,
            &[("/placement/device", json!("MI300X"))],
            "placement.device",
        ),
        (
            Target::Kubernetes,
            &[("/runtime", json!("mistral-infer"))],
            "image is none",
        ),
        (
            Target::Kubernetes,
            &[("/runtime", json!("mistral-api")), ("/placement", api)],
            "runtime",
        ),
        (
            Target::Kubernetes,
            &[("/model/local_path", json!("/data/.."))],
            "model.local_path",
        ),
        (
            Target::Kubernetes,
            &[
                ("/placement/count", json!(16)),
                ("/placement/tensor_parallel", json!(16)),
            ],
            "at most the 8 devices of a node",
        ),
        (Target::LeaderWorkerSet, &[], "placement.pipeline_parallel"),
        (
            Target::LlmD,
            &[
                ("/runtime", json!("llama-server")),
                ("/precision", json!("q4_k_m")),
            ],
            "runtime",
        ),
        (
            Target::RayServe,
            &[
                ("/runtime", json!("llama-server")),
                ("/precision", json!("q4_k_m")),
            ],
            "runtime",
        ),
        (
            Target::Terraform,
            &[("/placement/device", json!("RTX 4090"))],
            "placement.device",
        ),
        (
            Target::Terraform,
            &[("/model/local_path", json!("/data/m"))],
            "model.local_path",
        ),
        (
            Target::Skypilot,
            &[("/placement/device", json!("RTX 4090"))],
            "placement.device",
        ),
        (
            Target::Systemd,
            &[("/model/local_path", json!("m"))],
            "model.local_path",
        ),
        (
            Target::Systemd,
            &[("/model/local_path", json!("/tmp"))],
            "a /tmp of its own",
        ),
        (Target::Edge, &[], "placement.device"),
        (
            Target::Edge,
            &[("/placement/device", json!("Jetson AGX Orin 64GB"))],
            "image is none",
        ),
        (
            Target::Edge,
            &[
                ("/placement/device", json!("Raspberry Pi 5 8GB")),
                ("/runtime", json!("llama-server")),
                ("/precision", json!("q4_k_m")),
            ],
            "memory.total_bytes",
        ),
    ];
    for (target, changes, part) in rows {
        let error = generate(*target, &plans::plan(changes), &Options::default()).expect_err(part);
        let text = error.to_string();
        assert!(text.contains(part), "{} {changes:?}: {text}", target.name());
    }
    let bad = |cluster: Cluster| Options {
        cluster,
        ..Options::default()
    };
    let rows = [
        (
            Cluster {
                namespace: Some("None.x".to_owned()),
                ..Cluster::default()
            },
            "cluster.namespace",
        ),
        (
            Cluster {
                replicas: Some(0),
                ..Cluster::default()
            },
            "cluster.replicas",
        ),
        (
            Cluster {
                replicas: Some(4),
                max_replicas: Some(2),
                ..Cluster::default()
            },
            "cluster.max_replicas",
        ),
        (
            Cluster {
                canary_percent: Some(100),
                ..Cluster::default()
            },
            "cluster.canary_percent",
        ),
        (
            Cluster {
                canary_image: Some("a b".to_owned()),
                ..Cluster::default()
            },
            "cluster.canary_image",
        ),
    ];
    for (cluster, part) in rows {
        let error = generate(Target::Kubernetes, &plans::plan(&[]), &bad(cluster)).expect_err(part);
        assert!(error.to_string().contains(part), "{error}");
    }
}
