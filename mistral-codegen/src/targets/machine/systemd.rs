//! A hardened systemd unit for an engine that is installed on the machine.

use std::path::Path;

use minijinja::{Value, context};
use mistral_core::files::{FileMode, FileSet, GeneratedFile, RelativePath};
use mistral_core::plan::{Plan, Runtime};

use crate::quote::{systemd_argument, systemd_assignment};
use crate::render::render;
use crate::targets::cluster::{object_name, weight_bytes};
use crate::targets::engine::{self, Accelerator};
use crate::targets::launch::launch;
use crate::targets::{Page, render_all, rust, shown, unsupported};
use crate::{CodegenError, Options};

const PAGES: &[Page] = &[
    Page::plain(
        "environment.example",
        include_str!("../../../templates/machine/environment.j2"),
    ),
    Page::plain(
        "README.md",
        include_str!("../../../templates/machine/systemd.md.j2"),
    ),
];
const UNIT: &str = include_str!("../../../templates/machine/unit.service.j2");
/// The unit's file name.
const FILE: &str = "mistral-serving.service";

/// Where engines are expected, by the names of their programs.
const PROGRAMS: [(&str, &str); 3] = [
    ("vllm", "/opt/vllm/bin/vllm"),
    ("llama-server", "/usr/local/bin/llama-server"),
    ("mistral-server", "/usr/local/bin/mistral-server"),
];

/// The unit that serves `plan`.
pub(crate) fn generate(plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    files("systemd", plan, options, None)
}

/// The unit; `memory` is a limit in MiB that is known better than from the plan.
pub(super) fn files(
    target: &'static str,
    plan: &Plan,
    options: &Options,
    memory: Option<u64>,
) -> Result<FileSet, CodegenError> {
    let serving = engine::serving(target, plan)?;
    let made = |text: String| Value::from_safe_string(text);
    let state = format!("/var/lib/{}", object_name(&serving.name));
    let local = plan.model.local_path.as_deref();
    // By whole parts of a path: a folder of which the name only begins so is another one.
    let below = |folders: &[&str]| {
        local.is_some_and(|p| folders.iter().any(|f| Path::new(p).starts_with(f)))
    };
    if let Some(path) = local.filter(|p| !p.starts_with('/') || below(&["/tmp", "/var/tmp"])) {
        let expected =
            "an absolute path: a unit starts in no folder of yours, and has a /tmp of its own";
        return Err(unsupported(
            target,
            "model.local_path",
            shown(path),
            expected,
        ));
    }
    let mut env = vec![format!("HOME={state}")];
    let (words, key_variable, downloads) = match plan.runtime {
        Runtime::MistralInfer => {
            rust::generate(plan, options)?;
            let model = plan
                .model
                .local_path
                .clone()
                .unwrap_or_else(|| format!("{state}/model"));
            env.push(format!("MODEL_PATH={model}"));
            let key = serving.key_env.clone();
            (vec!["mistral-server".to_owned()], key, false)
        }
        runtime => {
            let launch = launch(target, plan)?;
            let model = match plan.model.local_path.is_none() && launch.local {
                // Made on this machine: its path is relative to the state folder.
                true => format!("{state}/{}", launch.model),
                false => launch.model.clone(),
            };
            let words = launch
                .command
                .words(|name| (name == "model").then(|| model.clone()))?;
            env.push(match runtime {
                Runtime::LlamaServer => format!("LLAMA_CACHE={state}/cache"),
                _ => format!("HF_HOME={state}/huggingface"),
            });
            let key = serving
                .key_env
                .as_ref()
                .map(|_| launch.table.api_key_env.clone());
            (words, key, !launch.local)
        }
    };
    let program = words.first().map_or("", String::as_str);
    let Some((_, place)) = PROGRAMS.iter().find(|(name, _)| *name == program) else {
        let expected = "vllm, llama-server or mistral-infer";
        return Err(unsupported(target, "runtime", plan.runtime, expected));
    };
    let mut command = vec![made((*place).to_owned())];
    for part in grouped(&words[1..]) {
        let quoted: Result<Vec<_>, _> = part.iter().map(|word| argument(word)).collect();
        command.push(made(quoted?.join(" ")));
    }
    let env: Result<Vec<Value>, CodegenError> = env
        .iter()
        .map(|text| systemd_assignment(text).map(made))
        .collect();
    let accelerator = Accelerator::of(plan);
    let processor = accelerator == Accelerator::None || plan.runtime == Runtime::MistralInfer;
    let memory = memory.or_else(|| most_mib(plan, processor));
    let context = context! {
        command => command,
        environment => env?,
        // Checked: it becomes part of paths.
        name => made(object_name(&serving.name)),
        state => made(state),
        key_variable => key_variable.clone().map(made),
        downloads => downloads,
        processor => processor,
        compiles => plan.runtime == Runtime::Vllm,
        // What `ProtectHome` hides (systemd.exec(5)).
        home => below(&["/home/", "/root/", "/run/user/"]),
        memory => memory.unwrap_or(0),
        program => made((*place).to_owned()),
        unit => made(FILE.to_owned()),
        ..engine::server(plan, &serving)?
    };
    let mut files = render_all(PAGES, &context, plan)?;
    files.insert(GeneratedFile {
        path: RelativePath::new(FILE)?,
        contents: render(FILE, UNIT, &context)?,
        mode: FileMode::Plain,
    })?;
    Ok(files)
}

/// A flag with its value on a line.
fn grouped(words: &[String]) -> Vec<Vec<String>> {
    let mut lines: Vec<Vec<String>> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line)
                if line.len() == 1 && line[0].starts_with("--") && !word.starts_with("--") =>
            {
                line.push(word.clone());
            }
            _ => lines.push(vec![word.clone()]),
        }
    }
    lines
}

/// A word, bare where it means nothing to systemd.
fn argument(word: &str) -> Result<String, CodegenError> {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=,".contains(&b);
    match !word.is_empty() && word.bytes().all(bare) {
        true => Ok(word.to_owned()),
        false => systemd_argument(word),
    }
}

/// Memory in MiB at most: of a processor all that the plan computes and a quarter more.
fn most_mib(plan: &Plan, processor: bool) -> Option<u64> {
    let bytes = match processor {
        true => plan.memory.total_bytes,
        false => weight_bytes(plan),
    };
    (bytes > 0).then(|| (bytes.saturating_add(bytes / 4) >> 20).saturating_add(8192))
}
