//! Fits the performance estimate to measurements: `calibrate MEASURED.json > estimate.json`.
//!
//! Says on standard error how the embedded constants, freshly fitted ones, and ones that never saw
//! a row's device or model do on the rows; prints the fitted constants.

use std::process::ExitCode;

use mistral_core::estimate::Coefficients;
use mistral_core::estimate::fit::{HeldOut, coverage, fit, leave_out, spread};
use mistral_core::estimate::measured::{Case, MeasuredFile};
use mistral_examples::{Options, Outcome, UsageError, run, today};
use serde_json::Value;

fn main() -> ExitCode {
    let options = Options {
        max_positional: 1,
        ..Options::default()
    };
    run("MEASURED.json", &options, |arguments| {
        let path = arguments.required(0, "MEASURED.json")?;
        let text = std::fs::read_to_string(path).map_err(|e| UsageError(format!("{path}: {e}")))?;
        let file: MeasuredFile = serde_json::from_str(&text)?;
        let start = Coefficients::embedded();
        let cases: Vec<Case<'_>> = file
            .rows
            .iter()
            .filter_map(|row| file.case(row).ok())
            .filter(|case| case.predict(start).is_ok())
            .collect();
        eprintln!(
            "{} of {} rows can be predicted",
            cases.len(),
            file.rows.len()
        );
        show("embedded", &told(&cases, start));
        let all: Vec<&Case<'_>> = cases.iter().collect();
        let fitted = fit(&all, start);
        show("fitted", &told(&cases, &fitted));
        let mut progress = |group: &str| eprintln!("without {group}");
        let device = |case: &Case<'_>| case.device.name.clone();
        let by_device = leave_out(&cases, start, device, &mut progress)?;
        show("device left out", &by_device);
        let model = |case: &Case<'_>| case.row.model.clone();
        let by_model = leave_out(&cases, start, model, &mut progress)?;
        show("model left out", &by_model);
        for h in &by_device {
            eprintln!("{} {} {:.3}", h.id, h.group, h.predicted.value / h.measured);
        }
        let fitted = Coefficients {
            date: today(),
            rows: cases.len() as u32,
            spread: spread(&cases, &by_device, &start.spread),
            ..fitted
        };
        let text = serde_json::to_string_pretty(&rounded(serde_json::to_value(&fitted)?))?;
        println!("{text}");
        Ok(Outcome::Good)
    })
}

fn told(cases: &[Case<'_>], coefficients: &Coefficients) -> Vec<HeldOut> {
    let one = |case: &Case<'_>| {
        Some(HeldOut {
            id: case.row.id.clone(),
            group: String::new(),
            predicted: case.predict(coefficients).ok()?,
            measured: case.row.value,
        })
    };
    cases.iter().filter_map(one).collect()
}

fn show(name: &str, rows: &[HeldOut]) {
    let mut errors: Vec<f64> = rows
        .iter()
        .map(|h| (h.predicted.value / h.measured - 1.0).abs())
        .collect();
    errors.sort_by(f64::total_cmp);
    let at = |q: f64| errors[((errors.len() - 1) as f64 * q).round() as usize] * 100.0;
    eprintln!(
        "{name}: median {:.1} %, p90 {:.1} %, {:.0} % of {} inside their intervals",
        at(0.5),
        at(0.9),
        coverage(rows) * 100.0,
        rows.len()
    );
}

/// Numbers to four digits: the measurements carry no more.
fn rounded(value: Value) -> Value {
    match value {
        Value::Object(map) => map.into_iter().map(|(k, v)| (k, rounded(v))).collect(),
        Value::Number(n) if n.is_f64() => {
            let short = format!("{:.3e}", n.as_f64().unwrap_or(0.0)).parse::<f64>();
            short.map_or(Value::Number(n), Value::from)
        }
        other => other,
    }
}
