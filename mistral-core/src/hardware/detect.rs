//! What this machine has.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Device, DeviceKind, HardwareTable, TeraOps};

/// A machine's processor, memory and accelerators.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hardware {
    /// Version of this type's serialised form.
    pub schema: u32,
    /// The processor.
    pub cpu: Cpu,
    /// Memory of the machine; 0 when it can't be told.
    pub memory_bytes: u64,
    /// Memory that programs can still take; 0 when it can't be told.
    pub available_bytes: u64,
    /// NVIDIA devices, when their driver answers.
    pub gpus: Vec<Gpu>,
}

/// A processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Its own name, or the architecture when it has none.
    pub model: String,
    /// Cores, without their second threads.
    pub cores: u32,
    /// Threads that the system schedules.
    pub threads: u32,
    /// Instruction sets that matter for matrices, in the order of this crate's list.
    pub isa: Vec<String>,
}

/// An NVIDIA device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Its own name.
    pub model: String,
    /// Name in the hardware table, when it is listed.
    pub device: Option<String>,
    /// Its memory; 0 when the driver doesn't say.
    pub memory_bytes: u64,
}

/// Instruction sets that are reported, by their names in `/proc/cpuinfo`.
const ISA: &[&str] = &[
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimdhp",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
];

/// How long `nvidia-smi` may take: a driver that hangs must not hang us.
const DRIVER_PATIENCE: Duration = Duration::from_secs(5);

impl Hardware {
    /// Version of the serialised form that this code writes.
    pub const SCHEMA: u32 = 1;

    /// Looks at this machine. What can't be told is absent or 0; nothing here fails.
    #[must_use]
    pub fn detect() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let mut found = Self::from_proc(&read("/proc/cpuinfo"), &read("/proc/meminfo"));
        found.available_bytes = Self::available_memory();
        if found.cpu.threads == 0 {
            let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
            (found.cpu.threads, found.cpu.cores) = (threads, threads);
        }
        found.gpus = ask_driver()
            .map(|text| Self::gpus_from_smi(&text))
            .unwrap_or_default();
        if found.gpus.is_empty() {
            found.gpus = gpus_from_proc(Path::new("/proc/driver/nvidia/gpus"));
        }
        found
    }

    /// Bytes that programs can still take without driving others out: what the system says, or less
    /// where a control group bounds it (version 2; what it holds of files counts as free, since the
    /// system drops that first). 0 where the system doesn't tell.
    #[must_use]
    pub fn available_memory() -> u64 {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let whole = meminfo_bytes(&read("/proc/meminfo"), "MemAvailable");
        let group = |name: &str| read(&format!("/sys/fs/cgroup/memory.{name}"));
        whole.min(group_room(&group("max"), &group("current"), &group("stat")).unwrap_or(whole))
    }

    /// Reads the texts of `/proc/cpuinfo` and `/proc/meminfo`; either may be empty.
    #[must_use]
    pub fn from_proc(cpuinfo: &str, meminfo: &str) -> Self {
        Self {
            schema: Self::SCHEMA,
            cpu: Cpu::from_proc(cpuinfo),
            memory_bytes: meminfo_bytes(meminfo, "MemTotal"),
            available_bytes: meminfo_bytes(meminfo, "MemAvailable"),
            gpus: Vec::new(),
        }
    }

    /// Reads `nvidia-smi --query-gpu=name,memory.total --format=csv,noheader,nounits`.
    #[must_use]
    pub fn gpus_from_smi(text: &str) -> Vec<Gpu> {
        text.lines()
            .filter_map(|line| {
                let (name, mib) = line.rsplit_once(',')?;
                let bytes = mib
                    .trim()
                    .parse::<u64>()
                    .map_or(0, |m| m.saturating_mul(1 << 20));
                Some(Gpu::named(name.trim(), bytes))
            })
            .take(64)
            .collect()
    }

    /// The processor as a device: the table's row when it is listed, otherwise one from its cores
    /// and instruction sets, marked as unverified. Its memory is this machine's.
    #[must_use]
    pub fn cpu_device(&self) -> Device {
        let memory_gb = self.memory_bytes as f64 / 1e9;
        let listed = HardwareTable::embedded()
            .iter()
            .filter(|d| d.kind == DeviceKind::Cpu)
            .find(|d| {
                let short = d.name.split('(').next().unwrap_or_default();
                let key: Vec<&str> = short.split_whitespace().take(2).collect();
                key.len() == 2 && key.iter().all(|w| self.cpu.model.contains(w))
            });
        if let Some(d) = listed {
            return Device {
                memory_gb,
                ..d.clone()
            };
        }
        let has = |isa: &str| self.cpu.isa.iter().any(|i| i == isa);
        // f32 operations a cycle and core, at 2.5 GHz: two FMA units of 8 or 16 lanes.
        let lanes = if has("avx512f") { 16.0 } else { 8.0 };
        let units = if has("amx_bf16") { 16.0 } else { 1.0 };
        let cores = f64::from(self.cpu.cores.max(1));
        Device {
            name: self.cpu.model.clone(),
            vendor: "CPU".to_owned(),
            kind: DeviceKind::Cpu,
            aliases: Vec::new(),
            memory_gb,
            // One core of a server or desktop reads about 10 GB/s; a socket a few hundred.
            bandwidth_gb_per_s: (10.0 * cores).clamp(10.0, 200.0),
            tera_ops: TeraOps {
                bf16: Some(cores * 2.5e9 * lanes * 4.0 * units / 1e12),
                ..TeraOps::default()
            },
            bf16: true,
            interconnect_gb_per_s: None,
            power_w: None,
            compute_capability: None,
            price: None,
            instance: None,
            rates: None,
            source: "general knowledge: 10 GB/s and two FMA units a core at 2.5 GHz".to_owned(),
            unverified: true,
        }
    }
}

