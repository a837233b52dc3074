//! What objects say of each other.

use std::collections::BTreeSet;

use mistral_core::files::FileSet;
use mistral_core::plan::Plan;
use serde_json::Value;

use super::pods::{self, Pod, list};
use super::{Object, engine};

/// What is wrong, with the path of the file that says it.
type Findings = Vec<(String, String)>;

/// Every reference that leads nowhere or contradicts another.
pub(super) fn findings(files: &FileSet, objects: &[Object<'_>]) -> Findings {
    let all = All {
        objects,
        pods: objects.iter().flat_map(pods::of).collect(),
    };
    let mut found = Findings::new();
    for object in objects {
        let mut say = |text: String| found.push((object.path.to_owned(), text));
        names(object, &mut say);
        match object.kind() {
            "Deployment" => deployment(object, &mut say),
            "Service" => service(object, &all, &mut say),
            "PodDisruptionBudget" => {
                selected(
                    &object.value["spec"]["selector"]["matchLabels"],
                    &all,
                    &mut say,
                );
            }
            "InferencePool" => pool(object, &all, &mut say),
            "NetworkPolicy" => network(object, &all, &mut say),
            "HorizontalPodAutoscaler" => autoscaler(object, &all, &mut say),
            "PersistentVolumeClaim" => claim(object, &all, &mut say),
            "RayService" => ray(object, &mut say),
            "HTTPRoute" => route(object, &all, &mut say),
            "RoleBinding" => binding(object, &all, &mut say),
            "Kustomization" => kustomization(object, &all, &mut say),
            _ => {}
        }
    }
    // The plan that the files were made from: what its engine needs.
    let plan = files
        .get("plan.json")
        .and_then(|f| serde_json::from_str::<Plan>(&f.contents).ok());
    for pod in &all.pods {
        let mut say = |text: String| found.push((pod.path.to_owned(), text));
        pod_findings(pod, &all, &mut say);
        for container in pod.containers().filter(|c| c["name"] != "loader") {
            if let Some(plan) = plan.as_ref().filter(|_| runs_engine(container)) {
                engine::findings(pod, container, plan)
                    .into_iter()
                    .for_each(&mut say);
            }
        }
    }
    found
}

/// Whether a container is the server: helpers have other names.
fn runs_engine(container: &Value) -> bool {
    let name = container["name"].as_str().unwrap_or_default();
    matches!(name, "server" | "kserve-container" | "leader" | "worker")
}

struct All<'o, 'f> {
    objects: &'o [Object<'f>],
    pods: Vec<Pod<'o>>,
}

impl All<'_, '_> {
    fn has(&self, kind: &str, name: &Value) -> bool {
        let is = |o: &Object<'_>| o.kind() == kind && *name == o.name();
        self.objects.iter().any(is)
    }

    fn get(&self, kind: &str, name: &Value) -> Option<&Object<'_>> {
        self.objects
            .iter()
            .find(|o| o.kind() == kind && *name == o.name())
    }
}

/// Names that a template left open, and namespaces that differ.
fn names(object: &Object<'_>, say: &mut impl FnMut(String)) {
    let unset = |text: &str| matches!(text, "None" | "null" | "nil" | "undefined");
    for (what, text) in [("name", object.name()), ("namespace", object.namespace())] {
        if unset(text) {
            say(format!("{what} is {text:?}"));
        }
    }
    let free = ["Namespace", "Kustomization", ""];
    if !free.contains(&object.kind()) && object.namespace().is_empty() {
        say("no namespace".to_owned());
    }
}

fn deployment(object: &Object<'_>, say: &mut impl FnMut(String)) {
    for pod in pods::of(object) {
        if !pod.matches(&object.value["spec"]["selector"]["matchLabels"]) {
            say("its selector doesn't match its own pods".to_owned());
        }
    }
}

/// Says when no pod has these labels.
fn selected(labels: &Value, all: &All<'_, '_>, say: &mut impl FnMut(String)) {
    if !all.pods.iter().any(|pod| pod.matches(labels)) {
        say(format!("no pod has the labels {labels}"));
    }
}

fn service(object: &Object<'_>, all: &All<'_, '_>, say: &mut impl FnMut(String)) {
    let spec = &object.value["spec"];
    selected(&spec["selector"], all, say);
    for port in list(&spec["ports"]) {
        let target = match &port["targetPort"] {
            Value::Null => &port["port"],
            target => target,
        };
        let pods = all.pods.iter().filter(|pod| pod.matches(&spec["selector"]));
        for pod in pods.filter(|pod| !pod.has_port(target)) {
            say(format!("the pods of {} have no port {target}", pod.path));
        }
    }
}

