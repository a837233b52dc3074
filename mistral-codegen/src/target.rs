//! The table of targets.

use std::path::PathBuf;
use std::str::FromStr;

use mistral_core::catalog::ApiPrice;
use mistral_core::files::FileSet;
use mistral_core::plan::Plan;
use mistral_core::schedule::ScheduleBook;

use crate::CodegenError;
use crate::flags::Explained;
use crate::targets;
use crate::targets::cluster::Cluster;

/// The table: each target with its documentation, name, one line for people, and generator.
macro_rules! targets {
    ($($(#[doc = $doc:literal])+ $variant:ident: $name:literal, $about:literal, $generate:path;)+) => {
        /// What a plan is turned into.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Target {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Target {
            /// Every target, in the order in which they are listed to people.
            pub const ALL: &'static [Target] = &[$(Self::$variant,)+];

            /// The name on command lines.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What it makes, on one line.
            #[must_use]
            pub fn about(self) -> &'static str {
                match self {
                    $(Self::$variant => $about,)+
                }
            }

            fn generator(self) -> fn(&Plan, &Options) -> Result<FileSet, CodegenError> {
                match self {
                    $(Self::$variant => $generate,)+
                }
            }
        }
    };
}

targets! {
    // Programs on this workspace.

    /// A cargo project: an OpenAI-compatible server on `mistral-infer`.
    Rust: "rust", "a cargo project: an OpenAI-compatible server on mistral-infer", targets::rust::generate;
    /// A cargo project of one file: loads the model, generates, streams.
    RustEmbed: "rust-embed", "a cargo project of one file that has the model in its own process", targets::rust_embed::generate;

    // Engines.

    /// vLLM: start script, Dockerfile, Compose file.
    Vllm: "vllm-serve", "start script, Dockerfile and Compose file of vLLM", targets::vllm::generate;
    /// SGLang: start script, Dockerfile, Compose file.
    Sglang: "sglang", "start script, Dockerfile and Compose file of SGLang", targets::sglang::generate;
    /// TensorRT-LLM: start script, options, Dockerfile, Compose file.
    TensorrtLlm: "tensorrt-llm", "start script, options, Dockerfile and Compose file of trtllm-serve", targets::tensorrt_llm::generate;
    /// Ollama: Modelfile, scripts, Compose file.
    Ollama: "ollama", "Modelfile, scripts and Compose file of Ollama", targets::ollama::generate;
    /// vLLM on TPUs: start script with its environment.
    VllmTpu: "vllm-tpu", "start script of vLLM on TPUs", targets::vllm_tpu::generate;
    /// llama.cpp's server: start script, Dockerfile, Compose file.
    LlamaServer: "llama-server", "start script, Dockerfile and Compose file of llama.cpp's server", targets::llama_server::generate;

    // Kernels.

    /// CUDA C++ decode kernels for the model's shapes.
    Cuda: "cuda", "CUDA C++ decode kernels for the model's shapes, with their test", targets::cuda::generate;

    // Python programs.

    /// A program on transformers.
    PythonTransformers: "python-transformers", "a typed Python program on transformers", targets::python::transformers::generate;
    /// A program on vLLM's class for offline use.
    PythonVllm: "python-vllm", "a typed Python program on vLLM, without a server", targets::python::vllm::generate;
    /// A program on Mistral's reference implementation.
    MistralInference: "mistral-inference", "a typed Python program on mistral-inference", targets::python::mistral_inference::generate;
    /// A program on llama.cpp's Python package.
    LlamaCppPython: "llama-cpp-python", "a typed Python program on llama.cpp", targets::python::llama_cpp::generate;
    /// A program on OpenVINO GenAI.
    OpenvinoGenai: "openvino-genai", "a typed Python program on OpenVINO GenAI, for Intel's devices", targets::python::openvino::generate;
    /// A program on ONNX Runtime's generation library.
    OnnxruntimeGenai: "onnxruntime-genai", "a typed Python program on ONNX Runtime", targets::python::onnxruntime::generate;
    /// A decoder in JAX, for TPUs and processors.
    Jax: "jax", "a small decoder in JAX, for TPUs, GPUs and processors", targets::python::jax::generate;

    // Machines and clusters.

    /// Docker: an image with the command in it, and a script that runs it with few rights.
    Docker: "docker", "Dockerfile, and a script that runs the container with few rights", targets::machine::docker;
    /// Docker Compose: the same container as a service.
    Compose: "compose", "Compose file for a container with few rights", targets::machine::compose;
    /// systemd: a service without a container.
    Systemd: "systemd", "hardened systemd unit for an engine that is installed on the machine", targets::machine::systemd;
    /// Small computers: a Raspberry Pi or a Jetson.
    Edge: "edge", "systemd unit for a Raspberry Pi, container for a Jetson", targets::machine::edge;
    /// SkyPilot: a task on whichever cloud has the device.
    Skypilot: "skypilot", "task and service for SkyPilot", targets::machine::skypilot;
    /// Terraform: one machine of AWS.
    Terraform: "terraform", "Terraform configuration for one machine of AWS with GPUs", targets::machine::terraform;
    /// Plain Kubernetes: a deployment with all that belongs around it, and a canary.
    Kubernetes: "kubernetes", "deployment, service, volume, probes, policies, autoscaler and canary for Kubernetes", targets::cluster::kubernetes;
    /// KServe: an inference service with its own container.
    Kserve: "kserve", "inference service for KServe, with volume and policies", targets::cluster::kserve;
    /// llm-d: a pool of copies with a picker that knows their caches.
    LlmD: "llm-d", "inference pool for llm-d: copies, endpoint picker and route", targets::cluster::llm_d;
    /// `LeaderWorkerSet`: a model over several nodes.
    LeaderWorkerSet: "leaderworkerset", "groups of pods for a model over several nodes", targets::cluster::leader_worker_set;
    /// Ray Serve: a service with one application.
    RayServe: "ray-serve", "Ray Serve LLM on Kubernetes, with a key", targets::cluster::ray_serve;

    // Clients of the hosted API.

    /// A client in Rust: a library and a program.
    ApiRust: "api-rust", "a cargo project: a client of Mistral's API or of the plan's server", targets::api::rust::generate;
    /// A client in Python, on httpx.
    ApiPython: "api-python", "a Python client of Mistral's API or of the plan's server, on httpx", targets::api::python::generate;
    /// A client in TypeScript, on fetch alone.
    ApiTypescript: "api-typescript", "a TypeScript client of Mistral's API or of the plan's server, on fetch", targets::api::typescript::generate;
    /// A client in bash, on curl and jq.
    ApiCurl: "api-curl", "a bash client of Mistral's API or of the plan's server, on curl and jq", targets::api::curl::generate;

    // Tests and watching of what is running.

    /// A load test with k6.
    K6: "k6", "a load test with k6 at the plan's rate, against its predicted latencies", targets::load_test::k6;
    /// A load test with GuideLLM.
    Guidellm: "guidellm", "a load test with GuideLLM at the plan's rate, against its predicted latencies", targets::load_test::guidellm;
    /// A dashboard and alerts.
    Grafana: "grafana", "a Grafana dashboard, alerts and a configuration of Prometheus", targets::grafana::generate;
}

