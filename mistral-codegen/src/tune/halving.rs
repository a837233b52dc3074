//! Successive halving between points, each timed beside the one that is used today.

use std::collections::BTreeSet;

use fastrand::Rng;

use super::{Experience, Point, Space};

/// What can be measured.
pub trait Bench {
    /// Whether what `point` computes is right. Asked once, before its first timing.
    ///
    /// # Errors
    /// What is wrong; the point is then out.
    fn check(&mut self, point: &Point) -> Result<(), String>;

    /// Seconds that the point of today and `point` take, run right after each other.
    ///
    /// # Errors
    /// What went wrong; the point is then out.
    fn pair(&mut self, point: &Point) -> Result<(f64, f64), String>;
}

/// How much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Points that the search begins with.
    pub candidates: usize,
    /// Pairs that each gets in the first round; their number doubles from round to round.
    pub pairs: usize,
    /// Pairs that decide on the winner's gain.
    pub last_pairs: usize,
    /// The same seed tries the same points, as far as measurements agree.
    pub seed: u64,
}

impl Default for Effort {
    fn default() -> Self {
        Self {
            candidates: 32,
            pairs: 3,
            last_pairs: 41,
            seed: 0,
        }
    }
}

/// A point that was out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The point.
    pub point: Point,
    /// Why.
    pub because: String,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The winner; `None` when nothing right was left, or when its gain may be noise.
    pub best: Option<Point>,
    /// The point that came out first, whether or not its gain is more than noise.
    pub first: Option<Point>,
    /// Today's time over the first point's, in pairs of their own: the median.
    pub gain: f64,
    /// An interval that holds the median gain with a probability of at least 95 % (order statistics
    /// of the pairs).
    pub interval: (f64, f64),
    /// Points that were timed.
    pub tried: usize,
    /// Pairs that were run.
    pub pairs: usize,
    /// Points that were wrong or failed.
    pub refused: Vec<Refused>,
}

/// A point with the logarithms of its gains.
struct Entry {
    point: Point,
    gains: Vec<f64>,
}

/// Searches `space` for a point that is faster than `today`. `more` is asked before each round and says
/// whether there is time for it; without, the best so far goes to the last pairs.
pub fn search(
    space: &Space,
    today: &Point,
    bench: &mut dyn Bench,
    effort: &Effort,
    experience: &mut Experience,
    more: &mut dyn FnMut() -> bool,
) -> Outcome {
    let mut refused = Vec::new();
    let mut ran = 0;
    let mut alive: Vec<Entry> = Vec::new();
    for point in candidates(space, today, effort, experience) {
        match bench.check(&point) {
            Ok(()) => alive.push(Entry {
                point,
                gains: Vec::new(),
            }),
            Err(because) => refused.push(Refused { point, because }),
        }
    }
    let tried = alive.len();
    let mut pairs = effort.pairs.max(1);
    while alive.len() > 1 && more() {
        // All of a round take turns: a machine that slows down does so for each of them.
        for _ in 0..pairs {
            ran += alive.len();
            alive.retain_mut(|entry| timed(bench, entry, &mut refused));
        }
        alive.sort_by(|a, b| median(&b.gains).total_cmp(&median(&a.gains)));
        for loser in alive.split_off(alive.len().div_ceil(2)) {
            experience.note(space, &loser.point, median(&loser.gains).exp());
        }
        pairs *= 2;
    }
    let mut outcome = Outcome {
        best: None,
        first: None,
        gain: 1.0,
        interval: (1.0, 1.0),
        tried,
        pairs: ran,
        refused,
    };
    // Their earlier pairs chose the first one, so that only new ones tell what it gains.
    if let Some(Entry { point, .. }) = alive.into_iter().next() {
        let gains = Vec::new();
        let mut entry = Entry { point, gains };
        let whole = (0..effort.last_pairs.max(1)).all(|_| {
            outcome.pairs += 1;
            timed(bench, &mut entry, &mut outcome.refused)
        });
        if whole {
            let (low, high) = interval(&entry.gains);
            outcome.gain = median(&entry.gains).exp();
            outcome.interval = (low.exp(), high.exp());
            experience.note(space, &entry.point, outcome.gain);
            outcome.best = (low > 0.0).then(|| entry.point.clone());
            outcome.first = Some(entry.point);
        }
    }
    outcome
}

