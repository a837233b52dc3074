//! Learned weights against hidden users: how much worse the first recommendation is than the best
//! possible one, after some choices.
//!
//! Regret of a round: a hidden user's utility of the best of *all* feasible candidates of a need, less
//! that of the candidate put first; utilities run from 0 to about 1, choices are noisy, regret isn't.
//! Hidden users aren't of the model's kind: each part counts on a curve of its own, quality and speed
//! count together once more, emphasis differs, parts that the API lacks are left out, and whoever
//! chooses errs.

use mistral_core::need::{HardwareNeed, Need, Ownership, Priority, Task};
use mistral_core::recommendation::Hosting;
use mistral_recommend::learn::{
    Exploration, History, Learned, Logged, Observation, Preference, Shown, doubly_robust, explore,
    inverse_propensity,
};
use mistral_recommend::{
    Context, Demand, PARTS, Weights, feasible, features, recommend, recommend_text, score,
};

const TODAY: &str = "2026-11-23";
const N: usize = PARTS.len();
/// Scale of the Gumbel noise in choices.
const NOISE: f64 = 0.02;
const ROUNDS: usize = 20;

/// Numbers that repeat for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f64) as usize).min(n - 1)
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    fn gumbel(&mut self) -> f64 {
        -(-(self.unit().max(1e-300)).ln()).max(1e-300).ln()
    }
}

/// A feasible candidate as weights see it and as users do.
struct Option8 {
    features: [f64; N],
    parts: [Option<f64>; N],
    /// What no weight buys back.
    factor: f64,
    /// Model and host: one of each is shown.
    kind: usize,
}

/// A need and what is feasible for it.
struct Case {
    options: Vec<Option8>,
    kinds: usize,
    priorities: Vec<Priority>,
}

fn emphasised(part: usize, priorities: &[Priority]) -> bool {
    priorities.iter().any(|p| {
        matches!(
            (p, PARTS[part]),
            (Priority::Quality, "quality")
                | (Priority::Speed, "latency")
                | (Priority::Cost, "cost")
        )
    })
}

fn random_need(random: &mut Random) -> Need {
    let tasks = [
        Task::Chat,
        Task::Code,
        Task::Rag,
        Task::Summarise,
        Task::Agents,
        Task::Vision,
        Task::Extract,
    ];
    let devices = [
        "L4",
        "RTX 4090",
        "H100-SXM",
        "A100",
        "T4",
        "MI300X",
        "Apple M4 Pro",
        "L40S",
    ];
    let mut need = Need {
        task: Some(tasks[random.below(tasks.len())]),
        ..Need::default()
    };
    for _ in 0..=random.below(2) {
        need.hardware.push(HardwareNeed {
            device: Some(devices[random.below(devices.len())].to_owned()),
            count: 1 << random.below(3),
            memory_gb: None,
            ownership: if random.below(2) == 0 {
                Ownership::Owned
            } else {
                Ownership::Rented
            },
        });
    }
    if random.below(3) == 0 {
        need.latency.ttft_ms = Some(300.0 + 2000.0 * random.unit());
    }
    if random.below(3) == 0 {
        need.budget.usd_per_month = Some(200.0 + 5000.0 * random.unit());
    }
    need.load.requests_per_day = Some(100.0 * 200f64.powf(random.unit()));
    if random.below(4) == 0 {
        let all = [Priority::Quality, Priority::Speed, Priority::Cost];
        need.priorities.push(all[random.below(3)]);
    }
    need
}

fn cases(wanted: usize, random: &mut Random) -> Vec<Case> {
    let context = Context::embedded(TODAY);
    let mut cases = Vec::new();
    while cases.len() < wanted {
        let need = random_need(random);
        let candidates = feasible(&need, &context).expect("a sound need");
        let demand = Demand::of(&need);
        let mut kinds: Vec<(String, Hosting)> = Vec::new();
        let options: Vec<Option8> = candidates
            .iter()
            .map(|c| {
                let model = context.catalog.get(&c.model).expect("of the catalogue");
                let s = score(c, model, &need, &demand);
                let features = features(&s.parts, c.hosting, &c.predicted, &need);
                let parts = PARTS.map(|p| s.parts.get(p).copied());
                let emphasis = |i| {
                    if emphasised(i, &need.priorities) {
                        3.0
                    } else {
                        1.0
                    }
                };
                let all: f64 = (0..N)
                    .map(|i| Weights::FIXED.amounts()[i] * emphasis(i))
                    .sum();
                let quality = parts[0].expect("known of all");
                let key = (c.model.to_string(), c.hosting);
                let kind = kinds.iter().position(|k| *k == key).unwrap_or_else(|| {
                    kinds.push(key);
                    kinds.len() - 1
                });
                Option8 {
                    factor: features[0] * all / (quality * emphasis(0)),
                    features,
                    parts,
                    kind,
                }
            })
            .collect();
        if kinds.len() >= 4 {
            cases.push(Case {
                options,
                kinds: kinds.len(),
                priorities: need.priorities,
            });
        }
    }
    cases
}

