//! The candle ops: forward against their composition, gradients against finite differences.
#![cfg(feature = "candle")]

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, Var};
use mistral_kernels::candle::{self, Expert};
use mistral_kernels::testkit::values::uniform;
use mistral_kernels::{Attention, Cpu, RopeAngles, RopeLayout, Router, Scoring, inv_freq};

/// Half the distance between the two points of a difference quotient.
const STEP: f32 = 1e-2;
/// Largest error of a gradient, relative to the largest gradient of that argument: the quotient's
/// truncation error is `STEP²/6` times a third derivative of order one, its rounding error
/// `2⁻²⁴ / STEP` of sums of order ten.
const TOLERANCE: f32 = 3e-3;

type Op<'a> = Box<dyn Fn(&[Tensor]) -> Result<Tensor> + 'a>;

/// An operation and the shapes of its f32 arguments.
struct Case<'a> {
    name: &'static str,
    shapes: Vec<Vec<usize>>,
    op: Op<'a>,
}

fn random(seed: u64, shape: &[usize]) -> Tensor {
    let values = uniform(seed, shape.iter().product(), 1.0);
    Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values as the shape says")
}

/// `Σ op(arguments) ⊙ r` with fixed random `r`, so that no gradient is trivially constant.
fn loss(op: &Op, arguments: &[Tensor]) -> Result<Tensor> {
    let y = op(arguments)?;
    let r = random(99, y.dims());
    (y * r)?.sum_all()
}

/// The arguments whose gradients are missing or wrong.
fn check(case: &Case) -> Result<Vec<String>> {
    let arguments: Vec<Tensor> = case
        .shapes
        .iter()
        .enumerate()
        .map(|(i, s)| random(i as u64 + 1, s))
        .collect();
    let vars = arguments
        .iter()
        .map(Var::from_tensor)
        .collect::<Result<Vec<_>>>()?;
    let leaves: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let mut wrong = Vec::new();
    let (fast, tracked) = ((case.op)(&arguments)?, (case.op)(&leaves)?);
    let gap = (fast - tracked)?.abs()?.max_all()?.to_scalar::<f32>()?;
    if gap.is_nan() || gap > 1e-5 {
        wrong.push(format!(
            "{}: tracked and untracked results differ by {gap}",
            case.name
        ));
    }
    let grads = loss(&case.op, &leaves)?.backward()?;
    for (i, var) in vars.iter().enumerate() {
        let Some(grad) = grads.get(var) else {
            wrong.push(format!("{}: argument {i} has no gradient", case.name));
            continue;
        };
        let grad = grad.flatten_all()?.to_vec1::<f32>()?;
        let expected = quotients(&case.op, &arguments, i)?;
        let largest = expected.iter().fold(1e-3f32, |m, g| m.max(g.abs()));
        for (j, (found, expected)) in grad.iter().zip(&expected).enumerate() {
            let error = (found - expected).abs() / largest;
            if error.is_nan() || error > TOLERANCE {
                wrong.push(format!(
                    "{}: argument {i}[{j}]: {found}, not {expected}",
                    case.name
                ));
                break;
            }
        }
    }
    Ok(wrong)
}

/// Central differences of the loss for every element of argument `i`.
fn quotients(op: &Op, arguments: &[Tensor], i: usize) -> Result<Vec<f32>> {
    let values = arguments[i].flatten_all()?.to_vec1::<f32>()?;
    let mut arguments = arguments.to_vec();
    let shape = arguments[i].shape().clone();
    let mut at = |j: usize, step: f32| -> Result<f32> {
        let mut moved = values.clone();
        moved[j] += step;
        arguments[i] = Tensor::from_vec(moved, shape.clone(), &Device::Cpu)?;
        loss(op, &arguments)?.to_scalar::<f32>()
    };
    (0..values.len())
        .map(|j| Ok((at(j, STEP)? - at(j, -STEP)?) / (2.0 * STEP)))
        .collect()
}

fn angles(t: usize, dim: usize) -> Arc<RopeAngles> {
    let mut angles = RopeAngles::new(t, dim);
    let positions: Vec<u32> = (0..t as u32).collect();
    angles
        .fill(&inv_freq(10.0, dim, None), 1.5, &positions)
        .expect("room for t positions");
    Arc::new(angles)
}

