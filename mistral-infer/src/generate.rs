//! Generation: an iterator of pieces of text.

use std::collections::VecDeque;

use mistral_kernels::Sampling;

use crate::batch::{Batch, GenerationCounts};
use crate::error::InferError;
use crate::speculate::Speculation;

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
    /// Who guesses tokens that a pass computes beside the next one.
    pub speculation: Speculation,
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
    /// 256 tokens, greedy, seed 0, no speculation.
    fn default() -> Self {
        GenerateOptions {
            max_tokens: 256,
            sampling: Sampling::default(),
            seed: 0,
            stop: Vec::new(),
            stop_ids: Vec::new(),
            end: EndOfSequence::Stops,
            speculation: Speculation::None,
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
    /// Index of the prompt, or the number that [`Batch::admit`] gave it.
    pub sequence: usize,
    /// The token drawn.
    pub token: u32,
    /// Text that became certain with it: whole characters, nothing of a stop string. Empty without
    /// a tokenizer.
    pub text: String,
    /// Set on a sequence's last piece.
    pub finish: Option<Finish>,
}

/// Continues prompts; see [`Session::generate`](crate::Session::generate). Dropping it keeps what was computed in the cache.
pub struct Generation<'s, 'm> {
    batch: Batch<'s, 'm>,
    prompts: usize,
    /// Pieces drawn and not yet handed out.
    ready: VecDeque<Piece>,
}

impl<'s, 'm> Generation<'s, 'm> {
    /// Prompts and options of an empty batch. Seeds count up from that of the options.
    pub(crate) fn new(
        mut batch: Batch<'s, 'm>,
        prompts: &[&[u32]],
        options: &GenerateOptions,
    ) -> Result<Self, InferError> {
        if prompts.is_empty() {
            return Err(InferError::EmptyPrompt);
        }
        for (i, prompt) in (0u64..).zip(prompts) {
            let options = GenerateOptions {
                seed: options.seed.wrapping_add(i),
                ..options.clone()
            };
            batch.admit(prompt, &options)?;
        }
        let mut generation = Generation {
            batch,
            prompts: prompts.len(),
            ready: VecDeque::with_capacity(prompts.len()),
        };
        generation.fill()?;
        Ok(generation)
    }

    /// Steps until a piece is ready or all sequences have ended.
    fn fill(&mut self) -> Result<(), InferError> {
        while self.ready.is_empty() && !self.batch.is_empty() {
            self.ready.extend(self.batch.step()?);
        }
        Ok(())
    }

    /// Tokens generated so far, of all sequences.
    #[must_use]
    pub fn generated(&self) -> usize {
        self.batch.counts().generated
    }

    /// Tokens, passes, guesses so far, of all sequences.
    #[must_use]
    pub fn counts(&self) -> GenerationCounts {
        self.batch.counts()
    }

    /// Runs to the end and returns each sequence's text.
    ///
    /// # Errors
    /// The first error of a step.
    pub fn into_texts(mut self) -> Result<Vec<String>, InferError> {
        let mut texts = vec![String::new(); self.prompts];
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
        if let Err(error) = self.fill() {
            return Some(Err(error));
        }
        self.ready.pop_front().map(Ok)
    }
}
