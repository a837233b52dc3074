//! The objects around the pods.

use super::pod::{self, PORT, Track, metadata};
use super::settings::Settled;
use super::workload::{MODELS, Workload};
use crate::yaml::{Node, map};

/// The namespace, which holds pods to the strictest profile.
pub(super) fn namespace(settled: &Settled) -> Node {
    map! {
        "apiVersion" => "v1";
        "kind" => "Namespace";
        "metadata" => map! {
            "name" => &settled.namespace;
            "labels" => map! {
                "pod-security.kubernetes.io/enforce" => "restricted";
                "pod-security.kubernetes.io/warn" => "restricted";
            };
        };
    }
}

/// An account without any right.
pub(super) fn account(it: &Workload, settled: &Settled) -> Node {
    map! {
        "apiVersion" => "v1";
        "kind" => "ServiceAccount";
        "metadata" => metadata(it, settled, &it.name);
        "automountServiceAccountToken" => false;
    }
}

/// The claim for the volume with the weights.
pub(super) fn claim(it: &Workload, settled: &Settled) -> Node {
    let mode = match settled.shared {
        false => "ReadWriteOnce",
        true => "ReadWriteMany",
    };
    map! {
        "apiVersion" => "v1";
        "kind" => "PersistentVolumeClaim";
        "metadata" => metadata(it, settled, &pod::claim(&it.name));
        "spec" => map! {
            "accessModes" => Node::texts([mode]);
            "storageClassName" => settled.storage_class.as_deref();
            "resources" => map! {
                "requests" => map! { "storage" => format!("{}Gi", settled.storage_gib); };
            };
        };
    }
}

/// The deployment of a track. `replicas` is absent where something else decides it.
pub(super) fn deployment(
    it: &Workload,
    settled: &Settled,
    track: Track,
    replicas: Option<u32>,
) -> Node {
    let image = match (track, &settled.canary_image) {
        (Track::Canary, Some(image)) => image,
        _ => &it.image,
    };
    let labels = pod::selector(&it.name, track);
    let scrape = it.queue_metric.map(|_| {
        map! {
            "prometheus.io/path" => "/metrics";
            "prometheus.io/port" => it.port.to_string();
            "prometheus.io/scrape" => "true";
        }
    });
    let mut spec = pod::spec(it, pod::container(it, "server", image));
    if track == Track::Canary && !settled.shared {
        spec = spec.with(map! {
            "affinity", # "beside the stable copy: the volume can be mounted on one node only" => map! {
                "podAffinity" => map! {
                    "requiredDuringSchedulingIgnoredDuringExecution" => vec![map! {
                        "labelSelector" => map! { "matchLabels" => pod::selector(&it.name, Track::Stable); };
                        "topologyKey" => "kubernetes.io/hostname";
                    }];
                };
            };
        });
    }
    map! {
        "apiVersion" => "apps/v1";
        "kind" => "Deployment";
        "metadata" => metadata(it, settled, &track.object(&it.name));
        "spec" => map! {
            "replicas" => replicas;
            "progressDeadlineSeconds" => deadline(it);
            "selector" => map! { "matchLabels" => labels.clone(); };
            "strategy" => map! {
                "type" => "RollingUpdate";
                "rollingUpdate", # "a copy ends before its successor starts: devices are not there twice"
                    => map! { "maxSurge" => 0; "maxUnavailable" => 1; };
            };
            "template" => map! {
                "metadata" => map! { "labels" => labels; "annotations" => scrape; };
                "spec" => spec;
            };
        };
    }
}

/// Seconds that a rollout may take to make progress: a start and some more.
fn deadline(it: &Workload) -> u32 {
    u32::try_from(it.start_seconds.saturating_add(600)).unwrap_or(u32::MAX)
}

pub(super) fn service(it: &Workload, settled: &Settled, track: Track) -> Node {
    map! {
        "apiVersion" => "v1";
        "kind" => "Service";
        "metadata" => metadata(it, settled, &track.object(&it.name));
        "spec" => map! {
            "type" => "ClusterIP";
            "selector" => pod::selector(&it.name, track);
            "ports" => vec![map! {
                "name" => PORT;
                "port" => it.port;
                "protocol" => "TCP";
                "targetPort" => PORT;
            }];
        };
    }
}

