//! Finds faster settings on this machine: `tune kernels [--seconds N] [--book FILE]` searches how the
//! kernels cut and fetch the products of a 7B and an 8x7B model, `tune serve MODEL [--seconds N]` how a
//! model is run (threads, prompt tokens computed together, cache).
//!
//! One JSON line a search. What is found beyond noise goes into the book (`--book`), a file that
//! `ScheduleBook` reads; `--experience FILE` keeps what was learnt of each value for later searches.

mod kernels;
mod products;
mod serving;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mistral_codegen::tune::{Bench, Effort, Experience, Outcome as Found, Point, Space, search};
use mistral_examples::{Options, Outcome, UsageError, run, write_beside};
use serde::Serialize;
use serde::de::DeserializeOwned;

const USAGE: &str = "(kernels [--book FILE] | serve MODEL) [--seconds N] [--threads N] [--seed N] [--experience FILE]";

/// What every search is told.
struct Search {
    seconds: u64,
    threads: usize,
    seed: u64,
    experience: Experience,
}

impl Search {
    /// Searches for at most the seconds that each search has.
    fn run(
        &mut self,
        space: &Space,
        today: &Point,
        bench: &mut dyn Bench,
        candidates: usize,
    ) -> Found {
        let effort = Effort {
            candidates,
            seed: self.seed,
            ..Effort::default()
        };
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let mut more = || {
            let left = end.saturating_duration_since(Instant::now());
            eprintln!("  {} s left", left.as_secs());
            !left.is_zero()
        };
        search(
            space,
            today,
            bench,
            &effort,
            &mut self.experience,
            &mut more,
        )
    }
}

/// What a search prints.
#[derive(Serialize)]
struct Line<'a> {
    what: &'a str,
    /// Today's time over that of the point that came out first, with its interval.
    gain: f64,
    lo: f64,
    hi: f64,
    /// Whether that is more than noise.
    better: bool,
    values: Vec<(&'static str, u32)>,
    tried: usize,
    pairs: usize,
    refused: Vec<String>,
}

impl<'a> Line<'a> {
    fn new(what: &'a str, space: &Space, found: &Found) -> Self {
        let names = space.axes().iter().map(|axis| axis.name);
        let values = found.first.iter().flat_map(|point| point.0.clone());
        let refused = found.refused.iter();
        Self {
            what,
            gain: found.gain,
            lo: found.interval.0,
            hi: found.interval.1,
            better: found.best.is_some(),
            values: names.zip(values).collect(),
            tried: found.tried,
            pairs: found.pairs,
            refused: refused
                .map(|r| format!("{:?}: {}", r.point.0, r.because))
                .collect(),
        }
    }
}

/// A JSON file, or what there is without one.
fn read<T: DeserializeOwned + Default>(path: Option<&str>) -> Result<T, Box<dyn Error>> {
    match path.map(Path::new) {
        Some(path) if path.exists() => {
            let text = std::fs::read_to_string(path)?;
            Ok(serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?)
        }
        _ => Ok(T::default()),
    }
}

/// Writes a JSON file.
fn write(path: &str, value: &impl Serialize) -> Result<(), Box<dyn Error>> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    Ok(write_beside(Path::new(path), &text)?)
}

fn main() -> ExitCode {
    let options = Options {
        valued: &["book", "seconds", "threads", "seed", "experience"],
        max_positional: 2,
        ..Options::default()
    };
    run(USAGE, &options, |arguments| {
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        let kept = arguments.text("experience");
        let mut search = Search {
            seconds: arguments.value("seconds", 60)?,
            threads: arguments.value("threads", all)?.max(1),
            seed: arguments.value("seed", 0)?,
            experience: read(kept)?,
        };
        match arguments.required(0, "kernels or serve")? {
            "kernels" => kernels::tune(&mut search, arguments.text("book"))?,
            "serve" => serving::tune(&mut search, arguments.required(1, "MODEL")?)?,
            other => {
                return Err(UsageError(format!("expected kernels or serve, found {other}")).into());
            }
        }
        if let Some(path) = kept {
            write(path, &search.experience)?;
        }
        Ok(Outcome::Good)
    })
}
