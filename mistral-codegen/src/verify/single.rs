//! The checks of one file.

use std::path::Path;

use mistral_core::files::GeneratedFile;

use super::child::Job;
use super::fields;
use super::{Checkers, Verdict, engine_files};
use crate::flags::{FlagTable, GUIDELLM, LLAMA_SERVER, SGLANG, TENSORRT_LLM, VLLM, VLLM_TPU};
use crate::quote::shell_words;
use crate::targets::load_test;
use crate::{CodegenError, Target};

pub(super) fn check(
    target: Target,
    file: &GeneratedFile,
    folder: &Path,
    checkers: &Checkers,
    verdict: &mut Verdict,
) -> Result<(), CodegenError> {
    let path = file.path.as_str();
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut run = |tool: &'static str, arguments: &[&str]| {
        let check = Job::new(tool, arguments, folder).run(checkers)?;
        verdict.add(path, check, tool);
        Ok::<(), CodegenError>(())
    };
    match name.rsplit_once('.').map_or(name, |(_, ending)| ending) {
        "sh" => {
            run("bash -n", &["-n", path])?;
            // SC2016 warns of `$` in single quotes: a plan's text is meant to stay as it is.
            run("shellcheck", &["--norc", "--exclude=SC2016", path])?;
        }
        "Dockerfile" => run("hadolint", &["--no-color", path])?,
        "yaml" if name == "compose.yaml" => run(
            "check-jsonschema",
            &["--builtin-schema", "vendor.compose-spec", path],
        )?,
        "yaml" if name == "task.yaml" => {
            let check = fields::check(&fields::SKYPILOT, path, folder, checkers)?;
            verdict.add(path, check, fields::SKYPILOT.0);
        }
        "json" if name.ends_with(".tf.json") => {
            let check = fields::check(&fields::AWS, path, folder, checkers)?;
            verdict.add(path, check, fields::AWS.0);
            let check = fields::terraform(folder, checkers)?;
            verdict.add(path, check, fields::TERRAFORM);
        }
        "service" => {
            let check = super::unit::check(file, folder, checkers)?;
            verdict.add(path, check, super::unit::TOOL);
        }
        "rs" => run("rustfmt --check", &["--check", "--edition", "2024", path])?,
        "json" => {
            let error = serde_json::from_str::<serde_json::Value>(&file.contents).err();
            let detail = error.map(|e| e.to_string()).unwrap_or_default();
            verdict.judge(path, "json", detail);
        }
        _ => {}
    }
    if name == "Modelfile" {
        let error = engine_files::modelfile(&file.contents).err();
        verdict.judge(path, "modelfile grammar", error.unwrap_or_default());
    }
    if target == Target::TensorrtLlm && name == "options.yaml" {
        let error = engine_files::options(&file.contents).err();
        verdict.judge(path, "trtllm options", error.unwrap_or_default());
    }
    if target == Target::Guidellm {
        let detail = match name {
            "load-test.sh" => command_flags(&file.contents, "\nguidellm run ", &GUIDELLM),
            "scenario.json" => load_test::check_scenario(&file.contents),
            _ => return Ok(()),
        };
        verdict.judge(path, "flags", detail);
        return Ok(());
    }
    let table: &FlagTable = match target {
        Target::Vllm => &VLLM,
        Target::VllmTpu => &VLLM_TPU,
        Target::LlamaServer => &LLAMA_SERVER,
        Target::Sglang => &SGLANG,
        Target::TensorrtLlm => &TENSORRT_LLM,
        _ => return Ok(()),
    };
    if name == "start.sh" {
        let detail = command_flags(&file.contents, "\nexec ", table);
        verdict.judge(path, "flags", detail);
    }
    Ok(())
}

/// What is wrong with the flags of the script's command, which is the last that begins so and goes
/// on to an empty line or the end; empty when nothing is.
fn command_flags(script: &str, begin: &str, table: &FlagTable) -> String {
    let Some((_, command)) = script.rsplit_once(begin) else {
        return "no command found".to_owned();
    };
    let command = command.split("\n\n").next().unwrap_or(command);
    match shell_words(command) {
        None => "the command has something that a shell expands".to_owned(),
        Some(words) => {
            // A variable's default stands for it.
            let words: Vec<String> = words.iter().map(|w| default_of(w)).collect();
            table
                .check_arguments(&words)
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default()
        }
    }
}

/// `default` of `${NAME:-default}`, else the word.
fn default_of(word: &str) -> String {
    let inside = word.strip_prefix("${").and_then(|w| w.strip_suffix('}'));
    inside
        .and_then(|w| w.split_once(":-"))
        .map_or(word, |(_, default)| default)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_a_script() {
        let cases = [
            (
                "#!x\nexec vllm serve \"$model\" \\\n  --port \"${PORT:-8000}\"\n",
                "",
            ),
            (
                "#!x\nexec vllm serve \"$model\" \\\n  --port \"${PORT:-80000}\"\n",
                "expects a port",
            ),
            ("#!x\nexec vllm serve m --nope 'a b'\n", "no flag --nope"),
            (
                "#!x\nexec vllm serve m --served-model-name $(date)\n",
                "a shell expands",
            ),
            ("#!x\nvllm serve\n", "no command"),
        ];
        for (script, part) in cases {
            let found = command_flags(script, "\nexec ", &VLLM);
            assert!(
                found.contains(part) && found.is_empty() == part.is_empty(),
                "{script}{found}"
            );
        }
    }
}