impl Target {
    /// Whether its YAML files are Kubernetes objects.
    pub(crate) fn makes_objects(self) -> bool {
        matches!(
            self,
            Self::Kubernetes | Self::Kserve | Self::LlmD | Self::LeaderWorkerSet | Self::RayServe
        )
    }
}

impl FromStr for Target {
    type Err = CodegenError;

    /// The target of that name; `vllm`, the engine's name, means `vllm-serve`, which has a name of
    /// its own because other targets start vLLM, too.
    fn from_str(name: &str) -> Result<Self, CodegenError> {
        let name = if name == "vllm" { "vllm-serve" } else { name };
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
    /// Dollars that one run of a client may spend at the hosted API; without it one dollar, or the
    /// plan's month when that is less.
    pub usd_limit: Option<f64>,
    /// Prices of the hosted API for a model that the catalogue doesn't list.
    pub price: Option<ApiPrice>,
    /// The container image that clusters run, instead of the engine's public one; needed for
    /// engines that have none.
    pub image: Option<String>,
    /// What clusters need to know and a plan doesn't say.
    pub cluster: Cluster,
    /// Schedules that a search found for the CPU kernels; those for the plan's precision go with the
    /// server of the `rust` target, which follows what they have for its machine.
    pub schedules: Option<ScheduleBook>,
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
    target.generator()(plan, options)
}

/// Each flag of the command by which the plan's engine is started, with its value and why it is
/// there, in the command's order.
///
/// # Errors
/// [`CodegenError::Unsupported`] for a plan whose engine is started without flags or can't serve
/// it, and as [`generate`].
pub fn explain(plan: &Plan) -> Result<Vec<Explained>, CodegenError> {
    targets::launch::explained(plan)
}

/// Each flag or setting of the command that `target` makes, with its value and why it is there:
/// those of a load test where it is one, else those of the plan's engine.
///
/// # Errors
/// As [`explain`].
pub fn explain_target(target: Target, plan: &Plan) -> Result<Vec<Explained>, CodegenError> {
    match target {
        Target::Guidellm => targets::load_test::explained(plan),
        _ => explain(plan),
    }
}
