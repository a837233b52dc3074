//! Instruction sets: found at run time, because an embedder's build doesn't inherit our flags.

use crate::KernelError;

/// An instruction set that kernels exist for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Whatever the compiler makes of plain loops; runs everywhere.
    Portable,
    /// AVX2 with FMA and F16C (x86-64-v3).
    Avx2,
    /// AVX-512 F, BW, DQ and VL (x86-64-v4).
    Avx512,
    /// The same with integer dot products (VNNI), for quantised weights.
    Avx512Vnni,
    /// The same with bf16 dot products, for bf16 weights and many tokens, and for attention of many
    /// queries to a cache that isn't f32. Chosen on AMD's processors, where they do twice the work of
    /// f32 products; on Intel's they do half of it.
    Avx512Bf16,
    /// The same with Intel's tiles of bf16 (AMX), for bf16 and quantised weights and many tokens.
    /// The system has to grant them, which is asked for once.
    Amx,
}

/// Whether an instruction set can be used here, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsaStatus {
    /// The set.
    pub isa: Isa,
    /// Processor features that it needs and that are missing; usable when empty.
    pub missing: Vec<&'static str>,
    /// Whether [`Cpu::new`](crate::Cpu::new) takes it on this machine.
    pub chosen: bool,
}

/// An instruction set that was found on this processor: whoever holds one may use it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Live(Isa);

impl Live {
    /// The best set of this processor.
    pub(crate) fn best() -> Self {
        Self(Isa::best())
    }

    /// A named set, if it is there.
    pub(super) fn find(isa: Isa) -> Result<Self, KernelError> {
        isa.check().map(|()| Self(isa))
    }

    pub(crate) fn isa(self) -> Isa {
        self.0
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Isa {
    /// Every set, slowest first.
    pub const ALL: [Self; 6] = [
        Self::Portable,
        Self::Avx2,
        Self::Avx512,
        Self::Avx512Vnni,
        Self::Avx512Bf16,
        Self::Amx,
    ];

    /// Lower-case name, as kernels and bench ids carry it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512vnni",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Amx => "amx",
        }
    }

    /// The set of this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|isa| isa.name() == name)
    }

    /// The best set of this processor.
    #[must_use]
    pub fn best() -> Self {
        Self::ALL
            .into_iter()
            .rev()
            .filter(|&isa| isa != Self::Avx512Bf16 || bf16_pays())
            .find(|isa| isa.missing().is_empty())
            .unwrap_or(Self::Portable)
    }

    /// Fails with the first missing feature.
    fn check(self) -> Result<(), KernelError> {
        match self.missing().first() {
            None => Ok(()),
            Some(missing) => Err(KernelError::IsaUnavailable { isa: self, missing }),
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn missing(self) -> Vec<&'static str> {
        use std::arch::is_x86_feature_detected as has;
        let found = [
            (Self::Avx2, "avx2", has!("avx2")),
            (Self::Avx2, "fma", has!("fma")),
            (Self::Avx2, "f16c", has!("f16c")),
            (Self::Avx512, "avx512f", has!("avx512f")),
            (Self::Avx512, "avx512bw", has!("avx512bw")),
            (Self::Avx512, "avx512dq", has!("avx512dq")),
            (Self::Avx512, "avx512vl", has!("avx512vl")),
            (Self::Avx512Vnni, "avx512vnni", has!("avx512vnni")),
            (Self::Avx512Bf16, "avx512bf16", has!("avx512bf16")),
            (Self::Amx, "amx-bf16", super::amx::granted()),
        ];
        found
            .into_iter()
            .filter(|(isa, _, found)| *isa <= self && !found)
            .map(|(_, name, _)| name)
            .collect()
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn missing(self) -> Vec<&'static str> {
        match self {
            Self::Portable => Vec::new(),
            _ => vec!["x86_64"],
        }
    }
}

/// Whether bf16 dot products are faster than f32 ones, by the processor's maker.
#[cfg(target_arch = "x86_64")]
fn bf16_pays() -> bool {
    let id = std::arch::x86_64::__cpuid(0);
    [id.ebx, id.edx, id.ecx]
        .map(u32::to_le_bytes)
        .as_flattened()
        == b"AuthenticAMD"
}

#[cfg(not(target_arch = "x86_64"))]
fn bf16_pays() -> bool {
    false
}

/// Which instruction sets are live on this machine, and why the others aren't.
#[must_use]
pub fn available() -> Vec<IsaStatus> {
    let best = Isa::best();
    Isa::ALL
        .into_iter()
        .map(|isa| IsaStatus {
            isa,
            missing: isa.missing(),
            chosen: isa == best,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_set_is_chosen_and_portable_is_always_live() {
        let all = available();
        assert_eq!(all.iter().filter(|s| s.chosen).count(), 1);
        assert!(all[0].missing.is_empty());
        for status in &all {
            assert_eq!(Isa::from_name(status.isa.name()), Some(status.isa));
            assert_eq!(status.missing.is_empty(), status.isa.check().is_ok());
        }
    }
}