/// The points to begin with: half from experience, half at random, none twice and not today's.
fn candidates(
    space: &Space,
    today: &Point,
    effort: &Effort,
    experience: &Experience,
) -> Vec<Point> {
    let mut random = Rng::with_seed(effort.seed);
    let mut known = BTreeSet::from([today.clone()]);
    let mut points = Vec::new();
    let wanted = effort.candidates.min(space.len().saturating_sub(1));
    // Small spaces are met again and again: draws are bounded.
    for draw in 0..wanted.saturating_mul(20) {
        if points.len() == wanted {
            break;
        }
        let point = if draw % 2 == 0 {
            experience.propose(space, &mut random)
        } else {
            space.any(&mut random)
        };
        if known.insert(point.clone()) {
            points.push(point);
        }
    }
    points
}

/// Times a point once more; whether it stays.
fn timed(bench: &mut dyn Bench, entry: &mut Entry, refused: &mut Vec<Refused>) -> bool {
    let because = match bench.pair(&entry.point) {
        Ok((today, own)) if today > 0.0 && own > 0.0 && (today / own).is_finite() => {
            entry.gains.push((today / own).ln());
            return true;
        }
        Ok((today, own)) => format!("times of {today} and {own} seconds can't be compared"),
        Err(because) => because,
    };
    let point = entry.point.clone();
    refused.push(Refused { point, because });
    false
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NEG_INFINITY,
        (n, half) if n % 2 == 1 => sorted[half],
        (_, half) => (sorted[half - 1] + sorted[half]) / 2.0,
    }
}