/// Somebody with trade-offs of their own.
struct Hidden {
    weights: [f64; N],
    bend: [f64; N],
    together: f64,
}

impl Hidden {
    /// Any trade-offs at all: flat over the simplex.
    fn anyone(random: &mut Random) -> Self {
        Self::with(random, |r, _| -(1.0 - r.unit()).ln())
    }

    /// Trade-offs that are the fixed ones within a factor of about three either way.
    fn usual(random: &mut Random) -> Self {
        Self::with(random, |r, fixed| fixed * (1.1 * r.normal()).exp())
    }

    fn with(random: &mut Random, weight: impl Fn(&mut Random, f64) -> f64) -> Self {
        let weights = Weights::FIXED.amounts().map(|w| weight(random, w));
        let sum: f64 = weights.iter().sum();
        Self {
            weights: weights.map(|w| w / sum),
            bend: std::array::from_fn(|_| 0.6 * (random.unit() - 0.5)),
            together: 0.1 * random.unit(),
        }
    }

    fn utility(&self, o: &Option8, priorities: &[Priority]) -> f64 {
        let (mut sum, mut weights) = (0.0, 0.0);
        for (i, part) in PARTS.iter().enumerate() {
            let emphasis = if emphasised(i, priorities) { 2.0 } else { 1.0 };
            let own_only = matches!(*part, "headroom" | "provenance");
            if o.parts[i].is_none() && own_only {
                continue;
            }
            let x = o.parts[i].unwrap_or(0.5);
            sum += self.weights[i] * emphasis * (x + self.bend[i] * x * (1.0 - x));
            weights += self.weights[i] * emphasis;
        }
        let both = o.parts[0].unwrap_or(0.5) * o.parts[1].unwrap_or(0.5);
        o.factor * (sum / weights + self.together * both)
    }
}

