//! One sequence that is being continued.

use mistral_kernels::Sampler;

use crate::constraint::{Constraint, Progress};
use crate::error::InferError;
use crate::generate::{EndOfSequence, Finish, GenerateOptions, Piece};
use crate::model::Model;
use crate::speculate::Drafter;
use crate::stop::StopWatch;
use crate::tokenizer::DecodeStream;

/// A sequence's own settings and text. What of it is computed, its session knows.
pub(crate) struct Lane<'m> {
    /// What pieces are marked with.
    pub(crate) id: usize,
    /// The session's sequence that it occupies.
    pub(crate) sequence: usize,
    /// Prompt and continuation.
    pub(crate) tokens: Vec<u32>,
    /// How many of them its sequence has cached for certain. Nobody else writes to the sequence, so
    /// that only what came later has to be compared.
    pub(crate) cached: usize,
    pub(crate) drafter: Drafter,
    /// Who has a say in what follows.
    pub(crate) constraint: Option<Box<dyn Constraint>>,
    sampler: Sampler,
    stream: Option<DecodeStream<'m>>,
    watch: StopWatch,
    generated: usize,
    max_tokens: usize,
    max_seq_len: usize,
    /// Ids that end it.
    ends: Vec<u32>,
}

impl<'m> Lane<'m> {
    /// A lane of checked options.
    pub(crate) fn new(
        model: &'m Model,
        max_seq_len: usize,
        prompt: &[u32],
        options: &GenerateOptions,
    ) -> Result<Lane<'m>, InferError> {
        let mut ends = options.stop_ids.clone();
        if options.end == EndOfSequence::Stops {
            ends.extend_from_slice(&model.spec().eos_token_ids);
        }
        Ok(Lane {
            id: 0,
            sequence: 0,
            tokens: prompt.to_vec(),
            cached: 0,
            drafter: Drafter::new(options.speculation, options.sampling, options.seed)?,
            constraint: None,
            sampler: Sampler::new(options.sampling, options.seed)?,
            stream: model.tokenizer().map(|t| t.decode_stream()),
            watch: StopWatch::new(&options.stop),
            generated: 0,
            max_tokens: options.max_tokens,
            max_seq_len,
            ends,
        })
    }

    /// Tokens, and rows of logits, that it may want of one pass once its prompt is computed.
    pub(crate) fn width(&self) -> usize {
        1 + self.drafter.speculation().tokens()
    }

    /// Guesses that can be of use: behind them one more token is drawn, and the context bounds
    /// what can be computed.
    pub(crate) fn useful_guesses(&self) -> usize {
        let wanted = self.max_tokens - self.generated;
        let room = self.max_seq_len - self.tokens.len();
        wanted.saturating_sub(1).min(room)
    }

    /// Draws tokens from `rows`, `[1 + guesses, vocab_size]`, as far as they confirm the guesses,
    /// and one more. Returns how many guesses were confirmed.
    pub(crate) fn draw(
        &mut self,
        rows: &mut [f32],
        vocab: usize,
        pieces: &mut Vec<Piece>,
    ) -> Result<usize, InferError> {
        for (i, row) in rows.chunks_exact_mut(vocab).enumerate() {
            if let Some(constraint) = &mut self.constraint {
                constraint.mask(row)?;
            }
            let token = self
                .drafter
                .decide(i, &mut self.sampler, row, &self.tokens)?;
            let piece = self.accept(token)?;
            let ended = piece.finish.is_some();
            pieces.push(piece);
            let confirmed = self.drafter.drafted.get(i) == Some(&token);
            if ended || !confirmed {
                return Ok(i + usize::from(confirmed));
            }
        }
        Ok(0)
    }

    /// Takes a drawn token: its text, and whether the sequence ends with it.
    fn accept(&mut self, token: u32) -> Result<Piece, InferError> {
        self.generated += 1;
        self.tokens.push(token);
        let mut finish = self.ends.contains(&token).then_some(Finish::EndOfSequence);
        let complete = match (&mut self.constraint, finish) {
            (Some(constraint), None) => constraint.accept(token)? == Progress::Complete,
            _ => false,
        };
        let mut text = String::new();
        if let (Some(stream), None) = (&mut self.stream, finish) {
            let stopped = self.watch.push(stream.push(token)?, &mut text);
            finish = stopped.then_some(Finish::StopString);
        }
        if finish.is_none() && complete {
            finish = Some(Finish::EndOfSequence);
        }
        if finish.is_none() && self.generated >= self.max_tokens {
            finish = Some(Finish::MaxTokens);
        }
        if finish.is_none() && self.tokens.len() >= self.max_seq_len {
            finish = Some(Finish::Context);
        }
        if matches!(finish, Some(f) if f != Finish::StopString)
            && let Some(stream) = self.stream.take()
        {
            if self.watch.push(&stream.finish(), &mut text) {
                finish = Some(Finish::StopString);
            } else {
                self.watch.flush(&mut text);
            }
        }
        Ok(Piece {
            sequence: self.id,
            token,
            text,
            finish,
        })
    }
}
