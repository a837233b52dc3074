//! The estimator of pass@k.

/// The unbiased estimate of the probability that at least one of `k` samples passes, when `passed` of
/// `samples` did: `1 - C(n-c, k) / C(n, k)`, as a product (Chen et al. 2021, "Evaluating Large Language
/// Models Trained on Code", section 2.1). `None` when there are fewer than `k` samples or `k` is 0.
#[must_use]
pub fn pass_at_k(samples: u32, passed: u32, k: u32) -> Option<f64> {
    if k == 0 || k > samples || passed > samples {
        return None;
    }
    let failed = samples - passed;
    if failed < k {
        return Some(1.0);
    }
    let none_of_k: f64 = (failed + 1..=samples)
        .map(|i| 1.0 - f64::from(k) / f64::from(i))
        .product();
    Some(1.0 - none_of_k)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn choose(n: u32, k: u32) -> f64 {
        (0..k).fold(1.0, |c, i| c * f64::from(n - i) / f64::from(k - i))
    }

    #[test]
    fn small_cases() {
        let rows = [
            (1, 0, 1, Some(0.0)),
            (1, 1, 1, Some(1.0)),
            (4, 1, 1, Some(0.25)),
            (4, 1, 2, Some(0.5)),
            (4, 3, 2, Some(1.0)),
            (10, 3, 10, Some(1.0)),
            (3, 1, 4, None),
            (3, 1, 0, None),
            (3, 4, 1, None),
        ];
        for (n, c, k, expected) in rows {
            let got = pass_at_k(n, c, k);
            let near = match (got, expected) {
                (Some(a), Some(b)) => f64::abs(a - b) < 1e-12,
                (a, b) => a == b,
            };
            assert!(near, "n {n} c {c} k {k}: {got:?}");
        }
    }

    proptest! {
        #[test]
        fn is_the_definition_and_grows_with_k((n, c, k) in (1u32..40).prop_flat_map(|n| (Just(n), 0..=n, 1..=n))) {
            let got = pass_at_k(n, c, k).expect("k is at most n");
            let by_definition = if n - c < k { 1.0 } else { 1.0 - choose(n - c, k) / choose(n, k) };
            prop_assert!((got - by_definition).abs() < 1e-9);
            if k < n {
                prop_assert!(pass_at_k(n, c, k + 1).expect("so is k + 1") >= got - 1e-12);
            }
        }
    }
}
