//! How an engine is started for a plan, before any file says so.

use mistral_core::plan::{Plan, Runtime};

use super::engine::Serving;
use super::{llama_server, ollama, sglang, tensorrt_llm, unsupported, vllm};
use crate::CodegenError;
use crate::flags::{Command, Explained, FlagTable};

/// What scripts, containers and clusters start: they differ in how they write it down.
pub(crate) struct Launch {
    /// The engine's version with its flags and its image.
    pub(crate) table: &'static FlagTable,
    /// How the engine is told the key that clients must send.
    pub(super) key: KeyWay,
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

/// How an engine is told its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyWay {
    /// By the environment variable [`FlagTable::api_key_env`].
    Environment,
    /// By a flag, or the same in a file of settings, since arguments are seen by every process.
    Flag,
    /// Not at all: a proxy before it asks for the key.
    Proxy,
}

/// How the plan's own runtime is started, for `target`, which gives the key to it by its
/// environment.
///
/// # Errors
/// [`CodegenError::Unsupported`] for a runtime that has no command or takes its key in another
/// way, and what the runtime's own target refuses.
pub(crate) fn launch(target: &'static str, plan: &Plan) -> Result<Launch, CodegenError> {
    let launch = match plan.runtime {
        Runtime::Vllm => vllm::launch(plan),
        Runtime::LlamaServer => llama_server::launch(plan),
        Runtime::Sglang => sglang::launch(plan),
        Runtime::TensorrtLlm => tensorrt_llm::launch(plan).map(|(launch, _)| launch),
        other => Err(unsupported(
            target,
            "runtime",
            other,
            "vllm, sglang, tensorrt-llm or llama-server",
        )),
    }?;
    if launch.key != KeyWay::Environment && launch.serving.key_env.is_some() {
        return Err(unsupported(
            target,
            "runtime",
            plan.runtime,
            "an engine that takes its key from the environment, such as vllm or llama-server",
        ));
    }
    Ok(launch)
}

/// Each setting of the plan's engine with its value and reason.
///
/// # Errors
/// As [`launch`], without the key's way.
pub(crate) fn explained(plan: &Plan) -> Result<Vec<Explained>, CodegenError> {
    match plan.runtime {
        Runtime::Sglang => Ok(sglang::launch(plan)?.command.explained()),
        Runtime::TensorrtLlm => {
            let (launch, options) = tensorrt_llm::launch(plan)?;
            let mut all = launch.command.explained();
            all.extend(options.explained());
            Ok(all)
        }
        Runtime::Ollama => ollama::explained(plan),
        _ => Ok(launch("explain", plan)?.command.explained()),
    }
}
