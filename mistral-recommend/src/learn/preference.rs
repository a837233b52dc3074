//! A user's trade-offs, from what was chosen among what was shown.
//!
//! The chance of a choice is a multinomial logit over the parts of scores (McFadden 1974; the first
//! stage of Plackett and Luce): proportional to `exp(θ · features)`. Before any choice `θ` is normal
//! around the fixed weights. The posterior is Laplace's: its mode under `θ ≥ 0` by projected Newton
//! (Bertsekas 1982), and the curvature there.

use mistral_core::reason::Reason;

use super::linear::{Matrix, backward, cholesky, forward};
use super::random::Random;
use crate::score::{PARTS, Weights};

const N: usize = PARTS.len();

/// How sharply users are taken to tell scores apart: a score that is 0.02 higher is chosen
/// `exp(0.02 * SHARPNESS)` times as often.
const SHARPNESS: f64 = 40.0;
/// Standard deviation of a weight before any choice: this, and the share below of the fixed weight.
const SPREAD: f64 = 0.12;
const SPREAD_SHARE: f64 = 0.5;
/// Most Newton steps; ten are usual.
const STEPS: usize = 100;
/// Most choices that are learned from, the latest: older tastes fade, and time stays bounded.
const MOST_OBSERVATIONS: usize = 500;

/// One choice.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// [`features`](crate::features) of each candidate shown.
    pub shown: Vec<[f64; N]>,
    /// Position of the chosen one.
    pub chosen: usize,
    /// What it counts: 1 for a choice of which nothing more is known.
    pub weight: f64,
}

impl Observation {
    /// Whether anything can be learned from it.
    fn is_sound(&self) -> bool {
        let finite = |f: &[f64; N]| f.iter().all(|v| v.is_finite() && v.abs() <= 16.0);
        self.shown.len() > 1
            && self.chosen < self.shown.len()
            && self.shown.iter().all(finite)
            && (0.0..=16.0).contains(&self.weight)
    }
}

/// What is believed of a user's weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Preference {
    /// The posterior's mode: weights times sharpness.
    mode: [f64; N],
    /// Lower triangle of the Cholesky factor of the curvature there.
    factor: Matrix<N>,
    choices: u32,
}

impl Preference {
    /// Learns from choices in their order; unsound ones (a position that wasn't shown, amounts that
    /// aren't numbers, a single candidate) are left out.
    #[must_use]
    pub fn learn(observations: &[Observation]) -> Self {
        let sound: Vec<&Observation> = observations.iter().filter(|o| o.is_sound()).collect();
        let latest = &sound[sound.len().saturating_sub(MOST_OBSERVATIONS)..];
        let posterior = Posterior {
            centre: Weights::FIXED.amounts().map(|w| w * SHARPNESS),
            precision: Weights::FIXED
                .amounts()
                .map(|w| ((SPREAD + SPREAD_SHARE * w) * SHARPNESS).powi(-2)),
            observations: latest,
        };
        let mode = posterior.mode();
        let factor = cholesky(&posterior.slopes(&mode).1)
            .expect("a sum of a positive diagonal and covariances is positive definite");
        Self {
            mode,
            factor,
            choices: u32::try_from(latest.len()).unwrap_or(u32::MAX),
        }
    }

    /// Choices that it stands on.
    #[must_use]
    pub fn choices(&self) -> u32 {
        self.choices
    }

    /// The most likely weights.
    #[must_use]
    pub fn weights(&self) -> Weights {
        Weights::new(self.mode).unwrap_or(Weights::FIXED)
    }

    /// Weights drawn from what is believed (Thompson 1933), those below 0 taken as 0.
    pub(crate) fn draw(&self, random: &mut Random) -> Weights {
        let normal: [f64; N] = std::array::from_fn(|_| random.normal());
        let away = backward(&self.factor, &normal);
        let drawn = std::array::from_fn(|i| (self.mode[i] + away[i]).max(0.0));
        Weights::new(drawn).unwrap_or_else(|| self.weights())
    }

