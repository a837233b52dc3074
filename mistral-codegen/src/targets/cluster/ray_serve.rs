//! Ray Serve LLM: a `RayService` whose application runs vLLM, behind a guard that asks for the key.

use mistral_core::files::FileSet;
use mistral_core::plan::{Plan, Runtime};

use super::bundle::{About, Objects, base, finish};
use super::objects::{self, Traffic};
use super::pod::{self, NAME_LABEL, TRACK_LABEL, metadata};
use super::settings::Settled;
use super::workload::{MODELS, Workload, workload};
use crate::flags::Explained;
use crate::targets::unsupported;
use crate::yaml::{Entry, Node, map};
use crate::{CodegenError, Options};

const TARGET: &str = "ray-serve";

/// The release whose image and settings these are (samples of ray-project/kuberay@feeaf72).
const RAY: &str = "2.52.0";
const IMAGE: &str = "rayproject/ray-llm:2.52.0-py311-cu128";
/// The label of its pods: the operator's service for the head finds it by a `NAME_LABEL` of the
/// operator's own (`BuildHeadServiceForRayService`).
const LABEL: &str = "app.kubernetes.io/instance";
/// The image's own user.
const USER: u32 = 1000;
/// Where the guard's module lies, and the variable with the key.
const GUARD: &str = "/etc/serve";
const KEY: &str = "SERVE_API_KEY";
const GUARD_SOURCE: &str = include_str!("../../../templates/cluster/key_guard.py.j2");

/// The objects that serve `plan` with Ray.
pub(crate) fn generate(plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    if plan.runtime != Runtime::Vllm {
        return Err(unsupported(TARGET, "runtime", plan.runtime, "vllm"));
    }
    let mut it = workload(TARGET, plan, options)?;
    let settled = options.cluster.settle(TARGET, &it.plan, it.copies)?;
    // The head mounts the volume, too.
    let settled = &settled.fixed().shared();
    settled.on_a_node(TARGET, "placement.count", it.devices)?;
    it.label = LABEL;
    it.key_variable = KEY.to_owned();
    it.user = USER;
    if options.image.is_none() {
        it.image = IMAGE.to_owned();
    }
    it.env = vec![
        ("HF_HOME", format!("{MODELS}/huggingface")),
        ("PYTHONPATH", GUARD.to_owned()),
        (
            "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH",
            "key_guard:middlewares".to_owned(),
        ),
    ];
    if !it.downloads {
        it.env.push(("HF_HUB_OFFLINE", "1".to_owned()));
    }
    let mut objects = Objects::default();
    base(&it, settled, &mut objects);
    let config = map! {
        "apiVersion" => "v1";
        "kind" => "ConfigMap";
        "metadata" => metadata(&it, settled, &guard(&it));
        "data" => map! { "key_guard.py" => Node::Lines(GUARD_SOURCE.to_owned()); };
    };
    objects.add(
        "guard.yaml",
        "Ray Serve LLM asks for no key: this module does, before it.",
        &config,
    );
    let service = service(&it, settled)?;
    objects.add(
        "ray-service.yaml",
        "The cluster and its application.",
        &service,
    );
    let about = "Who may call the server; Ray's own ports are for its pods and its operator.";
    objects.add("network-policy.yaml", about, &network_policy(&it, settled));
    objects.kustomize("The server.");
    let about = About {
        title: "on Ray Serve",
        needs: "NVIDIA's device plugin and the KubeRay operator (`ray.io/v1`)",
        notes: vec![
            format!(
                "Requests go to the service `{}-serve-svc` on port {}.",
                it.name, it.port
            ),
            format!(
                "The image has Ray {RAY} with a vLLM of its own, older than the one whose flags the plan names: settings are the same, figures may differ. The number of copies is fixed."
            ),
        ],
    };
    let mut files = finish(&it, settled, plan, objects, about)?;
    // Beside the object that holds it, so that it can be read and checked as a program.
    files.add("key_guard.py", GUARD_SOURCE)?;
    Ok(files)
}

