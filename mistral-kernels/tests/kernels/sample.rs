use mistral_kernels::testkit::values::uniform;
use mistral_kernels::{KernelError, Sampler, Sampling};
use proptest::prelude::*;

fn probabilities(sampling: Sampling, logits: &[f32], previous: &[u32]) -> Vec<f32> {
    let mut sampler = Sampler::new(sampling, 0).expect("in range");
    let mut out = vec![0.0; logits.len()];
    sampler
        .probabilities(&mut logits.to_vec(), previous, &mut out)
        .expect("finite logits");
    out
}

fn warm() -> Sampling {
    Sampling {
        temperature: 1.0,
        ..Sampling::default()
    }
}

#[test]
fn greedy_takes_the_highest_and_the_lower_id_of_a_tie() {
    let mut sampler = Sampler::new(Sampling::default(), 1).expect("in range");
    for (mut logits, expected) in [
        (vec![1.0, 3.0, 2.0], 1),
        (vec![3.0, 1.0, 3.0], 0),
        (vec![f32::NEG_INFINITY, -5.0], 1),
        (vec![7.0], 0),
    ] {
        assert_eq!(sampler.sample(&mut logits, &[]), Ok(expected));
    }
}

#[test]
fn each_filter_keeps_what_it_says() {
    let logits = [0.5f32.ln(), 0.25f32.ln(), 0.15f32.ln(), 0.1f32.ln()];
    let rows: &[(Sampling, [f32; 4])] = &[
        (warm(), [0.5, 0.25, 0.15, 0.1]),
        (
            Sampling { top_k: 2, ..warm() },
            [2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0],
        ),
        (
            Sampling {
                top_p: 0.7,
                ..warm()
            },
            [2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0],
        ),
        (
            Sampling {
                top_p: 0.8,
                ..warm()
            },
            [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0.0],
        ),
        (
            Sampling {
                top_p: 1e-6,
                ..warm()
            },
            [1.0, 0.0, 0.0, 0.0],
        ),
        (
            Sampling {
                min_p: 0.25,
                ..warm()
            },
            [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0.0],
        ),
        (
            Sampling {
                min_p: 1.0,
                ..warm()
            },
            [1.0, 0.0, 0.0, 0.0],
        ),
        (Sampling::default(), [1.0, 0.0, 0.0, 0.0]),
    ];
    for (sampling, expected) in rows {
        let found = probabilities(*sampling, &logits, &[]);
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 1e-5, "{sampling:?}: {found:?}");
        }
    }
}

#[test]
fn top_k_keeps_ties_with_its_last() {
    let found = probabilities(Sampling { top_k: 2, ..warm() }, &[1.0, 2.0, 1.0, 0.0], &[]);
    assert!(
        found[0] > 0.0 && found[0] == found[2] && found[3] == 0.0,
        "{found:?}"
    );
}

#[test]
fn penalties_change_previous_ids_once_or_by_count() {
    let logits = [2.0f32, -2.0, 1.0];
    let mut out = [0.0; 3];
    let mut run = |sampling: Sampling, previous: &[u32]| {
        let mut changed = logits.to_vec();
        let mut sampler = Sampler::new(sampling, 0).expect("in range");
        sampler
            .probabilities(&mut changed, previous, &mut out)
            .expect("finite");
        changed
    };
    let repetition = Sampling {
        repetition_penalty: 2.0,
        ..warm()
    };
    assert_eq!(run(repetition, &[0, 1, 0, 9]), [1.0, -4.0, 1.0]);
    let frequency = Sampling {
        frequency_penalty: 0.5,
        ..warm()
    };
    assert_eq!(run(frequency, &[2, 2, 0]), [1.5, -2.0, 0.0]);
    let presence = Sampling {
        presence_penalty: 0.5,
        ..warm()
    };
    assert_eq!(run(presence, &[2, 2, 0]), [1.5, -2.0, 0.5]);
}

#[test]
fn draws_follow_the_distribution_and_repeat_with_the_seed() {
    let logits = [0.6f32.ln(), 0.3f32.ln(), 0.1f32.ln()];
    let draw = |seed| {
        let mut sampler = Sampler::new(warm(), seed).expect("in range");
        (0..4000)
            .map(|_| sampler.sample(&mut logits.to_vec(), &[]).expect("finite"))
            .collect::<Vec<_>>()
    };
    let drawn = draw(3);
    assert_eq!(drawn, draw(3));
    assert_ne!(drawn, draw(4));
    for (id, p) in [(0u32, 0.6), (1, 0.3), (2, 0.1)] {
        let share = drawn.iter().filter(|&&d| d == id).count() as f64 / 4000.0;
        assert!((share - p).abs() < 0.03, "id {id}: {share}");
    }
}

