//! A decision that code can be generated from and that a runtime can execute.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::hardware::{DeviceKind, HardwareTable};
use crate::model::ModelSpec;
use crate::precision::Precision;
use crate::reason::Reason;
use crate::recommendation::Interval;

/// Model, precision, engine, placement and limits, decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of this type's serialised form.
    pub schema: u32,
    /// What runs.
    pub model: ModelRef,
    /// The model's dimensions, when they are known.
    #[serde(default)]
    pub spec: Option<ModelSpec>,
    /// Storage of the weights; for the API, which doesn't say, that of the released ones, else bf16.
    pub precision: Precision,
    /// Storage of keys and values.
    #[serde(default)]
    pub kv_precision: KvPrecision,
    /// The engine.
    pub runtime: Runtime,
    /// Where it runs.
    pub placement: Placement,
    /// What it is sized for.
    pub limits: Limits,
    /// Where it listens.
    #[serde(default)]
    pub serve: Serve,
    /// How tokens are chosen when a request doesn't say.
    #[serde(default)]
    pub sampling: Sampling,
    /// Which tokenizer files are used.
    #[serde(default)]
    pub tokenizer: TokenizerMode,
    /// Whether the server parses tool calls.
    #[serde(default)]
    pub tools: bool,
    /// Whether the server separates thinking from the answer.
    #[serde(default)]
    pub reasoning: bool,
    /// Bytes of weights and of everything, a device; 0 when unknown.
    #[serde(default)]
    pub memory: Memory,
    /// What is asked of it, and what it should do.
    #[serde(default, skip_serializing_if = "Expected::is_empty")]
    pub expected: Expected,
    /// Why each part was decided.
    #[serde(default)]
    pub reasons: Vec<Reason>,
}

impl Plan {
    /// Version of the serialised form that this code writes.
    pub const SCHEMA: u32 = 1;
}

/// A model and where its files are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRef {
    /// Catalogue id, or a name that the user gave.
    pub id: String,
    /// Repository on the Hugging Face hub.
    #[serde(default)]
    pub hf_repo: Option<String>,
    /// Commit, tag or branch of that repository; `None` takes its default branch.
    #[serde(default)]
    pub revision: Option<String>,
    /// A file of that repository, for GGUF.
    #[serde(default)]
    pub file: Option<String>,
    /// A file or folder on this machine that is used instead of a download.
    #[serde(default)]
    pub local_path: Option<String>,
    /// Whether the hub asks for a token.
    #[serde(default)]
    pub gated: bool,
}

/// Engines that plans are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Runtime {
    /// `mistral-infer` of this workspace.
    MistralInfer,
    /// vLLM.
    Vllm,
    /// llama.cpp's server.
    LlamaServer,
    /// SGLang.
    Sglang,
    /// TensorRT-LLM.
    TensorrtLlm,
    /// Ollama.
    Ollama,
    /// Apple's MLX.
    Mlx,
    /// Mistral's hosted API: nothing is run by oneself.
    MistralApi,
}

/// A name that no runtime has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a runtime such as vllm or llama-server, found {found:?}")]
pub struct UnknownRuntime {
    /// The name, at most 64 characters of it.
    pub found: String,
}

impl Runtime {
    /// Every runtime, in declared order.
    pub const ALL: &'static [Runtime] = &[
        Self::MistralInfer,
        Self::Vllm,
        Self::LlamaServer,
        Self::Sglang,
        Self::TensorrtLlm,
        Self::Ollama,
        Self::Mlx,
        Self::MistralApi,
    ];

    /// The name as it is serialised.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MistralInfer => "mistral-infer",
            Self::Vllm => "vllm",
            Self::LlamaServer => "llama-server",
            Self::Sglang => "sglang",
            Self::TensorrtLlm => "tensorrt-llm",
            Self::Ollama => "ollama",
            Self::Mlx => "mlx",
            Self::MistralApi => "mistral-api",
        }
    }
}

impl FromStr for Runtime {
    type Err = UnknownRuntime;

    fn from_str(s: &str) -> Result<Self, UnknownRuntime> {
        let key: String = s
            .chars()
            .take(64)
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        match key.as_str() {
            "mistralinfer" => Ok(Self::MistralInfer),
            "vllm" => Ok(Self::Vllm),
            "llamaserver" | "llamacpp" | "llamacppserver" => Ok(Self::LlamaServer),
            "sglang" => Ok(Self::Sglang),
            "tensorrtllm" | "trtllm" => Ok(Self::TensorrtLlm),
            "ollama" => Ok(Self::Ollama),
            "mlx" => Ok(Self::Mlx),
            "mistralapi" => Ok(Self::MistralApi),
            _ => Err(UnknownRuntime {
                found: s.chars().take(64).collect(),
            }),
        }
    }
}

