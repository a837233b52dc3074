//! Measures a loaded model: prompt and decode rates as medians over repeats.

use std::time::Instant;

use mistral_core::plan::Runtime;
use mistral_core::report::{Machine, RunReport, RunShape};
use mistral_kernels::{CacheType, Sampler, Sampling};

use crate::decoder::{LogitRows, Run, SessionLimits};
use crate::error::InferError;
use crate::model::Model;
use crate::session::Session;

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeasureOptions {
    /// Tokens of the prompt whose processing is timed.
    pub prompt: usize,
    /// Tokens decoded after it, one pass each.
    pub generate: usize,
    /// Tokens in the cache before the prompt.
    pub depth: usize,
    /// Sequences decoded side by side; the prompt is timed for one.
    pub batch: usize,
    /// Repeats, after a short one that warms up.
    pub repeat: usize,
    /// Format of cached keys and values, as in [`SessionLimits`].
    pub cache: Option<CacheType>,
    /// Tokens of a prompt that are computed together, as in [`SessionLimits`]; its default when
    /// `None`.
    pub batch_tokens: Option<usize>,
}

impl Default for MeasureOptions {
    /// 512 prompt tokens, 64 decoded, one sequence, three repeats.
    fn default() -> Self {
        MeasureOptions {
            prompt: 512,
            generate: 64,
            depth: 0,
            batch: 1,
            repeat: 3,
            cache: None,
            batch_tokens: None,
        }
    }
}

impl MeasureOptions {
    /// Limits of the session that is measured: as long as what is run in it.
    #[must_use]
    pub fn session_limits(&self) -> SessionLimits {
        let length = [self.prompt, self.generate, self.depth, 1]
            .iter()
            .try_fold(0usize, |sum, n| sum.checked_add(*n));
        let usual = SessionLimits::default();
        SessionLimits {
            max_seq_len: Some(length.unwrap_or(usize::MAX)),
            max_sequences: self.batch,
            cache: self.cache,
            max_batch_tokens: self.batch_tokens.unwrap_or(usual.max_batch_tokens),
            ..usual
        }
    }
}

/// Where a measurement comes from: what the caller knows and the clock doesn't.
#[derive(Debug, Clone)]
pub struct Provenance {
    /// The command that repeats it.
    pub command: String,
    /// Its date, `YYYY-MM-DD`.
    pub date: String,
    /// Name of the processor.
    pub device: String,
    /// The model's name.
    pub model: String,
    /// How long loading took.
    pub load_ms: Option<f64>,
    /// The process's peak memory, asked for after the run.
    pub peak_rss_bytes: fn() -> Option<u64>,
}

/// Seconds of one repeat.
struct Timing {
    prefill: f64,
    first_token: f64,
    decode: f64,
}

/// Runs `model` on made-up tokens and reports medians. `progress` is called before each repeat
/// with its number, 0 for the warm-up.
///
/// # Errors
/// [`InferError`] when the lengths exceed the model's context, an option is zero, or a pass fails.
pub fn measure(
    model: &Model,
    options: &MeasureOptions,
    provenance: &Provenance,
    progress: &mut dyn FnMut(usize),
) -> Result<RunReport, InferError> {
    for (option, value) in [
        ("prompt", options.prompt),
        ("batch", options.batch),
        ("repeat", options.repeat),
    ] {
        if value == 0 {
            return Err(InferError::Option {
                option,
                found: "0".to_owned(),
                expected: "at least 1",
            });
        }
    }
    let mut session = model.session(options.session_limits())?;
    // What is slow only once, pages of the files above all, a few tokens meet as well as many.
    let warm_up = MeasureOptions {
        prompt: options.prompt.min(64),
        generate: options.generate.min(2),
        ..*options
    };
    progress(0);
    one(&mut session, &warm_up)?;
    let mut timings = Vec::new();
    for repeat in 1..=options.repeat {
        progress(repeat);
        timings.push(one(&mut session, options)?);
    }
    Ok(report(model, options, provenance, &timings))
}

