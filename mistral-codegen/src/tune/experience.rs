//! What was learnt of each value of each axis.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use super::{Axis, Point, Space};

/// Spread of the gains that a value is taken to have before it was tried, as a logarithm: one value
/// rarely changes more than a tenth.
const PRIOR: f64 = 0.1;
/// Spread of what one trial says of a value: the other axes and noise.
const TRIAL: f64 = 0.1;

/// What is believed of a value: the mean logarithm of the gains of points with it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Belief {
    /// Trials.
    pub trials: u32,
    /// Sum of the logarithms of their gains.
    pub sum: f64,
}

impl Belief {
    /// Mean and deviation of a normal belief (conjugate, both spreads known).
    fn posterior(self) -> (f64, f64) {
        let precision = 1.0 / (PRIOR * PRIOR) + f64::from(self.trials) / (TRIAL * TRIAL);
        (
            self.sum / (TRIAL * TRIAL) / precision,
            precision.sqrt().recip(),
        )
    }
}

/// Beliefs by axis and value. They are added up over searches, so that a search on other shapes or
/// another machine begins with what earlier ones found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Experience {
    /// By the axis' name, then by value.
    pub beliefs: BTreeMap<String, BTreeMap<u32, Belief>>,
}

impl Experience {
    /// Notes that `point` gained this factor; one that isn't finite and above 0 is left out.
    pub fn note(&mut self, space: &Space, point: &Point, gain: f64) {
        let log = gain.ln();
        if !log.is_finite() {
            return;
        }
        for (axis, value) in space.axes().iter().zip(&point.0) {
            let values = self.beliefs.entry(axis.name.to_owned()).or_default();
            let belief = values.entry(*value).or_default();
            belief.trials = belief.trials.saturating_add(1);
            belief.sum += log;
        }
    }

    /// What is believed of a value.
    #[must_use]
    pub fn belief(&self, axis: &str, value: u32) -> Belief {
        let values = self.beliefs.get(axis);
        values
            .and_then(|v| v.get(&value))
            .copied()
            .unwrap_or_default()
    }

    /// A point whose values are each the best of one draw from the beliefs.
    pub(super) fn propose(&self, space: &Space, random: &mut Rng) -> Point {
        let best = |axis: &Axis| {
            let mut best = (f64::NEG_INFINITY, 0);
            for &value in &axis.values {
                let (mean, deviation) = self.belief(axis.name, value).posterior();
                let drawn = mean + deviation * normal(random);
                if drawn > best.0 {
                    best = (drawn, value);
                }
            }
            best.1
        };
        Point(space.axes().iter().map(best).collect())
    }
}

/// Standard normal (Box and Muller 1958).
fn normal(random: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.f64()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gained_is_proposed_more_often() {
        let space = Space::new([("a", vec![1, 2, 3, 4])]);
        let mut experience = Experience::default();
        for _ in 0..20 {
            experience.note(&space, &Point(vec![3]), 1.2);
            experience.note(&space, &Point(vec![1]), 0.8);
        }
        experience.note(&space, &Point(vec![2]), f64::NAN);
        assert_eq!(experience.belief("a", 2).trials, 0, "NaN says nothing");
        let mut random = Rng::with_seed(1);
        let mut drawn = [0; 5];
        for _ in 0..1000 {
            drawn[experience.propose(&space, &mut random).0[0] as usize] += 1;
        }
        assert!(drawn[3] > 500 && drawn[1] < 20, "{drawn:?}");
        assert!(
            drawn[2] > 0 && drawn[4] > 0,
            "untried values are drawn too: {drawn:?}"
        );
    }
}
