//! Values that repeat.

use half::{bf16, f16};

use crate::WeightData;

/// `n` values in `-scale..scale`, the same for the same seed on every machine.
#[must_use]
pub fn uniform(seed: u64, n: usize, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let unit = (state >> 40) as f32 / (1u64 << 24) as f32;
            (unit * 2.0 - 1.0) * scale
        })
        .collect()
}

/// Weights in each type that a matrix may have.
#[derive(Debug, Clone)]
pub enum Weights {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// Half precision.
    F16(Vec<f16>),
    /// Upper halves of 32-bit floats.
    Bf16(Vec<bf16>),
}

impl Weights {
    /// The values in all three types, each rounded to it.
    #[must_use]
    pub fn all(values: &[f32]) -> [Self; 3] {
        [
            Self::F32(values.to_vec()),
            Self::F16(values.iter().map(|&v| f16::from_f32(v)).collect()),
            Self::Bf16(values.iter().map(|&v| bf16::from_f32(v)).collect()),
        ]
    }

    /// For a matrix.
    #[must_use]
    pub fn data(&self) -> WeightData<'_> {
        match self {
            Self::F32(v) => WeightData::F32(v),
            Self::F16(v) => WeightData::F16(v),
            Self::Bf16(v) => WeightData::Bf16(v),
        }
    }

    /// The type's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::F32(_) => "f32",
            Self::F16(_) => "f16",
            Self::Bf16(_) => "bf16",
        }
    }
}
