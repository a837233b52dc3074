//! Gradients of the differentiable decoder, and its answers to unsuitable input.
#![cfg(feature = "candle")]

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use mistral_core::model::ModelSpec;
use mistral_infer::candle::{Decoder, load_balancing_loss};

const MIXTRAL: &str = include_str!("../testdata/tiny_mixtral.json");
const MISTRAL4: &str = include_str!("../testdata/tiny_mistral4.json");
const LARGE4: &str = include_str!("../testdata/tiny_large4.json");

/// Coefficient of the load-balancing loss in the tested objective.
const AUX: f64 = 0.3;
/// Half the distance of the two points of the difference quotient, along a direction of length one.
const STEP: f64 = 1e-2;
/// Relative error allowed: rounding of f32 losses of about 3 over `2 · STEP` gives 2e-5 absolute.
const TOLERANCE: f64 = 5e-3;

type Variables = BTreeMap<String, Var>;

/// Uniform in [-1, 1), from a counter (SplitMix64).
fn uniform(state: &mut u64) -> f32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

fn spec(config: &str) -> ModelSpec {
    ModelSpec::from_hf_config(config).expect("a supported model")
}

fn variables(spec: &ModelSpec) -> Result<(Variables, Decoder)> {
    let state = RefCell::new((7u64, Variables::new()));
    let decoder = Decoder::new(spec, &|name: &str, shape: &[usize]| {
        let (seed, variables) = &mut *state.borrow_mut();
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| uniform(seed)).collect();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?;
        // Norms around one, so that signals keep their size.
        let tensor = if shape.len() == 1 {
            (tensor * 0.2)? + 1.0
        } else {
            tensor * 0.6
        };
        let var = Var::from_tensor(&tensor?)?;
        let leaf = var.as_tensor().clone();
        variables.insert(name.to_owned(), var);
        Ok(leaf)
    })?;
    Ok((state.into_inner().1, decoder))
}

/// Next-token cross-entropy and load-balancing loss.
fn loss(decoder: &Decoder) -> Result<Tensor> {
    let ids = Tensor::new(
        &[[1u32, 5, 9, 3, 17, 8, 2, 5], [1, 7, 7, 20, 4, 11, 6, 9]],
        &Device::Cpu,
    )?;
    let targets = Tensor::new(
        &[5u32, 9, 3, 17, 8, 2, 5, 1, 7, 7, 20, 4, 11, 6, 9, 13],
        &Device::Cpu,
    )?;
    let trace = decoder.forward_traced(&ids)?;
    let logits = trace.logits.reshape((16, ()))?;
    let aux = load_balancing_loss(trace.layers.iter().filter_map(|l| l.routing.as_ref()))?;
    candle_nn::loss::cross_entropy(&logits, &targets)? + (aux * AUX)?
}

/// Moves every variable by `step` along its direction.
fn moved(
    variables: &Variables,
    directions: &BTreeMap<String, Tensor>,
    spec: &ModelSpec,
    step: f64,
) -> Result<f64> {
    let decoder = Decoder::new(spec, &|name: &str, _: &[usize]| {
        variables[name].as_detached_tensor() + (&directions[name] * step)?
    })?;
    Ok(f64::from(loss(&decoder)?.to_scalar::<f32>()?))
}

fn check(name: &str, config: &str) -> Result<Vec<String>> {
    let spec = spec(config);
    let (variables, decoder) = variables(&spec)?;
    let grads = loss(&decoder)?.backward()?;
    let mut wrong = Vec::new();
    let (mut seed, mut squares) = (11u64, 0.0);
    let mut directions = BTreeMap::new();
    for (parameter, var) in &variables {
        let values: Vec<f32> = (0..var.elem_count()).map(|_| uniform(&mut seed)).collect();
        // The indexer's choice is discrete: along its parameters the loss only jumps.
        let length = if parameter.contains(".indexer.") {
            0.0
        } else {
            1.0
        };
        let direction = (Tensor::from_vec(values, var.shape(), &Device::Cpu)? * length)?;
        squares += f64::from(direction.sqr()?.sum_all()?.to_scalar::<f32>()?);
        directions.insert(parameter.clone(), direction);
    }
    let mut slope = 0.0;
    for (parameter, direction) in &mut directions {
        *direction = (&*direction / squares.sqrt())?;
        let grad = grads.get(&variables[parameter]);
        let size = grad
            .map(|g| g.abs()?.max_all()?.to_scalar::<f32>())
            .transpose()?;
        if size.is_none_or(|s| s == 0.0 || s.is_nan()) != parameter.contains(".indexer.") {
            wrong.push(format!("{name}: {parameter}: largest gradient {size:?}"));
        }
        if let Some(grad) = grad {
            slope += f64::from((grad * &*direction)?.sum_all()?.to_scalar::<f32>()?);
        }
    }
    let (ahead, behind) = (
        moved(&variables, &directions, &spec, STEP)?,
        moved(&variables, &directions, &spec, -STEP)?,
    );
    let quotient = (ahead - behind) / (2.0 * STEP);
    if (slope - quotient).abs().is_nan()
        || (slope - quotient).abs() > TOLERANCE * slope.abs().max(0.1)
    {
        wrong.push(format!(
            "{name}: slope {slope}, difference quotient {quotient}"
        ));
    }
    Ok(wrong)
}

