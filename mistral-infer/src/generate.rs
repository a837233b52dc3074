//! Generation: an iterator of pieces of text.

use std::collections::VecDeque;

use mistral_kernels::{Sampler, Sampling};

use crate::decoder::{self, LogitRows, Run};
use crate::error::InferError;
use crate::session::Session;
use crate::stop::StopWatch;
use crate::tokenizer::DecodeStream;

/// Stop strings beyond these bounds are a mistake or an attack.
const MAX_STOPS: usize = 64;
const MAX_STOP_BYTES: usize = 4096;

/// What to generate and when to stop.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// Most tokens a sequence; the context bounds it too.
    pub max_tokens: usize,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// The same seed, prompt and model draw the same tokens.
    pub seed: u64,
    /// Texts that end a sequence; they aren't part of its text.
    pub stop: Vec<String>,
    /// Further ids that end a sequence, beside the model's own.
    pub stop_ids: Vec<u32>,
    /// Whether the model's end-of-sequence ids end a sequence.
    pub end: EndOfSequence,
}

/// What the model's end-of-sequence token does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndOfSequence {
    /// Ends the sequence.
    #[default]
    Stops,
    /// Is a token like any other.
    Ignored,
}

impl Default for GenerateOptions {
    /// 256 tokens, greedy, seed 0.
    fn default() -> Self {
        GenerateOptions {
            max_tokens: 256,
            sampling: Sampling::default(),
            seed: 0,
            stop: Vec::new(),
            stop_ids: Vec::new(),
            end: EndOfSequence::Stops,
        }
    }
}

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Finish {
    /// The model ended it, or a stop id did.
    EndOfSequence,
    /// A stop string occurred.
    StopString,
    /// As many tokens as asked for.
    MaxTokens,
    /// The session's context is full.
    Context,
}

/// One step of one sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Index of the prompt.
    pub sequence: usize,
    /// The token drawn.
    pub token: u32,
    /// Text that became certain with it: whole characters, nothing of a stop string. Empty without
    /// a tokenizer.
    pub text: String,
    /// Set on a sequence's last piece.
    pub finish: Option<Finish>,
}

/// One sequence that is being continued.
struct Lane<'m> {
    sampler: Sampler,
    stream: Option<DecodeStream<'m>>,
    watch: StopWatch,
    /// Prompt and continuation, for penalties.
    tokens: Vec<u32>,
    generated: usize,
    /// The drawn token that isn't in the cache yet; `None` once finished.
    next: Option<u32>,
}

/// Continues prompts; see [`Session::generate`]. Dropping it keeps what was computed in the cache.
pub struct Generation<'s, 'm> {
    session: &'s mut Session<'m>,
    options: GenerateOptions,
    lanes: Vec<Lane<'m>>,
    /// Pieces drawn and not yet handed out.
    ready: VecDeque<Piece>,
    failed: bool,
}

impl<'s, 'm> Generation<'s, 'm> {
    pub(crate) fn new(
        session: &'s mut Session<'m>,
        prompts: &[&[u32]],
        options: &GenerateOptions,
    ) -> Result<Self, InferError> {
        check(session, prompts, options)?;
        let tokenizer = session.model().tokenizer();
        let lanes: Result<Vec<Lane<'m>>, InferError> = (0u64..)
            .zip(prompts)
            .map(|(i, prompt)| {
                Ok(Lane {
                    sampler: Sampler::new(options.sampling, options.seed.wrapping_add(i))?,
                    stream: tokenizer.map(|t| t.decode_stream()),
                    watch: StopWatch::new(&options.stop),
                    tokens: prompt.to_vec(),
                    generated: 0,
                    next: None,
                })
            })
            .collect();
        let mut generation = Generation {
            session,
            options: options.clone(),
            lanes: lanes?,
            ready: VecDeque::with_capacity(prompts.len()),
            failed: false,
        };
        generation.prefill(prompts)?;
        Ok(generation)
    }

    /// Fills each sequence's cache and draws its first token.
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<(), InferError> {
        for (i, prompt) in prompts.iter().enumerate() {
            let kept = self.session.keep_prefix(i, prompt);
            if self.options.max_tokens == 0 {
                continue;
            }
            let logits = self.session.prefill(i, &prompt[kept..])?;
            let lane = &mut self.lanes[i];
            let token = lane.sampler.sample(logits, &lane.tokens)?;
            self.accept(i, token)?;
        }
        Ok(())
    }

