//! Ours beside other engines on the same random GGUF files, in alternating runs.
//!
//! One row a figure: medians of ours and of the best mode of the peers, the median of the ratios within a
//! round with the smallest and the largest, and what a plain read of memory reached beside ours.
#![forbid(unsafe_code)]

mod contestant;
mod figures;
mod summary;

use contestant::{Contestant, Measured};
use figures::{Case, cases};
use mistral_examples::{Arguments, Options, Outcome, UsageError, machine, run, today};
use serde_json::json;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use summary::Row;

const USAGE: &str = "--ours PROGRAM --make PROGRAM --models DIR [--llama LLAMA_BENCH] [--ik LLAMA_BENCH] \
                     [--beside NAME=PROGRAM] [--only PART,PART] [--rounds N] [--json FILE]\n\
                     --ours and --beside name programs that take the arguments of bench_model and print its \
                     line; --make names make_gguf; a case is run when its name holds one of the parts";

fn main() -> ExitCode {
    let options = Options {
        valued: &[
            "ours", "make", "models", "llama", "ik", "beside", "only", "rounds", "json",
        ],
        switches: &[],
        max_positional: 0,
    };
    run(USAGE, &options, |arguments| {
        let models = PathBuf::from(required(arguments, "models")?);
        let rounds = arguments.value("rounds", 3usize)?;
        let only: Vec<&str> = arguments
            .text("only")
            .unwrap_or_default()
            .split(',')
            .collect();
        let mut out = io::stdout();
        writeln!(out, "{}, {}\n\n{}", machine(), today(), summary::HEAD)?;
        for case in cases() {
            if !only.iter().any(|part| case.name().contains(part)) {
                continue;
            }
            let model = models.join(case.model.file());
            make(required(arguments, "make")?, &case, &model)?;
            // Every contestant finds the file in the cache of the system.
            io::copy(&mut File::open(&model)?, &mut io::sink())?;
            let mut beside = contestants(arguments)?;
            let rows = rows(&case, &model, rounds, &mut beside);
            for row in &rows {
                writeln!(out, "{}", row.text())?;
            }
            if let Some(path) = arguments.text("json") {
                append(path, &rows)?;
            }
        }
        Ok(Outcome::Good)
    })
}

fn required<'a>(arguments: &'a Arguments, name: &str) -> Result<&'a str, UsageError> {
    let given = arguments.text(name);
    given.ok_or_else(|| UsageError(format!("--{name} is missing")))
}

/// Ours first, then every peer that was named.
fn contestants(arguments: &Arguments) -> Result<Vec<Contestant>, UsageError> {
    let ours = required(arguments, "ours")?;
    let mut all = vec![Contestant::ours(ours), Contestant::one_sequence(ours)];
    if let Some(program) = arguments.text("llama") {
        all.push(Contestant::llama_bench("llama.cpp", program, &[]));
        let name = "llama.cpp --repack 0";
        all.push(Contestant::llama_bench(name, program, &["--repack", "0"]));
    }
    if let Some(program) = arguments.text("ik") {
        all.push(Contestant::ik_llama_bench("ik_llama.cpp", program, &[]));
        let name = "ik_llama.cpp -rtr 1";
        all.push(Contestant::ik_llama_bench(name, program, &["-rtr", "1"]));
    }
    if let Some(beside) = arguments.text("beside") {
        let (name, program) = beside
            .split_once('=')
            .ok_or_else(|| UsageError(format!("--beside {beside:?} is not NAME=PROGRAM")))?;
        all.push(Contestant::line(name, program));
    }
    Ok(all)
}

fn make(program: &str, case: &Case, model: &Path) -> Result<(), Box<dyn Error>> {
    if model.exists() {
        return Ok(());
    }
    let status = Command::new(program)
        .arg(model)
        .args(case.model.arguments())
        .status()
        .map_err(|e| format!("{program}: {e}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {status}").into()),
    }
}

/// Runs the rounds of a case. A contestant that fails is told of and left out of the rest.
fn rows(case: &Case, model: &Path, rounds: usize, contestants: &mut Vec<Contestant>) -> Vec<Row> {
    let mut rows: Vec<Row> = (case.tests.iter())
        .map(|&test| Row::new(case, test, &contestants[0]))
        .collect();
    for round in 0..rounds {
        contestants.retain(|contestant| {
            let values: Vec<Option<Measured>> = match contestant.measure(model, case) {
                Ok(values) => values,
                Err(error) => {
                    report(format_args!("{}: {error}", contestant.name));
                    rows.iter_mut()
                        .for_each(|row| row.failed(contestant, &*error));
                    return false;
                }
            };
            for (row, value) in rows.iter_mut().zip(values) {
                if let Some(value) = value {
                    report(format_args!(
                        "round {round}: {} {}: {:.4}",
                        row.id, contestant.name, value.value
                    ));
                    row.add(round, contestant, value);
                }
            }
            true
        });
    }
    rows
}

/// Progress; nothing depends on whether it is seen.
fn report(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn append(path: &str, rows: &[Row]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    for row in rows {
        let mut line = row.json();
        line["date"] = json!(today());
        line["machine"] = json!(machine());
        writeln!(file, "{line}")?;
    }
    Ok(())
}
