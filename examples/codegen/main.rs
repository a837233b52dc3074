//! From a plan to checked deployment files: one line of JSON a file.
//!
//! A tree of the files with their verdicts goes to standard error, `--html FILE` makes a page of
//! plan, predictions and checks. With `--verify`, a file that a checker refuses isn't written, and
//! the exit status is 1. `--diff OLD.json` prints what changes between two plans, and why, and
//! writes nothing. What a plan doesn't say, and what checkers need, are further options.

mod program;
mod settings;

use std::process::ExitCode;

fn main() -> ExitCode {
    mistral_examples::run(settings::USAGE, &settings::OPTIONS, program::run)
}
