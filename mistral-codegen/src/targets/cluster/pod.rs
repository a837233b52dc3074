//! The pod and its container.

use super::settings::Settled;
use super::workload::{HOME, MODELS, Workload};
use crate::yaml::{Node, map};

/// Label of the copies that are one server.
pub(super) const NAME_LABEL: &str = "app.kubernetes.io/name";
/// Label that tells the canary from the others.
pub(super) const TRACK_LABEL: &str = "app.kubernetes.io/component";
/// Name of the container's port.
pub(super) const PORT: &str = "http";
/// Keys of the secret.
const API_KEY: &str = "api-key";
const HUB_TOKEN: &str = "hub-token";
/// Time that load balancers get to notice that a pod leaves, and that answers get to end.
const LEAVE_S: u32 = 15;
const GRACE_S: u32 = 180;
/// Seconds between two probes of a starting server.
const START_PERIOD_S: u64 = 10;

/// Which copies a pod is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Track {
    Stable,
    Canary,
}

impl Track {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
        }
    }

    /// What objects of this track are called.
    pub(super) fn object(self, name: &str) -> String {
        match self {
            Self::Stable => name.to_owned(),
            Self::Canary => format!("{name}-canary"),
        }
    }
}

/// The name of the secret that holds the keys; its values are never written here.
pub(super) fn secret(name: &str) -> String {
    format!("{name}-keys")
}

/// The name of the volume's claim.
pub(super) fn claim(name: &str) -> String {
    format!("{name}-models")
}

/// A text that the kubelet gives on as it stands: in commands, arguments and variables it would
/// take `$(NAME)` for a variable, and `$$` for `$`.
pub(super) fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// Labels by which pods are found.
pub(super) fn selector(name: &str, track: Track) -> Node {
    map! {
        NAME_LABEL => name;
        TRACK_LABEL => track.name();
    }
}

/// The pod's specification.
pub(super) fn spec(it: &Workload, container: Node) -> Node {
    let name = &it.name;
    let gpu = (it.devices > 0).then(|| {
        vec![map! {
            "key" => "nvidia.com/gpu";
            "operator" => "Exists";
            "effect" => "NoSchedule";
        }]
    });
    map! {
        "serviceAccountName" => name;
        "automountServiceAccountToken" => false;
        "enableServiceLinks", # "variables of other services could be taken for the server's settings" => false;
        "terminationGracePeriodSeconds" => GRACE_S;
        "securityContext" => map! {
            "fsGroup" => it.user;
            "fsGroupChangePolicy" => "OnRootMismatch";
            "runAsGroup" => it.user;
            "runAsNonRoot" => true;
            "runAsUser" => it.user;
            "seccompProfile" => map! { "type" => "RuntimeDefault"; };
        };
        "tolerations" => gpu.map(Node::List);
        "topologySpreadConstraints" => vec![map! {
            "labelSelector" => map! { "matchLabels" => map! { it.label => name; }; };
            "maxSkew" => 1;
            "topologyKey" => "kubernetes.io/hostname";
            "whenUnsatisfiable" => "ScheduleAnyway";
        }];
        "containers" => vec![container];
        "volumes" => volumes(it);
    }
}

/// The container as it stands in a pod.
pub(super) fn container(it: &Workload, name: &str, image: &str) -> Node {
    let arguments = it.arguments().iter().map(|word| Node::from(literal(word)));
    container_with(it, name, image, arguments.collect(), probes(it))
}

/// The container with other arguments, as the kubelet gets them, or other probes.
pub(super) fn container_with(
    it: &Workload,
    name: &str,
    image: &str,
    arguments: Vec<Node>,
    probes: Option<[Node; 3]>,
) -> Node {
    let words = |words: Vec<Node>| {
        if words.is_empty() {
            Node::Absent
        } else {
            Node::List(words)
        }
    };
    let program = it.program().iter().map(|word| Node::from(literal(word)));
    let [startup, readiness, liveness] =
        probes.unwrap_or([Node::Absent, Node::Absent, Node::Absent]);
    map! {
        "name" => name;
        "image" => image;
        "command" => words(program.collect());
        "args" => words(arguments);
        "env" => env(it);
        "ports" => vec![map! {
            "name" => PORT;
            "containerPort" => it.port;
            "protocol" => "TCP";
        }];
        "startupProbe" => startup;
        "readinessProbe" => readiness;
        "livenessProbe" => liveness;
        "lifecycle" => map! {
            "preStop", # "time to be taken out of every load balancer before the server closes its port"
                => map! { "sleep" => map! { "seconds" => LEAVE_S; }; };
        };
        "resources" => resources(it);
        "securityContext" => map! {
            "allowPrivilegeEscalation" => false;
            "capabilities" => map! { "drop" => Node::texts(["ALL"]); };
            "readOnlyRootFilesystem" => true;
        };
        "volumeMounts" => mounts(it);
    }
}

