//! Whether a candidate beats another in everything that is predicted.

use crate::candidate::Candidate;

/// Quality, both latencies, throughput and cost, each higher is better; what isn't known compares equal.
fn axes(c: &Candidate) -> [Option<f64>; 5] {
    let p = &c.predicted;
    [
        Some(c.quality.value),
        p.ttft_ms.map(|i| -i.value),
        p.tpot_ms.map(|i| -i.value),
        p.tokens_per_s.map(|i| i.value),
        p.usd_per_month.map(|i| -i.value),
    ]
}

/// Whether `a` is at least as good as `b` in all that is known of both, and better in something.
pub(crate) fn beats(a: &Candidate, b: &Candidate) -> bool {
    let mut better = false;
    for (x, y) in axes(a).into_iter().zip(axes(b)) {
        match (x, y) {
            (Some(x), Some(y)) if x < y => return false,
            (Some(x), Some(y)) => better |= x > y,
            // Something known of one alone can't be compared: neither beats the other.
            (Some(_), None) | (None, Some(_)) => return false,
            (None, None) => {}
        }
    }
    better
}
