//! A container with few rights: under Docker alone, or as a Compose service.

use minijinja::{Value, context};
use mistral_core::files::FileSet;
use mistral_core::plan::{Plan, Runtime};

use crate::quote::{dockerfile_exec, dockerfile_value};
use crate::targets::cluster::{HOME, MODELS, Workload, workload};
use crate::targets::{Page, engine, render_all};
use crate::{CodegenError, Options};

const DOCKERFILE: Page = Page::plain(
    "Dockerfile",
    include_str!("../../../templates/machine/Dockerfile.j2"),
);
const IGNORE: Page = Page::plain(
    ".dockerignore",
    include_str!("../../../templates/machine/dockerignore.j2"),
);

const DOCKER: &[Page] = &[
    DOCKERFILE,
    IGNORE,
    Page::script(
        "run.sh",
        include_str!("../../../templates/machine/run.sh.j2"),
    ),
    Page::plain(
        "README.md",
        include_str!("../../../templates/machine/docker.md.j2"),
    ),
];

const COMPOSE: &[Page] = &[
    DOCKERFILE,
    IGNORE,
    Page::plain(
        "compose.yaml",
        include_str!("../../../templates/machine/compose.yaml.j2"),
    ),
    Page::plain(
        ".env.example",
        include_str!("../../../templates/common/env.j2"),
    ),
    Page::plain(
        "README.md",
        include_str!("../../../templates/machine/compose.md.j2"),
    ),
];

/// The image and a script that runs it.
pub(crate) fn docker(plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    files("docker", plan, options, DOCKER)
}

/// The image and a Compose file.
pub(crate) fn compose(plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    files("compose", plan, options, COMPOSE)
}

fn files(
    target: &'static str,
    plan: &Plan,
    options: &Options,
    pages: &[Page],
) -> Result<FileSet, CodegenError> {
    let it = workload(target, plan, options)?;
    render_all(pages, &values(target, plan, &it)?, plan)
}

/// Whether the device is a Jetson: its containers get the device from NVIDIA's runtime, whose hook
/// refuses what reserves devices elsewhere (`--gpus`).
pub(super) fn is_jetson(plan: &Plan) -> bool {
    plan.placement
        .device
        .to_ascii_lowercase()
        .contains("jetson")
}

/// What the pages of a container need.
pub(super) fn values(
    target: &'static str,
    plan: &Plan,
    it: &Workload,
) -> Result<Value, CodegenError> {
    let made = |text: String| Value::from_safe_string(text);
    let exec = |words: &[String]| match words {
        [] => Ok(None),
        words => dockerfile_exec(words.iter().map(String::as_str)).map(|text| Some(made(text))),
    };
    let env: Result<Vec<Value>, CodegenError> = it
        .env
        .iter()
        .map(|(name, value)| Ok(made(format!("{name}={}", dockerfile_value(value)?))))
        .collect();
    let serving = engine::serving(target, plan)?;
    let own_key = serving.key_env.clone().unwrap_or_default();
    let (_, most) = it.memory_gib();
    Ok(context! {
        image => it.image,
        base_image => made(it.image.clone()),
        name => made(it.name.clone()),
        program => exec(it.program())?,
        arguments => exec(it.arguments())?,
        env => env?,
        user => it.user,
        home => made(HOME.to_owned()),
        models => made(MODELS.to_owned()),
        engine_key => made(it.key_variable.clone()),
        renamed => it.key_variable != own_key,
        health => made(health(it)?),
        devices => it.devices,
        jetson => is_jetson(plan) && it.devices > 0,
        processor => it.devices == 0,
        shm_gib => it.shm_gib,
        memory_gib => most.unwrap_or(0),
        source => it.bring.as_ref().map(|(from, _)| from.clone()),
        mount => it.bring.as_ref().map(|(from, _)| engine::mount(from)),
        place => it.bring.as_ref().map(|(_, to)| to.clone()),
        downloads => it.downloads,
        local => !it.downloads,
        engine => it.engine,
        ..engine::server(plan, &serving)?
    })
}

/// The health check's command with a program that the image has.
fn health(it: &Workload) -> Result<String, CodegenError> {
    let url = format!("http://127.0.0.1:{}{}", it.port, it.health);
    match it.plan.runtime {
        Runtime::MistralInfer => {
            dockerfile_exec(["/usr/local/bin/mistral-server", "--check-health"])
        }
        Runtime::LlamaServer => {
            dockerfile_exec(["curl", "--fail", "--silent", "--max-time", "8", &url])
        }
        _ => {
            let ask = format!("import urllib.request; urllib.request.urlopen('{url}', timeout=8)");
            dockerfile_exec(["python3", "-c", &ask])
        }
    }
}
