//! SkyPilot: a task on whichever cloud has the device, and the same as a service with copies.

use minijinja::{Value, context};
use mistral_core::files::FileSet;
use mistral_core::plan::Plan;

use crate::quote::shell;
use crate::targets::cluster::{Workload, workload};
use crate::targets::{Page, engine, render_all, shown, unsupported};
use crate::yaml::{Node, map};
use crate::{CodegenError, Options};

const TARGET: &str = "skypilot";

const PAGES: &[Page] = &[Page::plain(
    "README.md",
    include_str!("../../../templates/machine/skypilot.md.j2"),
)];

/// Names of devices here and there (general knowledge: SkyPilot's catalogue isn't in its package).
const ACCELERATORS: [(&str, &str); 13] = [
    ("T4", "T4"),
    ("V100-SXM2-32GB", "V100-32GB"),
    ("L4", "L4"),
    ("A10G", "A10G"),
    ("A10", "A10"),
    ("A100-40GB-SXM", "A100"),
    ("A100-80GB-SXM", "A100-80GB"),
    ("A100-80GB-PCIe", "A100-80GB"),
    ("L40", "L40"),
    ("L40S", "L40S"),
    ("H100-SXM", "H100"),
    ("H200-SXM", "H200"),
    ("B200", "B200"),
];

/// The task that serves `plan`.
pub(crate) fn generate(plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    let it = workload(TARGET, plan, options)?;
    let device = &plan.placement.device;
    let refuse = |field, found: &str, expected: &str| unsupported(TARGET, field, found, expected);
    let Some((_, accelerator)) = ACCELERATORS
        .iter()
        .find(|(name, _)| name == device && it.devices > 0)
    else {
        let names: Vec<&str> = ACCELERATORS.iter().map(|(name, _)| *name).collect();
        return Err(refuse(
            "placement.device",
            &shown(device),
            &names.join(", "),
        ));
    };
    if !it.downloads {
        let expected = "a repository that the engine downloads: the machines are new";
        return Err(refuse(
            "model.local_path",
            "a model of this machine",
            expected,
        ));
    }
    let settled = options.cluster.settle(TARGET, &it.plan, it.copies)?;
    let task = task(&it, settled.replicas, accelerator, settled.disk_gib())?;
    let serving = engine::serving(TARGET, plan)?;
    let context = context! {
        accelerator => Value::from_safe_string((*accelerator).to_owned()),
        devices => it.devices,
        replicas => settled.replicas,
        key_variable => Value::from_safe_string(it.key_variable.clone()),
        name => Value::from_safe_string(it.name.clone()),
        image => it.image,
        engine => it.engine,
        downloads => it.downloads,
        ..engine::server(plan, &serving)?
    };
    let mut files = render_all(PAGES, &context, plan)?;
    files.add(
        "task.yaml",
        task.document("sky launch task.yaml, or sky serve up task.yaml"),
    )?;
    Ok(files)
}

fn task(it: &Workload, replicas: u32, accelerator: &str, disk: u32) -> Result<Node, CodegenError> {
    let words: Result<Vec<String>, CodegenError> =
        it.words.iter().map(|word| shell(word)).collect();
    let run = format!("exec {}\n", words?.join(" "));
    let secrets = vec![secret(&it.key_variable), secret("HF_TOKEN")];
    Ok(map! {
        "name" => &it.name;
        "resources" => map! {
            "accelerators" => map! { accelerator => it.devices; };
            "disk_size", # "GB" => disk;
            "image_id" => format!("docker:{}", it.image);
            "ports" => it.port;
        };
        "secrets", # "given on the command line, never here" => Node::Map(secrets);
        "service" => map! {
            "ports" => it.port;
            "readiness_probe" => map! {
                "path" => it.health;
                "initial_delay_seconds", # "as long as a download and a start may take"
                    => u32::try_from(it.start_seconds).unwrap_or(u32::MAX);
                "timeout_seconds" => 15;
            };
            "replicas" => replicas;
        };
        "run" => Node::Lines(run);
    })
}

/// A secret without a value.
fn secret(name: &str) -> crate::yaml::Entry {
    crate::yaml::Entry {
        key: name.to_owned(),
        note: None,
        value: Node::Null,
    }
}