fn shapes(shapes: &[&[usize]]) -> Vec<Vec<usize>> {
    shapes.iter().map(|s| s.to_vec()).collect()
}

fn attention_case<'a>(
    cpu: &'a Arc<Cpu>,
    name: &'static str,
    (heads, kv_heads): (usize, usize),
    window: Option<usize>,
) -> Case<'a> {
    let attention = Attention {
        n_heads: heads,
        scale: 0.7,
        window,
    };
    let (b, t, d, dv) = (2, 5, 4, 3);
    Case {
        name,
        shapes: shapes(&[
            &[b, t, heads, d],
            &[b, t, kv_heads, d],
            &[b, t, kv_heads, dv],
        ]),
        op: Box::new(move |a| candle::attention(cpu, &attention, &a[0], &a[1], &a[2])),
    }
}

fn rope_case<'a>(cpu: &'a Arc<Cpu>, name: &'static str, layout: RopeLayout) -> Case<'a> {
    let angles = angles(3, 4);
    Case {
        name,
        shapes: shapes(&[&[2, 3, 2, 7]]),
        op: Box::new(move |a| candle::rope(cpu, &a[0], layout, 2, &angles)),
    }
}

/// The weights of the chosen experts; the choice itself must not change within a difference.
fn route_case<'a>(name: &'static str, scoring: Scoring, normalize: bool) -> Case<'a> {
    let router = Router {
        scoring,
        normalize,
        routed_scale: 1.5,
        ..Router::softmax(8, 3)
    };
    Case {
        name,
        shapes: shapes(&[&[3, 8]]),
        op: Box::new(move |a| {
            // Far apart, so that a step changes no order.
            let ladder: Vec<f32> = (0..8).map(|e| 0.5 * e as f32).collect();
            let ladder = Tensor::from_vec(ladder, (1, 8), &Device::Cpu)?;
            let logits = a[0].affine(0.2, 0.0)?.broadcast_add(&ladder)?;
            Ok(candle::route(&router, &logits, None)?.weights)
        }),
    }
}

/// Arguments: x, routing logits, then w1, w2, w3 of each expert.
fn experts_case<'a>(cpu: &'a Arc<Cpu>) -> Case<'a> {
    let (t, dim, hidden, n) = (5, 4, 3, 3);
    let mut shapes = shapes(&[&[t, dim], &[t, n]]);
    for _ in 0..n {
        shapes.extend([vec![hidden, dim], vec![dim, hidden], vec![hidden, dim]]);
    }
    let router = Router::softmax(n, 2);
    // A fixed part of the logits decides the choice.
    let far: Vec<f32> = (0..t * n)
        .map(|i| 2.0 * ((i * 7 + i / n) % n) as f32)
        .collect();
    let far = Tensor::from_vec(far, (t, n), &Device::Cpu).expect("as many values");
    Case {
        name: "experts",
        shapes,
        op: Box::new(move |a| {
            let routed = candle::route(&router, &(&a[1] * 0.5)?.add(&far)?, None)?;
            let experts: Vec<Expert> = a[2..]
                .chunks(3)
                .map(|w| Expert {
                    w1: w[0].clone(),
                    w2: w[1].clone(),
                    w3: w[2].clone(),
                })
                .collect();
            candle::experts(cpu, &experts, &a[0], &routed)
        }),
    }
}