/// Order statistics between which the median lies with at least 95 %: of `n` values as many are left
/// out at either end as a fair coin shows heads with at most 2.5 % (sign test; Conover 1999, 3.2).
/// With fewer than six values, everything.
fn interval(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    if n < 6 {
        return (f64::NEG_INFINITY, f64::INFINITY);
    }
    let mut probability = 0.5f64.powi(n as i32);
    let (mut together, mut out) = (probability, 0);
    while together <= 0.025 {
        out += 1;
        probability *= (n + 1 - out) as f64 / out as f64;
        together += probability;
    }
    let out = out.saturating_sub(1);
    (sorted[out], sorted[n - 1 - out])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which each value of `a` gains as `gains` says, times noise; `b` does nothing.
    struct Simulated {
        gains: Vec<f64>,
        noise: f64,
        wrong: Option<u32>,
        random: Rng,
    }

    impl Bench for Simulated {
        fn check(&mut self, point: &Point) -> Result<(), String> {
            match self.wrong == Some(point.0[0]) {
                true => Err("differs from the reference".to_owned()),
                false => Ok(()),
            }
        }

        fn pair(&mut self, point: &Point) -> Result<(f64, f64), String> {
            let noise = 1.0 + self.noise * (self.random.f64() - 0.5);
            Ok((1.0, noise / self.gains[point.0[0] as usize]))
        }
    }

    fn simulated(gains: &[f64], noise: f64) -> Simulated {
        Simulated {
            gains: gains.to_vec(),
            noise,
            wrong: None,
            random: Rng::with_seed(9),
        }
    }

    fn space() -> Space {
        Space::new([("a", (0..8).collect()), ("b", (0..8).collect())])
    }

    fn found(bench: &mut Simulated, experience: &mut Experience, candidates: usize) -> Outcome {
        let effort = Effort {
            candidates,
            ..Effort::default()
        };
        let today = Point(vec![0, 0]);
        search(&space(), &today, bench, &effort, experience, &mut || true)
    }

    #[test]
    fn the_fastest_is_found_through_noise() {
        let mut bench = simulated(&[1.0, 0.9, 1.02, 1.2, 0.8, 1.0, 1.1, 0.7], 0.2);
        let outcome = found(&mut bench, &mut Experience::default(), 32);
        let best = outcome.best.expect("a fifth is more than noise");
        assert_eq!(best.0[0], 3);
        assert!((1.15..1.25).contains(&outcome.gain), "{}", outcome.gain);
        assert!(outcome.interval.0 <= outcome.gain && outcome.gain <= outcome.interval.1);
    }

    #[test]
    fn noise_is_no_gain() {
        // Of 100 machines without anything to gain, few may seem to have it: 2.5 % each.
        let mut seeming = 0;
        for seed in 0..100 {
            let mut bench = simulated(&[1.0; 8], 0.3);
            bench.random = Rng::with_seed(seed);
            seeming += usize::from(
                found(&mut bench, &mut Experience::default(), 16)
                    .best
                    .is_some(),
            );
        }
        assert!(seeming <= 8, "{seeming} of 100");
    }

    #[test]
    fn the_winner_is_not_praised_for_its_luck() {
        // Nothing gains anything: the pairs that chose a point would say that it does.
        let effort = Effort {
            candidates: 32,
            pairs: 1,
            last_pairs: 9,
            ..Effort::default()
        };
        let today = Point(vec![0, 0]);
        let log_gain = |seed| {
            let mut bench = simulated(&[1.0; 8], 0.3);
            bench.random = Rng::with_seed(seed);
            let mut experience = Experience::default();
            let more = &mut || true;
            search(&space(), &today, &mut bench, &effort, &mut experience, more)
                .gain
                .ln()
        };
        let mean = (0..300).map(log_gain).sum::<f64>() / 300.0;
        assert!(mean.abs() < 0.01, "{mean}");
    }

    #[test]
    fn what_is_wrong_never_wins() {
        let mut bench = simulated(&[1.0, 1.0, 1.0, 9.0, 1.0, 1.3, 1.0, 1.0], 0.05);
        bench.wrong = Some(3);
        let outcome = found(&mut bench, &mut Experience::default(), 40);
        assert_eq!(outcome.best.expect("the right one").0[0], 5);
        assert!(outcome.refused.iter().all(|r| r.point.0[0] == 3) && !outcome.refused.is_empty());
    }

    #[test]
    fn experience_finds_with_fewer_trials() {
        let gains = [1.0, 0.9, 0.95, 1.2, 0.8, 1.0, 0.9, 0.7];
        let mut experience = Experience::default();
        found(&mut simulated(&gains, 0.1), &mut experience, 32);
        let hits = |experience: &Experience| {
            let hit = |seed| {
                let effort = Effort {
                    candidates: 4,
                    seed,
                    ..Effort::default()
                };
                let points = candidates(&space(), &Point(vec![0, 0]), &effort, experience);
                usize::from(points.iter().any(|p| p.0[0] == 3))
            };
            (0..200).map(hit).sum::<usize>()
        };
        let (fresh, learnt) = (hits(&Experience::default()), hits(&experience));
        assert!(learnt > fresh + 40, "{learnt} of 200 with, {fresh} without");
    }

    #[test]
    fn no_time_no_space_and_bad_times_end_without_a_winner() {
        let (today, effort) = (Point(vec![0, 0]), Effort::default());
        let mut bench = simulated(&[f64::NAN; 8], 0.0);
        let mut experience = Experience::default();
        let mut more = || true;
        let all_bad = search(
            &space(),
            &today,
            &mut bench,
            &effort,
            &mut experience,
            &mut more,
        );
        assert_eq!((all_bad.best, all_bad.first), (None, None));
        assert_eq!(all_bad.refused.len(), all_bad.tried);
        let empty = Space::new([("a", Vec::new())]);
        let none = search(
            &empty,
            &Point(vec![]),
            &mut bench,
            &effort,
            &mut experience,
            &mut more,
        );
        assert_eq!((none.tried, none.best), (0, None));
    }

    #[test]
    fn intervals_of_the_sign_test() {
        let values: Vec<f64> = (1..=41).map(f64::from).collect();
        // Tables of the binomial distribution: 14 and 28 of 41.
        assert_eq!(interval(&values), (14.0, 28.0));
        assert_eq!(interval(&values[..6]), (1.0, 6.0));
        assert_eq!(interval(&values[..5]), (f64::NEG_INFINITY, f64::INFINITY));
    }
}
