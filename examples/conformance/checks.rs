//! The comparisons of a model case.

use std::error::Error;

use serde_json::Value;

use crate::bf16;
use crate::engine::{Engine, Trace};
use crate::report::{Checks, Tolerance};
use crate::tensors::{Array, Tensors};

/// The arithmetic that a reference was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// f32 throughout.
    F32,
    /// bf16 end to end: our activations are f32, so results agree on average only.
    Bf16,
}

/// Largest difference of a f32 logit, and of intermediate values of magnitude 1.
pub(crate) const F32_MAX: f64 = 2e-3;
/// Router logits closer than this may change places in f32.
const NEAR_TIE: f32 = 1e-4;
/// Length of the pieces of a chunked prefill: small, odd, and no divisor of usual windows.
const PIECE: usize = 7;

/// Everything that the reference has numbers for.
pub(crate) fn check(
    engine: &mut dyn Engine,
    numbers: Numbers,
    inputs: &Tensors,
    expected: &Tensors,
    meta: &Value,
    checks: &mut Checks,
) -> Result<(), Box<dyn Error>> {
    let b1 = inputs
        .sequences("input_ids.b1")?
        .ok_or("input_ids.b1 is missing")?;
    let trace = engine.prefill(&b1)?;
    match numbers {
        Numbers::F32 => {
            inner(&trace, "", expected, checks);
            logits(&trace, "prefill.logits.b1", expected, checks);
            second_batch(engine, inputs, expected, meta, checks)?;
            decode(engine, "b1", &b1, expected, meta, checks)?;
            chunked(engine, &b1, expected, checks)?;
            greedy(engine, inputs, expected, checks)
        }
        Numbers::Bf16 => {
            bf16::inner(&trace, expected, checks);
            let kept = bf16::unflipped(&trace, expected);
            bf16::logits(
                "prefill.logits.b1",
                &trace.logits,
                &kept,
                0,
                expected,
                checks,
            );
            if let Some((found, reference)) = decoded(engine, "b1", &b1, expected, meta)? {
                let first = kept.len() - reference.values.len() / reference.width();
                bf16::logits("decode.logits.b1", &found, &kept, first, expected, checks);
            }
            bf16::greedy(engine, inputs, expected, checks)
        }
    }
}

/// Logits of a prefill, all positions.
fn logits(trace: &Trace, name: &str, expected: &Tensors, checks: &mut Checks) {
    if let Some(reference) = expected.find(name) {
        checks.compare(
            name,
            &trace.logits,
            &reference.values,
            Tolerance::Max(F32_MAX),
        );
    }
}

/// Residual stream, attention and feed-forward outputs, routers and indexers.
fn inner(trace: &Trace, prefix: &str, expected: &Tensors, checks: &mut Checks) {
    for (name, reference) in expected.iter() {
        let Some(name) = name.strip_prefix(prefix) else {
            continue;
        };
        let is = |start: &str| name.starts_with(start);
        if is("hidden.")
            || is("attn_out.")
            || is("mlp_out.")
            || is("router.logits.")
            || is("router.weights.")
        {
            match trace.values.get(name) {
                Some(found) => {
                    let what = format!("{prefix}{name}");
                    let tolerance = Tolerance::MaxScaled(F32_MAX);
                    checks.compare(&what, found, &reference.values, tolerance);
                }
                None => checks.fail(format!("{prefix}{name}: nothing was computed")),
            }
        } else if is("router.experts.") {
            let layer = name.trim_start_matches("router.experts.");
            let gates = expected.find(&format!("{prefix}router.logits.{layer}"));
            experts(trace, prefix, name, reference, gates, checks);
        } else if is("indexer.topk.") {
            selection(trace, name, reference, checks);
        }
    }
}

/// Chosen experts, in the order of their weights. Two experts may change places when the
/// reference's own logits for them are nearly equal.
fn experts(
    trace: &Trace,
    prefix: &str,
    name: &str,
    reference: &Array,
    gates: Option<&Array>,
    checks: &mut Checks,
) {
    let what = format!("{prefix}{name}");
    let expected = reference.ids();
    let found = match trace.experts.get(name) {
        Some(found) if found.len() == expected.len() => found,
        _ => {
            return checks.fail(format!(
                "{what}: other tokens or experts than the reference"
            ));
        }
    };
    let k = reference.width();
    let mut ties = 0;
    let mut wrong = Vec::new();
    for (row, (a, b)) in found.chunks(k).zip(expected.chunks(k)).enumerate() {
        let near = |x: u32, y: u32| {
            let Some(gates) = gates else { return false };
            let logit = |e: u32| gates.values.get(row * gates.width() + e as usize).copied();
            matches!((logit(x), logit(y)), (Some(x), Some(y)) if (x - y).abs() <= NEAR_TIE)
        };
        if a != b {
            match a.iter().zip(b).all(|(&x, &y)| x == y || near(x, y)) {
                true => ties += 1,
                false => wrong.push(row),
            }
        }
    }
    if !wrong.is_empty() {
        let (n, first) = (wrong.len(), wrong[0]);
        checks.fail(format!(
            "{what}: other experts for {n} tokens, first {first}"
        ));
    }
    if ties > 0 {
        checks.remark(format!(
            "{what}: {ties} tokens with experts of equal logits"
        ));
    }
}