fn guard(it: &Workload) -> String {
    format!("{}-guard", it.name)
}

fn service(it: &Workload, settled: &Settled) -> Result<Node, CodegenError> {
    let head = group_pod(it, "ray-head", 0, "head");
    let worker = group_pod(it, "ray-worker", it.devices, "worker");
    Ok(map! {
        "apiVersion" => "ray.io/v1";
        "kind" => "RayService";
        "metadata" => metadata(it, settled, &it.name);
        "spec" => map! {
            "serveConfigV2" => Node::Lines(application(it, settled)?);
            "rayClusterConfig" => map! {
                "rayVersion" => RAY;
                "headGroupSpec" => map! {
                    "rayStartParams" => map! { "num-cpus" => "0"; "num-gpus" => "0"; };
                    "template" => head;
                };
                "workerGroupSpecs" => vec![map! {
                    "groupName" => "devices";
                    "replicas" => settled.replicas;
                    "minReplicas" => settled.replicas;
                    "maxReplicas" => settled.replicas;
                    "numOfHosts" => 1;
                    "rayStartParams" => map! { "num-gpus" => it.devices.to_string(); };
                    "template" => worker;
                }];
            };
        };
    })
}

/// A pod of the cluster.
fn group_pod(it: &Workload, name: &str, devices: u32, track: &str) -> Node {
    let port = |name: &str, number: u16| map! { "name" => name; "containerPort" => number; "protocol" => "TCP"; };
    let mut ports = vec![port("serve", it.port)];
    if devices == 0 {
        ports.extend([
            port("gcs", 6379),
            port("dashboard", 8265),
            port("client", 10001),
        ]);
    }
    let gpu = (devices > 0).then_some(devices);
    let (promised, most) = it.memory_gib();
    let (cpu, promised, most) = match devices {
        0 => (2, 8, Some(8)),
        _ => (it.processors(), promised, most),
    };
    let gib = |n: u32| format!("{n}Gi");
    let extra = |at: &str, node: Node, guard: Node| match node {
        Node::List(mut parts) => {
            // The image's own home stays: Ray keeps its sessions there and below /tmp.
            parts.retain(|part| !matches!(part, Node::Map(entries) if entries.iter().any(|e| e.key == at && e.value == Node::from("home"))));
            parts.push(guard);
            Node::List(parts)
        }
        other => other,
    };
    let container = map! {
        "name" => name;
        "image" => &it.image;
        "env" => pod::env(it);
        "ports" => ports;
        "resources" => map! {
            "requests" => map! { "cpu" => cpu; "memory" => gib(promised); "nvidia.com/gpu" => gpu; };
            "limits" => map! { "memory" => most.map(gib); "nvidia.com/gpu" => gpu; };
        };
        "securityContext" => map! {
            "allowPrivilegeEscalation" => false;
            "capabilities" => map! { "drop" => Node::texts(["ALL"]); };
        };
        "volumeMounts" => extra("name", pod::mounts(it), map! {
            "name" => "guard";
            "mountPath" => GUARD;
            "readOnly" => true;
        });
    };
    let spec = match pod::spec(it, container) {
        Node::Map(entries) => Node::Map(
            entries
                .into_iter()
                .map(|entry| match entry.key.as_str() {
                    "volumes" => Entry {
                        value: extra(
                            "name",
                            entry.value,
                            map! {
                                "name" => "guard";
                                "configMap" => map! { "name" => guard(it); };
                            },
                        ),
                        ..entry
                    },
                    _ => entry,
                })
                .collect(),
        ),
        other => other,
    };
    map! {
        "metadata" => map! { "labels" => map! { it.label => &it.name; TRACK_LABEL => track; }; };
        "spec" => spec;
    }
}

