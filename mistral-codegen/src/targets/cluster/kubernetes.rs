//! Plain Kubernetes: a deployment with what belongs around it, and a canary beside it.

use minijinja::context;
use mistral_core::files::FileSet;
use mistral_core::plan::Plan;

use super::bundle::{Objects, base, page};
use super::objects::{self, Scale, Traffic};
use super::pod::{self, Track};
use super::workload::workload;
use crate::targets::{Page, render_all};
use crate::{CodegenError, Options};

const TARGET: &str = "kubernetes";

const README: &[Page] = &[Page::plain(
    "README.md",
    include_str!("../../../templates/cluster/kubernetes.md.j2"),
)];

/// The objects that serve `plan` on a cluster.
pub(crate) fn generate(plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    let it = workload(TARGET, plan, options)?;
    let mut settled = options.cluster.settle(TARGET, &it.plan, it.copies)?;
    settled.on_a_node(TARGET, "placement.count", it.devices)?;
    let scale = Scale::of(&it).filter(|_| settled.max_replicas > settled.replicas);
    if scale.is_none() {
        settled = settled.fixed();
    }
    let mut objects = Objects::default();
    base(&it, &settled, &mut objects);
    // The autoscaler decides where there is one: a number here would undo its decisions.
    let replicas = scale.is_none().then_some(settled.replicas);
    let stable = objects::deployment(&it, &settled, Track::Stable, replicas);
    objects.add("deployment.yaml", "The server's copies.", &stable);
    let service = objects::service(&it, &settled, Track::Stable);
    objects.add("service.yaml", "One address for all copies.", &service);
    let budget = objects::budget(&it, &settled, pod::selector(&it.name, Track::Stable));
    objects.add(
        "disruption-budget.yaml",
        "Drained nodes take one copy away at a time.",
        &budget,
    );
    let policy = objects::network_policy(&it, &settled, Traffic::default());
    objects.add(
        "network-policy.yaml",
        "Who may call the server, and whom it may call.",
        &policy,
    );
    if let Some(scale) = &scale {
        let autoscaler = objects::autoscaler(&it, &settled, scale);
        objects.add(
            "autoscaler.yaml",
            "More copies while requests wait.",
            &autoscaler,
        );
    }
    objects.kustomize("The server; the folder canary/ is applied by itself.");
    let mut canary = Objects::in_folder("canary/");
    let about = "The copy that is tried out.";
    canary.add(
        "deployment.yaml",
        about,
        &objects::deployment(&it, &settled, Track::Canary, Some(1)),
    );
    canary.add(
        "service.yaml",
        about,
        &objects::service(&it, &settled, Track::Canary),
    );
    let share = settled.canary_percent;
    let backends = vec![
        objects::backend(&it, Track::Stable, 100 - share),
        objects::backend(&it, Track::Canary, share),
    ];
    canary.add(
        "route.yaml",
        "Weights share requests out: all to the stable copies when the canary's is 0.",
        &objects::route(&it, &settled, backends),
    );
    canary.kustomize("The canary and the route to both.");
    if let Some(Scale::Queue { series, name, .. }) = &scale {
        objects.add_only(
            "prometheus-adapter.values.yaml",
            "For the chart prometheus-adapter: the gauge becomes a metric of pods.",
            &objects::adapter(series, name),
        );
    }
    let own = context! {
        metric => scale.as_ref().map(|scale| match scale {
            Scale::Queue { name, .. } => name.clone(),
            Scale::Processors => "cpu".to_owned(),
        }),
        queue => matches!(scale, Some(Scale::Queue { .. })),
        canary => share,
        ..page(&it, &settled)?
    };
    let mut files = render_all(README, &own, plan)?;
    objects.write(&mut files)?;
    canary.write(&mut files)?;
    Ok(files)
}
