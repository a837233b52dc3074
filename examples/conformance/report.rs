//! One row a case, and what it is gathered from.

use serde::Serialize;

/// A line of the program's output.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// Path below the folder that was given, and the variant behind it.
    pub(crate) case: String,
    /// What kind of case it is.
    pub(crate) kind: &'static str,
    /// Largest difference between a number and its reference; `null` where none were compared.
    pub(crate) max_abs_err: Option<f64>,
    /// The same, divided by the largest magnitude of the reference's tensor.
    pub(crate) max_rel_err: Option<f64>,
    /// Whether all token ids that must be equal were; `null` where the case has none that must be.
    pub(crate) tokens_equal: Option<bool>,
    /// Whether everything was within tolerance.
    pub(crate) ok: bool,
    /// What failed, else what was covered.
    pub(crate) note: String,
}

/// What a difference may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Tolerance {
    /// No element further off than this.
    Max(f64),
    /// As [`Tolerance::Max`], times the root mean square of the reference where that is above 1.
    MaxScaled(f64),
    /// No element further off than this share of the reference's largest magnitude.
    ShareOfMax(f64),
    /// No element further off than this share of its reference.
    Relative(f64),
}

/// Gathers the comparisons of one case.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    max_abs: Option<f64>,
    max_rel: Option<f64>,
    tokens_equal: Option<bool>,
    failures: Vec<String>,
    remarks: Vec<String>,
    compared: usize,
}

/// Notes stay readable when everything is wrong.
const MAX_FAILURES_SHOWN: usize = 6;

impl Checks {
    /// Compares a tensor with its reference.
    pub(crate) fn compare(
        &mut self,
        what: &str,
        found: &[f32],
        expected: &[f32],
        tolerance: Tolerance,
    ) {
        if found.len() != expected.len() {
            let (found, expected) = (found.len(), expected.len());
            self.fail(format!("{what}: {found} numbers, expected {expected}"));
            return;
        }
        let difference = Difference::between(found, expected);
        self.record(&difference);
        let (measured, allowed) = match tolerance {
            Tolerance::Max(max) => (difference.max, max),
            Tolerance::MaxScaled(max) => (difference.max, max * difference.rms_expected.max(1.0)),
            Tolerance::ShareOfMax(share) => (difference.max, share * difference.max_expected),
            Tolerance::Relative(share) => (relative(found, expected), share),
        };
        // Written so that NaN fails.
        let within = measured <= allowed;
        if !within {
            self.fail(format!(
                "{what}: off by {measured:.3e}, allowed {allowed:.1e}"
            ));
        }
    }

    /// Takes a difference into the row's maxima without judging it.
    pub(crate) fn record(&mut self, difference: &Difference) {
        self.compared += 1;
        let larger =
            |a: Option<f64>, b: f64| Some(a.map_or(b, |a| if b > a || b.is_nan() { b } else { a }));
        self.max_abs = larger(self.max_abs, difference.max);
        self.max_rel = larger(
            self.max_rel,
            difference.max / difference.max_expected.max(1e-30),
        );
    }

    /// Notes whether token ids are equal; `what` names them when they aren't.
    pub(crate) fn tokens(&mut self, what: &str, found: &[u32], expected: &[u32]) {
        let equal = found == expected;
        self.all_tokens_equal(equal);
        if !equal {
            let same = found
                .iter()
                .zip(expected)
                .take_while(|(a, b)| a == b)
                .count();
            let total = expected.len();
            self.fail(format!("{what}: ids differ from place {same} of {total}"));
        }
    }

    /// Notes whether token ids that were compared elsewhere are equal.
    pub(crate) fn all_tokens_equal(&mut self, equal: bool) {
        self.tokens_equal = Some(self.tokens_equal.unwrap_or(true) && equal);
    }

    /// Something is out of tolerance.
    pub(crate) fn fail(&mut self, what: String) {
        self.failures.push(what);
    }

    /// Something worth knowing in a row that may be good.
    pub(crate) fn remark(&mut self, what: impl Into<String>) {
        self.remarks.push(what.into());
    }

    /// The finished row.
    pub(crate) fn into_row(self, case: String, kind: &'static str) -> Row {
        let ok = self.failures.is_empty();
        let mut parts = self.failures;
        if parts.len() > MAX_FAILURES_SHOWN {
            let more = parts.len() - MAX_FAILURES_SHOWN;
            parts.truncate(MAX_FAILURES_SHOWN);
            parts.push(format!("{more} more"));
        }
        if self.compared > 1 {
            parts.push(format!("{} tensors compared", self.compared));
        }
        parts.extend(self.remarks);
        Row {
            case,
            kind,
            max_abs_err: self.max_abs,
            max_rel_err: self.max_rel,
            tokens_equal: self.tokens_equal,
            ok,
            note: parts.join("; "),
        }
    }
}

/// How far two tensors of the same length are apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Difference {
    pub(crate) max: f64,
    pub(crate) mean: f64,
    pub(crate) max_expected: f64,
    pub(crate) rms_expected: f64,
}

impl Difference {
    /// Elements that are equal, infinities among them, differ by 0; a NaN makes the maximum NaN.
    pub(crate) fn between(found: &[f32], expected: &[f32]) -> Difference {
        let (mut max, mut sum, mut top, mut squares) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
        for (&f, &e) in found.iter().zip(expected) {
            let (f, e) = (f64::from(f), f64::from(e));
            let d = if f == e { 0.0 } else { (f - e).abs() };
            if d > max || d.is_nan() {
                max = if max.is_nan() { max } else { d };
            }
            sum += d;
            top = top.max(e.abs());
            squares += e * e;
        }
        let n = expected.len().max(1) as f64;
        Difference {
            max,
            mean: sum / n,
            max_expected: top,
            rms_expected: (squares / n).sqrt(),
        }
    }
}

/// The largest share of its reference that an element is off by.
fn relative(found: &[f32], expected: &[f32]) -> f64 {
    let shares = found.iter().zip(expected).map(|(&f, &e)| {
        let (f, e) = (f64::from(f), f64::from(e));
        if f == e { 0.0 } else { (f - e).abs() / e.abs() }
    });
    shares.fold(0.0, |max, share| {
        if share > max || share.is_nan() {
            share
        } else {
            max
        }
    })
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
