//! Continues a text, streamed.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use mistral_examples::{Options, Outcome, UsageError, run};
use mistral_infer::{GenerateOptions, LoadOptions, Model, Sampling, SessionLimits};

const USAGE: &str = "MODEL --prompt TEXT [--max-tokens N] [--temperature T] [--seed S]";
const OPTIONS: Options<'static> = Options {
    valued: &["prompt", "max-tokens", "temperature", "seed"],
    switches: &[],
    max_positional: 1,
};

fn main() -> ExitCode {
    run(USAGE, &OPTIONS, |arguments| {
        let path = arguments.required(0, "MODEL")?;
        let missing = || UsageError("--prompt is missing".to_owned());
        let prompt = arguments.text("prompt").ok_or_else(missing)?;
        let options = GenerateOptions {
            max_tokens: arguments.value("max-tokens", 256)?,
            sampling: Sampling {
                temperature: arguments.value("temperature", 0.0)?,
                ..Sampling::default()
            },
            seed: arguments.value("seed", 0)?,
            ..GenerateOptions::default()
        };
        let model = Model::load(Path::new(path), &LoadOptions::default())?;
        let tokenizer = model.need_tokenizer()?;
        let ids = tokenizer.encode_with(prompt, tokenizer.affixes())?;
        let mut session = model.session(SessionLimits::default())?;
        let mut out = std::io::stdout().lock();
        for piece in session.generate(&ids, &options)? {
            out.write_all(piece?.text.as_bytes())?;
            out.flush()?;
        }
        writeln!(out)?;
        Ok(Outcome::Good)
    })
}