impl Cpu {
    fn from_proc(text: &str) -> Self {
        let value = |key: &str| {
            text.lines().find_map(|l| {
                let (k, v) = l.split_once(':')?;
                (k.trim() == key).then(|| v.trim())
            })
        };
        let count = |key: &str| {
            text.lines()
                .filter(|l| l.split(':').next().is_some_and(|k| k.trim() == key))
                .count()
        };
        let threads = count("processor") as u32;
        let per_socket: u32 = value("cpu cores").and_then(|v| v.parse().ok()).unwrap_or(0);
        let mut sockets: Vec<&str> = text
            .lines()
            .filter_map(|l| l.split_once(':'))
            .filter(|(k, _)| k.trim() == "physical id")
            .map(|(_, v)| v.trim())
            .collect();
        sockets.sort_unstable();
        sockets.dedup();
        let cores = match per_socket.saturating_mul(sockets.len().max(1) as u32) {
            0 => threads,
            n if threads > 0 => n.min(threads),
            n => n,
        };
        let flags: Vec<&str> = value("flags")
            .or_else(|| value("Features"))
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        Self {
            model: value("model name")
                .or_else(|| value("Model"))
                .unwrap_or(std::env::consts::ARCH)
                .chars()
                .take(128)
                .collect(),
            cores,
            threads,
            isa: ISA
                .iter()
                .filter(|i| flags.contains(i))
                .map(|i| (*i).to_owned())
                .collect(),
        }
    }
}

impl Gpu {
    fn named(model: &str, memory_bytes: u64) -> Self {
        Self {
            model: model.chars().take(128).collect(),
            device: HardwareTable::embedded()
                .find(model)
                .map(|d| d.name.clone()),
            memory_bytes,
        }
    }
}

fn meminfo_bytes(text: &str, key: &str) -> u64 {
    text.lines()
        .find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))
        .and_then(|v| v.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib.saturating_mul(1024))
}

/// What a control group may still take, from its `memory.max`, `memory.current` and `memory.stat`;
/// `None` where it isn't bounded.
fn group_room(max: &str, current: &str, stat: &str) -> Option<u64> {
    let max = max.trim().parse::<u64>().ok()?;
    let current = current.trim().parse::<u64>().ok()?;
    let files = stat.lines().find_map(|l| l.strip_prefix("file "));
    let files = files
        .and_then(|v| v.trim().parse::<u64>().ok())
        .unwrap_or(0);
    Some(max.saturating_sub(current.saturating_sub(files)))
}