    /// Takes a drawn token: its text, and whether the sequence ends with it.
    fn accept(&mut self, i: usize, token: u32) -> Result<(), InferError> {
        let model = self.session.model();
        let lane = &mut self.lanes[i];
        lane.generated += 1;
        lane.tokens.push(token);
        let ends =
            self.options.end == EndOfSequence::Stops && model.spec().eos_token_ids.contains(&token);
        let mut finish =
            (ends || self.options.stop_ids.contains(&token)).then_some(Finish::EndOfSequence);
        let mut text = String::new();
        if let (Some(stream), None) = (&mut lane.stream, finish) {
            let stopped = lane.watch.push(stream.push(token)?, &mut text);
            finish = stopped.then_some(Finish::StopString);
        }
        if finish.is_none() && lane.generated >= self.options.max_tokens {
            finish = Some(Finish::MaxTokens);
        }
        if finish.is_none() && lane.tokens.len() >= self.session.max_seq_len() {
            finish = Some(Finish::Context);
        }
        if matches!(finish, Some(f) if f != Finish::StopString)
            && let Some(stream) = lane.stream.take()
        {
            if lane.watch.push(&stream.finish(), &mut text) {
                finish = Some(Finish::StopString);
            } else {
                lane.watch.flush(&mut text);
            }
        }
        lane.next = finish.is_none().then_some(token);
        self.ready.push_back(Piece {
            sequence: i,
            token,
            text,
            finish,
        });
        Ok(())
    }

    /// One pass over all sequences that go on.
    fn step(&mut self) -> Result<(), InferError> {
        let active: Vec<(usize, [u32; 1])> = (0..)
            .zip(&self.lanes)
            .filter_map(|(i, lane)| lane.next.map(|token| (i, [token])))
            .collect();
        if active.is_empty() {
            return Ok(());
        }
        let runs: Vec<Run<'_>> = active
            .iter()
            .map(|(i, tokens)| Run {
                sequence: *i,
                tokens,
                logits: LogitRows::Last,
            })
            .collect();
        let vocab = self.session.model().spec().vocab_size;
        let logits = self.session.forward(&runs)?;
        let mut drawn = Vec::with_capacity(active.len());
        for ((i, _), row) in active.iter().zip(logits.chunks_exact_mut(vocab)) {
            let lane = &mut self.lanes[*i];
            drawn.push((*i, lane.sampler.sample(row, &lane.tokens)?));
        }
        drawn
            .into_iter()
            .try_for_each(|(i, token)| self.accept(i, token))
    }

    /// Tokens generated so far, of all sequences.
    #[must_use]
    pub fn generated(&self) -> usize {
        self.lanes.iter().map(|lane| lane.generated).sum()
    }

    /// Runs to the end and returns each sequence's text.
    ///
    /// # Errors
    /// The first error of a step.
    pub fn into_texts(mut self) -> Result<Vec<String>, InferError> {
        let mut texts = vec![String::new(); self.lanes.len()];
        for piece in &mut self {
            let piece = piece?;
            texts[piece.sequence].push_str(&piece.text);
        }
        Ok(texts)
    }

    /// Runs to the end and returns the first sequence's text.
    ///
    /// # Errors
    /// The first error of a step.
    pub fn into_text(self) -> Result<String, InferError> {
        Ok(self.into_texts()?.into_iter().next().unwrap_or_default())
    }
}

impl Iterator for Generation<'_, '_> {
    type Item = Result<Piece, InferError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        if self.ready.is_empty()
            && let Err(error) = self.step()
        {
            self.failed = true;
            return Some(Err(error));
        }
        self.ready.pop_front().map(Ok)
    }
}

fn check(
    session: &Session<'_>,
    prompts: &[&[u32]],
    options: &GenerateOptions,
) -> Result<(), InferError> {
    if prompts.is_empty() || prompts.iter().any(|p| p.is_empty()) {
        return Err(InferError::EmptyPrompt);
    }
    if prompts.len() > session.max_sequences() {
        return Err(InferError::Limit {
            limit: "max_sequences",
            found: prompts.len(),
            expected: format!("at most {}", session.max_sequences()),
        });
    }
    let vocab = session.model().spec().vocab_size;
    for prompt in prompts {
        decoder::check_ids(prompt, vocab)?;
        let max_seq_len = session.max_seq_len();
        if prompt.len() > max_seq_len {
            return Err(InferError::ContextExceeded {
                tokens: prompt.len(),
                max_seq_len,
            });
        }
    }
    let stops = &options.stop;
    let too_many = stops.len() > MAX_STOPS || stops.iter().any(|s| s.len() > MAX_STOP_BYTES);
    if too_many || stops.iter().any(String::is_empty) {
        return Err(InferError::Option {
            option: "stop",
            found: format!("{} texts", stops.len()),
            expected: "at most 64 texts of 1 to 4096 bytes",
        });
    }
    if !stops.is_empty() {
        session.model().need_tokenizer()?;
    }
    Ok(())
}