/// Of the copies one at a time may be taken away.
pub(super) fn budget(it: &Workload, settled: &Settled, selector: Node) -> Node {
    map! {
        "apiVersion" => "policy/v1";
        "kind" => "PodDisruptionBudget";
        "metadata" => metadata(it, settled, &it.name);
        "spec" => map! {
            "maxUnavailable" => 1;
            "selector" => map! { "matchLabels" => selector; };
        };
    }
}

/// What copies are counted by.
pub(super) enum Scale {
    /// A gauge of each pod: its series, and its name for the cluster.
    Queue {
        series: &'static str,
        name: String,
        waiting: u32,
    },
    /// Busy processors.
    Processors,
}

impl Scale {
    /// `None` where nothing that a cluster can read says how busy a copy is.
    pub(super) fn of(it: &Workload) -> Option<Self> {
        match it.queue_metric {
            Some(series) => Some(Self::Queue {
                series,
                name: series.replace(':', "_"),
                waiting: (it.plan.limits.concurrency / 4).max(1),
            }),
            None if it.devices == 0 => Some(Self::Processors),
            None => None,
        }
    }
}

/// The autoscaler.
pub(super) fn autoscaler(it: &Workload, settled: &Settled, scale: &Scale) -> Node {
    let metric = match scale {
        Scale::Queue { name, waiting, .. } => map! {
            "type" => "Pods";
            "pods" => map! {
                "metric" => map! { "name" => name; };
                "target" => map! { "type" => "AverageValue"; "averageValue" => waiting.to_string(); };
            };
        },
        Scale::Processors => map! {
            "type" => "Resource";
            "resource" => map! {
                "name" => "cpu";
                "target" => map! { "type" => "Utilization"; "averageUtilization" => 80; };
            };
        },
    };
    map! {
        "apiVersion" => "autoscaling/v2";
        "kind" => "HorizontalPodAutoscaler";
        "metadata" => metadata(it, settled, &it.name);
        "spec" => map! {
            "scaleTargetRef" => map! {
                "apiVersion" => "apps/v1";
                "kind" => "Deployment";
                "name" => &it.name;
            };
            "minReplicas" => settled.replicas;
            "maxReplicas" => settled.max_replicas;
            "metrics" => vec![metric];
            "behavior" => map! {
                "scaleUp" => map! {
                    "stabilizationWindowSeconds" => 60;
                    "policies" => vec![map! { "type" => "Pods"; "value" => 1; "periodSeconds" => 60; }];
                };
                "scaleDown" => map! {
                    "stabilizationWindowSeconds", # "a copy that is needed again costs a whole start" => 1800;
                    "policies" => vec![map! { "type" => "Pods"; "value" => 1; "periodSeconds" => 300; }];
                };
            };
        };
    }
}

/// Values of prometheus-adapter's chart that make the gauge a metric of pods.
pub(super) fn adapter(series: &str, name: &str) -> Node {
    let resource = |name: &str| map! { "resource" => name; };
    map! {
        "rules" => map! {
            "custom" => vec![map! {
                "seriesQuery" => format!("{series}{{namespace!=\"\",pod!=\"\"}}");
                "resources" => map! {
                    "overrides" => map! { "namespace" => resource("namespace"); "pod" => resource("pod"); };
                };
                "name" => map! { "matches" => format!("^{series}$"); "as" => name; };
                "metricsQuery" => "sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)";
            }];
        };
    }
}

/// Label of namespaces whose pods may call the server.
pub(super) const CLIENTS_LABEL: &str = "mistral-serving/clients";

/// Who may call the pods, and whom they may call.
pub(super) struct Traffic {
    /// The port of requests, by its name.
    pub(super) port: &'static str,
    /// Whether pods call each other.
    pub(super) peers: bool,
    /// Further rules for who may call.
    pub(super) ingress: Vec<Node>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            port: PORT,
            peers: false,
            ingress: Vec::new(),
        }
    }
}

/// Who may call: pods of the same namespace, and of those that have the label.
pub(super) fn clients() -> Vec<Node> {
    vec![
        map! { "podSelector" => map! {}; },
        map! { "namespaceSelector" => map! { "matchLabels" => map! { CLIENTS_LABEL => "true"; }; }; },
    ]
}

