//! KServe: an `InferenceService` whose predictor is the plan's engine.

use mistral_core::files::FileSet;
use mistral_core::plan::Plan;

use super::bundle::{About, Objects, base, finish};
use super::objects::{self, Traffic};
use super::pod::{self, NAME_LABEL, TRACK_LABEL, Track, metadata};
use super::settings::Settled;
use super::workload::{Workload, workload};
use crate::yaml::{Node, map};
use crate::{CodegenError, Options};

const TARGET: &str = "kserve";

/// The objects that serve `plan` through KServe.
pub(crate) fn generate(plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    let it = workload(TARGET, plan, options)?;
    let mut settled = options.cluster.settle(TARGET, &it.plan, it.copies)?;
    settled.on_a_node(TARGET, "placement.count", it.devices)?;
    // How busy a device is isn't among the metrics that KServe scales by.
    if it.devices > 0 {
        settled = settled.fixed();
    }
    let mut objects = Objects::default();
    base(&it, &settled, &mut objects);
    let about = "The service: KServe makes deployment, service and autoscaler of it.";
    objects.add("inference-service.yaml", about, &service(&it, &settled));
    let about = "Drained nodes take one copy away at a time.";
    let budget = objects::budget(&it, &settled, pod::selector(&it.name, Track::Stable));
    objects.add("disruption-budget.yaml", about, &budget);
    let about = "Who may call the server, and whom it may call.";
    objects.add(
        "network-policy.yaml",
        about,
        &objects::network_policy(&it, &settled, Traffic::default()),
    );
    objects.kustomize("The server.");
    let scaled = if settled.max_replicas > settled.replicas {
        "Copies are added while processors are busy (`scaleMetric: cpu`)."
    } else if it.devices > 0 {
        "The number of copies is fixed: how busy a device is can't be read from the metrics that KServe scales by without further parts."
    } else {
        "The number of copies is fixed."
    };
    let about = About {
        title: "on KServe",
        needs: "KServe (`serving.kserve.io/v1beta1`) with its deployment mode `Standard`",
        notes: vec![
            scaled.to_owned(),
            format!(
                "`kubectl --namespace {} get inferenceservice {}` shows the address.",
                settled.namespace, it.name
            ),
        ],
    };
    finish(&it, &settled, plan, objects, about)
}

fn service(it: &Workload, settled: &Settled) -> Node {
    // KServe takes the container of this name for the server.
    let container = pod::container(it, "kserve-container", &it.image);
    let scales = settled.max_replicas > settled.replicas;
    let predictor = map! {
        "labels" => map! { NAME_LABEL => &it.name; TRACK_LABEL => Track::Stable.name(); };
        "minReplicas" => settled.replicas;
        "maxReplicas" => settled.max_replicas;
        "scaleMetric" => scales.then_some("cpu");
        "scaleTarget" => scales.then_some(80);
        "timeout", # "seconds that an answer may take" => 600;
        "deploymentStrategy" => map! {
            "type" => "RollingUpdate";
            "rollingUpdate" => map! { "maxSurge" => 0; "maxUnavailable" => 1; };
        };
    };
    let predictor = predictor.with(pod::spec(it, container));
    map! {
        "apiVersion" => "serving.kserve.io/v1beta1";
        "kind" => "InferenceService";
        "metadata" => metadata(it, settled, &it.name).with(map! {
            "annotations", # "plain deployments instead of Knative's"
                => map! { "serving.kserve.io/deploymentMode" => "Standard"; };
        });
        "spec" => map! { "predictor" => predictor; };
    }
}
