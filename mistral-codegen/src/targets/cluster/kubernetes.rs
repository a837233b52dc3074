//! Plain Kubernetes: a deployment with what belongs around it, and a canary beside it.

use minijinja::{Value, context};
use mistral_core::files::FileSet;
use mistral_core::plan::Plan;

use super::objects::{self, Scale};
use super::pod::{self, Track};
use super::settings::Settled;
use super::workload::{MODELS, Workload, workload};
use crate::quote::{markdown_block, markdown_code};
use crate::targets::{Page, engine, render_all};
use crate::yaml::Node;
use crate::{CodegenError, Options};

const TARGET: &str = "kubernetes";

const README: &[Page] = &[Page::plain(
    "README.md",
    include_str!("../../../templates/cluster/kubernetes.md.j2"),
)];

/// The objects that serve `plan` on a cluster.
pub(crate) fn generate(plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    let it = workload(TARGET, plan, options)?;
    let settled = options.cluster.settle(TARGET, &it.plan, it.copies)?;
    let scale = Scale::of(&it).filter(|_| settled.max_replicas > settled.replicas);
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
    let policy = objects::network_policy(&it, &settled, false);
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

/// Namespace, account, volume and what fills it.
pub(super) fn base(it: &Workload, settled: &Settled, objects: &mut Objects) {
    if settled.own_namespace {
        let about = "A namespace that holds pods to the strictest profile.";
        objects.add("namespace.yaml", about, &objects::namespace(settled));
    }
    let account = objects::account(it, settled);
    objects.add(
        "service-account.yaml",
        "An account without any right.",
        &account,
    );
    objects.add(
        "volume.yaml",
        "The volume that weights stay on.",
        &objects::claim(it, settled),
    );
    if it.bring.is_some() {
        let about = "Applied by itself, once: holds the volume open to copy the model into it.";
        objects.add_only("loader.yaml", about, &objects::loader(it, settled));
    }
}

/// Documents of a folder, and which of them are applied together.
#[derive(Default)]
pub(super) struct Objects {
    folder: &'static str,
    files: Vec<(&'static str, String)>,
    applied: Vec<&'static str>,
}

impl Objects {
    pub(super) fn in_folder(folder: &'static str) -> Self {
        Self {
            folder,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, path: &'static str, about: &str, node: &Node) {
        self.applied.push(path);
        self.add_only(path, about, node);
    }

    /// A document that isn't applied with the others.
    pub(super) fn add_only(&mut self, path: &'static str, about: &str, node: &Node) {
        self.files.push((path, node.document(about)));
    }

    pub(super) fn kustomize(&mut self, about: &str) {
        let list = objects::kustomization(&self.applied);
        self.files
            .push(("kustomization.yaml", list.document(about)));
    }

    pub(super) fn write(self, files: &mut FileSet) -> Result<(), CodegenError> {
        for (path, text) in self.files {
            files.add(&format!("{}{path}", self.folder), text)?;
        }
        Ok(())
    }
}

/// What the pages of all cluster targets say.
pub(super) fn page(it: &Workload, settled: &Settled) -> Result<Value, CodegenError> {
    let made = |text: String| Value::from_safe_string(text);
    let mut why = Vec::new();
    for e in it
        .launch
        .iter()
        .flat_map(|launch| launch.command.explained())
    {
        let (flag, field) = (markdown_code(&e.flag)?, markdown_code(e.why.field)?);
        why.push(made(format!("{flag} ({field}): {}", e.why.text)));
    }
    let secret = pod::secret(&it.name);
    let mut command = format!(
        "kubectl --namespace {} create secret generic {secret} \\\n  --from-literal=api-key=\"$(openssl rand -hex 32)\"",
        settled.namespace
    );
    if it.downloads {
        command += " \\\n  --from-literal=hub-token=\"$HF_TOKEN\"";
    }
    let copy = match &it.bring {
        Some((from, to)) => Some(made(copy_commands(it, settled, from, to)?)),
        None => None,
    };
    Ok(context! {
        plan => it.plan,
        served_name => it.served_name,
        engine => it.engine,
        image => it.image,
        name => it.name,
        namespace => settled.namespace,
        own_namespace => settled.own_namespace,
        replicas => settled.replicas,
        max_replicas => settled.max_replicas,
        devices => it.devices,
        storage_gib => settled.storage_gib,
        shared => settled.max_replicas > 1,
        gateway => settled.gateway,
        start_seconds => it.start_seconds,
        downloads => it.downloads,
        secret_command => made(markdown_block("sh", &command)?),
        copy => copy,
        url => it.url(settled),
        port => it.port,
        why => why,
        clients_label => objects::CLIENTS_LABEL,
        reasons => engine::reasons(&it.plan)?,
    })
}

/// How the model gets into the volume.
fn copy_commands(
    it: &Workload,
    settled: &Settled,
    from: &str,
    to: &str,
) -> Result<String, CodegenError> {
    let name = format!("{}-loader", it.name);
    let namespace = &settled.namespace;
    let place = crate::quote::shell(to)?;
    let source = crate::quote::shell(from)?;
    // `kubectl cp` takes a colon in a path for the end of a pod's name: tar has no such rule.
    let text = format!(
        "kubectl apply -f loader.yaml\n\
         kubectl --namespace {namespace} wait --for=condition=Ready --timeout=10m pod/{name}\n\
         source={source}\n\
         place={place}\n\
         tar --create --directory \"$(dirname -- \"$source\")\" -- \"$(basename -- \"$source\")\" |\n  \
         kubectl --namespace {namespace} exec --stdin {name} -- tar -x -C {MODELS}\n\
         kubectl --namespace {namespace} exec {name} -- ls -l -- \"$place\"\n\
         kubectl --namespace {namespace} delete pod {name}\n"
    );
    markdown_block("sh", &text)
}
