//! Trains the model in `assets/tiny-mixtral` from nothing but a text.
//!
//! ```text
//! cargo run --release --features train --example train_tiny -- TEXT.txt [--out DIR] [--work DIR]
//!     [--steps N] [--seed S] [--dim N] [--layers N] [--expert-hidden N] [--vocab N] [--seq N]
//!     [--batch N] [--lr X] [--weight-decay X] [--aux X] [--dropout X]
//!     [--eval-every N] [--until STEP] [--stop-after SECONDS]
//! ```
//!
//! A Mixtral (8 experts, 2 a token) learns through the differentiable decoder of `mistral-infer`.
//! Whenever the loss on the held-out tenth of the text improves, `--out` receives the model, its
//! tokenizer and its card; `--work` keeps the state of the run, from which the same command
//! continues after an interruption. The same arguments give the same weights.

mod train;

use std::error::Error;
use std::process::ExitCode;

use mistral_examples::Outcome;
use train::options::{NAMES, Options};

/// What follows the program's name.
const USAGE: &str = "TEXT.txt [--out DIR] [--work DIR] [--steps N] [--seed S] [--dim N] \
    [--layers N] [--expert-hidden N] [--vocab N] [--seq N] [--batch N] [--lr X] [--weight-decay X] \
    [--aux X] [--dropout X] [--eval-every N] [--until STEP] [--stop-after SECONDS]";

fn main() -> ExitCode {
    mistral_examples::run(USAGE, &NAMES, |arguments| {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let options = Options::read(arguments)?;
        train::run(&options, &words).map_err(|e| -> Box<dyn Error> { e })?;
        Ok(Outcome::Good)
    })
}