fn pool(object: &Object<'_>, all: &All<'_, '_>, say: &mut impl FnMut(String)) {
    let spec = &object.value["spec"];
    let labels = &spec["selector"]["matchLabels"];
    selected(labels, all, say);
    for port in list(&spec["targetPorts"]) {
        let pods = all.pods.iter().filter(|pod| pod.matches(labels));
        for pod in pods.filter(|pod| !pod.has_port(&port["number"])) {
            say(format!(
                "the pods of {} have no port {}",
                pod.path, port["number"]
            ));
        }
    }
    let picker = &spec["endpointPickerRef"];
    let service = all.get("Service", &picker["name"]);
    let ports = service.map(|s| list(&s.value["spec"]["ports"]).map(|p| &p["port"]));
    if !ports.is_some_and(|mut ports| ports.any(|port| *port == picker["port"]["number"])) {
        say(format!(
            "no service {} with port {}",
            picker["name"], picker["port"]["number"]
        ));
    }
}

fn network(object: &Object<'_>, all: &All<'_, '_>, say: &mut impl FnMut(String)) {
    let spec = &object.value["spec"];
    let labels = &spec["podSelector"]["matchLabels"];
    selected(labels, all, say);
    for rule in list(&spec["ingress"]) {
        for port in list(&rule["ports"]) {
            let pods = all.pods.iter().filter(|pod| pod.matches(labels));
            for pod in pods.filter(|pod| pod.serves && !pod.has_port(&port["port"])) {
                say(format!(
                    "the pods of {} have no port {}",
                    pod.path, port["port"]
                ));
            }
        }
    }
}

fn autoscaler(object: &Object<'_>, all: &All<'_, '_>, say: &mut impl FnMut(String)) {
    let spec = &object.value["spec"];
    let target = &spec["scaleTargetRef"];
    let kind = target["kind"].as_str().unwrap_or_default();
    match all.get(kind, &target["name"]) {
        None => say(format!("no {kind} {}", target["name"])),
        Some(scaled) if !scaled.value["spec"]["replicas"].is_null() => {
            say(format!("{} fixes the number of copies, too", scaled.path));
        }
        Some(_) => {}
    }
    if spec["minReplicas"].as_u64() > spec["maxReplicas"].as_u64() {
        say("minReplicas is above maxReplicas".to_owned());
    }
    let rules: Vec<&Value> = all
        .objects
        .iter()
        .flat_map(|o| list(&o.value["rules"]["custom"]))
        .collect();
    for metric in list(&spec["metrics"]).filter(|m| m["type"] == "Pods") {
        let name = &metric["pods"]["metric"]["name"];
        if !rules.iter().any(|rule| rule["name"]["as"] == *name) {
            say(format!("nothing makes the metric {name}"));
        }
    }
}

/// A volume that can be mounted on one node only, and pods that may be on several.
fn claim(object: &Object<'_>, all: &All<'_, '_>, say: &mut impl FnMut(String)) {
    let modes = &object.value["spec"]["accessModes"];
    if list(modes).any(|mode| *mode == "ReadWriteMany") {
        return;
    }
    let mounts = |pod: &Pod<'_>| {
        list(&pod.spec["volumes"]).any(|v| v["persistentVolumeClaim"]["claimName"] == object.name())
    };
    let beside = |pod: &Pod<'_>| {
        let affinity = &pod.spec["affinity"]["podAffinity"];
        list(&affinity["requiredDuringSchedulingIgnoredDuringExecution"])
            .next()
            .is_some()
    };
    let mut pods = 0;
    for other in all.objects {
        let apart = pods::of(other)
            .iter()
            .filter(|pod| mounts(pod) && !beside(pod))
            .count() as u64;
        pods += apart * most_copies(other, all);
    }
    if pods > 1 {
        say(format!("{modes} where {pods} pods may mount it"));
    }
}

/// How many pods there may be of each that an object describes; none of what is applied by hand.
fn most_copies(object: &Object<'_>, all: &All<'_, '_>) -> u64 {
    let spec = &object.value["spec"];
    match object.kind() {
        "Pod" => 0,
        "InferenceService" => spec["predictor"]["maxReplicas"].as_u64().unwrap_or(1),
        kind => {
            let scaler = all.objects.iter().find(|o| {
                let target = &o.value["spec"]["scaleTargetRef"];
                target["kind"] == kind && target["name"] == object.name()
            });
            let most = scaler.map_or(&spec["replicas"], |o| &o.value["spec"]["maxReplicas"]);
            most.as_u64().unwrap_or(1)
        }
    }
}

