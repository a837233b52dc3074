//! Where cases run.

use mistral_examples::UsageError;

/// Devices that this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Device {
    /// Our kernels on the processor.
    Cpu,
    /// The differentiable decoder, on the processor through candle.
    Candle,
}

impl Device {
    /// Reads `--device`.
    ///
    /// # Errors
    /// For a name that isn't known, and for a device that this program was built without.
    pub(crate) fn parse(name: &str) -> Result<Device, UsageError> {
        let compiled = if cfg!(feature = "candle") {
            "cpu, candle"
        } else {
            "cpu"
        };
        match name {
            "cpu" => Ok(Device::Cpu),
            "candle" if cfg!(feature = "candle") => Ok(Device::Candle),
            "candle" | "wgpu" | "cuda" => Err(UsageError(format!(
                "--device {name} is not compiled in (this program has: {compiled})"
            ))),
            other => Err(UsageError(format!(
                "--device {other:?} is not one of cpu, candle, wgpu, cuda"
            ))),
        }
    }
}