/// Positions that an indexer chose: equal as sets, without those that causality masks.
fn selection(trace: &Trace, name: &str, reference: &Array, checks: &mut Checks) {
    let k = reference.width();
    let Some(found) = trace.selected.get(name) else {
        return checks.fail(format!("{name}: nothing was chosen"));
    };
    let rows = reference.values.len() / k;
    if found.len() != rows {
        return checks.fail(format!("{name}: {} rows, expected {rows}", found.len()));
    }
    let tokens = reference
        .shape
        .iter()
        .rev()
        .nth(1)
        .copied()
        .unwrap_or(rows)
        .max(1);
    let ids = reference.ids();
    let wrong: Vec<usize> = (0..rows)
        .filter(|&row| {
            let own = (row % tokens) as u32;
            let mut expected: Vec<u32> = ids[row * k..(row + 1) * k]
                .iter()
                .copied()
                .filter(|&j| j <= own)
                .collect();
            expected.sort_unstable();
            found[row] != expected
        })
        .collect();
    if let Some(first) = wrong.first() {
        checks.fail(format!(
            "{name}: other positions for {} tokens, first {first}",
            wrong.len()
        ));
    }
}

/// The second batch: its sequences side by side in one pass, then step by step.
fn second_batch(
    engine: &mut dyn Engine,
    inputs: &Tensors,
    expected: &Tensors,
    meta: &Value,
    checks: &mut Checks,
) -> Result<(), Box<dyn Error>> {
    let Some(b2) = inputs.sequences("input_ids.b2")? else {
        return Ok(());
    };
    let trace = engine.prefill(&b2)?;
    logits(&trace, "prefill.logits.b2", expected, checks);
    inner(&trace, "b2.", expected, checks);
    decode(engine, "b2", &b2, expected, meta, checks)
}

/// A prompt in pieces gives what it gives whole.
fn chunked(
    engine: &mut dyn Engine,
    b1: &[Vec<u32>],
    expected: &Tensors,
    checks: &mut Checks,
) -> Result<(), Box<dyn Error>> {
    let ([ids], Some(reference)) = (b1, expected.find("prefill.logits.b1")) else {
        return Ok(());
    };
    match engine.chunked(ids, PIECE)? {
        Some(found) => {
            let tolerance = Tolerance::Max(F32_MAX);
            checks.compare("chunked prefill", &found, &reference.values, tolerance);
        }
        None => checks.remark("no cache: prefill in pieces and decoding don't apply"),
    }
    Ok(())
}

/// Step by step with a cache.
fn decode(
    engine: &mut dyn Engine,
    batch: &str,
    sequences: &[Vec<u32>],
    expected: &Tensors,
    meta: &Value,
    checks: &mut Checks,
) -> Result<(), Box<dyn Error>> {
    if let Some((found, reference)) = decoded(engine, batch, sequences, expected, meta)? {
        let what = format!("decode.logits.{batch}");
        checks.compare(&what, &found, &reference.values, Tolerance::Max(F32_MAX));
    }
    Ok(())
}

/// What decoding gave, and what it should have given.
type Decoded<'e> = (Vec<f32>, &'e Array);

/// Runs the steps of a batch; `None` without a reference or a cache.
fn decoded<'e>(
    engine: &mut dyn Engine,
    batch: &str,
    sequences: &[Vec<u32>],
    expected: &'e Tensors,
    meta: &Value,
) -> Result<Option<Decoded<'e>>, Box<dyn Error>> {
    let Some(reference) = expected.find(&format!("decode.logits.{batch}")) else {
        return Ok(None);
    };
    let length = sequences.iter().map(Vec::len).min().unwrap_or(0);
    let steps = reference.shape.get(1).copied().unwrap_or(0);
    let stated = meta[format!("decode_prefix_{batch}")].as_u64();
    // The first batch's steps reach its last token.
    let prefix = stated
        .map(|p| p as usize)
        .or_else(|| length.checked_sub(steps));
    let prefix = prefix.filter(|p| p + steps <= length && steps > 0);
    let prefix =
        prefix.ok_or_else(|| format!("decode_prefix_{batch} doesn't fit {length} tokens"))?;
    let found = engine.decode(sequences, prefix, steps)?;
    Ok(found.map(|found| (found, reference)))
}

/// The greedy continuation. Margins in the reference are far above rounding, so ids are equal.
fn greedy(
    engine: &mut dyn Engine,
    inputs: &Tensors,
    expected: &Tensors,
    checks: &mut Checks,
) -> Result<(), Box<dyn Error>> {
    let prompts = inputs.sequences("greedy.prompt")?.unwrap_or_default();
    let continuations = expected.sequences("greedy.tokens")?.unwrap_or_default();
    for (prompt, tokens) in prompts.iter().zip(&continuations) {
        let found = engine.greedy(prompt, tokens.len())?;
        checks.tokens("greedy tokens", &found, tokens);
    }
    Ok(())
}
