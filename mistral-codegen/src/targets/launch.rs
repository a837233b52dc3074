//! How an engine is started for a plan, before any file says so.

use mistral_core::plan::{Plan, Runtime};

use super::engine::Serving;
use super::{llama_server, unsupported, vllm};
use crate::CodegenError;
use crate::flags::{Command, FlagTable};

/// What scripts, containers and clusters start: they differ in how they write it down.
pub(crate) struct Launch {
    /// The engine's version with its flags and its image.
    pub(crate) table: &'static FlagTable,
    /// Where it listens and whom it lets in.
    pub(super) serving: Serving,
    /// The command; its variable `model` stands for [`Launch::model`], its `HOST` and `PORT` have
    /// the plan's as default.
    pub(crate) command: Command<'static>,
    /// A repository, or a file or folder of this machine.
    pub(super) model: String,
    /// Whether the model lies on this machine, so that it is mounted and not downloaded.
    pub(super) local: bool,
    /// Shared memory that its processes exchange tensors through, in GiB; 0 for none.
    pub(super) shm_gib: u32,
}

/// How the plan's own runtime is started, for `target`.
///
/// # Errors
/// [`CodegenError::Unsupported`] for a runtime that has no command, and what the runtime's own
/// target refuses.
pub(crate) fn launch(target: &'static str, plan: &Plan) -> Result<Launch, CodegenError> {
    match plan.runtime {
        Runtime::Vllm => vllm::launch(plan),
        Runtime::LlamaServer => llama_server::launch(plan),
        other => Err(unsupported(
            target,
            "runtime",
            other,
            "vllm or llama-server",
        )),
    }
}
