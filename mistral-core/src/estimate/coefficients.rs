//! The fitted constants.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::hardware::{Device, DeviceKind};
use crate::plan::Runtime;

/// [`Spread`] where the machine itself was measured, as `predict_here` found.
const MEASURED_SPREAD: f64 = 1.15;

/// Engines that behave alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineClass {
    /// Many sequences at once, scheduled continuously: vLLM, SGLang, TensorRT-LLM.
    Serving,
    /// A few sequences, quantised weights: llama.cpp and what stands on it, MLX.
    Local,
    /// The same by our own runtime, for which a machine can be measured.
    Native,
}

impl EngineClass {
    /// Whether it serves a few sequences.
    #[must_use]
    pub fn is_local(self) -> bool {
        self != Self::Serving
    }
}

impl From<Runtime> for EngineClass {
    fn from(runtime: Runtime) -> Self {
        match runtime {
            // The API has no machine to estimate; what serves many stands for it.
            Runtime::Vllm | Runtime::Sglang | Runtime::TensorrtLlm | Runtime::MistralApi => {
                Self::Serving
            }
            Runtime::MistralInfer => Self::Native,
            Runtime::LlamaServer | Runtime::Ollama | Runtime::Mlx => Self::Local,
        }
    }
}

/// Constants of the roofline with the measurements they were fitted to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coefficients {
    /// Version of this type's serialised form.
    pub schema: u32,
    /// What they were fitted to.
    pub source: String,
    /// When.
    pub date: String,
    /// Measurements used.
    pub rows: u32,
    /// Engines that serve many.
    pub serving: ServingCoefficients,
    /// Graphics cards and small accelerators with a local engine.
    pub local_gpu: LocalCoefficients,
    /// Computers with shared memory.
    pub local_unified: LocalCoefficients,
    /// Processors.
    pub local_cpu: LocalCoefficients,
    /// Seconds of latency of one all-reduce.
    pub all_reduce_s: f64,
    /// Share of the interconnect's rate that an all-reduce reaches.
    pub link: f64,
    /// How far predictions are off.
    pub spread: Spread,
}

/// Factors on either side of a prediction that hold eight of ten measurements on devices that the
/// constants were not fitted to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// Rates of serving engines on the devices that they were made for.
    pub serving: f64,
    /// The same on devices whose kernels are younger.
    pub serving_other: f64,
    /// Rates of local engines.
    pub local: f64,
    /// Prompts and the time to the first token, which depends on how requests arrive.
    pub prompt: f64,
    /// At least this for devices that no measurement stands for.
    pub unseen: f64,
}

/// Constants of serving engines.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServingCoefficients {
    /// Share of memory bandwidth.
    pub bandwidth: f64,
    /// Share of the dense 16-bit rate.
    pub compute_16: f64,
    /// Share of the dense 8-bit rate.
    pub compute_8: f64,
    /// Seconds a step.
    pub step_s: f64,
    /// Seconds a sequence and step.
    pub sequence_s: f64,
    /// Seconds before the first token of a lone request.
    pub first_token_s: f64,
    /// Factor on the bandwidth share of devices whose kernels are younger (AMD, TPU).
    pub other_bandwidth: f64,
    /// Factor on their compute shares.
    pub other_compute: f64,
    /// Most sequences in flight.
    pub max_sequences: f64,
}

/// Constants of a local engine on one kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalCoefficients {
    /// Share of memory bandwidth.
    pub bandwidth: f64,
    /// Share of the dense 16-bit rate, on NVIDIA's devices and where there is one maker.
    pub compute: f64,
    /// The same on other makers' devices.
    pub compute_other: f64,
    /// The same for models with experts.
    pub compute_moe: f64,
    /// Seconds a layer and step: its operations are started one by one.
    pub layer_s: f64,
}

/// The shares that apply to one device and engine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shares {
    pub(super) bandwidth: f64,
    pub(super) compute_16: f64,
    pub(super) compute_8: f64,
    pub(super) step_s: f64,
    pub(super) layer_s: f64,
    pub(super) sequence_s: f64,
    pub(super) first_token_s: f64,
}

impl Coefficients {
    /// The constants that ship with this crate.
    #[must_use]
    pub fn embedded() -> &'static Coefficients {
        static FITTED: OnceLock<Coefficients> = OnceLock::new();
        FITTED.get_or_init(|| {
            serde_json::from_str(include_str!("../../data/estimate.json"))
                .expect("a test reads the same file")
        })
    }

    /// How far a rate is off; see [`Spread`].
    pub(super) fn rate_spread(&self, device: &Device, class: EngineClass) -> f64 {
        if class == EngineClass::Native && device.rates.is_some() {
            return MEASURED_SPREAD;
        }
        let seen = match class {
            EngineClass::Serving if device.kind == DeviceKind::Cpu => self.spread.local,
            EngineClass::Serving if is_young(device) => self.spread.serving_other,
            EngineClass::Serving => self.spread.serving,
            EngineClass::Local | EngineClass::Native => self.spread.local,
        };
        let unseen = device.unverified || matches!(device.kind, DeviceKind::Edge | DeviceKind::Npu);
        if unseen {
            seen.max(self.spread.unseen)
        } else {
            seen
        }
    }

    pub(super) fn shares(&self, device: &Device, class: EngineClass, moe: bool) -> Shares {
        if class == EngineClass::Serving && device.kind != DeviceKind::Cpu {
            let s = &self.serving;
            let factor = |f: f64| if is_young(device) { f } else { 1.0 };
            return Shares {
                bandwidth: s.bandwidth * factor(s.other_bandwidth),
                compute_16: s.compute_16 * factor(s.other_compute),
                compute_8: s.compute_8 * factor(s.other_compute),
                step_s: s.step_s,
                layer_s: 0.0,
                sequence_s: s.sequence_s,
                first_token_s: s.first_token_s,
            };
        }
        let l = match device.kind {
            DeviceKind::Cpu => &self.local_cpu,
            DeviceKind::Unified => &self.local_unified,
            _ => &self.local_gpu,
        };
        let compute = match device.vendor.as_str() {
            _ if moe => l.compute_moe,
            "AMD" | "Intel" => l.compute_other,
            _ => l.compute,
        };
        Shares {
            bandwidth: l.bandwidth,
            compute_16: compute,
            // Local engines multiply in 16 bits whatever the weights are stored in.
            compute_8: compute,
            step_s: 0.0,
            layer_s: l.layer_s,
            sequence_s: 0.0,
            first_token_s: 0.0,
        }
    }
}

/// Whether serving engines' kernels for this maker's devices are younger than those they began with.
pub(super) fn is_young(device: &Device) -> bool {
    matches!(device.vendor.as_str(), "AMD" | "Google" | "AWS")
}
