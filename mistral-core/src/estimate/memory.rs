//! Memory that a setup takes on each device.

use super::coefficients::EngineClass;
use super::roofline::Setup;
use crate::hardware::{Device, DeviceKind};
use crate::sizing;

/// Bytes on one device, and over all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MemoryNeed {
    /// Weights, over all devices.
    pub weights: f64,
    /// Keys and values, over all devices.
    pub kv: f64,
    /// Activations and what the engine takes itself, over all devices.
    pub overhead: f64,
    /// Everything on one device.
    pub per_device: f64,
    /// Everything over all devices.
    pub total: f64,
}

/// What a setup takes for `concurrency` sequences of `context` tokens.
///
/// Serving engines take 1.7 GiB of activations and 0.6 GiB for their libraries on each device at
/// their usual prefill chunk (KAITO's measurements of vLLM 0.10.1); local ones a prompt batch of
/// 512 tokens in f32 and 0.3 GB.
#[must_use]
pub fn memory_need(setup: &Setup<'_>, context: f64, concurrency: f64) -> MemoryNeed {
    let spec = &setup.shape.spec;
    let n = f64::from(setup.count.max(1));
    let shards = f64::from(setup.shape.kv_shards(setup.count));
    let weights = setup.shape.weight_bytes(setup.precision);
    let sequences = concurrency.ceil().max(0.0);
    let one_copy = setup
        .shape
        .kv_bytes(context.ceil().max(0.0) as usize, setup.kv)
        * sequences;
    // Cut by heads; each of the remaining devices holds a copy.
    let kv = one_copy * n / shards;
    let overhead_each = match setup.engine {
        EngineClass::Serving => 2.3 * f64::from(1u32 << 30),
        EngineClass::Local | EngineClass::Native => {
            sizing::activation_bytes(spec, 512, sequences as usize, 4) / n + 0.3e9
        }
    };
    let per_device = weights / n + kv / n + overhead_each;
    MemoryNeed {
        weights,
        kv,
        overhead: overhead_each * n,
        per_device,
        total: per_device * n,
    }
}

/// Bytes of one device that an engine may plan with: 90 percent of a card for serving engines
/// (vLLM's default), 95 for local ones; of memory that the system shares 75 percent on Apple's
/// machines (Metal's default limit is 67 to 75) and 85 elsewhere.
#[must_use]
pub fn usable_bytes(device: &Device, engine: EngineClass) -> f64 {
    let share = match (device.kind, engine) {
        (DeviceKind::Unified, _) => 0.75,
        (DeviceKind::Cpu | DeviceKind::Edge, _) => 0.85,
        (_, EngineClass::Serving) => 0.90,
        (_, EngineClass::Local | EngineClass::Native) => 0.95,
    };
    device.memory_gb * 1e9 * share
}
