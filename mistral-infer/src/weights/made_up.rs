//! Weights that mean nothing: what a processor does with them says how fast it is.

use std::collections::HashMap;
use std::sync::Arc;

use half::bf16;
use mistral_core::model::ModelSpec;
use mistral_core::precision::Format;

use super::Checkpoint;
use super::file::{Bytes, Entry, WeightFile};
use crate::blueprint;
use crate::error::InferError;

/// Where tensors begin.
const ALIGNMENT: usize = 64;

impl Checkpoint {
    /// Weights of `spec` in memory, matrices in `format`, which floats or blocks with an f16 scale
    /// in front are; vectors and routers in f32.
    pub(crate) fn made_up(spec: &ModelSpec, format: Format) -> Result<Checkpoint, InferError> {
        let mut entries = HashMap::new();
        let mut len = 0usize;
        let too_large = || InferError::OutOfMemory { bytes: usize::MAX };
        blueprint::for_each_tensor(spec, &mut |name, shape| {
            let is_matrix = shape.len() > 1 && !name.ends_with("gate.weight");
            let format = if is_matrix { format } else { Format::F32 };
            let items = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
            let bytes = items.and_then(|n| format.bytes(n)).ok_or_else(too_large)?;
            let end = len.checked_add(bytes).ok_or_else(too_large)?;
            let entry = Entry {
                format: Ok(format),
                shape: shape.to_vec(),
                range: len..end,
            };
            entries.insert(name.to_owned(), entry);
            len = end
                .checked_next_multiple_of(ALIGNMENT)
                .ok_or_else(too_large)?;
            Ok::<(), InferError>(())
        })?;
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(len)
            .map_err(|_| InferError::OutOfMemory { bytes: len })?;
        bytes.resize(len, 0u8);
        for entry in entries.values() {
            if let Ok(format) = entry.format {
                fill(&mut bytes[entry.range.clone()], format, entry.range.start);
            }
        }
        let file = WeightFile {
            bytes: Arc::new(Bytes::Copied(bytes)),
            entries,
        };
        Checkpoint::from_files(vec![file])
    }
}

/// Small numbers of both signs, another row of them for another `seed`.
fn fill(out: &mut [u8], format: Format, seed: usize) {
    let mut state = seed as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        // xorshift64 (Journal of Statistical Software 8, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut small = || ((next() >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.1;
    // A page of them is enough: what is read is memory all the same.
    match format {
        Format::F32 => {
            let page: Vec<f32> = (0..1009).map(|_| small()).collect();
            for (o, v) in out.chunks_exact_mut(4).zip(page.iter().cycle()) {
                o.copy_from_slice(&v.to_le_bytes());
            }
        }
        Format::Bf16 => {
            let page: Vec<bf16> = (0..1009).map(|_| bf16::from_f32(small())).collect();
            for (o, v) in out.chunks_exact_mut(2).zip(page.iter().cycle()) {
                o.copy_from_slice(&v.to_le_bytes());
            }
        }
        // As f16, as scales of six bits and as codes, this is small and finite.
        _ => out
            .chunks_mut(2)
            .for_each(|o| o.copy_from_slice(&[0x39, 0x0c][..o.len()])),
    }
}
