//! What another policy would have been worth, from the log of the one that ran.
//!
//! Inverse propensity scores (Horvitz and Thompson 1952) and the doubly robust estimator (Dudík,
//! Langford and Li 2011). Both are unbiased when the logged chances are exact and each action that
//! the other policy may take had one above 0; the second varies less with a good model of rewards.

use crate::RecommendError;
use crate::score::PARTS;

/// One logged decision: which of some candidates to put first.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    /// [`features`](crate::features) of each candidate.
    pub candidates: Vec<[f64; PARTS.len()]>,
    /// Which was put first.
    pub first: usize,
    /// The chance it had to be.
    pub chance: f64,
    /// What came of it, such as 1 when it was chosen.
    pub reward: f64,
}

/// A policy's estimated mean reward.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PolicyValue {
    /// The mean.
    pub value: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Decisions it stands on.
    pub rows: usize,
    /// As many decisions of the policy itself would say as much (Kish 1965): far below `rows`, the
    /// two policies have little in common.
    pub effective_rows: f64,
}

/// The value of `policy`, which gives each candidate's chance to be put first.
///
/// # Errors
/// [`RecommendError::OutOfRange`] when the log is empty, a chance isn't above 0 and at most 1, a
/// position or reward can't be meant, or the policy's chances don't sum to 1.
pub fn inverse_propensity(
    log: &[Logged],
    policy: impl Fn(&Logged) -> Vec<f64>,
) -> Result<PolicyValue, RecommendError> {
    doubly_robust(log, policy, |_, _| 0.0)
}

/// The same with `model`, which predicts the reward of putting a candidate first; whatever it
/// predicts, the estimate stays unbiased.
///
/// # Errors
/// As [`inverse_propensity`].
pub fn doubly_robust(
    log: &[Logged],
    policy: impl Fn(&Logged) -> Vec<f64>,
    model: impl Fn(&Logged, usize) -> f64,
) -> Result<PolicyValue, RecommendError> {
    let mut terms = Vec::with_capacity(log.len());
    let (mut ratios, mut squares) = (0.0, 0.0);
    for row in log {
        check(row)?;
        let chances = policy(row);
        check_policy(row, &chances)?;
        let predicted: f64 = chances
            .iter()
            .enumerate()
            .map(|(i, p)| p * model(row, i))
            .sum();
        let ratio = chances[row.first] / row.chance;
        terms.push(predicted + ratio * (row.reward - model(row, row.first)));
        ratios += ratio;
        squares += ratio * ratio;
    }
    let n = terms.len() as f64;
    if terms.is_empty() {
        return Err(out_of_range("log.rows", "at least 1", 0.0));
    }
    let value = terms.iter().sum::<f64>() / n;
    let variance = terms.iter().map(|t| (t - value).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    Ok(PolicyValue {
        value,
        standard_error: (variance / n).sqrt(),
        rows: terms.len(),
        effective_rows: if squares > 0.0 {
            ratios * ratios / squares
        } else {
            0.0
        },
    })
}

fn out_of_range(field: &'static str, expected: &'static str, found: f64) -> RecommendError {
    RecommendError::OutOfRange {
        field,
        expected,
        found,
    }
}

fn check(row: &Logged) -> Result<(), RecommendError> {
    if row.first >= row.candidates.len() {
        let found = row.first as f64;
        return Err(out_of_range("log.first", "a candidate's position", found));
    }
    if !(row.chance > 0.0 && row.chance <= 1.0) {
        return Err(out_of_range(
            "log.chance",
            "more than 0, at most 1",
            row.chance,
        ));
    }
    if !row.reward.is_finite() {
        return Err(out_of_range("log.reward", "a number", row.reward));
    }
    Ok(())
}

fn check_policy(row: &Logged, chances: &[f64]) -> Result<(), RecommendError> {
    let sum: f64 = chances.iter().sum();
    let sound = chances.iter().all(|p| *p >= 0.0) && (sum - 1.0).abs() < 1e-6;
    if sound && chances.len() == row.candidates.len() {
        Ok(())
    } else {
        let expected = "a chance for each candidate, 1 in all";
        Err(out_of_range("policy.chances", expected, sum))
    }
}