/// A variable whose value is in the secret.
fn from_secret(it: &Workload, variable: &str, key: &str, optional: bool) -> Node {
    map! {
        "name" => variable;
        "valueFrom" => map! {
            "secretKeyRef" => map! {
                "name" => secret(&it.name);
                "key" => key;
                "optional" => optional.then_some(true);
            };
        };
    }
}

pub(super) fn env(it: &Workload) -> Node {
    let mut env = vec![from_secret(it, &it.key_variable, API_KEY, false)];
    if it.downloads {
        env.push(from_secret(it, "HF_TOKEN", HUB_TOKEN, !it.plan.model.gated));
    }
    env.extend(it.env.iter().map(|(name, value)| {
        map! { "name" => *name; "value" => literal(value); }
    }));
    Node::List(env)
}

/// The three probes: a start as long as loading may take, then quick ones.
pub(super) fn probes(it: &Workload) -> Option<[Node; 3]> {
    let get = || map! { "path" => it.health; "port" => PORT; };
    let times = u32::try_from(it.start_seconds.div_ceil(START_PERIOD_S)).unwrap_or(u32::MAX);
    let probe = |period: u32, failures: u32| {
        map! {
            "httpGet" => get();
            "periodSeconds" => period;
            "timeoutSeconds" => 5;
            "failureThreshold" => failures;
        }
    };
    Some([probe(10, times), probe(5, 3), probe(15, 4)])
}

fn resources(it: &Workload) -> Node {
    let gib = |n: u32| format!("{n}Gi");
    let (promised, most) = it.memory_gib();
    let devices = (it.devices > 0).then_some(it.devices);
    let amounts = |cpu: Option<u32>, memory: Option<u32>| {
        map! {
            "cpu" => cpu;
            "memory" => memory.map(gib);
            "nvidia.com/gpu" => devices;
        }
    };
    let limits = amounts(None, most);
    map! {
        "requests" => amounts(Some(it.processors()), Some(promised));
        "limits" => if limits == Node::Map(Vec::new()) { Node::Absent } else { limits };
    }
}

/// Names of volumes and where they are mounted.
const TEMPORARY: (&str, &str) = ("tmp", "/tmp");
const MODEL_VOLUME: &str = "models";
const SHARED_MEMORY: (&str, &str) = ("shm", "/dev/shm");

pub(super) fn mounts(it: &Workload) -> Node {
    let mount = |name: &str, path: &str, read_only: bool| {
        map! {
            "name" => name;
            "mountPath" => path;
            "readOnly" => read_only.then_some(true);
        }
    };
    let mut mounts = vec![
        mount(MODEL_VOLUME, MODELS, !it.downloads),
        mount("home", HOME, false),
        mount(TEMPORARY.0, TEMPORARY.1, false),
    ];
    if it.shm_gib > 0 {
        mounts.push(mount(SHARED_MEMORY.0, SHARED_MEMORY.1, false));
    }
    Node::List(mounts)
}

pub(super) fn volumes(it: &Workload) -> Node {
    let empty = |name: &str, memory: bool, gib: u32| {
        map! {
            "name" => name;
            "emptyDir" => map! {
                "medium" => memory.then_some("Memory");
                "sizeLimit" => format!("{gib}Gi");
            };
        }
    };
    let mut volumes = vec![
        map! {
            "name" => MODEL_VOLUME;
            "persistentVolumeClaim" => map! { "claimName" => claim(&it.name); };
        },
        empty("home", false, 20),
        empty(TEMPORARY.0, false, 10),
    ];
    if it.shm_gib > 0 {
        volumes.push(empty(SHARED_MEMORY.0, true, it.shm_gib));
    }
    Node::List(volumes)
}

/// Name, namespace and labels of an object.
pub(super) fn metadata(it: &Workload, settled: &Settled, name: &str) -> Node {
    map! {
        "name" => name;
        "namespace" => &settled.namespace;
        "labels" => map! {
            NAME_LABEL => &it.name;
            "app.kubernetes.io/managed-by" => "mistral-codegen";
        };
    }
}