#[test]
fn gradients_reach_every_parameter_and_equal_difference_quotients() {
    let cases = [
        ("mixtral", MIXTRAL),
        ("mistral4", MISTRAL4),
        ("large4", LARGE4),
    ];
    let wrong: Vec<String> = cases
        .iter()
        .flat_map(|(name, config)| {
            check(name, config).unwrap_or_else(|e| vec![format!("{name}: {e}")])
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_prefix_has_the_same_logits_alone() -> Result<()> {
    for config in [MIXTRAL, MISTRAL4, LARGE4] {
        let (_, decoder) = variables(&spec(config))?;
        let ids = Tensor::new(&[[1u32, 5, 9, 3, 17, 8, 2, 5]], &Device::Cpu)?;
        let whole = decoder.forward(&ids)?.narrow(1, 0, 5)?;
        let prefix = decoder.forward(&ids.narrow(1, 0, 5)?)?;
        let gap = (whole - prefix)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(gap < 1e-4, "{gap}");
    }
    Ok(())
}

#[test]
fn balance_is_one_for_even_routers_and_grows_with_the_busiest() -> Result<()> {
    let (_, decoder) = variables(&spec(MIXTRAL))?;
    let ids = Tensor::new(&[[1u32, 5, 9, 3]], &Device::Cpu)?;
    let mut routing = decoder.forward_traced(&ids)?.layers[0]
        .routing
        .clone()
        .expect("experts");
    routing.scores = (routing.scores.zeros_like()? + 0.25)?;
    routing.tokens_per_expert = vec![2, 2, 2, 2];
    assert_eq!(load_balancing_loss([&routing])?.to_scalar::<f32>()?, 1.0);
    routing.scores = Tensor::new(&[[0.5f32, 0.5, 0.0, 0.0]], &Device::Cpu)?.repeat((4, 1))?;
    routing.tokens_per_expert = vec![4, 4, 0, 0];
    assert_eq!(load_balancing_loss([&routing])?.to_scalar::<f32>()?, 2.0);
    assert!(load_balancing_loss([]).is_err());
    Ok(())
}

#[test]
fn unsuitable_parameters_and_ids_are_refused_by_name() -> Result<()> {
    let spec = spec(MIXTRAL);
    let ones = |name: &str, shape: &[usize], broken: &str| -> Result<Tensor> {
        let mut shape = shape.to_vec();
        if name == broken {
            shape[0] += 1;
        }
        Tensor::ones(shape, DType::F32, &Device::Cpu)
    };
    for broken in [
        "tok_embeddings.weight",
        "layers.1.experts.3.w2.weight",
        "layers.0.attention.wk.weight",
    ] {
        let error =
            Decoder::new(&spec, &|n: &str, s: &[usize]| ones(n, s, broken)).expect_err(broken);
        let message = error.to_string();
        assert!(
            message.contains(broken) && message.contains("expected shape"),
            "{message}"
        );
    }
    let nan_gate = |name: &str, shape: &[usize]| {
        let tensor = ones(name, shape, "")?;
        if name == "layers.1.gate.weight" {
            tensor * f64::NAN
        } else {
            Ok(tensor)
        }
    };
    let ids = Tensor::new(&[[1u32, 2]], &Device::Cpu)?;
    let error = Decoder::new(&spec, &nan_gate)?
        .forward(&ids)
        .expect_err("not a number");
    assert!(
        error
            .to_string()
            .contains("layer 1: router logits of token 0"),
        "{error}"
    );
    let decoder = Decoder::new(&spec, &|n: &str, s: &[usize]| ones(n, s, ""))?;
    assert!(
        decoder
            .forward(&Tensor::new(&[[32u32]], &Device::Cpu)?)
            .is_err()
    );
    assert!(
        decoder
            .forward(&Tensor::zeros((1, 0), DType::U32, &Device::Cpu)?)
            .is_err()
    );
    Ok(())
}
