//! Devices: a table of known ones, and what this machine has.
//!
//! Memory is in GB (10^9 bytes), bandwidth in GB/s, rates in TFLOPS or TOPS of dense matrices,
//! prices in US dollars an hour and device. Rows that no document confirms are marked.

mod detect;
mod rates;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

pub use detect::{Cpu, Gpu, Hardware};
pub use rates::{LocalRates, RatesOf};

use crate::catalog::compared;
use crate::sourced::Sourced;

/// One kind of device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Its name in the table.
    pub name: String,
    /// Who makes it.
    pub vendor: String,
    /// What it is.
    pub kind: DeviceKind,
    /// Other names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Memory, or for a processor the most that it takes.
    pub memory_gb: f64,
    /// Memory bandwidth.
    pub bandwidth_gb_per_s: f64,
    /// Dense matrix rates by type.
    pub tera_ops: TeraOps,
    /// Whether it computes in bfloat16.
    #[serde(default = "yes")]
    pub bf16: bool,
    /// To its neighbours, both directions together.
    #[serde(default)]
    pub interconnect_gb_per_s: Option<f64>,
    /// Power at full load.
    #[serde(default)]
    pub power_w: Option<f64>,
    /// CUDA compute capability.
    #[serde(default)]
    pub compute_capability: Option<f64>,
    /// Rent, a device and hour.
    #[serde(default)]
    pub price: Option<Sourced<f64>>,
    /// Where that rent is asked.
    #[serde(default)]
    pub instance: Option<String>,
    /// What was measured of it: stands in for the table's figures where a local engine runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<LocalRates>,
    /// Where the row comes from.
    pub source: String,
    /// Set when part of the row comes from memory.
    #[serde(default)]
    pub unverified: bool,
}

fn yes() -> bool {
    true
}

impl Device {
    /// The device with what was measured of it, which confirms its row.
    #[must_use]
    pub fn with_rates(self, rates: LocalRates) -> Self {
        Self {
            rates: Some(rates),
            source: "measured on this machine".to_owned(),
            unverified: false,
            ..self
        }
    }
}

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// A graphics processor for servers.
    DatacenterGpu,
    /// A graphics processor for workstations.
    WorkstationGpu,
    /// A graphics card.
    ConsumerGpu,
    /// A small computer with its own accelerator.
    Edge,
    /// A computer whose graphics processor shares its memory (Apple).
    Unified,
    /// Google's tensor processors.
    Tpu,
    /// Other accelerators.
    Npu,
    /// A processor.
    Cpu,
}

impl DeviceKind {
    /// Whether weights lie in memory that the operating system uses too.
    #[must_use]
    pub fn shares_memory(self) -> bool {
        matches!(self, Self::Edge | Self::Unified | Self::Cpu)
    }
}

/// Dense rates in 10^12 operations a second; `None` where the type isn't computed natively or the
/// rate isn't known.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeraOps {
    /// 16-bit float.
    #[serde(default)]
    pub bf16: Option<f64>,
    /// 8-bit float.
    #[serde(default)]
    pub fp8: Option<f64>,
    /// 8-bit integer.
    #[serde(default)]
    pub int8: Option<f64>,
    /// 4-bit float.
    #[serde(default)]
    pub fp4: Option<f64>,
}

/// Devices by name.
#[derive(Debug, Clone)]
pub struct HardwareTable {
    devices: Vec<Device>,
    /// Compared form of every name and alias, to its position.
    names: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "schema")]
    _schema: u32,
    #[serde(rename = "date")]
    _date: String,
    devices: Vec<Device>,
}

/// Words that makers put before the name that distinguishes.
const VENDOR_WORDS: &[&str] = &[
    "nvidia", "geforce", "tesla", "amd", "radeon", "instinct", "intel", "google", "apple", "aws",
    "gpu", "cpu",
];

impl HardwareTable {
    /// The table that ships with this crate.
    ///
    /// ```
    /// use mistral_core::hardware::HardwareTable;
    /// let card = HardwareTable::embedded().find("NVIDIA GeForce RTX 4090").expect("listed");
    /// assert_eq!((card.name.as_str(), card.memory_gb), ("RTX 4090", 24.0));
    /// ```
    #[must_use]
    pub fn embedded() -> &'static HardwareTable {
        static TABLE: OnceLock<HardwareTable> = OnceLock::new();
        TABLE.get_or_init(|| {
            let file: File = serde_json::from_str(include_str!("../../data/hardware.json"))
                .expect("a test parses the same file");
            let mut names = BTreeMap::new();
            for (i, d) in file.devices.iter().enumerate() {
                for name in std::iter::once(&d.name).chain(&d.aliases) {
                    names.entry(compared(name)).or_insert(i);
                }
            }
            HardwareTable {
                devices: file.devices,
                names,
            }
        })
    }

    /// The device of this name or alias; case, punctuation and makers' names don't matter.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Device> {
        let exact = self.names.get(&compared(name));
        let index = exact.or_else(|| {
            let words: Vec<&str> = name
                .split(|c: char| !c.is_alphanumeric() && c != '+')
                .filter(|w| !VENDOR_WORDS.contains(&w.to_lowercase().as_str()))
                .collect();
            self.names.get(&compared(&words.join(" ")))
        })?;
        self.devices.get(*index)
    }

    /// The devices, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter()
    }

    /// Every name in its compared form with its device, in order.
    pub fn names(&self) -> impl Iterator<Item = (&str, &Device)> {
        self.names
            .iter()
            .map(|(n, &i)| (n.as_str(), &self.devices[i]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sound_and_names_are_unambiguous() {
        let table = HardwareTable::embedded();
        assert!(table.iter().count() >= 99);
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        for d in table.iter() {
            assert!(
                d.memory_gb > 0.0 && d.bandwidth_gb_per_s > 0.0,
                "{}",
                d.name
            );
            assert!(!d.source.is_empty(), "{}", d.name);
            assert!(
                d.unverified || !d.source.contains("general knowledge"),
                "{}",
                d.name
            );
            for name in std::iter::once(&d.name).chain(&d.aliases) {
                if let Some(other) = seen.insert(compared(name), &d.name) {
                    assert_eq!(other, d.name, "{name} names two devices");
                }
            }
        }
    }

    #[test]
    fn names_lead_to_devices() {
        for (name, device) in [
            ("L4", "L4"),
            ("nvidia l4", "L4"),
            ("Tesla T4", "T4"),
            ("h100", "H100-SXM"),
            ("NVIDIA H100 80GB HBM3", "H100-SXM"),
            ("A100-SXM4-80GB", "A100-80GB-SXM"),
            ("RTX4090", "RTX 4090"),
            ("4090", "RTX 4090"),
            ("NVIDIA GeForce RTX 3060", "RTX 3060"),
            ("AMD Radeon RX 7900 XTX", "RX 7900 XTX"),
            ("MI300X", "MI300X"),
            ("M4 Pro", "Apple M4 Pro"),
            ("apple m2 max", "Apple M2 Max 38c"),
            ("Raspberry Pi 5", "Raspberry Pi 5 8GB"),
            ("DGX Spark", "GB10 (DGX Spark)"),
            ("tpu v5e", "TPU v5e"),
        ] {
            let found = HardwareTable::embedded()
                .find(name)
                .map(|d| d.name.as_str());
            assert_eq!(found, Some(device), "{name}");
        }
        for name in ["", "potato", "RTX 9090"] {
            assert!(HardwareTable::embedded().find(name).is_none(), "{name}");
        }
    }
}
