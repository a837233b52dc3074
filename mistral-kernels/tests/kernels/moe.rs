use mistral_kernels::testkit::values::{Weights, uniform};
use mistral_kernels::testkit::{cpus, oracle, worst};
use mistral_kernels::{
    Cpu, ExpertWeights, Experts, ExpertsScratch, KernelError, Matrix, Router, Routing, Scoring,
    experts, route,
};
use proptest::prelude::*;

fn router(experts: usize, k: usize) -> Router {
    Router::softmax(experts, k)
}

fn check(what: &Router, logits: &[f32], bias: Option<&[f32]>) {
    let mut routing = Routing::new(1, what.top_k);
    route(what, logits, bias, &mut routing).expect("the shapes fit");
    assert_eq!(routing.tokens(), logits.len() / what.num_experts);
    for (t, row) in logits.chunks_exact(what.num_experts).enumerate() {
        let expected = oracle::route(what, row, bias);
        for (j, (expert, weight)) in expected.into_iter().enumerate() {
            let slot = t * what.top_k + j;
            assert_eq!(
                routing.experts()[slot] as usize,
                expert,
                "{what:?} token {t} rank {j}"
            );
            let found = f64::from(routing.weights()[slot]);
            assert!(
                (found - weight).abs() <= 1e-6 * weight.max(1.0),
                "{found} is not {weight}"
            );
        }
    }
}

#[test]
fn routes_equal_the_definition() {
    let sigmoid = Router {
        scoring: Scoring::Sigmoid,
        ..router(16, 3)
    };
    let grouped = Router {
        groups: 4,
        groups_per_token: 2,
        routed_scale: 2.5,
        ..router(16, 3)
    };
    let cases = [
        router(1, 1),
        router(8, 2),
        router(8, 8),
        router(128, 4),
        Router {
            normalize: false,
            routed_scale: 1.5,
            ..router(8, 2)
        },
        grouped,
        Router {
            scoring: Scoring::Sigmoid,
            ..grouped
        },
        Router {
            groups: 16,
            groups_per_token: 5,
            ..router(16, 3)
        },
        sigmoid,
    ];
    for what in cases {
        let logits = uniform(what.num_experts as u64, 40 * what.num_experts, 4.0);
        check(&what, &logits, None);
    }
    let bias = uniform(9, 16, 0.5);
    let logits = uniform(1, 40 * 16, 4.0);
    check(&sigmoid, &logits, Some(&bias));
    check(
        &Router {
            scoring: Scoring::Sigmoid,
            ..grouped
        },
        &logits,
        Some(&bias),
    );
}

#[test]
fn ties_go_to_the_lower_id() {
    let mut routing = Routing::new(1, 2);
    for logits in [[0.0f32; 4], [-1e30; 4], [3.0; 4]] {
        route(&router(4, 2), &logits, None, &mut routing).expect("finite");
        assert_eq!(routing.experts(), [0, 1]);
        assert_eq!(routing.weights(), [0.5, 0.5]);
    }
    route(&router(4, 2), &[1.0, 2.0, 2.0, 2.0], None, &mut routing).expect("finite");
    assert_eq!(routing.experts(), [1, 2]);
    let grouped = Router {
        groups: 2,
        groups_per_token: 1,
        ..router(4, 2)
    };
    route(&grouped, &[1.0; 4], None, &mut routing).expect("finite");
    assert_eq!(routing.experts(), [0, 1]);
}

#[test]
fn scores_that_round_to_nothing_keep_their_order() {
    let mut routing = Routing::new(1, 3);
    route(
        &router(4, 3),
        &[0.0, -300.0, -200.0, -400.0],
        None,
        &mut routing,
    )
    .expect("finite");
    assert_eq!(routing.experts()[0], 0);
    // Both weigh nothing in f32; what matters is that neither is the last one.
    let mut rest = routing.experts()[1..].to_vec();
    rest.sort_unstable();
    assert_eq!(rest, [1, 2]);
}

#[test]
fn a_broken_logit_is_named() {
    let mut routing = Routing::new(2, 1);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let logits = [0.0, 1.0, 2.0, 0.0, bad, 1.0];
        let error = route(&router(3, 1), &logits, None, &mut routing).expect_err("not finite");
        assert!(
            matches!(
                error,
                KernelError::NonFiniteRouterLogit {
                    token: 1,
                    expert: 1,
                    ..
                }
            ),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .starts_with("router: logit of token 1 for expert 1 is")
        );
    }
}