impl std::fmt::Display for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Devices and how the model lies on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Name in the hardware table; [`Placement::API`] for the hosted API.
    pub device: String,
    /// What it is; a target asks the table when this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_kind: Option<DeviceKind>,
    /// Who makes it; a target asks the table when this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Devices used together; 0 for the hosted API.
    pub count: u32,
    /// Devices that each layer is cut over; 0 for the hosted API.
    pub tensor_parallel: u32,
    /// Groups of layers on successive devices.
    #[serde(default = "one")]
    pub pipeline_parallel: u32,
    /// Threads of a CPU runtime; `None` lets it choose.
    #[serde(default)]
    pub threads: Option<u32>,
}

fn one() -> u32 {
    1
}

impl Placement {
    /// What [`device`](Self::device) is where Mistral runs the model.
    pub const API: &'static str = "api";

    /// What the device is and who makes it: as the plan says, else as the hardware table does;
    /// `None` for a device that neither knows.
    #[must_use]
    pub fn device_kind_and_vendor(&self) -> Option<(DeviceKind, String)> {
        let listed = HardwareTable::embedded().find(&self.device);
        let kind = self.device_kind.or(listed.map(|d| d.kind))?;
        let vendor = self.vendor.clone().or(listed.map(|d| d.vendor.clone()))?;
        Some((kind, vendor))
    }
}

/// What a deployment is sized for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Longest sequence, prompt and answer, in tokens.
    pub context_tokens: u32,
    /// Sequences at the same moment.
    pub concurrency: u32,
    /// Tokens of a prefill step; `None` lets the engine choose.
    #[serde(default)]
    pub max_batch_tokens: Option<u32>,
    /// Longest answer when a request doesn't say, in tokens.
    #[serde(default)]
    pub max_output_tokens: Option<u32>,
}

/// What is asked of a deployment, and what it should do; each part as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Expected {
    /// Tokens of a usual prompt.
    #[serde(default)]
    pub prompt_tokens: Option<u32>,
    /// Tokens of a usual answer.
    #[serde(default)]
    pub output_tokens: Option<u32>,
    /// Requests a second in the busiest hour.
    #[serde(default)]
    pub requests_per_s: Option<f64>,
    /// Time to the first token, predicted.
    #[serde(default)]
    pub ttft_ms: Option<Interval>,
    /// Time between an answer's tokens, predicted.
    #[serde(default)]
    pub tpot_ms: Option<Interval>,
    /// Dollars that may be spent a month.
    #[serde(default)]
    pub usd_per_month: Option<f64>,
}

impl Expected {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serve {
    /// Address to bind; loopback unless the user says otherwise.
    pub bind: String,
    /// TCP port.
    pub port: u16,
    /// Environment variable that holds the key that clients must send; `None` asks for none.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// Name that clients call the model; the catalogue id when `None`.
    #[serde(default)]
    pub served_name: Option<String>,
}

impl Default for Serve {
    fn default() -> Self {
        Self {
            bind: "127.0.0.1".to_owned(),
            port: 8000,
            api_key_env: Some("MISTRAL_SERVER_API_KEY".to_owned()),
            served_name: None,
        }
    }
}

/// Storage of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvPrecision {
    /// What the engine takes for these weights: 16 bits everywhere today.
    #[default]
    Auto,
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// bfloat16.
    Bf16,
    /// 8-bit float.
    Fp8,
    /// GGUF Q8_0.
    #[serde(rename = "q8_0")]
    Q8_0,
}

impl KvPrecision {
    /// Bytes of one stored value, scales included.
    #[must_use]
    pub fn bytes(self) -> f64 {
        match self {
            Self::F32 => 4.0,
            Self::Auto | Self::F16 | Self::Bf16 => 2.0,
            Self::Fp8 => 1.0,
            Self::Q8_0 => 34.0 / 32.0,
        }
    }
}

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 takes the likeliest token.
    pub temperature: f32,
    /// Smallest set of likeliest tokens with this probability; 1 keeps all.
    pub top_p: f32,
    /// Likeliest tokens kept; 0 keeps all.
    #[serde(default)]
    pub top_k: u32,
    /// Tokens kept are at least this share of the likeliest's probability; 0 keeps all.
    #[serde(default)]
    pub min_p: f32,
    /// Seed; `None` draws one a request.
    #[serde(default)]
    pub seed: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.7,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            seed: None,
        }
    }
}

/// Which tokenizer files an engine reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenizerMode {
    /// Mistral's own (`tekken.json`, `tokenizer.model.v*`) and its chat encoding.
    #[default]
    Mistral,
    /// `tokenizer.json` and its chat template.
    Hf,
    /// What is inside the GGUF file.
    Gguf,
}

/// Memory of one device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Weights.
    pub weight_bytes: u64,
    /// Keys and values at the limits.
    pub kv_bytes: u64,
    /// Everything, activations and the engine's own included.
    pub total_bytes: u64,
    /// What the device has; 0 when unknown.
    pub device_bytes: u64,
}
