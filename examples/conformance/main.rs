//! Holds this workspace to reference results: one JSON line for each case found below a folder.
//!
//! ```text
//! conformance DIR [--tokenizers DIR] [--device cpu|candle|wgpu|cuda]
//! ```
//!
//! Kinds of cases are recognised by what lies in a folder: models (logits with and without a cache,
//! intermediate values, routers, greedy tokens), GGUF models and block formats, single operations,
//! tokenizer vectors, and trained models with texts. Exit status 0 when every row is within tolerance, 1 when one isn't, 2 for
//! unusable arguments or a folder without cases.
#![forbid(unsafe_code)]

mod bf16;
#[cfg(feature = "candle")]
mod candle_engine;
mod checks;
mod device;
mod discover;
mod engine;
mod gguf;
mod model;
mod ops;
mod report;
mod sampling;
mod scores;
mod stories;
mod tensors;
mod tokenizers;

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use device::Device;
use discover::{Case, Kind};
use mistral_examples::{Arguments, Options, Outcome, UsageError, print_line};
use report::{Checks, Row};

/// What all cases are run with.
struct Context {
    device: Device,
    /// A folder of tokenizer files to prefer to the one beside the vectors.
    tokenizers: Option<PathBuf>,
}

fn main() -> ExitCode {
    mistral_examples::run(
        "DIR [--tokenizers DIR] [--device cpu|candle|wgpu|cuda]",
        &Options {
            valued: &["tokenizers", "device"],
            switches: &[],
            max_positional: 1,
        },
        body,
    )
}

fn body(arguments: &Arguments) -> Result<Outcome, Box<dyn Error>> {
    let context = Context {
        device: Device::parse(arguments.text("device").unwrap_or("cpu"))?,
        tokenizers: arguments.text("tokenizers").map(PathBuf::from),
    };
    if let Some(folder) = context
        .tokenizers
        .as_ref()
        .filter(|folder| !folder.is_dir())
    {
        return Err(UsageError(format!("--tokenizers {}: not a folder", folder.display())).into());
    }
    let root = Path::new(arguments.required(0, "DIR")?);
    let cases = discover::cases(root)?;
    let (mut good, mut bad) = (0usize, 0usize);
    for case in &cases {
        for row in rows(&context, case) {
            if row.ok {
                good += 1
            } else {
                bad += 1
            }
            print_line(&row)?;
        }
    }
    if good + bad == 0 {
        return Err(format!(
            "{}: no case for this device was found below it",
            root.display()
        )
        .into());
    }
    eprintln!("{good} rows within tolerance, {bad} not");
    Ok(if bad == 0 {
        Outcome::Good
    } else {
        Outcome::OutOfTolerance
    })
}

/// The rows of one case. A panic in the code under test is a row too.
fn rows(context: &Context, case: &Case) -> Vec<Row> {
    catch_unwind(AssertUnwindSafe(|| dispatch(context, case))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let mut checks = Checks::default();
        checks.fail(format!("panicked: {}", text.unwrap_or("without a message")));
        vec![checks.into_row(case.name.clone(), case.kind.name())]
    })
}

fn dispatch(context: &Context, case: &Case) -> Vec<Row> {
    let on_cpu = context.device == Device::Cpu;
    match case.kind {
        Kind::Model => model::run(context, &case.name, &case.path),
        Kind::Stories => stories::run(context, &case.name, &case.path),
        Kind::Ops if on_cpu => ops::run(&case.name, &case.path),
        Kind::Tokenizer if on_cpu => tokenizers::run(context, &case.name, &case.path),
        Kind::Ops | Kind::Tokenizer => {
            eprintln!("{}: not run on this device", case.name);
            Vec::new()
        }
        Kind::Gguf => gguf::run(context, &case.name, &case.path),
        Kind::Lora => {
            eprintln!("{}: lora cases are not covered yet", case.name);
            Vec::new()
        }
    }
}
