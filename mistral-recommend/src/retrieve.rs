//! Candidates: every model in every precision on every engine and device that could do the job.

use std::sync::Arc;

use mistral_core::capability::Capability;
use mistral_core::catalog::CatalogModel;
use mistral_core::hardware::{Device, DeviceKind};
use mistral_core::model::Architecture;
use mistral_core::need::{HostingNeed, Need, Ownership, Task};
use mistral_core::plan::Runtime;
use mistral_core::precision::Precision;

use crate::{Context, RecommendError};

/// Devices that a candidate may use, and who pays for them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Machines {
    /// The device, its memory as the need says.
    pub(crate) device: Device,
    /// Its name, for all candidates on it.
    pub(crate) name: Arc<str>,
    /// The most of them; candidates use fewer too.
    pub(crate) count: u32,
    /// Who pays.
    pub(crate) ownership: Ownership,
    /// Whether the need names them; otherwise they are one of many offers, of which the smallest
    /// sufficient number is enough.
    pub(crate) named: bool,
}

/// Where and how a model could run on the user's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) precision: Precision,
    pub(crate) runtime: Runtime,
    /// Devices that each layer is cut over.
    pub(crate) tensor_parallel: u32,
    /// Devices in all; a multiple of `tensor_parallel`.
    pub(crate) count: u32,
}

/// Most offered devices that are put together when the need names none.
const MOST_OFFERED: u32 = 8;

/// What a job needs of a model: one of these.
pub(crate) fn task_capabilities(task: Task) -> &'static [Capability] {
    match task {
        Task::Code => &[Capability::Code, Capability::Chat],
        Task::Fim => &[Capability::Fim],
        Task::Agents => &[Capability::Tools, Capability::Agents],
        Task::Reasoning => &[Capability::Reasoning, Capability::Chat],
        Task::Vision => &[Capability::Vision],
        Task::Ocr => &[Capability::Ocr, Capability::Vision],
        Task::Transcribe => &[Capability::AudioInput],
        Task::Speech => &[Capability::SpeechOutput],
        Task::Embed => &[Capability::Embedding],
        Task::Moderate => &[Capability::Moderation, Capability::Chat],
        _ => &[Capability::Chat],
    }
}

/// The capability that a model lacks for this need.
pub(crate) fn lacking(model: &CatalogModel, need: &Need, task: Task) -> Option<Capability> {
    let any = task_capabilities(task);
    if !any.iter().any(|c| model.can(*c)) {
        return any.first().copied();
    }
    // Engines force JSON on any model, and languages are a matter of degree.
    let forced = [Capability::StructuredOutput, Capability::Multilingual];
    need.capabilities
        .iter()
        .copied()
        .find(|c| !forced.contains(c) && !model.can(*c))
}

fn sees(need: &Need) -> bool {
    matches!(need.task, Some(Task::Vision | Task::Ocr))
        || need.capabilities.contains(&Capability::Vision)
}

/// Whether the job needs a model's image or audio encoder.
pub(crate) fn encodes(need: &Need) -> bool {
    sees(need) || matches!(need.task, Some(Task::Transcribe | Task::Speech))
}

/// Whether a model was made for speech and the job is none of it: such models answer texts too, and
/// nobody takes them for that unless they name them.
pub(crate) fn made_for_speech(model: &CatalogModel, need: &Need, task: Task) -> bool {
    model.can(Capability::AudioInput)
        && !matches!(task, Task::Transcribe | Task::Speech)
        && !need.capabilities.contains(&Capability::AudioInput)
        && !need.models.contains(&model.id)
}

/// The machines of a need, or those on offer when it names none.
pub(crate) fn machines(
    need: &Need,
    context: &Context<'_>,
) -> Result<Vec<Machines>, RecommendError> {
    if need.hosting == Some(HostingNeed::Api) {
        return Ok(Vec::new());
    }
    if need.hardware.is_empty() {
        let offered = |d: &&Device| {
            d.price.is_some()
                && matches!(
                    d.kind,
                    DeviceKind::DatacenterGpu
                        | DeviceKind::WorkstationGpu
                        | DeviceKind::ConsumerGpu
                )
        };
        return Ok(context
            .hardware
            .iter()
            .filter(offered)
            .map(|d| Machines {
                device: d.clone(),
                name: d.name.as_str().into(),
                count: MOST_OFFERED,
                ownership: Ownership::Rented,
                named: false,
            })
            .collect());
    }
    need.hardware
        .iter()
        .map(|h| {
            let name = h.device.as_deref().unwrap_or_default();
            let mut device = context.need_device("hardware.device", name)?.clone();
            device.memory_gb = h.memory_gb.unwrap_or(device.memory_gb);
            Ok(Machines {
                name: device.name.as_str().into(),
                device,
                count: h.count,
                ownership: h.ownership,
                named: true,
            })
        })
        .collect()
}

