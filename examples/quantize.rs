//! Writes a model as a GGUF file of a precision: `quantize MODEL OUT.gguf --type q4_k_m`.
//!
//! Progress goes to standard error. Standard output gets one JSON line: bytes of the file, bits a
//! weight, the root mean square of what rounding changed as a share of the weights' (plain, and
//! with each square counted by its weight's), seconds.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use mistral_examples::{Options, Outcome, UsageError, print_line, run};
use mistral_infer::gguf::{QuantizeOptions, quantize_model};
use serde::Serialize;

const USAGE: &str = "MODEL OUT.gguf [--type q4_k_m] [--threads N] [--context TOKENS]";
const OPTIONS: Options<'static> = Options {
    valued: &["type", "threads", "context"],
    switches: &[],
    max_positional: 2,
};

#[derive(Serialize)]
struct Line<'a> {
    out: &'a str,
    r#type: &'a str,
    bytes: u64,
    weights: u64,
    bits_per_weight: f64,
    relative_rmse: f64,
    weighted_rmse: f64,
    seconds: f64,
}

fn main() -> ExitCode {
    run(USAGE, &OPTIONS, |arguments| {
        let from = arguments.required(0, "MODEL")?;
        let out = arguments.required(1, "OUT.gguf")?;
        let precision = arguments.text("type").unwrap_or("q4_k_m");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let context = match arguments.value("context", 0)? {
            0 => None,
            tokens => Some(tokens),
        };
        let options = QuantizeOptions {
            precision: (precision.parse()).map_err(|e| UsageError(format!("--type: {e}")))?,
            threads: arguments.value("threads", cores)?,
            context_length: context,
        };
        let start = Instant::now();
        let report = quantize_model(Path::new(from), Path::new(out), &options, &mut |at| {
            let (number, count, format) = (at.number, at.count, at.format.name());
            eprintln!("[{number:4}/{count}] {} {format}", at.name);
        })?;
        print_line(&Line {
            out,
            r#type: options.precision.name(),
            bytes: report.bytes,
            weights: report.weights,
            bits_per_weight: report.bits_per_weight,
            relative_rmse: report.relative_rmse,
            weighted_rmse: report.weighted_rmse,
            seconds: start.elapsed().as_secs_f64(),
        })?;
        Ok(Outcome::Good)
    })
}
