//! The table of targets.

use std::path::PathBuf;
use std::str::FromStr;

use mistral_core::files::FileSet;
use mistral_core::plan::Plan;

use crate::CodegenError;
use crate::targets;

/// What a plan is turned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Target {
    /// A cargo project: an OpenAI-compatible server on `mistral-infer`.
    Rust,
    /// vLLM: start script, Dockerfile, Compose file.
    Vllm,
    /// llama.cpp's server: start script, Dockerfile, Compose file.
    LlamaServer,
}

impl Target {
    /// Every target, in the order in which they are listed to people.
    pub const ALL: &'static [Target] = &[Self::Rust, Self::Vllm, Self::LlamaServer];

    /// The name on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Vllm => "vllm",
            Self::LlamaServer => "llama-server",
        }
    }
}

impl FromStr for Target {
    type Err = CodegenError;

    fn from_str(name: &str) -> Result<Self, CodegenError> {
        Self::ALL
            .iter()
            .copied()
            .find(|t| t.name() == name)
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|t| t.name()).collect();
                CodegenError::UnknownTarget {
                    found: name.chars().take(64).collect(),
                    known: known.join(", "),
                }
            })
    }
}

/// What isn't in a plan and changes the files.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the Rust project finds `mistral-infer`.
    pub mistral_infer: Dependency,
}

/// Where a cargo project finds a crate.
#[derive(Debug, Clone)]
pub enum Dependency {
    /// A folder, absolute or relative to the project.
    Path(PathBuf),
    /// A version requirement, from the registry.
    Version(String),
}

impl Default for Dependency {
    /// The version of this workspace.
    fn default() -> Self {
        Self::Version(env!("CARGO_PKG_VERSION").to_owned())
    }
}

/// The files of a target for a plan, in the order of their paths.
///
/// # Errors
/// [`CodegenError::Unsupported`] when the target can't serve this plan, [`CodegenError::FlagValue`]
/// and [`CodegenError::UnknownFlag`] when the engine's version can't, [`CodegenError::Unquotable`]
/// or [`CodegenError::Template`] when a text doesn't fit a file's format.
pub fn generate(target: Target, plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    match target {
        Target::Rust => targets::rust::generate(plan, options),
        Target::Vllm => targets::vllm::generate(plan),
        Target::LlamaServer => targets::llama_server::generate(plan),
    }
}