/// Engines that run on a device.
fn runtimes(device: &Device) -> &'static [Runtime] {
    match (device.kind, device.vendor.as_str()) {
        (DeviceKind::Cpu, _) => &[Runtime::LlamaServer, Runtime::MistralInfer, Runtime::Ollama],
        (DeviceKind::Unified, _) => &[Runtime::LlamaServer, Runtime::Mlx, Runtime::Ollama],
        (DeviceKind::Edge, "NVIDIA") => &[Runtime::Vllm, Runtime::LlamaServer, Runtime::Ollama],
        (DeviceKind::Edge, _) => &[Runtime::LlamaServer, Runtime::Ollama],
        (DeviceKind::Tpu, _) => &[Runtime::Vllm],
        (DeviceKind::Npu, "Intel") => &[Runtime::Vllm],
        (DeviceKind::Npu, _) => &[],
        (_, "NVIDIA") if device.compute_capability.is_some_and(|c| c < 7.0) => {
            &[Runtime::LlamaServer, Runtime::Ollama]
        }
        (_, "NVIDIA") => &[
            Runtime::Vllm,
            Runtime::LlamaServer,
            Runtime::Sglang,
            Runtime::TensorrtLlm,
            Runtime::Ollama,
        ],
        (_, "AMD") => &[
            Runtime::Vllm,
            Runtime::LlamaServer,
            Runtime::Sglang,
            Runtime::Ollama,
        ],
        _ => &[Runtime::LlamaServer, Runtime::Ollama],
    }
}

const GGUF: &[Precision] = &[
    Precision::Q8_0,
    Precision::Q6K,
    Precision::Q5KM,
    Precision::Q4KM,
    Precision::Q3KM,
];

/// Precisions that an engine can take a model's released weights to on a device.
fn precisions(
    model: &CatalogModel,
    architecture: Architecture,
    device: &Device,
    runtime: Runtime,
) -> Vec<Precision> {
    let native = model
        .native_precision
        .as_ref()
        .map_or(Precision::Bf16, |n| n.value);
    match runtime {
        Runtime::LlamaServer | Runtime::Ollama => {
            // llama.cpp has no kernels for indexed attention.
            let known = architecture != Architecture::MistralLarge4;
            if known { GGUF.to_vec() } else { Vec::new() }
        }
        Runtime::Mlx => vec![Precision::Mlx4],
        // It reads 16-bit weights, and quantises them itself; published 8-bit ones aren't read.
        Runtime::MistralInfer if native == Precision::Bf16 => {
            let grouped = matches!(
                architecture,
                Architecture::Mistral | Architecture::Mixtral | Architecture::Ministral3
            );
            let quantised = if grouped { GGUF } else { &[] };
            [&[Precision::Bf16], quantised].concat()
        }
        Runtime::MistralInfer => Vec::new(),
        _ => {
            let mut list = Vec::new();
            if native == Precision::Bf16 {
                list.push(if device.bf16 {
                    Precision::Bf16
                } else {
                    Precision::F16
                });
            }
            // Written down on the fly where the device computes in it; released in it also where
            // there are weight-only kernels (compute capability 8).
            let weight_only = device.compute_capability.is_some_and(|c| c >= 8.0);
            if device.tera_ops.fp8.is_some() || (native == Precision::Fp8 && weight_only) {
                list.push(Precision::Fp8);
            }
            let released = model.other_weights.iter().flat_map(|o| &o.value);
            for p in released.map(|w| w.precision).filter(|_| weight_only) {
                if !list.contains(&p) {
                    list.push(p);
                }
            }
            list
        }
    }
}

