//! Frequencies of the rotation.

use crate::KernelError;
use crate::error::check_len;

/// YaRN's change of the frequencies (arXiv 2309.00071).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yarn {
    /// Context extension.
    pub factor: f64,
    /// Context of pre-training, in tokens.
    pub original_max_position_embeddings: usize,
    /// Rotations above which a frequency is kept.
    pub beta_fast: f64,
    /// Rotations below which a frequency is divided by `factor`.
    pub beta_slow: f64,
    /// Whether the correction range is rounded outwards to whole dimensions.
    pub truncate: bool,
}

impl Yarn {
    /// Dimension (not rounded) that turns `rotations` times within the pre-training context.
    fn correction_dim(&self, rotations: f64, dim: f64, theta: f64) -> f64 {
        let context = self.original_max_position_embeddings as f64;
        dim * (context / (rotations * std::f64::consts::TAU)).ln() / (2.0 * theta.ln())
    }

    /// Pair indices between which frequencies go over from kept to divided.
    fn correction_range(&self, dim: f64, theta: f64) -> (f64, f64) {
        let mut low = self.correction_dim(self.beta_fast, dim, theta);
        let mut high = self.correction_dim(self.beta_slow, dim, theta);
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        (low.max(0.0), high.min(dim - 1.0))
    }
}

/// Inverse frequencies `theta^(-2i/dim)` for `i` in `0..dim/2`, changed by YaRN if given.
///
/// YaRN's factor on cosines and sines isn't part of this: it goes to
/// [`RopeAngles::fill`](super::RopeAngles::fill).
#[must_use]
pub fn inv_freq(theta: f64, dim: usize, yarn: Option<&Yarn>) -> Vec<f32> {
    let width = dim as f64;
    let plain = (0..dim / 2).map(|i| theta.powf(-2.0 * i as f64 / width));
    let Some(yarn) = yarn else {
        return plain.map(|f| f as f32).collect();
    };
    let (low, high) = yarn.correction_range(width, theta);
    // The reference widens an empty range by this much.
    let span = if high == low { 0.001 } else { high - low };
    plain
        .enumerate()
        .map(|(i, f)| {
            let divided = ((i as f64 - low) / span).clamp(0.0, 1.0);
            (f / yarn.factor * divided + f * (1.0 - divided)) as f32
        })
        .collect()
}

/// Learned change of the frequencies: `inv_freq[i] *= e^alpha[i]` (Large 4).
///
/// # Errors
/// When the lengths differ.
pub fn scale_inv_freq(inv_freq: &mut [f32], alpha: &[f32]) -> Result<(), KernelError> {
    check_len("scale_inv_freq", "alpha", alpha.len(), inv_freq.len())?;
    for (f, a) in inv_freq.iter_mut().zip(alpha) {
        *f *= a.exp();
    }
    Ok(())
}