#[test]
fn gradients_equal_difference_quotients() {
    let cpu = Arc::new(Cpu::new(2));
    let cases = [
        Case {
            name: "linear",
            shapes: shapes(&[&[2, 3, 5], &[4, 5]]),
            op: Box::new(|a| candle::linear(&cpu, &a[0], &a[1])),
        },
        Case {
            name: "linear, transposed arguments",
            shapes: shapes(&[&[5, 3], &[5, 4]]),
            op: Box::new(|a| candle::linear(&cpu, &a[0].t()?, &a[1].t()?)),
        },
        Case {
            name: "rms_norm",
            shapes: shapes(&[&[2, 3, 6], &[6]]),
            op: Box::new(|a| candle::rms_norm(&cpu, &a[0], &a[1], 1e-2)),
        },
        Case {
            name: "swiglu",
            shapes: shapes(&[&[3, 7], &[3, 7]]),
            op: Box::new(|a| candle::swiglu(&cpu, &a[0], &a[1])),
        },
        rope_case(&cpu, "rope, half-split", RopeLayout::HalfSplit),
        rope_case(&cpu, "rope, interleaved", RopeLayout::Interleaved),
        attention_case(&cpu, "attention", (2, 2), None),
        attention_case(&cpu, "attention, grouped", (4, 2), None),
        attention_case(&cpu, "attention, one key head, window", (4, 1), Some(2)),
        route_case("route, softmax", Scoring::Softmax, true),
        route_case("route, softmax, not normalised", Scoring::Softmax, false),
        route_case("route, sigmoid", Scoring::Sigmoid, true),
        experts_case(&cpu),
    ];
    let wrong: Vec<String> = cases
        .iter()
        .flat_map(|case| check(case).unwrap_or_else(|e| vec![format!("{}: {e}", case.name)]))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn half_weights_get_gradients_in_their_own_dtype() -> Result<()> {
    let cpu = Arc::new(Cpu::new(1));
    let (x, w) = (random(1, &[3, 5]), random(2, &[4, 5]));
    for dtype in [DType::F16, DType::BF16] {
        let w = Var::from_tensor(&w.to_dtype(dtype)?)?;
        let grads = candle::linear(&cpu, &x, &w)?.sum_all()?.backward()?;
        let grad = grads.get(&w).expect("a gradient for the weight");
        assert_eq!(grad.dtype(), dtype);
        let expected = x.sum_keepdim(0)?.broadcast_as((4, 5))?;
        let gap = (grad.to_dtype(DType::F32)? - expected)?.abs()?.max_all()?;
        assert!(gap.to_scalar::<f32>()? < 2e-2, "{dtype:?}");
    }
    Ok(())
}

#[test]
fn one_expert_is_a_dense_layer() -> Result<()> {
    let cpu = Arc::new(Cpu::new(1));
    let (x, gate) = (random(1, &[4, 6]), random(2, &[1, 6]));
    let expert = Expert {
        w1: random(3, &[8, 6]),
        w2: random(4, &[6, 8]),
        w3: random(5, &[8, 6]),
    };
    let experts = [expert.clone()];
    let (y, routed) = candle::moe(&cpu, &Router::softmax(1, 1), &gate, &experts, &x)?;
    let inner = (x.matmul(&expert.w1.t()?)?.silu()? * x.matmul(&expert.w3.t()?)?)?;
    let gap = (y - inner.matmul(&expert.w2.t()?)?)?.abs()?.max_all()?;
    assert!(gap.to_scalar::<f32>()? < 1e-5);
    assert_eq!(routed.routing.load(1).tokens_per_expert, [4]);
    Ok(())
}

#[test]
fn unsuitable_tensors_are_refused_by_name() -> Result<()> {
    let cpu = Arc::new(Cpu::new(1));
    let x = random(1, &[2, 4]);
    let attention = Attention {
        n_heads: 3,
        scale: 1.0,
        window: None,
    };
    let heads = |n| random(2, &[1, 2, n, 4]);
    let refused = [
        (
            candle::linear(&cpu, &x, &random(2, &[3, 5])),
            "linear: x has 4 columns, expected 5",
        ),
        (
            candle::linear(&cpu, &x.to_dtype(DType::F64)?, &x),
            "linear: x is F64, expected F32",
        ),
        (
            candle::swiglu(&cpu, &x, &random(2, &[2, 3])),
            "swiglu: up has shape [2, 3]",
        ),
        (
            candle::rms_norm(&cpu, &x, &random(2, &[3]), 1e-5),
            "rms_norm: x has 4 columns",
        ),
        (
            candle::attention(&cpu, &attention, &heads(3), &heads(2), &heads(2)),
            "attention: 3 heads of q, expected a multiple of v's 2",
        ),
        (
            candle::route(&Router::softmax(4, 2), &(&x * f64::NAN)?, None).map(|r| r.weights),
            "router: logit of token 0 for expert 0 is NaN",
        ),
        (
            candle::rope(&cpu, &heads(2), RopeLayout::HalfSplit, 0, &angles(3, 4)),
            "rope: x has 2 tokens",
        ),
    ];
    for (result, expected) in refused {
        let message = result.expect_err(expected).to_string();
        assert!(message.contains(expected), "{message}");
    }
    Ok(())
}
