//! llm-d: copies behind an `InferencePool`, whose picker sends a request where its prompt's
//! beginning is cached and the queue is short.

use mistral_core::files::FileSet;
use mistral_core::plan::{Plan, Runtime};

use super::bundle::{About, Objects, base, finish};
use super::objects::{self, Traffic};
use super::pod::{self, NAME_LABEL, TRACK_LABEL, Track, metadata};
use super::settings::Settled;
use super::workload::{Workload, workload};
use crate::targets::unsupported;
use crate::yaml::{Node, map};
use crate::{CodegenError, Options};

const TARGET: &str = "llm-d";

/// The picker's image: of release v0.9.0 of llm-d.
const PICKER_IMAGE: &str = "ghcr.io/llm-d/llm-d-router-endpoint-picker:v0.10.0";
/// Its ports, as its chart has them (llm-d/llm-d-router@ebab687 config/charts/routerlib).
const PICKER_PORT: u16 = 9002;
const HEALTH_PORT: u16 = 9003;
const METRICS_PORT: u16 = 9090;
const POOL_GROUP: &str = "inference.networking.k8s.io";

/// Filters and scores of the picker: the longest cached beginning counts most, then short queues
/// and free caches.
const PICKER_CONFIG: &str = "\
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: single-profile-handler
- type: prefix-cache-scorer
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: prefix-cache-scorer
    weight: 3
  - pluginRef: queue-scorer
    weight: 2
  - pluginRef: kv-cache-utilization-scorer
    weight: 2
  - pluginRef: max-score-picker
";

/// The objects that serve `plan` in a pool.
pub(crate) fn generate(plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    if plan.runtime != Runtime::Vllm {
        return Err(unsupported(TARGET, "runtime", plan.runtime, "vllm"));
    }
    let it = workload(TARGET, plan, options)?;
    let settled = options.cluster.settle(TARGET, &it.plan, it.copies)?.fixed();
    settled.on_a_node(TARGET, "placement.count", it.devices)?;
    let mut objects = Objects::default();
    base(&it, &settled, &mut objects);
    let copies = objects::deployment(&it, &settled, Track::Stable, Some(settled.replicas));
    objects.add("deployment.yaml", "The pool's copies.", &copies);
    let about = "Drained nodes take one copy away at a time.";
    let budget = objects::budget(&it, &settled, pod::selector(&it.name, Track::Stable));
    objects.add("disruption-budget.yaml", about, &budget);
    let about = "Who may call the copies and the picker, and whom they may call.";
    objects.add(
        "network-policy.yaml",
        about,
        &objects::network_policy(&it, &settled, Traffic::default()),
    );
    picker(&it, &settled, &mut objects);
    let backend = map! { "group" => POOL_GROUP; "kind" => "InferencePool"; "name" => &it.name; };
    let about = "The gateway's route to the pool.";
    objects.add(
        "route.yaml",
        about,
        &objects::route(&it, &settled, vec![backend]),
    );
    objects.kustomize("The pool with its picker and route.");
    let about = About {
        title: "on llm-d",
        needs: "NVIDIA's device plugin, Gateway API v1, the Gateway API Inference Extension (`inference.networking.k8s.io/v1`) and a gateway that implements it",
        notes: vec![
            format!("Requests go to the Gateway `{}` of the same namespace; the picker chooses the copy.", settled.gateway),
            format!("The picker speaks TLS with a certificate that it makes itself: under Istio, its service `{}` needs a `DestinationRule` with `tls: {{mode: SIMPLE, insecureSkipVerify: true}}`.", picker_name(&it)),
            "The picker reads the copies' metrics; the key goes through it to the copy, which checks it.".to_owned(),
        ],
    };
    finish(&it, &settled, plan, objects, about)
}

fn picker_name(it: &Workload) -> String {
    format!("{}-picker", it.name)
}

