//! What was measured of a machine's processor.

use serde::{Deserialize, Serialize};

/// Rates of one processor with the local engine that measured them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalRates {
    /// Weights in blocks of less than eight bits.
    pub blocks: RatesOf,
    /// Weights in blocks of bytes.
    pub bytes: RatesOf,
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
    /// Bytes of all weights of a model of width `narrow_dim`, and the bytes a second that a step reads
    /// of them: small models stay in caches.
    pub read: Vec<(f64, f64)>,
    /// The width of those models.
    pub narrow_dim: f64,
    /// A greater width, and the bytes a second that a step of the largest model reads there: long
    /// rows are read faster or slower than short ones.
    pub wide: (f64, f64),
    /// Width of a model, and the operations a second of a prompt of 128 tokens.
    pub operations: Vec<(f64, f64)>,
    /// Tokens that reach half the rate of endlessly many: of `n` it is as `n / (n + half)`. Experts
    /// see few tokens each.
    pub half_tokens: f64,
}

impl RatesOf {
    /// Bytes a second that a step of a model with `weight_bytes` bytes and of width `dim` reads;
    /// `None` where nothing was measured.
    #[must_use]
    pub fn read_at(&self, weight_bytes: f64, dim: f64) -> Option<f64> {
        let narrow = curve(&self.read, weight_bytes)?;
        let largest = self.read.last()?.1;
        // What width does is known for the largest model and taken to be the same for all.
        let points = [(self.narrow_dim, 1.0), (self.wide.0, self.wide.1 / largest)];
        Some(narrow * curve(&points, dim).unwrap_or(1.0))
    }

    /// Operations a second of a model of width `dim` whose matrices each meet `tokens` tokens of a
    /// prompt; `None` where nothing was measured.
    #[must_use]
    pub fn operations_at(&self, dim: f64, tokens: f64) -> Option<f64> {
        // What single tokens pass are other kernels, which memory bounds.
        let n = tokens.max(FEWEST_TOKENS);
        let grown = |n: f64| n / (n + self.half_tokens.max(0.0));
        Some(curve(&self.operations, dim)? * grown(n) / grown(TOKENS))
    }
}

/// Tokens of the prompt that rates were measured with.
const TOKENS: f64 = 128.0;
/// Fewest tokens that the growth of rates was measured with.
const FEWEST_TOKENS: f64 = 32.0;

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
            narrow_dim: 1024.0,
            wide: (4096.0, 36.0),
            operations: vec![(64.0, f64::NAN)],
            half_tokens: 0.0,
        };
        for (bytes, expected) in [
            (1.0, 100.0),
            (1e6, 100.0),
            (1e7, 50.0),
            (1e8, 25.0),
            (1e12, 25.0),
        ] {
            let found = rates.read_at(bytes, 512.0).expect("measured");
            assert!((found / expected - 1.0).abs() < 1e-9, "{bytes} {found}");
        }
        assert_eq!(rates.operations_at(64.0, 128.0), None);
        let growing = RatesOf {
            operations: vec![(64.0, 10.0)],
            half_tokens: 32.0,
            ..RatesOf::default()
        };
        for (tokens, expected) in [(128.0, 10.0), (32.0, 6.25), (1.0, 6.25), (1e9, 12.5)] {
            let found = growing.operations_at(64.0, tokens).expect("measured");
            assert!((found / expected - 1.0).abs() < 1e-6, "{tokens} {found}");
        }
        for (dim, expected) in [(1024.0, 25.0), (2048.0, 30.0), (4096.0, 36.0), (1e5, 36.0)] {
            let found = rates.read_at(1e9, dim).expect("measured");
            assert!((found / expected - 1.0).abs() < 1e-9, "{dim} {found}");
        }
        assert_eq!(RatesOf::default().read_at(1.0, 1.0), None);
    }
}