#[test]
fn broken_logits_and_settings_are_refused() {
    let mut sampler = Sampler::new(warm(), 0).expect("in range");
    let error = sampler.sample(&mut [0.0, f32::NAN], &[]).expect_err("NaN");
    assert!(
        matches!(error, KernelError::NonFiniteLogit { id: 1, .. }),
        "{error}"
    );
    assert!(sampler.sample(&mut [f32::INFINITY], &[]).is_err());
    for sampling in [warm(), Sampling::default()] {
        let mut sampler = Sampler::new(sampling, 0).expect("in range");
        for mut logits in [vec![], vec![f32::NEG_INFINITY; 3]] {
            let error = sampler
                .sample(&mut logits, &[])
                .expect_err("nothing to choose");
            assert!(matches!(error, KernelError::NoCandidate { .. }), "{error}");
        }
    }
    for bad in [
        Sampling {
            temperature: -1.0,
            ..warm()
        },
        Sampling {
            temperature: f32::NAN,
            ..warm()
        },
        Sampling {
            top_p: 0.0,
            ..warm()
        },
        Sampling {
            top_p: 1.5,
            ..warm()
        },
        Sampling {
            min_p: -0.1,
            ..warm()
        },
        Sampling {
            repetition_penalty: 0.0,
            ..warm()
        },
        Sampling {
            frequency_penalty: f32::INFINITY,
            ..warm()
        },
    ] {
        assert!(Sampler::new(bad, 0).is_err(), "{bad:?}");
    }
    let tiny = Sampling {
        temperature: 1e-40,
        ..warm()
    };
    let found = probabilities(tiny, &[1.0, 2.0, 0.5], &[]);
    assert_eq!(found, [0.0, 1.0, 0.0]);
}

/// Top-p by its definition: sort all, add up from the least likely.
fn nucleus(logits: &[f32], top_p: f64) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits.iter().map(|l| f64::from(l - max).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| weights[a].total_cmp(&weights[b]));
    let mut kept = weights.clone();
    let mut sum = 0.0;
    for &i in &order[..order.len() - 1] {
        sum += weights[i] / total;
        if sum <= 1.0 - top_p {
            kept[i] = 0.0;
        }
    }
    let left: f64 = kept.iter().sum();
    kept.into_iter().map(|w| w / left).collect()
}

proptest! {
    #[test]
    fn top_p_equals_its_definition(seed in 0u64..1000, n in 1usize..400, top_p in 0.05f32..0.99) {
        let logits = uniform(seed, n, 6.0);
        let found = probabilities(Sampling { top_p, ..warm() }, &logits, &[]);
        let expected = nucleus(&logits, f64::from(top_p));
        for (f, e) in found.iter().zip(expected) {
            prop_assert!((f64::from(*f) - e).abs() < 1e-5);
        }
    }
}

/// Pearson's statistic of `counts` against `expected` probabilities, and its degrees of freedom.
fn chi_square(counts: &[u32], expected: &[f32]) -> (f64, usize) {
    let n = f64::from(counts.iter().sum::<u32>());
    let cells = counts.iter().zip(expected).filter(|(_, p)| **p > 0.0);
    let sum = cells
        .clone()
        .map(|(c, p)| (f64::from(*c) - n * f64::from(*p)).powi(2) / (n * f64::from(*p)));
    (sum.sum(), cells.count() - 1)
}

/// Counts of what `verify` returns over drafts from `proposed`; `trusting` takes every draft.
fn verified(sampling: Sampling, logits: &[f32], proposed: &[f32], trusting: bool) -> Vec<u32> {
    let mut target = Sampler::new(sampling, 11).expect("in range");
    let mut draft = Sampler::new(warm(), 12).expect("in range");
    let mut q = vec![0.0; logits.len()];
    let mut counts = vec![0; logits.len()];
    for _ in 0..40_000 {
        let x = draft.propose(&mut proposed.to_vec(), &[], &mut q).unwrap();
        let y = target
            .verify(&mut logits.to_vec(), &[1, 1, 3], x, &q)
            .unwrap();
        counts[if trusting { x } else { y } as usize] += 1;
    }
    counts
}

#[test]
fn what_is_verified_is_distributed_as_what_is_sampled() {
    let logits = [0.3, 1.2, -0.8, 0.9, -2.0, 0.1];
    let proposed = [1.0, -0.5, 0.4, 0.8, 0.2, -1.5];
    let filtered = Sampling {
        top_k: 4,
        repetition_penalty: 1.3,
        frequency_penalty: 0.2,
        ..warm()
    };
    for sampling in [warm(), filtered] {
        let expected = probabilities(sampling, &logits, &[1, 1, 3]);
        let counts = verified(sampling, &logits, &proposed, false);
        for (count, p) in counts.iter().zip(&expected) {
            assert!(*p > 0.0 || *count == 0, "{counts:?} of {expected:?}");
        }
        let (statistic, freedom) = chi_square(&counts, &expected);
        // Beyond the 99.9 % points of 3 and 5 degrees of freedom, 16.3 and 20.5.
        assert!(statistic < 20.5, "{statistic} with {freedom}: {counts:?}");
        let trusted = verified(sampling, &logits, &proposed, true);
        assert!(chi_square(&trusted, &expected).0 > 1000.0, "the test tells");
    }
}

#[test]
fn a_proposal_of_the_same_distribution_is_always_taken() {
    let mut a = Sampler::new(warm(), 1).expect("in range");
    let mut b = Sampler::new(warm(), 2).expect("in range");
    let logits = uniform(3, 50, 2.0);
    let mut q = vec![0.0; 50];
    for _ in 0..200 {
        let x = a.propose(&mut logits.clone(), &[], &mut q).unwrap();
        assert_eq!(b.verify(&mut logits.clone(), &[], x, &q), Ok(x));
    }
    let error = b.verify(&mut logits.clone(), &[], 50, &q).unwrap_err();
    assert!(error.to_string().contains("drafted id"), "{error}");
    assert!(b.verify(&mut logits.clone(), &[], 0, &q[1..]).is_err());
}
