//! AdamW with clipping, over plain vectors, so that its state can be saved.

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var};

use super::model::Variables;
use super::options::Options;

/// Share of the steps in which the learning rate rises.
const WARMUP_SHARE: f64 = 0.04;
/// The last learning rate, as a share of the highest.
const FINAL_SHARE: f64 = 0.05;
/// Highest norm of all gradients together.
const CLIP: f64 = 1.0;
const BETA1: f32 = 0.9;
const BETA2: f32 = 0.95;
const EPS: f32 = 1e-8;

/// Moments of one variable.
#[derive(Debug, Clone)]
pub(crate) struct Moments {
    pub(crate) first: Vec<f32>,
    pub(crate) second: Vec<f32>,
}

/// AdamW (arXiv 1711.05101).
pub(crate) struct AdamW {
    variables: Vec<Var>,
    pub(crate) moments: Vec<Moments>,
    weight_decay: f32,
}

/// The learning rate of `step`, counted from 1: a linear rise, then half a cosine.
pub(crate) fn learning_rate(options: &Options, step: usize) -> f64 {
    let warmup = (options.steps as f64 * WARMUP_SHARE).max(1.0);
    let step = step as f64;
    if step < warmup {
        return options.lr * step / warmup;
    }
    let progress = (step - warmup) / (options.steps as f64 - warmup).max(1.0);
    let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos());
    options.lr * (FINAL_SHARE + (1.0 - FINAL_SHARE) * cosine)
}

impl AdamW {
    /// An optimizer at rest.
    pub(crate) fn new(variables: &Variables, weight_decay: f64) -> Self {
        let variables: Vec<Var> = variables.values().cloned().collect();
        let zeros = |v: &Var| vec![0.0; v.elem_count()];
        let moments = variables
            .iter()
            .map(|v| Moments {
                first: zeros(v),
                second: zeros(v),
            })
            .collect();
        Self {
            variables,
            moments,
            weight_decay: weight_decay as f32,
        }
    }

    /// One update; returns the norm of the gradients before clipping. Matrices decay, vectors
    /// (norms) don't; a variable without a gradient (an expert that nobody chose) stays.
    pub(crate) fn step(&mut self, grads: &GradStore, step: usize, rate: f64) -> Result<f64> {
        let grads = self
            .variables
            .iter()
            .map(|v| {
                grads
                    .get(v)
                    .map(|g| g.flatten_all()?.to_vec1::<f32>())
                    .transpose()
            })
            .collect::<Result<Vec<_>>>()?;
        let squares = grads
            .iter()
            .flatten()
            .flatten()
            .map(|&g| f64::from(g) * f64::from(g));
        let norm = squares.sum::<f64>().sqrt();
        if !norm.is_finite() {
            candle_core::bail!("step {step}: the gradient isn't finite");
        }
        let clip = (CLIP / norm.max(CLIP)) as f32;
        let (bias1, bias2) = (1.0 - BETA1.powi(step as i32), 1.0 - BETA2.powi(step as i32));
        let rate = rate as f32;
        for ((var, moments), grad) in self.variables.iter().zip(&mut self.moments).zip(grads) {
            let Some(grad) = grad else { continue };
            let decay = if var.rank() > 1 {
                1.0 - rate * self.weight_decay
            } else {
                1.0
            };
            let mut values = var.flatten_all()?.to_vec1::<f32>()?;
            for (i, (value, grad)) in values.iter_mut().zip(grad).enumerate() {
                let grad = grad * clip;
                let (m, v) = (&mut moments.first[i], &mut moments.second[i]);
                *m = BETA1 * *m + (1.0 - BETA1) * grad;
                *v = BETA2 * *v + (1.0 - BETA2) * grad * grad;
                *value = *value * decay - rate * (*m / bias1) / ((*v / bias2).sqrt() + EPS);
            }
            var.set(&Tensor::from_vec(values, var.dims(), var.device())?)?;
        }
        Ok(norm)
    }
}