    /// The chance of each of `shown` to be chosen, in their order.
    #[must_use]
    pub fn chances(&self, shown: &[[f64; N]]) -> Vec<f64> {
        chances(&self.mode, shown)
    }

    /// How many choices, and the weight that moved most.
    pub(crate) fn reason(&self) -> Reason {
        let round = |v: f64| (v * 1e3).round() / 1e3;
        let reason = Reason::new("learned.preference")
            .fact("choices", self.choices)
            .source("choices of the history");
        let moved = self.weights();
        let pairs = moved.named().zip(Weights::FIXED.amounts());
        let most = pairs.max_by(|((_, a), b), ((_, c), d)| (a - b).abs().total_cmp(&(c - d).abs()));
        match most {
            Some(((part, weight), fixed)) => reason
                .fact("part", part)
                .fact("weight", round(weight))
                .fact("fixed_weight", round(fixed)),
            None => reason,
        }
    }
}

fn dot(a: &[f64; N], b: &[f64; N]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn chances(theta: &[f64; N], shown: &[[f64; N]]) -> Vec<f64> {
    let utility: Vec<f64> = shown.iter().map(|f| dot(theta, f)).collect();
    let most = utility.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let odds: Vec<f64> = utility.iter().map(|u| (u - most).exp()).collect();
    let sum: f64 = odds.iter().sum();
    odds.into_iter().map(|o| o / sum).collect()
}

/// The negative logarithm of the posterior, up to a constant; convex.
struct Posterior<'a> {
    centre: [f64; N],
    precision: [f64; N],
    observations: &'a [&'a Observation],
}