/// The operator's service for the head looks for a label that it sets where nobody else does.
fn ray(object: &Object<'_>, say: &mut impl FnMut(String)) {
    let own = "app.kubernetes.io/name";
    for pod in pods::of(object)
        .iter()
        .filter(|pod| !pod.labels[own].is_null())
    {
        say(format!(
            "the operator finds its pods by its own {own}, not {}",
            pod.labels[own]
        ));
    }
}

fn route(object: &Object<'_>, all: &All<'_, '_>, say: &mut impl FnMut(String)) {
    for rule in list(&object.value["spec"]["rules"]) {
        let backends: Vec<&Value> = list(&rule["backendRefs"]).collect();
        for backend in &backends {
            let kind = backend["kind"].as_str().unwrap_or("Service");
            match all.get(kind, &backend["name"]) {
                None => say(format!("no {kind} {}", backend["name"])),
                Some(service) if kind == "Service" => {
                    let mut ports = list(&service.value["spec"]["ports"]);
                    if !ports.any(|port| port["port"] == backend["port"]) {
                        say(format!("{} has no port {}", service.path, backend["port"]));
                    }
                }
                Some(_) => {}
            }
        }
        let weights = backends.iter().map(|b| b["weight"].as_u64().unwrap_or(1));
        if backends.len() > 1 && weights.sum::<u64>() != 100 {
            say("the weights don't add up to 100".to_owned());
        }
    }
}

fn binding(object: &Object<'_>, all: &All<'_, '_>, say: &mut impl FnMut(String)) {
    let role = &object.value["roleRef"];
    if !all.has(role["kind"].as_str().unwrap_or_default(), &role["name"]) {
        say(format!("no role {}", role["name"]));
    }
    for subject in list(&object.value["subjects"]) {
        if !all.has("ServiceAccount", &subject["name"]) {
            say(format!("no account {}", subject["name"]));
        }
    }
}

fn kustomization(object: &Object<'_>, all: &All<'_, '_>, say: &mut impl FnMut(String)) {
    let folder = object.folder();
    let listed: BTreeSet<String> = list(&object.value["resources"])
        .filter_map(Value::as_str)
        .map(|path| format!("{folder}{path}"))
        .collect();
    for path in &listed {
        if !all.objects.iter().any(|o| o.path == path) {
            say(format!("no file {path}"));
        }
    }
    // Beside the list: itself, charts' values, and what is applied by hand.
    for other in all.objects.iter().filter(|o| o.folder() == folder) {
        let by_hand = other.kind() == "Pod" || other.kind() == "Kustomization";
        if !by_hand && !other.kind().is_empty() && !listed.contains(other.path) {
            say(format!("{} isn't listed", other.path));
        }
    }
}

fn pod_findings(pod: &Pod<'_>, all: &All<'_, '_>, say: &mut impl FnMut(String)) {
    let account = &pod.spec["serviceAccountName"];
    if !account.is_null() && !all.has("ServiceAccount", account) {
        say(format!("no account {account}"));
    }
    for volume in list(&pod.spec["volumes"]) {
        let claim = &volume["persistentVolumeClaim"]["claimName"];
        if !claim.is_null() && !all.has("PersistentVolumeClaim", claim) {
            say(format!("no claim {claim}"));
        }
        let map = &volume["configMap"]["name"];
        if !map.is_null() && !all.has("ConfigMap", map) {
            say(format!("no config map {map}"));
        }
    }
    for container in pod.containers() {
        for mount in list(&container["volumeMounts"]) {
            if !list(&pod.spec["volumes"]).any(|v| v["name"] == mount["name"]) {
                say(format!("no volume {}", mount["name"]));
            }
        }
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            for kind in ["httpGet", "tcpSocket", "grpc"] {
                let port = &container[probe][kind]["port"];
                if !port.is_null() && !pods::has_port(container, port) {
                    say(format!("{probe}: the container has no port {port}"));
                }
            }
        }
        for variable in list(&container["env"]) {
            let name = variable["name"].as_str().unwrap_or_default();
            let secret =
                name.ends_with("_KEY") || name.ends_with("_TOKEN") || name.contains("PASSWORD");
            if secret
                && variable["valueFrom"]["secretKeyRef"]["key"]
                    .as_str()
                    .is_none()
            {
                say(format!("{name} isn't taken from a secret"));
            }
        }
    }
}
