//! `LeaderWorkerSet`: a model over several nodes, one group of layers a node.

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

const TARGET: &str = "leaderworkerset";

/// Variables that the controller sets in each pod (`leaderworkerset_types.go`), as the kubelet
/// puts them into arguments.
const LEADER_ADDRESS: &str = "$(LWS_LEADER_ADDRESS)";
const WORKER_INDEX: &str = "$(LWS_WORKER_INDEX)";

/// The objects that serve `plan` over nodes.
pub(crate) fn generate(plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    let refuse = |field, found: &dyn std::fmt::Display, expected: &str| {
        unsupported(TARGET, field, found, expected)
    };
    if plan.runtime != Runtime::Vllm {
        return Err(refuse("runtime", &plan.runtime, "vllm"));
    }
    let nodes = plan.placement.pipeline_parallel;
    if nodes < 2 {
        let expected = "at least 2: one group of layers a node (target kubernetes serves one node)";
        return Err(refuse("placement.pipeline_parallel", &nodes, expected));
    }
    let mut it = workload(TARGET, plan, options)?;
    let settled = options.cluster.settle(TARGET, &it.plan, it.copies)?;
    // The volume is mounted on every node.
    let settled = &settled.fixed().shared();
    let a_node = plan.placement.tensor_parallel;
    settled.on_a_node(TARGET, "placement.tensor_parallel", a_node)?;
    it.devices = a_node;
    let mut objects = Objects::default();
    base(&it, settled, &mut objects);
    let about =
        "Groups of pods: a leader that is asked, and a worker for each further group of layers.";
    objects.add("leader-worker-set.yaml", about, &set(&it, settled, nodes));
    let about = "One address for the leaders.";
    objects.add(
        "service.yaml",
        about,
        &objects::service(&it, settled, Track::Stable),
    );
    let about = "Drained nodes take one pod away at a time.";
    let all = map! { NAME_LABEL => &it.name; };
    objects.add(
        "disruption-budget.yaml",
        about,
        &objects::budget(&it, settled, all),
    );
    let about = "Who may call the leaders; pods of a group speak to each other.";
    objects.add(
        "network-policy.yaml",
        about,
        &objects::network_policy(
            &it,
            settled,
            Traffic {
                peers: true,
                ..Traffic::default()
            },
        ),
    );
    objects.kustomize("The server.");
    let notes = vec![
        format!("A group is {nodes} pods, each on a node with {a_node} devices. When one of them ends, all of its group start again."),
        "Between nodes the activations go over the network: give NCCL the right interface (`NCCL_SOCKET_IFNAME`) where there are several.".to_owned(),
    ];
    let about = About {
        title: "on several nodes",
        needs: "NVIDIA's device plugin and the LeaderWorkerSet controller (`leaderworkerset.x-k8s.io/v1`)",
        notes,
    };
    finish(&it, settled, plan, objects, about)
}

fn set(it: &Workload, settled: &Settled, nodes: u32) -> Node {
    let leader = pod::container_with(
        it,
        "leader",
        &it.image,
        words(it, nodes, "0", false),
        pod::probes(it),
    );
    let worker = pod::container_with(
        it,
        "worker",
        &it.image,
        words(it, nodes, WORKER_INDEX, true),
        None,
    );
    let labels = |track: &str| {
        map! { "labels" => map! { NAME_LABEL => &it.name; TRACK_LABEL => track; }; }
    };
    map! {
        "apiVersion" => "leaderworkerset.x-k8s.io/v1";
        "kind" => "LeaderWorkerSet";
        "metadata" => metadata(it, settled, &it.name);
        "spec" => map! {
            "replicas", # "whole copies of the model" => settled.replicas;
            "startupPolicy", # "the leader waits for its workers before it is ready" => "LeaderCreated";
            "rolloutStrategy" => map! {
                "type" => "RollingUpdate";
                "rollingUpdateConfiguration" => map! { "maxSurge" => 0; "maxUnavailable" => 1; };
            };
            "leaderWorkerTemplate" => map! {
                "size", # "pods of a group, the leader included" => nodes;
                "restartPolicy" => "RecreateGroupOnPodRestart";
                "leaderTemplate" => map! {
                    "metadata" => labels(Track::Stable.name());
                    "spec" => pod::spec(it, leader);
                };
                "workerTemplate" => map! {
                    "metadata" => labels("worker");
                    "spec" => pod::spec(it, worker);
                };
            };
        };
    }
}

/// The arguments of a pod: the plan's, and its place in the group.
fn words(it: &Workload, nodes: u32, rank: &str, headless: bool) -> Vec<Node> {
    let mut words: Vec<Node> = it
        .arguments()
        .iter()
        .map(|w| Node::from(pod::literal(w)))
        .collect();
    // These hold variables, which `literal` would make plain text.
    for word in ["--distributed-executor-backend", "mp", "--nnodes"] {
        words.push(Node::from(word));
    }
    words.push(Node::from(nodes.to_string()));
    for word in ["--node-rank", rank, "--master-addr", LEADER_ADDRESS] {
        words.push(Node::from(word));
    }
    words.extend(headless.then(|| Node::from("--headless")));
    words
}