/// The application, as Serve's own YAML.
fn application(it: &Workload, settled: &Settled) -> Result<String, CodegenError> {
    let model = it.bring.as_ref().map_or_else(
        || it.plan.model.hf_repo.clone().unwrap_or_default(),
        |(_, place)| place.clone(),
    );
    let kwargs = it
        .launch
        .iter()
        .flat_map(|launch| launch.command.explained())
        .filter_map(|flag| setting(&flag).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    let concurrency = it.plan.limits.concurrency;
    Ok(map! {
        "http_options" => map! { "host" => "0.0.0.0"; "port" => it.port; };
        "applications" => vec![map! {
            "name" => "llm";
            "import_path" => "ray.serve.llm:build_openai_app";
            "route_prefix" => "/";
            "args" => map! {
                "llm_configs" => vec![map! {
                    "model_loading_config" => map! {
                        "model_id" => &it.served_name;
                        "model_source" => model;
                    };
                    "engine_kwargs" => Node::Map(kwargs);
                    "deployment_config" => map! {
                        "num_replicas" => settled.replicas;
                        "max_ongoing_requests" => concurrency.saturating_mul(2);
                    };
                }];
            };
        }];
    }
    .document("Ray Serve's application."))
}

/// A flag as a setting of the engine; `None` for those that Ray decides.
fn setting(flag: &Explained) -> Result<Option<Entry>, CodegenError> {
    let name = flag.flag.trim_start_matches('-').replace('-', "_");
    let number = |text: &str| text.parse().map(Node::Number).ok();
    let value = match (name.as_str(), flag.value.as_deref()) {
        ("host" | "port" | "served_model_name", _) => return Ok(None),
        (_, None) => Some(Node::Bool(true)),
        // The name that releases before the plan's have for the same.
        ("quantization", Some("fp8_per_tensor")) => Some(Node::from("fp8")),
        (
            "dtype" | "quantization" | "kv_cache_dtype" | "tokenizer_mode" | "config_format"
            | "load_format" | "revision" | "tool_call_parser" | "reasoning_parser",
            Some(text),
        ) => Some(Node::from(text)),
        ("gpu_memory_utilization", Some(text)) => Some(Node::Literal(text.to_owned())),
        ("override_generation_config", Some(text)) => serde_json::from_str(text).ok().map(node),
        (_, Some(text)) => number(text),
    };
    match value {
        Some(value) => Ok(Some(Entry {
            key: name,
            note: None,
            value,
        })),
        None => Err(unsupported(
            TARGET,
            "engine settings",
            format!("{} {:?}", flag.flag, flag.value),
            "a setting that Ray Serve LLM hands on",
        )),
    }
}

/// A value of JSON as a part of a document.
fn node(value: serde_json::Value) -> Node {
    match value {
        serde_json::Value::String(text) => Node::from(text),
        serde_json::Value::Bool(value) => Node::from(value),
        serde_json::Value::Object(fields) => Node::Map(
            fields
                .into_iter()
                .map(|(key, value)| Entry {
                    key,
                    note: None,
                    value: node(value),
                })
                .collect(),
        ),
        serde_json::Value::Array(parts) => Node::List(parts.into_iter().map(node).collect()),
        other => Node::Literal(other.to_string()),
    }
}

fn network_policy(it: &Workload, settled: &Settled) -> Node {
    let port = |number: u16| map! { "protocol" => "TCP"; "port" => number; };
    // The operator asks the dashboard, which whoever reaches it can run programs through.
    let operator = map! {
        "from" => vec![map! {
            "namespaceSelector" => map! {};
            "podSelector" => map! { "matchLabels" => map! { NAME_LABEL => "kuberay-operator"; }; };
        }];
        "ports" => vec![port(8265), port(it.port)];
    };
    let traffic = Traffic {
        port: "serve",
        peers: true,
        ingress: vec![operator],
    };
    objects::network_policy(it, settled, traffic)
}
