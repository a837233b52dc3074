//! Measures a model: prompt and decode rates, time to first token, memory.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use mistral_examples::{
    BenchLine, Options, Outcome, UsageError, cache_type, machine, peak_rss_bytes,
    plain_read_bytes_per_s, print_line, run, today, weight_storage,
};
use mistral_infer::{
    Isa, LoadOptions, MeasureOptions, Model, Provenance, first_token_ms, measure, memory,
};

const USAGE: &str = "MODEL [--prompt N] [--gen N] [--depth N] [--batch N] [--threads N] [--repeat N] \
                     [--isa NAME] [--cache f32|f16|bf16|q8] \
                     [--weights mapped|copied] [--schedules FILE]";
const OPTIONS: Options<'static> = Options {
    valued: &[
        "prompt",
        "gen",
        "depth",
        "batch",
        "threads",
        "repeat",
        "isa",
        "cache",
        "weights",
        "schedules",
    ],
    switches: &[],
    max_positional: 1,
};

/// Beside longer prompts, what the first one meets for the first time is nothing.
const LONGEST_FIRST_PROMPT: usize = 64;

fn main() -> ExitCode {
    run(USAGE, &OPTIONS, |arguments| {
        let path = arguments.required(0, "MODEL")?;
        let defaults = MeasureOptions::default();
        let options = MeasureOptions {
            prompt: arguments.value("prompt", defaults.prompt)?,
            generate: arguments.value("gen", defaults.generate)?,
            depth: arguments.value("depth", defaults.depth)?,
            batch: arguments.value("batch", defaults.batch)?,
            repeat: arguments.value("repeat", defaults.repeat)?,
            cache: cache_type(arguments)?,
            ..defaults
        };
        let mut load = LoadOptions::default();
        load.threads = arguments.value("threads", load.threads)?;
        if load.threads == 0 {
            return Err(UsageError("--threads wants at least 1".to_owned()).into());
        }
        if let Some(name) = arguments.text("isa") {
            let unknown = || UsageError(format!("--isa {name} isn't an instruction set"));
            load.isa = Some(Isa::from_name(name).ok_or_else(unknown)?);
        }
        load.storage = weight_storage(arguments)?;
        load.schedules = arguments.text("schedules").map(PathBuf::from);
        eprintln!("{}", memory(path, &load, &options.session_limits())?);
        let start = Instant::now();
        let model = Model::load(Path::new(path), &load)?;
        let load_ms = start.elapsed().as_secs_f64() * 1e3;
        let first_ttft_ms = match options.prompt {
            ..=LONGEST_FIRST_PROMPT => first_token_ms(&model, &options)?,
            _ => 0.0,
        };
        let provenance = Provenance {
            command: std::env::args().collect::<Vec<_>>().join(" "),
            date: today(),
            device: machine(),
            model: path.to_owned(),
            load_ms: Some(load_ms),
            peak_rss_bytes: || Some(peak_rss_bytes()),
        };
        eprintln!(
            "{}, {} of them used, {} kernels",
            provenance.device,
            model.cpu().threads(),
            model.cpu().isa().name()
        );
        let report = measure(&model, &options, &provenance, &mut |repeat| {
            eprintln!("run {repeat} of {}", options.repeat);
        })?;
        print_line(&BenchLine {
            prefill_tokens_per_s: report.prefill_tokens_per_s.unwrap_or(0.0),
            decode_tokens_per_s: report.decode_tokens_per_s.unwrap_or(0.0),
            ttft_ms: report.ttft_ms.unwrap_or(0.0),
            first_ttft_ms,
            load_ms,
            load_and_ttft_ms: match first_ttft_ms {
                0.0 => 0.0,
                first => load_ms + first,
            },
            peak_rss_bytes: report.peak_rss_bytes.unwrap_or(0),
            weight_bytes: report.weight_bytes.unwrap_or(0),
            read_bytes_per_s: report.read_bytes_per_s.unwrap_or(0.0),
            plain_read_bytes_per_s: plain_read_bytes_per_s(load.threads),
            kernel_path: report.kernel_path,
        })?;
        Ok(Outcome::Good)
    })
}
