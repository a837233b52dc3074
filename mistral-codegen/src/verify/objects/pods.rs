//! The pods that objects describe.

use serde_json::Value;

use super::Object;

/// A pod as some object describes it.
pub(super) struct Pod<'o> {
    pub(super) path: &'o str,
    pub(super) labels: &'o Value,
    pub(super) spec: &'o Value,
    /// How many such pods one copy of the server has.
    pub(super) a_copy: u64,
    /// Whether requests come to it.
    pub(super) serves: bool,
}

/// The pods of an object, none for one that has none.
pub(super) fn of<'o>(object: &'o Object<'_>) -> Vec<Pod<'o>> {
    let spec = &object.value["spec"];
    let pod = |template: &'o Value, a_copy: u64, serves: bool| Pod {
        path: object.path,
        labels: &template["metadata"]["labels"],
        spec: &template["spec"],
        a_copy,
        serves,
    };
    match object.kind() {
        "Deployment" => vec![pod(&spec["template"], 1, true)],
        "LeaderWorkerSet" => {
            let group = &spec["leaderWorkerTemplate"];
            let size = group["size"].as_u64().unwrap_or(1);
            vec![
                pod(&group["leaderTemplate"], size, true),
                pod(&group["workerTemplate"], size, false),
            ]
        }
        "InferenceService" => vec![Pod {
            path: object.path,
            labels: &spec["predictor"]["labels"],
            spec: &spec["predictor"],
            a_copy: 1,
            serves: true,
        }],
        "RayService" => {
            let cluster = &spec["rayClusterConfig"];
            let workers = cluster["workerGroupSpecs"].as_array();
            std::iter::once(&cluster["headGroupSpec"]["template"])
                .chain(
                    workers
                        .into_iter()
                        .flatten()
                        .map(|group| &group["template"]),
                )
                .map(|template| pod(template, 1, false))
                .collect()
        }
        "Pod" => vec![Pod {
            path: object.path,
            labels: &object.value["metadata"]["labels"],
            spec,
            a_copy: 1,
            serves: false,
        }],
        _ => Vec::new(),
    }
}

impl<'o> Pod<'o> {
    pub(super) fn containers(&self) -> impl Iterator<Item = &'o Value> {
        list(&self.spec["containers"]).chain(list(&self.spec["initContainers"]))
    }

    /// Whether a container has this port, by number or name.
    pub(super) fn has_port(&self, port: &Value) -> bool {
        self.containers().any(|container| has_port(container, port))
    }

    /// Whether each of these labels is the pod's.
    pub(super) fn matches(&self, selector: &Value) -> bool {
        selector.as_object().is_some_and(|labels| {
            labels
                .iter()
                .all(|(key, value)| self.labels.get(key) == Some(value))
        })
    }
}

/// The parts of a list, none for what isn't one.
pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Whether the container has this port, by number or name.
pub(super) fn has_port(container: &Value, port: &Value) -> bool {
    list(&container["ports"]).any(|p| p["name"] == *port || p["containerPort"] == *port)
}
