//! Holds the performance estimate against measurements: `predict MEASURED.json`.
//!
//! Prints one JSON line a row, `{"id","predicted","lo","hi","measured","ratio"}`, or `{"id","reason"}` for a
//! row that can't be predicted, and a last line with the errors of the others.

use std::process::ExitCode;

use mistral_core::estimate::Coefficients;
use mistral_core::estimate::measured::MeasuredFile;
use mistral_examples::{Options, Outcome, UsageError, print_line, run};
use serde::Serialize;

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    predicted: f64,
    lo: f64,
    hi: f64,
    measured: f64,
    ratio: f64,
}

#[derive(Serialize)]
struct Skipped<'a> {
    id: &'a str,
    reason: String,
}

#[derive(Serialize)]
struct Total {
    median_abs_pct_err: f64,
    p90_abs_pct_err: f64,
    rank_correlation: f64,
    interval_coverage: f64,
    n: usize,
    skipped: usize,
}

fn main() -> ExitCode {
    let options = Options {
        max_positional: 1,
        ..Options::default()
    };
    run("MEASURED.json", &options, |arguments| {
        let path = arguments.required(0, "MEASURED.json")?;
        let text = std::fs::read_to_string(path).map_err(|e| UsageError(format!("{path}: {e}")))?;
        let file: MeasuredFile = serde_json::from_str(&text)?;
        let (mut pairs, mut inside) = (Vec::new(), 0);
        for row in &file.rows {
            match file.predict(row, Coefficients::embedded()) {
                Ok(predicted) => {
                    let (id, measured) = (row.id.as_str(), row.value);
                    print_line(&Row {
                        id,
                        predicted: predicted.value,
                        lo: predicted.lo,
                        hi: predicted.hi,
                        measured,
                        ratio: predicted.value / measured,
                    })?;
                    inside += usize::from((predicted.lo..=predicted.hi).contains(&measured));
                    pairs.push((predicted.value, measured));
                }
                Err(reason) => print_line(&Skipped {
                    id: &row.id,
                    reason: reason.to_string(),
                })?,
            }
        }
        print_line(&Total {
            interval_coverage: inside as f64 / pairs.len().max(1) as f64,
            ..total(&pairs, file.rows.len())
        })?;
        Ok(Outcome::Good)
    })
}

fn total(pairs: &[(f64, f64)], rows: usize) -> Total {
    let mut errors: Vec<f64> = pairs
        .iter()
        .map(|(p, m)| 100.0 * (p / m - 1.0).abs())
        .collect();
    errors.sort_by(f64::total_cmp);
    let at = |q: f64| {
        let last = errors.len().saturating_sub(1) as f64;
        errors
            .get((last * q).round() as usize)
            .copied()
            .unwrap_or(0.0)
    };
    Total {
        median_abs_pct_err: at(0.5),
        p90_abs_pct_err: at(0.9),
        rank_correlation: spearman(pairs),
        interval_coverage: 0.0,
        n: pairs.len(),
        skipped: rows - pairs.len(),
    }
}

/// Spearman's rank correlation; ties take their mean rank.
fn spearman(pairs: &[(f64, f64)]) -> f64 {
    let ranks = |values: Vec<f64>| -> Vec<f64> {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        let mut ranks = vec![0.0; values.len()];
        let mut i = 0;
        while i < order.len() {
            let same = order[i..]
                .iter()
                .take_while(|&&k| values[k] == values[order[i]])
                .count();
            for &k in &order[i..i + same] {
                ranks[k] = i as f64 + (same - 1) as f64 / 2.0;
            }
            i += same;
        }
        ranks
    };
    let a = ranks(pairs.iter().map(|p| p.0).collect());
    let b = ranks(pairs.iter().map(|p| p.1).collect());
    let mean = (a.len().saturating_sub(1)) as f64 / 2.0;
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(&b) {
        ab += (x - mean) * (y - mean);
        aa += (x - mean).powi(2);
        bb += (y - mean).powi(2);
    }
    if aa * bb > 0.0 {
        ab / (aa * bb).sqrt()
    } else {
        0.0
    }
}