impl Posterior<'_> {
    fn value(&self, theta: &[f64; N]) -> f64 {
        let prior: f64 = (0..N)
            .map(|i| 0.5 * self.precision[i] * (theta[i] - self.centre[i]).powi(2))
            .sum();
        let surprise: f64 = self
            .observations
            .iter()
            .map(|o| -o.weight * chances(theta, &o.shown)[o.chosen].max(1e-300).ln())
            .sum();
        prior + surprise
    }

    /// Gradient and curvature.
    fn slopes(&self, theta: &[f64; N]) -> ([f64; N], Matrix<N>) {
        let mut gradient: [f64; N] =
            std::array::from_fn(|i| self.precision[i] * (theta[i] - self.centre[i]));
        let mut curvature: Matrix<N> = std::array::from_fn(|i| {
            std::array::from_fn(|j| if i == j { self.precision[i] } else { 0.0 })
        });
        for o in self.observations {
            let chances = chances(theta, &o.shown);
            let mut mean = [0.0; N];
            for (f, p) in o.shown.iter().zip(&chances) {
                for i in 0..N {
                    mean[i] += p * f[i];
                }
            }
            for i in 0..N {
                gradient[i] += o.weight * (mean[i] - o.shown[o.chosen][i]);
            }
            for (f, p) in o.shown.iter().zip(&chances) {
                for i in 0..N {
                    for j in 0..N {
                        let product = (f[i] - mean[i]) * (f[j] - mean[j]);
                        curvature[i][j] += o.weight * p * product;
                    }
                }
            }
        }
        (gradient, curvature)
    }

    /// The minimum over `theta >= 0`.
    fn mode(&self) -> [f64; N] {
        let mut theta = self.centre;
        let mut value = self.value(&theta);
        for _ in 0..STEPS {
            let (gradient, mut curvature) = self.slopes(&theta);
            // What lies at 0 and would go below stays there and out of the system.
            let held: [bool; N] = std::array::from_fn(|i| theta[i] <= 0.0 && gradient[i] > 0.0);
            let mut down = gradient.map(|g| -g);
            for i in (0..N).filter(|i| held[*i]) {
                down[i] = 0.0;
                curvature[i] = [0.0; N];
                curvature.iter_mut().for_each(|row| row[i] = 0.0);
                curvature[i][i] = 1.0;
            }
            let Some(l) = cholesky(&curvature) else {
                break;
            };
            let step = backward(&l, &forward(&l, &down));
            let Some((next, lower)) = self.descend(&theta, value, &gradient, &step) else {
                break;
            };
            let moved = (0..N).map(|i| (next[i] - theta[i]).abs());
            let moved = moved.fold(0.0, f64::max);
            (theta, value) = (next, lower);
            if moved < 1e-10 * SHARPNESS {
                break;
            }
        }
        theta
    }

    /// The first of halved steps that goes down enough (Armijo), projected to `theta >= 0`.
    fn descend(
        &self,
        theta: &[f64; N],
        value: f64,
        gradient: &[f64; N],
        step: &[f64; N],
    ) -> Option<([f64; N], f64)> {
        (0..40).find_map(|halvings| {
            let t = 0.5f64.powi(halvings);
            let next: [f64; N] = std::array::from_fn(|i| (theta[i] + t * step[i]).max(0.0));
            let away: [f64; N] = std::array::from_fn(|i| next[i] - theta[i]);
            let lower = self.value(&next);
            (lower <= value + 1e-4 * dot(gradient, &away)).then_some((next, lower))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random_observation(random: &mut Random) -> Observation {
        let n = 2 + random.below(7);
        Observation {
            shown: (0..n)
                .map(|_| std::array::from_fn(|_| random.unit()))
                .collect(),
            chosen: random.below(n),
            weight: 1.0,
        }
    }

    #[test]
    fn without_choices_the_weights_are_the_fixed_ones() {
        let learned = Preference::learn(&[]).weights().amounts();
        for (a, b) in learned.iter().zip(Weights::FIXED.amounts()) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
    }

    #[test]
    fn the_mode_satisfies_the_conditions_of_a_minimum() {
        let mut random = Random::new(7);
        let mut held = 0;
        for case in 0..50 {
            let observations: Vec<Observation> =
                (0..case).map(|_| random_observation(&mut random)).collect();
            let refs: Vec<&Observation> = observations.iter().collect();
            let posterior = Posterior {
                centre: Weights::FIXED.amounts().map(|w| w * SHARPNESS),
                precision: [1.0 / 16.0; N],
                observations: &refs,
            };
            let mode = posterior.mode();
            let (gradient, _) = posterior.slopes(&mode);
            for i in 0..N {
                assert!(mode[i] >= 0.0);
                if mode[i] > 0.0 {
                    assert!(
                        gradient[i].abs() < 1e-6,
                        "case {case}: {gradient:?} {mode:?}"
                    );
                } else {
                    held += 1;
                    assert!(gradient[i] >= -1e-9, "case {case}: {gradient:?} {mode:?}");
                }
            }
        }
        assert!(held > 0, "no case reaches the boundary");
    }

    #[test]
    fn the_slopes_are_those_of_the_value() {
        let mut random = Random::new(3);
        let observations: Vec<Observation> =
            (0..5).map(|_| random_observation(&mut random)).collect();
        let refs: Vec<&Observation> = observations.iter().collect();
        let posterior = Posterior {
            centre: [1.0; N],
            precision: [0.5; N],
            observations: &refs,
        };
        let at: [f64; N] = std::array::from_fn(|i| 0.3 * i as f64);
        let (gradient, curvature) = posterior.slopes(&at);
        for i in 0..N {
            let (mut up, mut down) = (at, at);
            up[i] += 1e-5;
            down[i] -= 1e-5;
            let slope = (posterior.value(&up) - posterior.value(&down)) / 2e-5;
            assert!((slope - gradient[i]).abs() < 1e-6, "{i}");
            let (above, below) = (posterior.slopes(&up).0, posterior.slopes(&down).0);
            for j in 0..N {
                let bend = (above[j] - below[j]) / 2e-5;
                assert!((bend - curvature[i][j]).abs() < 1e-6, "{i} {j}");
            }
        }
    }

    #[test]
    fn unsound_choices_are_left_out() {
        let good = random_observation(&mut Random::new(1));
        let mut bad = vec![good.clone(); 4];
        bad[0].chosen = 99;
        bad[1].shown[0][0] = f64::NAN;
        bad[2].weight = -1.0;
        bad[3].shown.truncate(1);
        bad.push(good.clone());
        assert_eq!(Preference::learn(&bad), Preference::learn(&[good]));
    }
}