#[test]
fn impossible_routers_are_refused() {
    let mut routing = Routing::new(1, 1);
    for what in [
        router(0, 1),
        router(4, 0),
        router(4, 5),
        router(Router::MAX_EXPERTS + 1, 1),
        Router {
            groups: 3,
            ..router(4, 1)
        },
        Router {
            groups: 0,
            ..router(4, 1)
        },
        Router {
            groups: 2,
            groups_per_token: 3,
            ..router(4, 1)
        },
        Router {
            groups: 2,
            groups_per_token: 1,
            ..router(4, 3)
        },
    ] {
        assert!(
            route(&what, &[0.0; 4], None, &mut routing).is_err(),
            "{what:?}"
        );
    }
    assert!(route(&router(3, 1), &[0.0; 4], None, &mut routing).is_err());
    assert!(route(&router(4, 1), &[0.0; 4], Some(&[0.0; 3]), &mut routing).is_err());
}

#[test]
fn a_bias_that_is_no_number_is_refused() {
    let mut routing = Routing::new(1, 2);
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let bias = [0.0, value, 0.0, value];
        let found = route(&router(4, 2), &[0.0; 4], Some(&bias), &mut routing);
        assert!(
            matches!(
                found,
                Err(KernelError::NonFiniteRouterBias { expert: 1, .. })
            ),
            "{value}: {found:?}"
        );
    }
}

#[test]
fn load_counts_tokens() {
    let routing = Routing::from_parts(2, vec![0, 1, 0, 2, 0, 1], vec![0.5; 6]).expect("fits");
    let load = routing.load(4);
    assert_eq!(load.tokens_per_expert, [3, 2, 1, 0]);
    assert!((load.max_over_mean - 2.0).abs() < 1e-12);
    let expected = -(0.5f64 * 0.5f64.ln()
        + (1.0 / 3.0) * (1.0f64 / 3.0).ln()
        + (1.0 / 6.0) * (1.0f64 / 6.0).ln());
    assert!((load.entropy - expected).abs() < 1e-12);
    assert_eq!(Routing::new(3, 2).load(2).max_over_mean, 0.0);
    assert!(Routing::from_parts(2, vec![0; 3], vec![0.0; 3]).is_err());
}

/// Weights of `n` experts; their kinds may differ from call to call.
struct Stack {
    w1: Vec<Weights>,
    w2: Vec<Weights>,
    w3: Vec<Weights>,
    dim: usize,
    hidden: usize,
}

impl Stack {
    fn new(n: usize, dim: usize, hidden: usize, kind: usize) -> Self {
        let one = |seed: u64| {
            let all = Weights::all(&uniform(seed, dim * hidden, 0.2));
            all.into_iter().nth(kind).expect("three kinds")
        };
        let many = |base: u64| (0..n as u64).map(|e| one(base + e)).collect();
        Self {
            w1: many(100),
            w2: many(200),
            w3: many(300),
            dim,
            hidden,
        }
    }

    fn weights(&self) -> Vec<ExpertWeights<'_>> {
        let (d, h) = (self.dim, self.hidden);
        (0..self.w1.len())
            .map(|e| ExpertWeights {
                w1: Matrix::new(h, d, self.w1[e].data()).expect("fits"),
                w2: Matrix::new(d, h, self.w2[e].data()).expect("fits"),
                w3: Matrix::new(h, d, self.w3[e].data()).expect("fits"),
            })
            .collect()
    }
}

