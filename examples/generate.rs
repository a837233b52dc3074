//! Continues a text, streamed.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use mistral_examples::{Options, Outcome, UsageError, run};
use mistral_infer::{
    GenerateOptions, LoadOptions, Model, PromptLookup, Sampling, SessionLimits, Speculation,
};

const USAGE: &str =
    "MODEL --prompt TEXT [--max-tokens N] [--temperature T] [--seed S] [--lookup N]";
const OPTIONS: Options<'static> = Options {
    valued: &["prompt", "max-tokens", "temperature", "seed", "lookup"],
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
            speculation: lookup(arguments.value("lookup", 0)?),
            ..GenerateOptions::default()
        };
        let model = Model::load(Path::new(path), &LoadOptions::default())?;
        let tokenizer = model.need_tokenizer()?;
        let ids = tokenizer.encode_with(prompt, tokenizer.affixes())?;
        let mut session = model.session(SessionLimits {
            max_logits: 16,
            ..SessionLimits::default()
        })?;
        let mut out = std::io::stdout().lock();
        let mut generation = session.generate(&ids, &options)?;
        let start = Instant::now();
        for piece in &mut generation {
            out.write_all(piece?.text.as_bytes())?;
            out.flush()?;
        }
        writeln!(out)?;
        // The first token belongs to the prompt.
        let counts = generation.counts();
        let rate = counts.generated.saturating_sub(1) as f64 / start.elapsed().as_secs_f64();
        eprintln!(
            "{} tokens in {} passes, {rate:.1} tokens/s; {} of {} guesses confirmed",
            counts.generated, counts.passes, counts.accepted, counts.drafted
        );
        Ok(Outcome::Good)
    })
}

/// Guesses of `tokens` tokens from the text so far; 0 is none.
fn lookup(tokens: usize) -> Speculation {
    match tokens {
        0 => Speculation::None,
        _ => Speculation::PromptLookup(PromptLookup {
            tokens,
            ..PromptLookup::default()
        }),
    }
}