/// Engines and precisions for a model on a device, in the order of preference between equals.
pub(crate) fn formats(
    model: &CatalogModel,
    architecture: Architecture,
    device: &Device,
    need: &Need,
) -> Vec<(Runtime, Precision)> {
    let vision = sees(need);
    let audio = need.task == Some(Task::Transcribe);
    let mut list = Vec::new();
    for &runtime in runtimes(device) {
        let asked = match need.runtime {
            Some(r) => r == runtime,
            // One engine of each kind stands for those like it.
            None => !matches!(
                runtime,
                Runtime::Sglang | Runtime::TensorrtLlm | Runtime::Ollama
            ),
        };
        let reads_images = !(vision && runtime == Runtime::MistralInfer);
        let hears = !audio || runtime == Runtime::Vllm;
        if !(asked && reads_images && hears) {
            continue;
        }
        for precision in precisions(model, architecture, device, runtime) {
            if need.precision.is_none_or(|p| p == precision) {
                list.push((runtime, precision));
            }
        }
        // AWQ and GPTQ weights are made by others; they are offered when asked for.
        if let Some(p @ (Precision::Awq | Precision::Gptq)) = need.precision
            && matches!(runtime, Runtime::Vllm | Runtime::Sglang)
        {
            list.push((runtime, p));
        }
    }
    list
}

/// Ways to lay a model over at most `most` devices: cut over a power of two, in whole copies.
pub(crate) fn layouts(most: u32) -> Vec<(u32, u32)> {
    let mut list = Vec::new();
    let mut counts: Vec<u32> = (0..13).map(|p| 1u32 << p).filter(|n| *n <= most).collect();
    if !counts.contains(&most) {
        counts.push(most);
    }
    for &count in &counts {
        let mut cut = 1;
        while cut <= count.min(16) {
            if count % cut == 0 {
                list.push((count, cut));
            }
            cut *= 2;
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_copies_of_powers_of_two() {
        assert_eq!(layouts(1), [(1, 1)]);
        assert_eq!(layouts(2), [(1, 1), (2, 1), (2, 2)]);
        assert_eq!(layouts(3), [(1, 1), (2, 1), (2, 2), (3, 1)]);
        assert!(layouts(8).contains(&(8, 4)));
    }

    #[test]
    fn engines_take_what_they_can_load() {
        let context = Context::embedded("2026-11-23");
        let model = |id: &str| context.catalog.get(id).unwrap_or_else(|| panic!("{id}"));
        let device = |name: &str| context.device(name).unwrap_or_else(|| panic!("{name}"));
        let need = Need::default();
        let on = |id: &str, name: &str| {
            let spec = model(id).spec().ok().flatten().expect("dimensions known");
            formats(model(id), spec.architecture, device(name), &need)
        };
        assert!(on("mistral-7b-v0.3", "L4").contains(&(Runtime::Vllm, Precision::Bf16)));
        assert!(on("mistral-7b-v0.3", "T4").contains(&(Runtime::Vllm, Precision::F16)));
        assert!(
            !on("mistral-7b-v0.3", "T4")
                .iter()
                .any(|f| f.1 == Precision::Bf16)
        );
        assert!(on("ministral-3-8b", "A100").contains(&(Runtime::Vllm, Precision::Fp8)));
        assert!(
            !on("ministral-3-8b", "T4")
                .iter()
                .any(|f| f.0 == Runtime::Vllm)
        );
        assert!(on("mistral-large-4", "H100").iter().all(|f| !f.1.is_gguf()));
        let own = Need {
            runtime: Some(Runtime::MistralInfer),
            ..Need::default()
        };
        let own = |id: &str| {
            let spec = model(id).spec().ok().flatten().expect("dimensions known");
            formats(model(id), spec.architecture, device("EPYC 9654"), &own)
        };
        assert!(own("mixtral-8x7b").contains(&(Runtime::MistralInfer, Precision::Q4KM)));
        assert_eq!(
            own("ministral-8b-2410"),
            [(Runtime::MistralInfer, Precision::Bf16)],
            "layers that differ don't fit a GGUF file"
        );
        assert_eq!(own("ministral-3-8b"), [], "published in 8 bits");
        assert_eq!(
            on("mistral-7b-v0.3", "M4 Pro").last(),
            Some(&(Runtime::Mlx, Precision::Mlx4))
        );
    }
}
