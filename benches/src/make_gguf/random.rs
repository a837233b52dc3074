//! Random weights, as the bytes of their format.

use half::{bf16, f16};
use mistral_core::precision::Format;
use mistral_infer::gguf::TensorHeader;

/// Standard deviation of the weights of matrices: about that of trained ones.
const DEVIATION: f32 = 0.02;

/// Blocks that are made at once.
const CHUNK: usize = 4096;

/// Makes all bytes of a tensor, piece by piece: norm weights of one, matrices with a mean of about 0.
pub(crate) fn blocks<E>(
    tensor: &TensorHeader,
    seed: u64,
    mut out: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let len: usize = tensor.shape.iter().product();
    if tensor.shape.len() == 1 {
        return out(&1f32.to_le_bytes().repeat(len));
    }
    let block = tensor.format.block();
    let blocks = len / block.items;
    let mut words = (0u64..).map(|index| mixed(seed.wrapping_add(index)));
    let mut bytes = vec![0; CHUNK * block.bytes];
    for start in (0..blocks).step_by(CHUNK) {
        let bytes = &mut bytes[..CHUNK.min(blocks - start) * block.bytes];
        for (eight, word) in bytes.chunks_mut(8).zip(&mut words) {
            eight.copy_from_slice(&word.to_le_bytes()[..eight.len()]);
        }
        bytes
            .chunks_exact_mut(block.bytes)
            .for_each(|block| finish(tensor.format, block));
        out(bytes)?;
    }
    Ok(())
}

/// Turns random bytes into a block: codes and sub-scales stay as they are, which are any that the format
/// has, and the block's own scales give its weights their deviation.
fn finish(format: Format, block: &mut [u8]) {
    // A scale of 1 would give the weights this deviation; the second scale is for the minima, and makes
    // the mean 0.
    let (places, deviation): (&[(usize, f32)], f32) = match format {
        Format::Q4_0 => (&[(0, 1.0)], 4.6),
        Format::Q8_0 => (&[(0, 1.0)], 73.9),
        Format::Q4K => (&[(0, 1.0), (2, 7.5)], 258.0),
        Format::Q5K => (&[(0, 1.0), (2, 15.5)], 527.0),
        Format::Q6K => (&[(208, 1.0)], 1365.0),
        Format::Bf16 => {
            let value = bf16::from_f32(DEVIATION * unit(block));
            return block.copy_from_slice(&value.to_le_bytes());
        }
        Format::F32 => {
            let value = DEVIATION * unit(block);
            return block.copy_from_slice(&value.to_le_bytes());
        }
        other => unreachable!("no mix has {other:?}"),
    };
    for &(at, part) in places {
        let scale = f16::from_f32(DEVIATION * part / deviation);
        block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
    }
}

/// A value of a uniform distribution with mean 0 and deviation 1, from the first two bytes.
fn unit(bytes: &[u8]) -> f32 {
    let integer = i16::from_le_bytes([bytes[0], bytes[1]]);
    (f32::from(integer) + 0.5) / 32768.0 * 3f32.sqrt()
}

/// The mixing function of SplitMix64 (Steele, Lea and Flood, 2014).
fn mixed(index: u64) -> u64 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mistral_kernels::dequantize;
    use std::convert::Infallible;

    #[test]
    fn weights_have_their_deviation() {
        for format in [
            Format::Q4_0,
            Format::Q8_0,
            Format::Q4K,
            Format::Q5K,
            Format::Q6K,
            Format::Bf16,
            Format::F32,
        ] {
            let tensor = TensorHeader {
                name: "t".into(),
                format,
                shape: vec![64, 1024],
            };
            let mut bytes = Vec::new();
            let Ok(()) = blocks(&tensor, 7, |piece| {
                bytes.extend(piece);
                Ok::<(), Infallible>(())
            });
            assert_eq!(Some(bytes.len()), format.bytes(64 * 1024), "{format:?}");
            let values: Vec<f32> = match format {
                Format::F32 => (bytes.chunks_exact(4))
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect(),
                Format::Bf16 => (bytes.chunks_exact(2))
                    .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())
                    .collect(),
                _ => {
                    let mut values = vec![0.0; 64 * 1024];
                    dequantize(format, &bytes, &mut values).expect("whole blocks");
                    values
                }
            };
            let n = values.len() as f32;
            let mean = values.iter().sum::<f32>() / n;
            let square = values.iter().map(|v| v * v).sum::<f32>() / n;
            assert!(mean.abs() < 0.15 * DEVIATION, "{format:?}: mean {mean}");
            let deviation = square.sqrt();
            assert!(
                (deviation / DEVIATION - 1.0).abs() < 0.1,
                "{format:?}: deviation {deviation}"
            );
        }
    }
}