fn picker(it: &Workload, settled: &Settled, objects: &mut Objects) {
    let name = picker_name(it);
    let meta = || metadata(it, settled, &name);
    let account = map! {
        "apiVersion" => "v1";
        "kind" => "ServiceAccount";
        "metadata" => meta();
    };
    objects.add(
        "picker/service-account.yaml",
        "The picker's account.",
        &account,
    );
    let rule = |group: &str, resources: &[&str]| {
        map! {
            "apiGroups" => Node::texts([group]);
            "resources" => Node::texts(resources.iter().copied());
            "verbs" => Node::texts(["get", "list", "watch"]);
        }
    };
    let role = map! {
        "apiVersion" => "rbac.authorization.k8s.io/v1";
        "kind" => "Role";
        "metadata" => meta();
        "rules" => vec![
            rule("", &["pods"]),
            rule(POOL_GROUP, &["inferencepools"]),
            rule("llm-d.ai", &["inferenceobjectives", "inferencemodelrewrites"]),
        ];
    };
    objects.add(
        "picker/role.yaml",
        "What the picker may read: pods and the pool.",
        &role,
    );
    let binding = map! {
        "apiVersion" => "rbac.authorization.k8s.io/v1";
        "kind" => "RoleBinding";
        "metadata" => meta();
        "roleRef" => map! {
            "apiGroup" => "rbac.authorization.k8s.io";
            "kind" => "Role";
            "name" => &name;
        };
        "subjects" => vec![map! {
            "kind" => "ServiceAccount";
            "name" => &name;
            "namespace" => &settled.namespace;
        }];
    };
    objects.add(
        "picker/role-binding.yaml",
        "The role is the account's.",
        &binding,
    );
    let config = map! {
        "apiVersion" => "v1";
        "kind" => "ConfigMap";
        "metadata" => meta();
        "data" => map! { "picker.yaml" => Node::Lines(PICKER_CONFIG.to_owned()); };
    };
    objects.add(
        "picker/config.yaml",
        "How the picker scores copies.",
        &config,
    );
    objects.add(
        "picker/deployment.yaml",
        "The picker.",
        &picker_deployment(it, settled),
    );
    let service = map! {
        "apiVersion" => "v1";
        "kind" => "Service";
        "metadata" => meta();
        "spec" => map! {
            "type" => "ClusterIP";
            "selector" => picker_labels(it);
            "ports" => vec![map! {
                "name" => "grpc";
                "appProtocol" => "http2";
                "port" => PICKER_PORT;
                "protocol" => "TCP";
                "targetPort" => "grpc";
            }];
        };
    };
    objects.add(
        "picker/service.yaml",
        "Where the gateway asks the picker.",
        &service,
    );
    let pool = map! {
        "apiVersion" => "inference.networking.k8s.io/v1";
        "kind" => "InferencePool";
        "metadata" => metadata(it, settled, &it.name);
        "spec" => map! {
            "selector" => map! { "matchLabels" => pod::selector(&it.name, Track::Stable); };
            "targetPorts" => vec![map! { "number" => it.port; }];
            "endpointPickerRef" => map! {
                "failureMode", # "without the picker any copy answers" => "FailOpen";
                "kind" => "Service";
                "name" => &name;
                "port" => map! { "number" => PICKER_PORT; };
            };
        };
    };
    objects.add(
        "pool.yaml",
        "The copies that the picker chooses from.",
        &pool,
    );
    let own = |port: u16| map! { "protocol" => "TCP"; "port" => port; };
    let policy = map! {
        "apiVersion" => "networking.k8s.io/v1";
        "kind" => "NetworkPolicy";
        "metadata" => meta();
        "spec" => map! {
            "podSelector" => map! { "matchLabels" => picker_labels(it); };
            "policyTypes" => Node::texts(["Ingress"]);
            "ingress" => vec![
                map! { "ports" => vec![own(PICKER_PORT)]; },
                map! { "from" => objects::clients(); "ports" => vec![own(METRICS_PORT)]; },
            ];
        };
    };
    objects.add(
        "picker/network-policy.yaml",
        "The gateway may ask the picker, and Prometheus its metrics.",
        &policy,
    );
}

/// Labels of the picker's pods, which aren't among the copies'.
fn picker_labels(it: &Workload) -> Node {
    map! { NAME_LABEL => picker_name(it); TRACK_LABEL => "picker"; }
}

fn picker_deployment(it: &Workload, settled: &Settled) -> Node {
    let name = picker_name(it);
    let probe = || {
        map! {
            "grpc" => map! { "port" => HEALTH_PORT; };
            "periodSeconds" => 5;
            "failureThreshold" => 6;
        }
    };
    let container = map! {
        "name" => "picker";
        "image" => PICKER_IMAGE;
        "args" => Node::texts([
            "--pool-name", &it.name,
            "--pool-namespace", &settled.namespace,
            "--pool-group", POOL_GROUP,
            "--zap-encoder", "json",
            "--config-file", "/config/picker.yaml",
            "--grpc-health-port", &HEALTH_PORT.to_string(),
            "--tracing=false",
            // Without a role for the whole cluster it couldn't ask who reads them: the policy says who may.
            "--metrics-endpoint-auth=false",
        ]);
        "ports" => vec![
            map! { "name" => "grpc"; "containerPort" => PICKER_PORT; },
            map! { "name" => "grpc-health"; "containerPort" => HEALTH_PORT; },
            map! { "name" => "metrics"; "containerPort" => METRICS_PORT; },
        ];
        "startupProbe" => probe();
        "readinessProbe" => probe();
        "livenessProbe" => probe();
        "resources" => map! {
            "requests" => map! { "cpu" => "1"; "memory" => "1Gi"; };
            "limits" => map! { "memory" => "4Gi"; };
        };
        "securityContext" => map! {
            "allowPrivilegeEscalation" => false;
            "capabilities" => map! { "drop" => Node::texts(["ALL"]); };
            "readOnlyRootFilesystem" => true;
        };
        "volumeMounts" => vec![map! { "name" => "config"; "mountPath" => "/config"; "readOnly" => true; }];
    };
    map! {
        "apiVersion" => "apps/v1";
        "kind" => "Deployment";
        "metadata" => metadata(it, settled, &name);
        "spec" => map! {
            "replicas", # "one: its view of the caches is its own" => 1;
            "selector" => map! { "matchLabels" => picker_labels(it); };
            "template" => map! {
                "metadata" => map! { "labels" => picker_labels(it); };
                "spec" => map! {
                    "serviceAccountName" => &name;
                    "terminationGracePeriodSeconds" => 130;
                    "securityContext" => map! {
                        "runAsNonRoot" => true;
                        "runAsUser" => 65532;
                        "seccompProfile" => map! { "type" => "RuntimeDefault"; };
                    };
                    "containers" => vec![container];
                    "volumes" => vec![map! { "name" => "config"; "configMap" => map! { "name" => &name; }; }];
                };
            };
        };
    }
}
