//! Continues a text, streamed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use mistral_examples::{Options, Outcome, UsageError, cache_type, run, weight_storage};
use mistral_infer::{
    GenerateOptions, InferError, LoadOptions, Model, Prefix, PromptLookup, Sampling, Session,
    SessionLimits, Speculation, memory,
};

const USAGE: &str = "MODEL --prompt TEXT [--max-tokens N] [--temperature T] [--seed S] \
    [--lookup N] [--prompt-cache FILE] [--cache f32|f16|bf16|q8] [--weights mapped|copied] \
    [--max-bytes N] [--schedules FILE]";
const OPTIONS: Options<'static> = Options {
    valued: &[
        "prompt",
        "max-tokens",
        "temperature",
        "seed",
        "lookup",
        "prompt-cache",
        "cache",
        "weights",
        "max-bytes",
        "schedules",
    ],
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
        let limits = SessionLimits {
            max_logits: 16,
            cache: cache_type(arguments)?,
            ..SessionLimits::default()
        };
        let load = LoadOptions {
            storage: weight_storage(arguments)?,
            schedules: arguments.text("schedules").map(PathBuf::from),
            ..LoadOptions::default()
        };
        let plan = memory(path, &load, &limits)?;
        // Without a bound the system decides.
        let plan = plan.within(arguments.value("max-bytes", u64::MAX)?)?;
        eprintln!("{plan}");
        let model = Model::load(Path::new(path), &load)?;
        let tokenizer = model.need_tokenizer()?;
        let ids = tokenizer.encode_with(prompt, tokenizer.affixes())?;
        let mut session = model.session(limits)?;
        let start = Instant::now();
        let cache = arguments.text("prompt-cache").map(Path::new);
        let kept = match cache {
            Some(file) if file.exists() => restore(&mut session, file, &ids)?,
            _ => 0,
        };
        let mut out = std::io::stdout().lock();
        let mut generation = session.generate(&ids, &options)?;
        eprintln!(
            "prompt of {} tokens, {kept} of them from the cache, in {:.3} s",
            ids.len(),
            start.elapsed().as_secs_f64()
        );
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
        if let (Some(file), true) = (cache, kept + 1 < ids.len()) {
            save(&session, file, ids.len())?;
        }
        Ok(Outcome::Good)
    })
}

/// Begins the session with what a file has of the prompt. Returns how many tokens that are.
fn restore(session: &mut Session<'_>, file: &Path, ids: &[u32]) -> Result<usize, InferError> {
    let prefix = Prefix::load(file, session.model())?;
    let usable = prefix.usable(ids);
    session.restore(0, &prefix, usable)?;
    Ok(usable)
}

/// Saves the prompt's cached rows, or those of the whole text where windows have gone beyond them.
fn save(session: &Session<'_>, file: &Path, prompt: usize) -> Result<(), InferError> {
    let all = session.tokens(0).len();
    let prefix = session.prefix(0, prompt.min(all));
    prefix.or_else(|_| session.prefix(0, all))?.save(file)
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
