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
/// Every step is rounded to f32 as in the reference: at position 100,000 one unit in the last
/// place of a frequency turns a head by half a degree. YaRN's factor on cosines and sines isn't
/// part of this: it goes to [`RopeAngles::fill`](super::RopeAngles::fill).
#[must_use]
pub fn inv_freq(theta: f64, dim: usize, yarn: Option<&Yarn>) -> Vec<f32> {
    let period = |i: usize| {
        let exponent = (2 * i) as f32 / dim as f32;
        theta.powf(f64::from(exponent)) as f32
    };
    let Some(yarn) = yarn else {
        return (0..dim / 2).map(|i| 1.0 / period(i)).collect();
    };
    let (low, high) = yarn.correction_range(dim as f64, theta);
    // The reference widens an empty range by this much.
    let span = if high == low { 0.001 } else { high - low } as f32;
    let mix = |i: usize| {
        let kept = 1.0 - ((i as f32 - low as f32) / span).clamp(0.0, 1.0);
        let divided = 1.0 / (yarn.factor as f32 * period(i));
        divided * (1.0 - kept) + 1.0 / period(i) * kept
    };
    (0..dim / 2).map(mix).collect()
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
