//! `wkv_b` of latent attention from the two tensors that files for absorbed attention have.

use mistral_core::precision::Format;

use super::Tensor;
use crate::error::InferError;

/// Keys `[heads, lora, nope]`, transposed within a head, and values `[heads, v, lora]`, checked
/// against each other.
#[derive(Debug)]
pub(super) struct Halves {
    keys: Tensor,
    values: Tensor,
    heads: usize,
    lora: usize,
    nope: usize,
    v: usize,
}

impl Halves {
    /// Checks that the halves make `[heads · (nope + v), lora]`.
    pub(super) fn new(
        canonical: &str,
        keys: Tensor,
        values: Tensor,
        shape: &[usize],
    ) -> Result<Halves, InferError> {
        let parts = match (keys.shape(), values.shape(), shape) {
            (&[heads, lora, nope], &[value_heads, v, value_lora], &[rows, cols]) => {
                let fits = value_heads == heads
                    && value_lora == lora
                    && cols == lora
                    && (nope.checked_add(v)).and_then(|n| n.checked_mul(heads)) == Some(rows);
                fits.then_some((heads, lora, nope, v))
            }
            _ => None,
        };
        let Some((heads, lora, nope, v)) = parts else {
            return Err(InferError::TensorShape {
                name: canonical.to_owned(),
                expected: shape.to_vec(),
                found: [keys.shape(), values.shape()].concat(),
            });
        };
        Ok(Halves {
            keys,
            values,
            heads,
            lora,
            nope,
            v,
        })
    }

    /// One head after the other: its keys, then its values, rows of `lora`.
    pub(super) fn join(&self, shape: &[usize]) -> Tensor {
        let (keys, values) = (self.keys.to_f32(), self.values.to_f32());
        let (lora, nope) = (self.lora, self.nope);
        let mut out = Vec::with_capacity(keys.len() + values.len());
        for head in 0..self.heads {
            let keys = &keys[head * lora * nope..][..lora * nope];
            for i in 0..nope {
                out.extend((0..lora).map(|j| keys[j * nope + i]));
            }
            out.extend_from_slice(&values[head * self.v * lora..][..self.v * lora]);
        }
        // Half precision is kept where both halves have it, so that the matrix doesn't grow.
        let format = match (self.keys.format(), self.values.format()) {
            (Format::F16, Format::F16) => Format::F16,
            (Format::Bf16, Format::Bf16) => Format::Bf16,
            _ => Format::F32,
        };
        Tensor::from_f32(&out, format, shape)
    }
}