/// Milliseconds from making a session to the first token of a prompt. Right after loading that is
/// what the first request of a process waits for beside the loading.
///
/// # Errors
/// As [`measure`].
pub fn first_token_ms(model: &Model, options: &MeasureOptions) -> Result<f64, InferError> {
    let start = Instant::now();
    let mut session = model.session(options.session_limits())?;
    let prompt = made_up_tokens(model.spec().vocab_size, options.prompt, 2);
    let logits = session.prefill(0, &prompt)?;
    Sampler::new(Sampling::default(), 0)?.sample(logits, &[])?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn one(session: &mut Session<'_>, options: &MeasureOptions) -> Result<Timing, InferError> {
    let vocab = session.model().spec().vocab_size;
    let mut sampler = Sampler::new(Sampling::default(), 0)?;
    // One token more than the depth: the last one of a prompt is never kept.
    let deep = made_up_tokens(vocab, options.depth + 1, 1);
    for sequence in 0..options.batch {
        let kept = session.keep_prefix(sequence, &deep);
        if kept < options.depth {
            session.clear(sequence);
            session.prefill(sequence, &deep[..options.depth])?;
        }
    }
    let prompt = made_up_tokens(vocab, options.prompt, 2);
    let start = Instant::now();
    let logits = session.prefill(0, &prompt)?;
    let prefill = start.elapsed().as_secs_f64();
    let first = sampler.sample(logits, &[])?;
    let first_token = start.elapsed().as_secs_f64();
    for sequence in 1..options.batch {
        session.prefill(sequence, &prompt)?;
    }
    let mut next = vec![first; options.batch];
    let start = Instant::now();
    for _ in 0..options.generate {
        let runs: Vec<Run<'_>> = next
            .iter()
            .enumerate()
            .map(|(sequence, token)| Run {
                sequence,
                tokens: std::slice::from_ref(token),
                logits: LogitRows::Last,
            })
            .collect();
        let logits = session.forward(&runs)?;
        let drawn: Result<Vec<u32>, _> = logits
            .chunks_exact_mut(vocab)
            .map(|row| sampler.sample(row, &[]))
            .collect();
        next = drawn?;
    }
    Ok(Timing {
        prefill,
        first_token,
        decode: start.elapsed().as_secs_f64(),
    })
}

fn report(
    model: &Model,
    options: &MeasureOptions,
    provenance: &Provenance,
    timings: &[Timing],
) -> RunReport {
    let prefill = median(timings.iter().map(|t| options.prompt as f64 / t.prefill));
    let passes = median(timings.iter().map(|t| options.generate as f64 / t.decode));
    let decoded = (options.generate > 0).then_some(passes);
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    RunReport {
        schema: RunReport::SCHEMA,
        command: provenance.command.clone(),
        date: provenance.date.clone(),
        machine: Machine {
            device: provenance.device.clone(),
            count: 1,
            threads: Some(small(model.cpu().threads())),
        },
        model: provenance.model.clone(),
        precision: model.precision(),
        runtime: Some(Runtime::MistralInfer),
        kernel_path: model.cpu().isa().name().to_owned(),
        shape: RunShape {
            prompt_tokens: small(options.prompt),
            output_tokens: small(options.generate),
            depth: small(options.depth),
            batch: small(options.batch),
            repeats: small(options.repeat),
        },
        prefill_tokens_per_s: Some(prefill),
        decode_tokens_per_s: decoded.map(|passes| passes * options.batch as f64),
        ttft_ms: Some(median(timings.iter().map(|t| t.first_token * 1e3))),
        load_ms: provenance.load_ms,
        peak_rss_bytes: (provenance.peak_rss_bytes)(),
        weight_bytes: u64::try_from(model.weight_bytes()).ok(),
        read_bytes_per_s: decoded.map(|passes| passes * model.bytes_per_token() as f64),
    }
}

/// Ids that repeat for the same arguments and don't for long (splitmix64).
fn made_up_tokens(vocab: usize, len: usize, seed: u64) -> Vec<u32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (0..len)
        .map(|_| u32::try_from(next() % vocab as u64).unwrap_or(0))
        .collect()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    match n {
        0 => f64::NAN,
        _ => (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0,
    }
}
