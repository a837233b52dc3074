//! Shared parts of the example programs: arguments, exit status, JSON lines and measured figures.
//!
//! A program hands its body to [`run`]; what the body returns becomes the exit status: 0 when all went
//! well, 1 when something is out of tolerance, 2 for unusable arguments or input. Standard output holds
//! only what the program promises; everything else goes to standard error.
#![forbid(unsafe_code)]

#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/bench.rs"]
mod bench;
#[path = "support/cache.rs"]
mod cache;
#[path = "support/date.rs"]
mod date;
pub mod ds1000;
#[path = "support/recommendation.rs"]
pub mod recommendation;
#[path = "support/storage.rs"]
mod storage;
#[path = "support/vectors.rs"]
pub mod vectors;
#[path = "support/write.rs"]
mod write;

pub use arguments::{Arguments, Options, UsageError};
pub use bench::{BenchLine, machine, median, peak_rss_bytes, plain_read_bytes_per_s};
pub use cache::cache_type;
pub use date::today;
pub use storage::weight_storage;
pub use write::write_beside;

/// The snippets of the workspace's README, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

use serde::Serialize;
use std::error::Error;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// How a program went that was able to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every row was processed, and within tolerance where there is one: exit status 0.
    Good,
    /// Something is out of tolerance: exit status 1.
    OutOfTolerance,
}

/// Parses the command line by `options`, runs `body`, and turns what it returns into the exit status.
///
/// `usage` is what follows the program's name, e.g. `"MODEL --prompt TEXT [--seed S]"`.
pub fn run(
    usage: &str,
    options: &Options,
    body: impl FnOnce(&Arguments) -> Result<Outcome, Box<dyn Error>>,
) -> ExitCode {
    let parsed = Arguments::parse(std::env::args().skip(1), options);
    match parsed
        .map_err(Box::from)
        .and_then(|arguments| body(&arguments))
    {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::OutOfTolerance) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because {cause}");
                source = cause.source();
            }
            if error.is::<UsageError>() {
                eprintln!("arguments: {usage}");
            }
            ExitCode::from(2)
        }
    }
}

/// Prints `row` as one JSON line on standard output, at once.
///
/// # Errors
/// When `row` is no JSON value or standard output is closed.
pub fn print_line(row: &impl Serialize) -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, row)?;
    match out.write_all(b"\n").and_then(|()| out.flush()) {
        // A reader such as `head` that has seen enough is no failure of ours.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}
