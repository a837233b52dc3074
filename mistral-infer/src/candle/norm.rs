//! Norms and the plain linear map.

use candle_core::{D, DType, Result, Tensor};

use super::{Parameters, parameter};

/// A bias-free linear map, `y = x · Wᵀ`.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    /// `[out, in]`.
    weight: Tensor,
}

impl Linear {
    /// Reads `name` as `[rows, cols]`.
    pub(super) fn new(p: &Parameters, name: &str, rows: usize, cols: usize) -> Result<Self> {
        Ok(Self {
            weight: parameter(p, name, &[rows, cols])?,
        })
    }

    /// A map with the given weight `[out, in]`.
    pub(super) fn from_weight(weight: Tensor) -> Self {
        Self { weight }
    }

    /// `[n, in]` to `[n, out]`, in the wider dtype of input and weight.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = if self.weight.dtype() == DType::F32 {
            x.to_dtype(DType::F32)?
        } else {
            x.clone()
        };
        x.matmul(&self.weight.t()?)
    }
}

/// Root-mean-square norm over the last dimension (arXiv 1910.07467), f32 inside, rounded to the
/// input's dtype before the weight is applied.
#[derive(Debug, Clone)]
pub(super) struct RmsNorm {
    weight: Tensor,
    eps: f64,
}

impl RmsNorm {
    /// Reads `name` as `[dim]`.
    pub(super) fn new(p: &Parameters, name: &str, dim: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: parameter(p, name, &[dim])?,
            eps,
        })
    }

    /// `[.., dim]` to the same shape.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let wide = x.to_dtype(DType::F32)?;
        let mean_square = wide.sqr()?.mean_keepdim(D::Minus1)?;
        let inverse = (mean_square + self.eps)?.sqrt()?.recip()?;
        wide.broadcast_mul(&inverse)?
            .to_dtype(x.dtype())?
            .broadcast_mul(&self.weight)
    }
}

/// Layer norm over the last dimension (arXiv 1607.06450), f32 inside.
#[derive(Debug, Clone)]
pub(super) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// Reads `prefix.weight` and `prefix.bias` as `[dim]`.
    pub(super) fn new(p: &Parameters, prefix: &str, dim: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: parameter(p, &format!("{prefix}.weight"), &[dim])?.to_dtype(DType::F32)?,
            bias: parameter(p, &format!("{prefix}.bias"), &[dim])?.to_dtype(DType::F32)?,
            eps,
        })
    }

    /// `[.., dim]` to the same shape.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let wide = x.to_dtype(DType::F32)?;
        let centred = wide.broadcast_sub(&wide.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        let inverse = (variance + self.eps)?.sqrt()?.recip()?;
        let normed = centred.broadcast_mul(&inverse)?;
        normed
            .broadcast_mul(&self.weight)?
            .broadcast_add(&self.bias)?
            .to_dtype(x.dtype())
    }
}
