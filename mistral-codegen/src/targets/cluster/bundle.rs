//! The documents of a target, and what their page says.

use minijinja::{Value, context};
use mistral_core::files::FileSet;
use mistral_core::plan::Plan;

use super::settings::Settled;
use super::workload::{MODELS, Workload};
use super::{objects, pod};
use crate::CodegenError;
use crate::quote::{markdown_block, markdown_code};
use crate::targets::{Page, engine, render_all};
use crate::yaml::Node;

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
        // Of a copy, which may be several pods.
        devices => if it.devices > 0 { it.plan.placement.count } else { 0 },
        storage_gib => settled.storage_gib,
        shared => settled.shared,
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

/// What a page says of its target alone.
pub(super) struct About {
    pub(super) title: &'static str,
    pub(super) needs: &'static str,
    pub(super) notes: Vec<String>,
}

const README: &[Page] = &[Page::plain(
    "README.md",
    include_str!("../../../templates/cluster/other.md.j2"),
)];

/// The documents with their page.
pub(super) fn finish(
    it: &Workload,
    settled: &Settled,
    plan: &Plan,
    objects: Objects,
    about: About,
) -> Result<FileSet, CodegenError> {
    let made = |text: &str| Value::from_safe_string(text.to_owned());
    let own = context! {
        title => made(about.title),
        needs => made(about.needs),
        // Of constants and of names that were checked.
        notes => about.notes.iter().map(|note| made(note)).collect::<Vec<_>>(),
        ..page(it, settled)?
    };
    let mut files = render_all(README, &own, plan)?;
    objects.write(&mut files)?;
    Ok(files)
}
