//! Log-probabilities of tokens.

/// The logarithms of the softmax of `logits`, in f64.
pub(crate) fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits
        .iter()
        .fold(f64::NEG_INFINITY, |m, &v| m.max(f64::from(v)));
    let sum: f64 = logits.iter().map(|&v| (f64::from(v) - max).exp()).sum();
    let norm = max + sum.ln();
    logits.iter().map(|&v| f64::from(v) - norm).collect()
}
