//! What was measured of a machine's processor.

use serde::{Deserialize, Serialize};

/// Rates of one processor with the local engine that measured them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalRates {
    /// Weights in blocks.
    pub blocks: RatesOf,
    /// Weights in floats.
    pub floats: RatesOf,
    /// Seconds of a layer and step besides its weights.
    pub layer_s: f64,
    /// The same where the layer has experts.
    pub expert_layer_s: f64,
    /// Seconds of a layer and prompt token besides its weights.
    pub prompt_token_layer_s: f64,
    /// The same where the layer has experts.
    pub expert_prompt_token_layer_s: f64,
}

/// Rates of one kind of weights, as points of a curve that is straight between them when both axes
/// are logarithmic, and level outside.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesOf {
    /// Bytes of all weights of a model, and the bytes a second that a step reads of them: small
    /// models stay in caches.
    pub read: Vec<(f64, f64)>,
    /// Width of a model, and the operations a second of its prompts.
    pub operations: Vec<(f64, f64)>,
}

impl RatesOf {
    /// Bytes a second that a step of a model with `weight_bytes` bytes reads; `None` where nothing
    /// was measured.
    #[must_use]
    pub fn read_at(&self, weight_bytes: f64) -> Option<f64> {
        curve(&self.read, weight_bytes)
    }

    /// Operations a second of prompts of a model of width `dim`; `None` where nothing was measured.
    #[must_use]
    pub fn operations_at(&self, dim: f64) -> Option<f64> {
        curve(&self.operations, dim)
    }
}

fn curve(points: &[(f64, f64)], x: f64) -> Option<f64> {
    let (first, last) = (points.first()?, points.last()?);
    let above = points.iter().position(|p| p.0 >= x);
    let rate = match above {
        Some(0) => first.1,
        None => last.1,
        Some(i) => {
            let (a, b) = (points[i - 1], points[i]);
            let share = (x / a.0).ln() / (b.0 / a.0).ln();
            a.1 * (b.1 / a.1).powf(share)
        }
    };
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_lie_between_their_points() {
        let rates = RatesOf {
            read: vec![(1e6, 100.0), (1e8, 25.0)],
            operations: vec![(64.0, f64::NAN)],
        };
        for (bytes, expected) in [
            (1.0, 100.0),
            (1e6, 100.0),
            (1e7, 50.0),
            (1e8, 25.0),
            (1e12, 25.0),
        ] {
            let found = rates.read_at(bytes).expect("measured");
            assert!((found / expected - 1.0).abs() < 1e-9, "{bytes} {found}");
        }
        assert_eq!(rates.operations_at(64.0), None);
        assert_eq!(RatesOf::default().read_at(1.0), None);
    }
}