/// The policy that admits this traffic and no other.
pub(super) fn network_policy(it: &Workload, settled: &Settled, traffic: Traffic) -> Node {
    let peers = traffic.peers;
    let pods = || map! { "matchLabels" => map! { it.label => &it.name; }; };
    let own = || map! { "podSelector" => pods(); };
    let port = |protocol: &str, number: u16| map! { "protocol" => protocol; "port" => number; };
    let mut ingress = vec![map! {
        "from" => clients();
        "ports" => vec![map! { "protocol" => "TCP"; "port" => traffic.port; }];
    }];
    ingress.extend(traffic.ingress);
    let mut egress = Vec::new();
    if it.downloads || peers {
        egress.push(map! { "ports" => vec![port("UDP", 53), port("TCP", 53)]; });
    }
    if it.downloads {
        egress.push(map! { "ports" => vec![port("TCP", 443)]; });
    }
    if peers {
        ingress.push(map! { "from" => vec![own()]; });
        egress.push(map! { "to" => vec![own()]; });
    }
    map! {
        "apiVersion" => "networking.k8s.io/v1";
        "kind" => "NetworkPolicy";
        "metadata" => metadata(it, settled, &it.name);
        "spec" => map! {
            "podSelector" => pods();
            "policyTypes" => Node::texts(["Ingress", "Egress"]);
            "ingress" => ingress;
            "egress" => egress;
        };
    }
}

/// The route that shares requests out to the services, each with its weight.
pub(super) fn route(it: &Workload, settled: &Settled, backends: Vec<Node>) -> Node {
    map! {
        "apiVersion" => "gateway.networking.k8s.io/v1";
        "kind" => "HTTPRoute";
        "metadata" => metadata(it, settled, &it.name);
        "spec" => map! {
            "parentRefs" => vec![map! {
                "group" => "gateway.networking.k8s.io";
                "kind" => "Gateway";
                "name" => &settled.gateway;
            }];
            "rules" => vec![map! {
                "matches" => vec![map! {
                    "path" => map! { "type" => "PathPrefix"; "value" => "/v1"; };
                }];
                "backendRefs" => backends;
                "timeouts" => map! { "request" => "600s"; };
            }];
        };
    }
}

/// A service among a route's backends.
pub(super) fn backend(it: &Workload, track: Track, weight: u32) -> Node {
    map! {
        "kind" => "Service";
        "name" => track.object(&it.name);
        "port" => it.port;
        "weight" => weight;
    }
}

/// A pod that holds the volume open while people copy the model into it.
pub(super) fn loader(it: &Workload, settled: &Settled) -> Node {
    let name = format!("{}-loader", it.name);
    map! {
        "apiVersion" => "v1";
        "kind" => "Pod";
        "metadata" => map! { "name" => &name; "namespace" => &settled.namespace; };
        "spec" => map! {
            "serviceAccountName" => &it.name;
            "automountServiceAccountToken" => false;
            "restartPolicy" => "Never";
            "activeDeadlineSeconds" => 86_400;
            "securityContext" => map! {
                "fsGroup" => it.user;
                "runAsGroup" => it.user;
                "runAsNonRoot" => true;
                "runAsUser" => it.user;
                "seccompProfile" => map! { "type" => "RuntimeDefault"; };
            };
            "containers" => vec![map! {
                "name" => "loader";
                "image" => "busybox:1.37";
                "command" => Node::texts(["sleep", "86400"]);
                "resources" => map! {
                    "requests" => map! { "cpu" => "100m"; "memory" => "64Mi"; };
                    "limits" => map! { "memory" => "512Mi"; };
                };
                "securityContext" => map! {
                    "allowPrivilegeEscalation" => false;
                    "capabilities" => map! { "drop" => Node::texts(["ALL"]); };
                    "readOnlyRootFilesystem" => true;
                };
                "volumeMounts" => vec![map! { "name" => "models"; "mountPath" => MODELS; }];
            }];
            "volumes" => vec![map! {
                "name" => "models";
                "persistentVolumeClaim" => map! { "claimName" => pod::claim(&it.name); };
            }];
        };
    }
}

/// The list of objects that `kubectl apply -k .` applies.
pub(super) fn kustomization(paths: &[&str]) -> Node {
    map! {
        "apiVersion" => "kustomize.config.k8s.io/v1beta1";
        "kind" => "Kustomization";
        "resources" => Node::texts(paths.iter().copied());
    }
}