fn combined(weights: &[ExpertWeights<'_>], x: &[f32], routing: &Routing) -> Vec<f64> {
    let (dim, k) = (weights[0].w1.cols(), routing.top_k());
    let mut out = Vec::new();
    for (t, x) in x.chunks_exact(dim).enumerate() {
        let mut row = vec![0.0; dim];
        for slot in t * k..(t + 1) * k {
            let e = &weights[routing.experts()[slot] as usize];
            let y = oracle::feed_forward(&e.w1, &e.w2, &e.w3, x);
            for (r, y) in row.iter_mut().zip(y) {
                *r += f64::from(routing.weights()[slot]) * y;
            }
        }
        out.extend(row);
    }
    out
}

#[test]
fn experts_equal_the_definition() {
    for cpu in cpus() {
        for (n, k, dim, hidden) in [
            (1, 1, 8, 5),
            (8, 2, 64, 48),
            (4, 4, 33, 70),
            (16, 3, 40, 24),
        ] {
            for kind in 0..3 {
                let stack = Stack::new(n, dim, hidden, kind);
                let weights = stack.weights();
                for t in [0, 1, 2, 5, 40] {
                    let x = uniform(t as u64, t * dim, 1.0);
                    let mut routing = Routing::new(t, k);
                    route(&router(n, k), &uniform(5, t * n, 2.0), None, &mut routing)
                        .expect("fits");
                    let mut y = vec![f32::NAN; t * dim];
                    let mut scratch = ExpertsScratch::new(cpu.threads(), t, k, dim, hidden);
                    let all = Experts {
                        count: n,
                        weights: &|e| weights[e],
                    };
                    experts(&cpu, &all, &x, &routing, &mut y, &mut scratch).expect("fits");
                    let far = worst(&y, &combined(&weights, &x, &routing), None);
                    // bf16 tiles round activations twice.
                    let allowed = if kind == 2 { 2e-2 } else { 1e-5 };
                    assert!(
                        far < allowed,
                        "{} {n}x{k} kind {kind} t {t}: {far:e}",
                        cpu.isa()
                    );
                }
            }
        }
    }
}

#[test]
fn one_expert_is_a_dense_feed_forward_and_equal_experts_average_to_it() {
    let stack = Stack::new(1, 32, 20, 0);
    let weights = stack.weights();
    for cpu in cpus() {
        for t in [1, 6] {
            let x = uniform(3, t * 32, 1.0);
            let run = |weights: &[ExpertWeights<'_>], k: usize, ids: Vec<u32>, w: Vec<f32>| {
                let routing = Routing::from_parts(k, ids, w).expect("fits");
                let mut y = vec![0.0; t * 32];
                let mut scratch = ExpertsScratch::new(cpu.threads(), t, k, 32, 20);
                let all = Experts {
                    count: weights.len(),
                    weights: &|e| weights[e],
                };
                experts(&cpu, &all, &x, &routing, &mut y, &mut scratch).expect("fits");
                y
            };
            let dense = run(&weights, 1, vec![0; t], vec![1.0; t]);
            let same = [weights[0], weights[0]];
            let pair = run(&same, 2, [1, 0].repeat(t), [0.75, 0.25].repeat(t));
            let expected: Vec<f64> = dense.iter().map(|&v| f64::from(v)).collect();
            assert!(worst(&pair, &expected, None) < 1e-6);
        }
    }
}

#[test]
fn a_routing_to_nowhere_is_refused() {
    let cpu = Cpu::new(1);
    let stack = Stack::new(2, 4, 4, 0);
    let weights = stack.weights();
    let all = Experts {
        count: 2,
        weights: &|e| weights[e],
    };
    let mut scratch = ExpertsScratch::new(1, 1, 1, 4, 4);
    let mut y = [0.0; 4];
    let routing = Routing::from_parts(1, vec![2], vec![1.0]).expect("fits");
    let error = experts(&cpu, &all, &[0.0; 4], &routing, &mut y, &mut scratch).expect_err("2");
    assert_eq!(
        error.to_string(),
        "experts: token 0 is routed to expert 2, expected less than 2"
    );
    let two = Routing::from_parts(1, vec![0, 0], vec![1.0; 2]).expect("fits");
    let mut wide = [0.0; 8];
    let error = experts(&cpu, &all, &[0.0; 8], &two, &mut wide, &mut scratch).expect_err("room");
    assert!(matches!(
        error,
        KernelError::Scratch {
            needed: 2,
            capacity: 1,
            ..
        }
    ));
    assert!(experts(&cpu, &all, &[0.0; 8], &routing, &mut wide, &mut scratch).is_err());
}

proptest! {
    /// Weights sum to the scale, descend, and name each expert once.
    #[test]
    fn weights_are_a_distribution(
        logits in prop::collection::vec(-50.0f32..50.0, 12),
        k in 1usize..=12,
        scale in 0.1f32..4.0,
    ) {
        let what = Router { routed_scale: scale, ..router(12, k) };
        let mut routing = Routing::new(1, k);
        route(&what, &logits, None, &mut routing).expect("finite");
        let sum: f32 = routing.weights().iter().sum();
        prop_assert!((sum / scale - 1.0).abs() < 1e-5);
        prop_assert!(routing.weights().is_sorted_by(|a, b| a >= b));
        let mut ids = routing.experts().to_vec();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), k);
    }

    /// A constant added to all logits of a softmax changes nothing but rounding.
    #[test]
    fn softmax_ignores_an_offset(logits in prop::collection::vec(-8i16..8, 8), offset in -64i16..64) {
        let plain: Vec<f32> = logits.iter().map(|&v| f32::from(v) / 4.0).collect();
        let moved: Vec<f32> = plain.iter().map(|v| v + f32::from(offset)).collect();
        let (mut a, mut b) = (Routing::new(1, 3), Routing::new(1, 3));
        route(&router(8, 3), &plain, None, &mut a).expect("finite");
        route(&router(8, 3), &moved, None, &mut b).expect("finite");
        prop_assert_eq!(a.experts(), b.experts());
    }
}
