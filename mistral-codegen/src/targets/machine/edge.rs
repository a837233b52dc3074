//! Small computers: a unit on a Raspberry Pi, a container on a Jetson.

use mistral_core::files::FileSet;
use mistral_core::plan::{Plan, Runtime};

use super::{container, systemd};
use crate::targets::{shown, unsupported};
use crate::{CodegenError, Options};

const TARGET: &str = "edge";
/// Memory that is left to the system, in MiB.
const SYSTEM_MIB: u64 = 1024;

/// The files that serve `plan` on a small computer.
pub(crate) fn generate(plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    let device = plan.placement.device.to_ascii_lowercase();
    if device.contains("raspberry pi") {
        return raspberry(plan, options);
    }
    if container::is_jetson(plan) {
        return jetson(plan, options);
    }
    let expected = "a Raspberry Pi or a Jetson";
    Err(unsupported(
        TARGET,
        "placement.device",
        shown(&plan.placement.device),
        expected,
    ))
}

fn raspberry(plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    if !matches!(plan.runtime, Runtime::LlamaServer | Runtime::MistralInfer) {
        let expected = "llama-server or mistral-infer";
        return Err(unsupported(TARGET, "runtime", plan.runtime, expected));
    }
    // All of the machine's memory but what the system needs: beyond it, the machine would swap to
    // its card.
    let table = mistral_core::hardware::HardwareTable::embedded();
    let own = table
        .find(&plan.placement.device)
        .map(|d| (d.memory_gb * 1e9) as u64 >> 20);
    let most = own.map(|mib| mib.saturating_sub(SYSTEM_MIB));
    let needed = plan.memory.total_bytes >> 20;
    if let Some(most) = most.filter(|most| needed > *most) {
        let expected = format!("at most {most} MiB, so that {SYSTEM_MIB} are left to the system");
        return Err(unsupported(
            TARGET,
            "memory.total_bytes",
            format!("{needed} MiB"),
            &expected,
        ));
    }
    systemd::files(TARGET, plan, options, most)
}

fn jetson(plan: &Plan, options: &Options) -> Result<FileSet, CodegenError> {
    if options.image.is_none() {
        let expected = "an image that is built for the device's JetPack: public images of the engines are for other machines";
        return Err(unsupported(TARGET, "image", "none", expected));
    }
    container::compose(plan, options)
}
