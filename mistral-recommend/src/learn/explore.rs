//! An order that also tries what is not yet known, with the chances that it had.

use mistral_core::recommendation::Recommendation;

use super::history::{Policy, Shown};
use super::preference::Preference;
use super::random::Random;
use crate::RecommendError;
use crate::score::{PARTS, Weights};

/// How an order is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exploration {
    /// Drawn weights, of which one decides the order (Thompson sampling over as many draws, so that
    /// chances are counted exactly and not estimated).
    pub draws: u32,
    /// The chance that any of those shown, all alike, is put first instead. Above 0, every one has a
    /// chance to be first, as judging other policies from the log asks for.
    pub uniform: f64,
    /// Decides the draws and the one taken.
    pub seed: u64,
}

impl Default for Exploration {
    fn default() -> Self {
        Self {
            draws: 64,
            uniform: 0.05,
            seed: 0,
        }
    }
}

/// An order and the chance that each had to be first in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// Positions of what was handed in, in the new order.
    pub order: Vec<usize>,
    /// For each of what was handed in, in its own order; their sum is 1.
    pub first: Vec<f64>,
}

impl Preference {
    /// Orders candidates by weights that are drawn from what is believed.
    ///
    /// # Errors
    /// [`RecommendError::OutOfRange`] when there are no draws or more than 65536, or `uniform` is no
    /// chance.
    pub fn order(
        &self,
        candidates: &[[f64; PARTS.len()]],
        how: &Exploration,
    ) -> Result<Order, RecommendError> {
        let out_of_range = |field, expected, found| RecommendError::OutOfRange {
            field,
            expected,
            found,
        };
        if !(1..=65_536).contains(&how.draws) {
            let found = f64::from(how.draws);
            return Err(out_of_range("exploration.draws", "1 to 65536", found));
        }
        if !(0.0..=1.0).contains(&how.uniform) {
            return Err(out_of_range("exploration.uniform", "0 to 1", how.uniform));
        }
        let n = candidates.len();
        if n == 0 {
            return Ok(Order {
                order: Vec::new(),
                first: Vec::new(),
            });
        }
        let mut random = Random::new(how.seed);
        let orders: Vec<Vec<usize>> = (0..how.draws)
            .map(|_| by_weights(&self.draw(&mut random), candidates))
            .collect();
        let mut counts = vec![0u32; n];
        for order in &orders {
            counts[order[0]] += 1;
        }
        let share = |count: u32| f64::from(count) / f64::from(how.draws);
        let first = counts
            .into_iter()
            .map(|c| (1.0 - how.uniform) * share(c) + how.uniform / n as f64)
            .collect();
        let mut order = orders[random.below(orders.len())].clone();
        if random.unit() < how.uniform {
            let promoted = random.below(n);
            order[..=promoted].rotate_right(1);
        }
        Ok(Order { order, first })
    }
}

/// Positions by the sum of weighted features, best first; ties keep their order.
fn by_weights(weights: &Weights, candidates: &[[f64; PARTS.len()]]) -> Vec<usize> {
    let weights = weights.amounts();
    let value = |i: &usize| -> f64 {
        let features = &candidates[*i];
        features.iter().zip(weights).map(|(f, w)| f * w).sum()
    };
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|a, b| value(b).total_cmp(&value(a)));
    order
}

/// Reorders the choices of an answer by drawn weights, and returns what is to be recorded of it.
/// Which choices there are, and their scores, stay.
///
/// # Errors
/// As [`Preference::order`].
pub fn explore(
    answer: &mut Recommendation,
    preference: &Preference,
    how: &Exploration,
    day: &str,
) -> Result<Shown, RecommendError> {
    let before = Shown::of(answer, day);
    let features: Vec<_> = before.choices.iter().map(|c| c.features()).collect();
    let Order { order, first } = preference.order(&features, how)?;
    answer.choices = order.iter().map(|i| answer.choices[*i].clone()).collect();
    let mut shown = Shown::of(answer, day);
    for (choice, from) in shown.choices.iter_mut().zip(order) {
        choice.chance_to_be_first = first[from];
    }
    shown.policy = Policy::Explored {
        draws: how.draws,
        uniform: how.uniform,
        seed: how.seed,
    };
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_those_of_the_draws() {
        let candidates: Vec<[f64; 8]> = (0..5)
            .map(|i| {
                let mut random = Random::new(i);
                std::array::from_fn(|_| random.unit() * 0.3)
            })
            .collect();
        let preference = Preference::learn(&[]);
        let mut counts = [0.0; 5];
        let mut expected = [0.0; 5];
        let rounds = 4000u32;
        for seed in 0..rounds {
            let how = Exploration {
                draws: 16,
                uniform: 0.2,
                seed: u64::from(seed),
            };
            let order = preference.order(&candidates, &how).expect("in range");
            let sum: f64 = order.first.iter().sum();
            assert!((sum - 1.0).abs() < 1e-12);
            assert!(order.first.iter().all(|p| *p >= 0.2 / 5.0 - 1e-12));
            let mut sorted = order.order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
            counts[order.order[0]] += 1.0 / f64::from(rounds);
            for (e, p) in expected.iter_mut().zip(order.first) {
                *e += p / f64::from(rounds);
            }
        }
        for (c, e) in counts.iter().zip(expected) {
            // Four standard errors of a share among 4000.
            let error = 4.0 * (e * (1.0 - e) / f64::from(rounds)).sqrt();
            assert!((c - e).abs() <= error + 1e-12, "{counts:?} {expected:?}");
        }
        let max = counts.iter().copied().fold(0.0, f64::max);
        assert!(max < 0.999, "nothing was explored");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let preference = Preference::learn(&[]);
        for (draws, uniform) in [(0, 0.1), (70_000, 0.1), (8, 1.5), (8, f64::NAN)] {
            let how = Exploration {
                draws,
                uniform,
                seed: 0,
            };
            let refused = preference.order(&[[0.0; 8]], &how);
            assert!(matches!(refused, Err(RecommendError::OutOfRange { .. })));
        }
    }
}
