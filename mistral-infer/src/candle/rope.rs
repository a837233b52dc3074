//! Rotary position embedding: frequencies, angles, rotation.

use candle_core::{D, DType, Device, Result, Tensor};
use mistral_core::model::{RopeLayout, RopeSpec, YarnSpec};

/// Cosines and sines of one sequence, `[t, dim/2]` in the model's dtype.
#[derive(Debug, Clone)]
pub(super) struct Angles {
    cos: Tensor,
    sin: Tensor,
    layout: RopeLayout,
}

impl Angles {
    /// Angles of positions `0..t`. `alpha` `[dim/2]` is the learned exponent of Large 4.
    pub(super) fn new(
        spec: &RopeSpec,
        alpha: Option<&Tensor>,
        t: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let frequencies = inverse_frequencies(spec);
        let mut frequencies = Tensor::from_vec(frequencies, (1, spec.dim / 2), device)?;
        if let Some(alpha) = alpha {
            let growth = alpha.to_dtype(DType::F32)?.exp()?;
            frequencies = frequencies.broadcast_mul(&growth.unsqueeze(0)?)?;
        }
        let positions: Vec<f32> = (0..t).map(|p| p as f32).collect();
        let angles = Tensor::from_vec(positions, (t, 1), device)?.matmul(&frequencies)?;
        Ok(Self {
            cos: (angles.cos()? * spec.attention_factor)?.to_dtype(dtype)?,
            sin: (angles.sin()? * spec.attention_factor)?.to_dtype(dtype)?,
            layout: spec.layout,
        })
    }

    /// Rotates `[b, heads, t, dim]`; the elements stay where they are.
    pub(super) fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        let (b, h, t, dim) = x.dims4()?;
        let half = dim / 2;
        match self.layout {
            RopeLayout::HalfSplit => {
                let (first, second) =
                    self.turn(&x.narrow(3, 0, half)?, &x.narrow(3, half, half)?)?;
                Tensor::cat(&[first, second], D::Minus1)
            }
            RopeLayout::Interleaved => {
                let pairs = x.reshape((b, h, t, half, 2))?;
                let even = pairs.narrow(4, 0, 1)?.squeeze(4)?;
                let odd = pairs.narrow(4, 1, 1)?.squeeze(4)?;
                let (even, odd) = self.turn(&even, &odd)?;
                Tensor::stack(&[even, odd], 4)?.reshape((b, h, t, dim))
            }
        }
    }

    /// One rotation of the plane for each pair `(x, y)`.
    fn turn(&self, x: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let (x, y) = (x.contiguous()?, y.contiguous()?);
        let first = (x.broadcast_mul(&self.cos)? - y.broadcast_mul(&self.sin)?)?;
        let second = (y.broadcast_mul(&self.cos)? + x.broadcast_mul(&self.sin)?)?;
        Ok((first, second))
    }
}

/// `theta^(-2i/dim)` for `i` in `0..dim/2`, changed by YaRN where the spec says so.
fn inverse_frequencies(spec: &RopeSpec) -> Vec<f32> {
    let plain = |i: usize| spec.theta.powf(-2.0 * i as f64 / spec.dim as f64);
    let Some(yarn) = &spec.yarn else {
        return (0..spec.dim / 2).map(|i| plain(i) as f32).collect();
    };
    let (low, high) = correction_range(spec, yarn);
    (0..spec.dim / 2)
        .map(|i| {
            let interpolated = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
            let stretched = plain(i) / yarn.factor;
            (stretched * interpolated + plain(i) * (1.0 - interpolated)) as f32
        })
        .collect()
}

/// The pair indices between which YaRN passes from kept to stretched frequencies
/// (arXiv 2309.00071, section 3.2: the pair that turns `r` times in the original context).
fn correction_range(spec: &RopeSpec, yarn: &YarnSpec) -> (f64, f64) {
    let context = yarn.original_max_position_embeddings as f64;
    let pair = |turns: f64| {
        let wavelength = context / (turns * std::f64::consts::TAU);
        spec.dim as f64 * wavelength.ln() / (2.0 * spec.theta.ln())
    };
    let (mut low, mut high) = (pair(yarn.beta_fast), pair(yarn.beta_slow));
    if yarn.truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    let (low, high) = (low.max(0.0), high.min(spec.dim as f64 - 1.0));
    // An empty range would divide by zero.
    (low, if low == high { high + 0.001 } else { high })
}
