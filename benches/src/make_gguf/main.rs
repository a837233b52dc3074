//! Writes a random-weight model as a GGUF file with the shapes and the mix of formats that llama.cpp
//! gives a released one.
//!
//! The same arguments give the same bytes. Such a model says nothing, but it costs as much to load and
//! to run as a trained one. Tensors are written as they are made, so that none is ever whole in memory.
#![forbid(unsafe_code)]

mod random;
mod shape;
mod vocabulary;

use mistral_core::precision::Precision;
use mistral_examples::{Options, Outcome, UsageError, run};
use mistral_infer::gguf::GgufWriter;
use shape::Shape;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str =
    "OUT --shape 7b|mixtral|300m|126m --mix q4_k_m|q4_0|q8_0|bf16 [--layers N] [--seed N]";

fn main() -> ExitCode {
    let options = Options {
        valued: &["shape", "mix", "layers", "seed"],
        switches: &[],
        max_positional: 1,
    };
    run(USAGE, &options, |arguments| {
        let out = Path::new(arguments.required(0, "OUT")?);
        let mut shape = Shape::named(arguments.text("shape").unwrap_or_default())?;
        shape.layers = arguments.value("layers", shape.layers)?;
        if !(1..=1000).contains(&shape.layers) {
            return Err(UsageError("--layers wants 1 to 1000".to_owned()).into());
        }
        let mix: Precision = arguments.text("mix").unwrap_or_default().parse()?;
        if !shape::MIXES.contains(&mix) {
            return Err(UsageError(format!("--mix {mix} has no random weights here")).into());
        }
        let seed: u64 = arguments.value("seed", 1)?;
        if let Some(folder) = out.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let tensors = shape.tensors(mix);
        let mut writer = GgufWriter::create(out, &shape.metadata(mix), &tensors)?;
        for (index, tensor) in (0u64..).zip(&tensors) {
            // Tensors are far apart in the sequence of a seed, and seeds further still.
            let seed = (seed << 48) ^ (index << 32);
            random::blocks(tensor, seed, |bytes| writer.data(bytes))?;
        }
        let bytes = writer.finish()?;
        let gigabytes = bytes as f64 / 1e9;
        writeln!(std::io::stderr(), "{}: {gigabytes:.2} GB", out.display())?;
        Ok(Outcome::Good)
    })
}