/// The names in `/proc/driver/nvidia/gpus/*/information`, where no tool answers.
fn gpus_from_proc(folder: &Path) -> Vec<Gpu> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries
        .flatten()
        .map(|e| e.path().join("information"))
        .collect();
    paths.sort();
    paths
        .iter()
        .filter_map(|p| std::fs::read_to_string(p).ok())
        .filter_map(|text| {
            let name = text
                .lines()
                .find_map(|l| l.strip_prefix("Model:"))?
                .trim()
                .to_owned();
            let listed = HardwareTable::embedded()
                .find(&name)
                .map_or(0.0, |d| d.memory_gb);
            Some(Gpu::named(&name, (listed * 1e9) as u64))
        })
        .take(64)
        .collect()
}

fn ask_driver() -> Option<String> {
    let mut child = Command::new("nvidia-smi")
        .args([
            "--query-gpu=name,memory.total",
            "--format=csv,noheader,nounits",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => break,
            Ok(None) if start.elapsed() < DRIVER_PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            _ => {
                // Gone or too slow: either way there is nothing to read.
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take()?, &mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUINFO: &str = "processor\t: 0\nmodel name\t: AMD EPYC 9654 96-Core Processor\n\
        physical id\t: 0\ncpu cores\t: 2\nflags\t\t: fpu avx2 fma avx512f avx512_bf16\n\n\
        processor\t: 1\nphysical id\t: 0\ncpu cores\t: 2\n\nprocessor\t: 2\nphysical id\t: 0\n\n\
        processor\t: 3\nphysical id\t: 0\n";

    #[test]
    fn reads_linux() {
        let h = Hardware::from_proc(
            CPUINFO,
            "MemTotal: 16000000 kB\nMemAvailable:  8000000 kB\n",
        );
        assert_eq!((h.cpu.cores, h.cpu.threads), (2, 4));
        assert_eq!(h.cpu.isa, ["avx2", "fma", "avx512f", "avx512_bf16"]);
        assert_eq!(
            (h.memory_bytes, h.available_bytes),
            (16_384_000_000, 8_192_000_000)
        );
        let d = h.cpu_device();
        assert_eq!(d.name, "EPYC 9654 Genoa (96c)");
        assert!((d.memory_gb - 16.384).abs() < 1e-9);
    }

    #[test]
    fn a_group_bounds_what_is_available() {
        let stat = "anon 100\nfile 300\nfile_mapped 200\n";
        assert_eq!(group_room("1000\n", "600\n", stat), Some(700));
        assert_eq!(group_room("1000\n", "2000\n", ""), Some(0));
        for (max, current) in [("max\n", "600\n"), ("", ""), ("1000", "many")] {
            assert_eq!(group_room(max, current, stat), None);
        }
        if cfg!(target_os = "linux") {
            assert!(Hardware::available_memory() > 0);
        }
    }

    #[test]
    fn reads_the_driver() {
        let text = "NVIDIA L4, 23034\nNVIDIA H100 80GB HBM3, 81559\nSomething, [N/A]\nnonsense\n";
        let gpus = Hardware::gpus_from_smi(text);
        let names: Vec<_> = gpus.iter().map(|g| g.device.as_deref()).collect();
        assert_eq!(names, [Some("L4"), Some("H100-SXM"), None]);
        assert_eq!(gpus[0].memory_bytes, 23034 << 20);
    }

    #[test]
    fn nonsense_and_nothing_are_survived() {
        for (cpu, mem) in [
            ("", ""),
            (":::\n:", "MemTotal: x kB"),
            ("cpu cores: 99999999999", "MemTotal:"),
        ] {
            let h = Hardware::from_proc(cpu, mem);
            assert_eq!(h.memory_bytes, 0);
            assert!(h.cpu_device().bandwidth_gb_per_s > 0.0);
        }
        let here = Hardware::detect();
        assert!(here.cpu.threads >= 1);
    }
}
