//! One module a target; what engines share stands in `engine`.

mod alike;
pub(crate) mod api;
mod checkpoint;
pub(crate) mod cluster;
pub mod cuda;
mod engine;
pub(crate) mod grafana;
pub(crate) mod launch;
pub(crate) mod llama_server;
pub(crate) mod load_test;
pub(crate) mod machine;
pub(crate) mod ollama;
pub(crate) mod python;
pub(crate) mod rust;
pub(crate) mod rust_embed;
pub(crate) mod sglang;
pub(crate) mod tensorrt_llm;
pub(crate) mod vllm;
pub(crate) mod vllm_tpu;

pub(crate) use engine::start_seconds;
use minijinja::Value;
use mistral_core::files::{FileMode, FileSet, GeneratedFile, RelativePath};
use mistral_core::plan::Plan;
use serde::Serialize;

use crate::CodegenError;
use crate::render::render;

/// A template, the file that it makes, and how that file is used.
struct Page {
    path: &'static str,
    source: &'static str,
    mode: FileMode,
}

impl Page {
    const fn plain(path: &'static str, source: &'static str) -> Self {
        Self {
            path,
            source,
            mode: FileMode::Plain,
        }
    }

    const fn script(path: &'static str, source: &'static str) -> Self {
        Self {
            path,
            source,
            mode: FileMode::Executable,
        }
    }

    fn render(&self, context: &Value) -> Result<GeneratedFile, CodegenError> {
        Ok(GeneratedFile {
            path: RelativePath::new(self.path)?,
            contents: render(self.path, self.source, context)?,
            mode: self.mode,
        })
    }
}

/// The error for a plan that a target can't serve because of one field.
fn unsupported(
    target: &'static str,
    field: &'static str,
    found: impl std::fmt::Display,
    expected: &str,
) -> CodegenError {
    CodegenError::Unsupported {
        target,
        field,
        found: found.to_string(),
        expected: expected.to_owned(),
    }
}

/// A text of a plan as errors show it.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(80).collect::<String>())
}

/// Every page rendered with the same context, and the plan itself as `plan.json`.
fn render_all<'p>(
    pages: impl IntoIterator<Item = &'p Page>,
    context: &Value,
    plan: &Plan,
) -> Result<FileSet, CodegenError> {
    let mut files = FileSet::new();
    for page in pages {
        files.insert(page.render(context)?)?;
    }
    files.add("plan.json", json_file(plan)?)?;
    Ok(files)
}

/// A file of JSON, indented. Keys keep the order that `value` gives them: made by `json!`, it has to
/// be [`sorted`](crate::quote::sorted).
fn json_file(value: &impl Serialize) -> Result<String, CodegenError> {
    let text = serde_json::to_string_pretty(value);
    Ok(text.map_err(|source| CodegenError::Plan { source })? + "\n")
}
