//! Values that repeat.

use half::{bf16, f16};
use mistral_core::precision::Format;

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

/// `n` values of a normal distribution with this standard deviation, the same for the same seed on
/// every machine: sums of twelve uniform ones (Irwin and Hall), cut at six deviations.
#[must_use]
pub fn gaussian(seed: u64, n: usize, deviation: f32) -> Vec<f32> {
    let parts = uniform(seed, 12 * n, 0.5);
    let sums = parts.chunks_exact(12).map(|x| x.iter().sum::<f32>());
    sums.map(|x| x * deviation).collect()
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

/// `n` weights of a block format: any codes, sub-scales of any size, and scales of a magnitude that
/// keeps the weights below a few units.
#[must_use]
pub fn blocks(seed: u64, format: Format, n: usize) -> Vec<u8> {
    let block = format.block();
    assert!(n.is_multiple_of(block.items), "whole blocks");
    // Where a block holds its f16 scales, and how large they may be.
    let (scales, size): (&[usize], f32) = match format {
        Format::Q4_0 | Format::Q5_0 => (&[0], 0.1),
        Format::Q4_1 | Format::Q5_1 => (&[0, 2], 0.1),
        Format::Q8_0 | Format::Iq4Nl => (&[0], 0.01),
        Format::Q2K => (&[80, 82], 0.04),
        Format::Q3K => (&[108], 0.01),
        Format::Q4K | Format::Q5K => (&[0, 2], 0.002),
        Format::Q6K => (&[208], 0.0004),
        Format::Iq4Xs => (&[0], 0.0004),
        _ => (&[], 0.0),
    };
    let random = uniform(seed, n / block.items * block.bytes, 128.0);
    let mut bytes: Vec<u8> = random.iter().map(|v| (v.floor() as i8) as u8).collect();
    for (i, bytes) in bytes.chunks_exact_mut(block.bytes).enumerate() {
        for &at in scales {
            let scale = f16::from_f32(uniform(seed ^ (i * 256 + at) as u64, 1, size)[0]);
            bytes[at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
        if format == Format::Mxfp4 {
            bytes[0] = 122 + bytes[0] % 6;
        }
    }
    bytes
}
