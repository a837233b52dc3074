//! Predicts this machine and then measures it: `predict_here MODEL… [--threads N]`.
//!
//! Measures the processor for a few seconds, predicts how fast each model (a GGUF file or a folder)
//! will run, runs it, and prints one JSON line a model and kind:
//! `{"model","what","predicted","measured","ratio"}` in tokens a second.

use std::process::ExitCode;
use std::time::Instant;

use mistral_core::estimate::{Coefficients, EngineClass, Setup, Shape};
use mistral_core::hardware::{Device, Hardware};
use mistral_core::plan::KvPrecision;
use mistral_examples::{Options, Outcome, UsageError, machine, print_line, run, today};
use mistral_infer::{LoadOptions, MeasureOptions, Model, Provenance, measure, probe};
use serde::Serialize;

#[derive(Serialize)]
struct Row<'a> {
    model: &'a str,
    what: &'a str,
    predicted: f64,
    measured: f64,
    ratio: f64,
}

fn main() -> ExitCode {
    let options = Options {
        valued: &["threads"],
        max_positional: 16,
        ..Options::default()
    };
    run("MODEL… [--threads N]", &options, |arguments| {
        arguments.required(0, "MODEL")?;
        let mut load = LoadOptions::default();
        load.threads = arguments.value("threads", load.threads)?;
        let start = Instant::now();
        let rates = probe(load.threads, &mut |part| eprintln!("measuring {part}"))?;
        eprintln!("{:.1} s: {rates:?}", start.elapsed().as_secs_f64());
        let device = Hardware::detect().cpu_device().with_rates(rates);
        for path in (0..16).map_while(|i| arguments.positional(i)) {
            compare(path, &load, &device)?;
        }
        Ok(Outcome::Good)
    })
}

fn compare(
    path: &str,
    load: &LoadOptions,
    device: &Device,
) -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::load(path, load)?;
    let options = MeasureOptions {
        prompt: 128.min(model.spec().max_seq_len.unwrap_or(256) / 2),
        generate: 24,
        ..MeasureOptions::default()
    };
    let unknown = || UsageError(format!("{path}: its mix of formats has no name"));
    let setup = Setup {
        shape: &Shape::new(model.spec().clone()),
        precision: model.precision().ok_or_else(unknown)?,
        kv: KvPrecision::Auto,
        device,
        count: 1,
        engine: EngineClass::Native,
        coefficients: Coefficients::embedded(),
    };
    eprintln!("{path}: {}", setup.precision);
    let prompt = options.prompt as f64;
    let predicted = [
        ("prompt", prompt / setup.prefill_s(1.0, prompt)),
        ("decode", 1.0 / setup.step_s(1.0, prompt + 12.0)),
    ];
    let provenance = Provenance {
        command: std::env::args().collect::<Vec<_>>().join(" "),
        date: today(),
        device: machine(),
        model: path.to_owned(),
        load_ms: None,
        peak_rss_bytes: || None,
    };
    let report = measure(&model, &options, &provenance, &mut |_| {})?;
    let measured = [report.prefill_tokens_per_s, report.decode_tokens_per_s];
    for ((what, predicted), measured) in predicted.into_iter().zip(measured) {
        let measured = measured.unwrap_or(0.0);
        print_line(&Row {
            model: path,
            what,
            predicted,
            measured,
            ratio: predicted / measured,
        })?;
    }
    Ok(())
}