/// The best of each model and host by these weights, best first.
fn ranked(case: &Case, weights: &Weights) -> Vec<usize> {
    let w = weights.amounts();
    let value = |o: &Option8| -> f64 { o.features.iter().zip(w).map(|(f, w)| f * w).sum() };
    let mut best: Vec<Option<(usize, f64)>> = vec![None; case.kinds];
    for (i, o) in case.options.iter().enumerate() {
        let v = value(o);
        if best[o.kind].is_none_or(|(_, old)| v > old) {
            best[o.kind] = Some((i, v));
        }
    }
    let mut best: Vec<(usize, f64)> = best.into_iter().flatten().collect();
    best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    best.into_iter().map(|(i, _)| i).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Order {
    Fixed,
    Learned,
    Explored,
}

/// Mean regret by round over users.
fn regrets(
    cases: &[Case],
    users: usize,
    hidden: fn(&mut Random) -> Hidden,
    order: Order,
    seed: u64,
) -> [f64; ROUNDS] {
    let mut regrets = [0.0; ROUNDS];
    for user in 0..users {
        // The same users, needs and noise for every order.
        let mut random = Random(seed.wrapping_add(1000 * user as u64));
        let who = hidden(&mut random);
        let mut seen: Vec<Observation> = Vec::new();
        for (round, regret) in regrets.iter_mut().enumerate() {
            let case = &cases[random.below(cases.len())];
            let utility: Vec<f64> = case
                .options
                .iter()
                .map(|o| who.utility(o, &case.priorities))
                .collect();
            let preference = Preference::learn(&seen);
            let weights = match order {
                Order::Fixed => Weights::FIXED,
                _ => preference.weights(),
            };
            let mut slate = ranked(case, &weights);
            slate.truncate(8);
            let shown: Vec<[f64; N]> = slate.iter().map(|i| case.options[*i].features).collect();
            let first = match order {
                Order::Explored => {
                    let how = Exploration {
                        uniform: 0.0,
                        seed: (user * ROUNDS + round) as u64,
                        ..Exploration::default()
                    };
                    preference.order(&shown, &how).expect("in range").order[0]
                }
                _ => 0,
            };
            let best = utility.iter().copied().fold(0.0, f64::max);
            *regret += (best - utility[slate[first]]) / users as f64;
            let noisy: Vec<f64> = slate
                .iter()
                .map(|i| utility[*i] + NOISE * random.gumbel())
                .collect();
            let chosen = (0..noisy.len())
                .max_by(|a, b| noisy[*a].total_cmp(&noisy[*b]))
                .expect("something is shown");
            // Noise is drawn for eight whatever is shown, so that users stay alike.
            for _ in noisy.len()..8 {
                random.gumbel();
            }
            seen.push(Observation {
                shown,
                chosen,
                weight: 1.0,
            });
        }
    }
    regrets
}

fn late(regrets: &[f64; ROUNDS]) -> f64 {
    regrets[15..].iter().sum::<f64>() / 5.0
}

#[test]
fn after_twenty_choices_regret_is_a_third() {
    let cases = cases(60, &mut Random(1));
    let options: usize = cases.iter().map(|c| c.options.len()).sum();
    println!("{} needs, {options} feasible candidates", cases.len());
    type Draw = fn(&mut Random) -> Hidden;
    let populations: [(&str, Draw); 2] = [("anyone", Hidden::anyone), ("usual", Hidden::usual)];
    for (name, hidden) in populations {
        let of = |order| regrets(&cases, 200, hidden, order, 77);
        let fixed = of(Order::Fixed);
        for (how, order) in [("mode", Order::Learned), ("drawn", Order::Explored)] {
            let learned = of(order);
            let ratio = late(&learned) / late(&fixed);
            println!(
                "{name}, {how}: regret in rounds 16 to 20 {:.4}, fixed weights {:.4}, ratio {ratio:.3}; by round {:.4?}",
                late(&learned),
                late(&fixed),
                learned
            );
            assert!(ratio <= 1.0 / 3.0, "{name}, {how}: {ratio}");
        }
    }
}

/// A log of decisions by drawn orders, a policy to judge, and that policy's true value.
fn logged(rows: usize, seed: u64) -> (Vec<Logged>, f64) {
    let mut random = Random(seed);
    let preference = Preference::learn(&[]);
    let mut truth = 0.0;
    let log = (0..rows)
        .map(|row| {
            let n = 3 + random.below(4);
            let candidates: Vec<[f64; N]> = (0..n)
                .map(|_| std::array::from_fn(|_| 0.3 * random.unit()))
                .collect();
            let how = Exploration {
                draws: 16,
                uniform: 0.3,
                seed: seed ^ row as u64,
            };
            let order = preference.order(&candidates, &how).expect("in range");
            let first = order.order[0];
            let taken = random.unit() < worth(&candidates[first]);
            let row = Logged {
                chance: order.first[first],
                candidates,
                first,
                reward: f64::from(u8::from(taken)),
            };
            truth += other(&row)
                .iter()
                .zip(&row.candidates)
                .map(|(p, c)| p * worth(c))
                .sum::<f64>();
            row
        })
        .collect();
    (log, truth / rows as f64)
}

/// The chance that a candidate put first is taken.
fn worth(c: &[f64; N]) -> f64 {
    (0.1 + 2.0 * c[4]).min(1.0)
}

/// The policy that is judged: mostly the cheapest.
fn other(row: &Logged) -> Vec<f64> {
    let n = row.candidates.len();
    let best = (0..n)
        .max_by(|a, b| row.candidates[*a][4].total_cmp(&row.candidates[*b][4]))
        .expect("not empty");
    (0..n)
        .map(|i| 0.1 / n as f64 + if i == best { 0.9 } else { 0.0 })
        .collect()
}

#[test]
fn estimates_from_logs_are_unbiased() {
    type Model = fn(&Logged, usize) -> f64;
    let models: [(&str, Model); 3] = [
        ("none", |_, _| 0.0),
        ("good", |row, i| worth(&row.candidates[i])),
        ("wrong", |row, i| 3.0 - 5.0 * row.candidates[i][0]),
    ];
    let mut errors = Vec::new();
    for (name, model) in models {
        let (mut bias, mut claimed, mut held) = (0.0, 0.0, 0);
        let logs = 200u32;
        for seed in 0..logs {
            let (log, truth) = logged(300, 31 + 7919 * u64::from(seed));
            let found = doubly_robust(&log, other, model).expect("a sound log");
            if name == "none" {
                assert_eq!(inverse_propensity(&log, other).expect("a sound log"), found);
            }
            let off = found.value - truth;
            bias += off / f64::from(logs);
            claimed += found.standard_error / f64::from(logs);
            held += u32::from(off.abs() <= 1.96 * found.standard_error);
        }
        println!(
            "model {name}: bias {bias:.4}, standard error {claimed:.4}, {held} of {logs} held"
        );
        // Four standard errors of the mean of the logs.
        assert!(
            bias.abs() <= 4.0 * claimed / f64::from(logs).sqrt(),
            "{name}"
        );
        assert!(held * 100 >= logs * 88, "{name}: {held}");
        errors.push(claimed);
    }
    assert!(errors[1] < errors[0] && errors[0] < errors[2], "{errors:?}");
}

#[test]
fn logs_that_cannot_be_meant_are_refused() {
    let (log, _) = logged(2, 5);
    let with = |change: &dyn Fn(&mut Logged)| {
        let mut log = log.clone();
        change(&mut log[1]);
        inverse_propensity(&log, other)
            .map(|v| v.rows)
            .map_err(|e| e.to_string())
    };
    assert_eq!(with(&|_| ()), Ok(2));
    for (field, result) in [
        ("log.chance", with(&|r| r.chance = 0.0)),
        ("log.chance", with(&|r| r.chance = f64::NAN)),
        ("log.chance", with(&|r| r.chance = 1.5)),
        ("log.first", with(&|r| r.first = 99)),
        ("log.reward", with(&|r| r.reward = f64::INFINITY)),
        (
            "log.rows",
            inverse_propensity(&[], other)
                .map(|v| v.rows)
                .map_err(|e| e.to_string()),
        ),
        (
            "policy.chances",
            inverse_propensity(&log, |_| vec![0.5])
                .map(|v| v.rows)
                .map_err(|e| e.to_string()),
        ),
    ] {
        assert!(
            result.as_ref().is_err_and(|e| e.starts_with(field)),
            "{field}: {result:?}"
        );
    }
}

/// A user who always takes what costs least among what is shown.
fn saver(context: &mut Context<'_>, history: &mut History, need: &str, rounds: usize) {
    for _ in 0..rounds {
        let answer = recommend_text(need, context).expect("a sound need");
        let usd = |i: &usize| {
            let month = answer.choices[*i].predicted.usd_per_month;
            month.map_or(f64::INFINITY, |m| m.value)
        };
        let cheapest = (0..answer.choices.len())
            .min_by(|a, b| usd(a).total_cmp(&usd(b)))
            .expect("something is shown");
        let id = history
            .record_shown("ann", Shown::of(&answer, TODAY))
            .expect("sound");
        history
            .record_choice("ann", id, cheapest, TODAY)
            .expect("shown");
        context.learned = Some(Learned::from_history(&history.of("ann"), &[], context));
    }
}

#[test]
fn the_next_answer_follows_choices_and_keeps_limits() {
    let need = "code assistant for 20 developers, at most 3000 dollars a month";
    let plain = Context::embedded(TODAY);
    let mut context = plain.clone();
    let mut history = History::default();
    saver(&mut context, &mut history, need, 6);
    let before = recommend_text(need, &plain).expect("a sound need");
    let after = recommend_text(need, &context).expect("a sound need");
    let usd = |a: &mistral_core::recommendation::Recommendation| {
        a.choices[0].predicted.usd_per_month.expect("priced").value
    };
    println!(
        "first choice: {} $ a month before, {} after",
        usd(&before),
        usd(&after)
    );
    assert!(usd(&after) < usd(&before));
    for c in &after.choices {
        assert!(c.predicted.usd_per_month.is_none_or(|u| u.value <= 3000.0));
        let reason = c.reasons.iter().find(|r| r.rule == "learned.preference");
        assert_eq!(reason.expect("named").facts["choices"], 6u32.into());
    }
    assert!(
        !before.choices[0]
            .reasons
            .iter()
            .any(|r| r.rule.starts_with("learned."))
    );
    // What is feasible is the same, whatever the weights are.
    let all = |c: &Context<'_>| feasible(&before.need, c).expect("a sound need");
    assert!(all(&plain) == all(&context));
    // The same history, the same bytes; also after a round trip.
    let text = serde_json::to_string(&history).expect("serialises");
    let read = History::from_json(&text).expect("reads");
    assert_eq!(read, history);
    let mut again = plain.clone();
    again.learned = Some(Learned::from_history(&read.of("ann"), &[], &plain));
    assert_eq!(again.learned, context.learned);
    assert_eq!(recommend_text(need, &again).expect("sound"), after);
    // Another user's answer is untouched.
    again.learned = Some(Learned::from_history(&history.of("bob"), &[], &plain));
    assert_eq!(recommend_text(need, &again).expect("sound"), before);
}

#[test]
fn weights_are_never_negative_and_a_disappointment_says_less() {
    let mut context = Context::embedded(TODAY);
    let mut history = History::default();
    saver(
        &mut context,
        &mut history,
        "a chat model for a small team",
        5,
    );
    let learned = |h: &History| Preference::learn(&h.of("ann").observations()).weights();
    let weights = learned(&history);
    assert!(weights.amounts().iter().all(|w| *w >= 0.0));
    let cost = |w: &Weights| w.amounts()[4];
    assert!(cost(&weights) > cost(&Weights::FIXED));
    for shown in history.of("ann").shown {
        let outcome = mistral_recommend::learn::Outcome {
            shown: shown.id,
            rating: Some(1),
            note: None,
            day: TODAY.to_owned(),
        };
        history.record_outcome("ann", outcome).expect("was shown");
    }
    let less = learned(&history);
    assert!(cost(&less) < cost(&weights) && cost(&less) > cost(&Weights::FIXED));
}

#[test]
fn an_explored_answer_is_recorded_with_its_chances() {
    let context = Context::embedded(TODAY);
    let answer = recommend_text("a chat model on one L4 card", &context).expect("a sound need");
    let how = Exploration {
        seed: 4,
        uniform: 0.5,
        ..Exploration::default()
    };
    let preference = Preference::learn(&[]);
    let mut explored = answer.clone();
    let shown = explore(&mut explored, &preference, &how, TODAY).expect("in range");
    let mut same = answer.clone();
    assert_eq!(
        explore(&mut same, &preference, &how, TODAY).expect("in range"),
        shown
    );
    assert_eq!(same, explored);
    let names = |a: &mistral_core::recommendation::Recommendation| {
        let mut names: Vec<String> = a.choices.iter().map(|c| c.model.clone()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&explored), names(&answer));
    let sum: f64 = shown.choices.iter().map(|c| c.chance_to_be_first).sum();
    assert!((sum - 1.0).abs() < 1e-9);
    for (s, c) in shown.choices.iter().zip(&explored.choices) {
        assert_eq!((&s.model, s.hosting), (&c.model, c.hosting));
        assert!(s.chance_to_be_first > 0.0);
    }
}

#[test]
fn by_the_fixed_weights_features_add_up_to_the_score() {
    let context = Context::embedded(TODAY);
    let mut random = Random(8);
    for _ in 0..30 {
        let answer = recommend(random_need(&mut random), &context).expect("a sound need");
        for shown in Shown::of(&answer, TODAY).choices {
            let features = shown.features();
            let sum: f64 = features
                .iter()
                .zip(Weights::FIXED.amounts())
                .map(|(f, w)| f * w)
                .sum();
            assert!((sum - shown.score).abs() < 3e-4, "{sum} {shown:?}");
        }
    }
}

#[test]
fn what_was_not_shown_cannot_be_chosen() {
    let context = Context::embedded(TODAY);
    let answer = recommend_text("a chat model on one L4 card", &context).expect("a sound need");
    let mut history = History::default();
    let id = history
        .record_shown("ann", Shown::of(&answer, TODAY))
        .expect("sound");
    let code = |r: Result<(), mistral_recommend::RecommendError>| r.map_err(|e| e.code());
    assert_eq!(
        code(history.record_choice("ann", id, 99, TODAY)),
        Err("out_of_range")
    );
    assert_eq!(
        code(history.record_choice("ann", id + 1, 0, TODAY)),
        Err("not_recorded")
    );
    assert_eq!(
        code(history.record_choice("bob", id, 0, TODAY)),
        Err("not_recorded")
    );
    assert!(history.record_shown("", Shown::of(&answer, TODAY)).is_err());
    assert!(
        history
            .record_shown(&"x".repeat(257), Shown::of(&answer, TODAY))
            .is_err()
    );
    assert!(history.erase("ann"));
    assert!(history.of("ann").is_empty() && !history.erase("ann"));
    assert!(History::from_json("{\"schema\":7,\"next\":1,\"users\":{}}").is_err());
}
