//! Comparisons with a reference that ran in bf16 end to end.
//!
//! Our activations are f32, so results agree on average only; and where the reference's rounding
//! chose another expert, a position differs by more than rounding. Those positions are told by the
//! reference's own choice and left out of the mean. Later positions attend to them, so with experts
//! the median over all positions may stand for the mean.

use std::error::Error;

use crate::engine::{Engine, Trace};
use crate::report::{Checks, Difference};
use crate::tensors::Tensors;

/// Mean difference of logits.
const LOGITS_MEAN: f64 = 0.1;
/// Mean difference of intermediate values, as a share of the reference's root mean square: a dozen
/// roundings of 2^-9 each, and what attention makes of them. A window that is off by one exceeds it
/// in the first layer.
const HIDDEN_MEAN: f64 = 0.08;
/// Share of positions that may be left out.
const MAX_FLIPPED: f64 = 0.25;

/// For each position, whether all routers chose the reference's experts.
pub(crate) fn unflipped(trace: &Trace, expected: &Tensors) -> Vec<bool> {
    let positions = expected
        .find("prefill.logits.b1")
        .map_or(0, |l| l.values.len() / l.width());
    let mut kept = vec![true; positions];
    for (name, reference) in expected
        .iter()
        .filter(|(name, _)| name.starts_with("router.experts."))
    {
        let k = reference.width();
        let ids = reference.ids();
        let found = trace.experts.get(name).map_or(&[][..], Vec::as_slice);
        let sorted = |row: &[u32]| {
            let mut row = row.to_vec();
            row.sort_unstable();
            row
        };
        let mut found = found.chunks(k);
        for (kept, row) in kept.iter_mut().zip(ids.chunks(k)) {
            *kept &= found
                .next()
                .is_some_and(|found| sorted(found) == sorted(row));
        }
    }
    kept
}

/// Logits of the positions from `first` on.
pub(crate) fn logits(
    name: &str,
    found: &[f32],
    kept: &[bool],
    first: usize,
    expected: &Tensors,
    checks: &mut Checks,
) {
    let Some(reference) = expected.find(name) else {
        return;
    };
    if found.len() != reference.values.len() {
        let (found, expected) = (found.len(), reference.values.len());
        return checks.fail(format!("{name}: {found} numbers, expected {expected}"));
    }
    checks.record(&Difference::between(found, &reference.values));
    let width = reference.width();
    let rows: Vec<f64> = found
        .chunks(width)
        .zip(reference.values.chunks(width))
        .map(|(found, expected)| Difference::between(found, expected).mean)
        .collect();
    let mask = kept.get(first..).unwrap_or_default();
    let (mean, left_out) = mean_of_kept(&rows, mask);
    let median = median(&rows);
    // Written so that NaN fails.
    let routed = expected.iter().any(|(name, _)| name.starts_with("router."));
    let within = mean <= LOGITS_MEAN || routed && median <= LOGITS_MEAN;
    let what = format!(
        "{name}: mean {mean:.4}, median {median:.4}, {left_out} of {} left out",
        rows.len()
    );
    if !within || left_out as f64 > MAX_FLIPPED * rows.len() as f64 {
        checks.fail(format!("{what}, allowed {LOGITS_MEAN}"));
    } else {
        checks.remark(what);
    }
}

/// The residual stream and the routers' logits of positions with the reference's experts.
pub(crate) fn inner(trace: &Trace, expected: &Tensors, checks: &mut Checks) {
    let kept = unflipped(trace, expected);
    let mut worst = 0.0f64;
    let compared = |name: &str| name.starts_with("hidden.") || name.starts_with("router.logits.");
    for (name, reference) in expected.iter().filter(|(name, _)| compared(name)) {
        let width = reference.width();
        let Some(found) = trace
            .values
            .get(name)
            .filter(|f| f.len() == reference.values.len())
        else {
            checks.fail(format!(
                "{name}: other positions or width than the reference"
            ));
            continue;
        };
        let rows: Vec<f64> = found
            .chunks(width)
            .zip(reference.values.chunks(width))
            .map(|(found, expected)| Difference::between(found, expected).mean)
            .collect();
        let scale = Difference::between(found, &reference.values).rms_expected;
        let share = mean_of_kept(&rows, &kept).0 / scale.max(1e-30);
        worst = worst.max(share);
        let within = share <= HIDDEN_MEAN;
        if !within {
            checks.fail(format!(
                "{name}: off by {share:.4} of its magnitude, allowed {HIDDEN_MEAN}"
            ));
        }
    }
    checks.remark(format!(
        "intermediate values: mean off by at most {worst:.4} of their magnitude"
    ));
}

/// How far the greedy continuation agrees: a remark, since one rounding may change all that follows.
pub(crate) fn greedy(
    engine: &mut dyn Engine,
    inputs: &Tensors,
    expected: &Tensors,
    checks: &mut Checks,
) -> Result<(), Box<dyn Error>> {
    let prompts = inputs.sequences("greedy.prompt")?.unwrap_or_default();
    let continuations = expected.sequences("greedy.tokens")?.unwrap_or_default();
    for (prompt, tokens) in prompts.iter().zip(&continuations) {
        let found = engine.greedy(prompt, tokens.len())?;
        let same = found.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        checks.remark(format!(
            "greedy: first {same} of {} tokens agree",
            tokens.len()
        ));
    }
    Ok(())
}

/// Mean of the rows that count, and how many don't.
fn mean_of_kept(rows: &[f64], kept: &[bool]) -> (f64, usize) {
    let (mut sum, mut n) = (0.0, 0usize);
    for (row, _) in rows.iter().zip(kept).filter(|(_, kept)| **kept) {
        sum += row;
        n += 1;
    }
    (sum / n as f64, rows.len() - n)
}

/// The middle row; NaN when a row is.
fn median(rows: &[f64]) -> f64 {
    let mut sorted = rows.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.last() {
        Some(last) if last.is_nan() => f64::NAN,
        Some(_) => sorted[sorted.len() / 2],
        None => f64::NAN,
    }
}
