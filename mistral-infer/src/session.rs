//! A session: the running state of one or more sequences.

use mistral_kernels::CacheType;

use crate::batch::Batch;
use crate::decoder::{self, LogitRows, NoObserver, Observer, Run, SessionLimits, Sizes, State};
use crate::error::InferError;
use crate::generate::{GenerateOptions, Generation};
use crate::model::Model;
use crate::prefix::shared;

/// Owns every buffer that running a model needs: caches, activations, logits.
///
/// Use [`Session::generate`] for text, or [`Session::forward`] for logits.
#[derive(Debug)]
pub struct Session<'m> {
    model: &'m Model,
    pub(crate) state: State,
}

impl<'m> Session<'m> {
    pub(crate) fn new(
        model: &'m Model,
        limits: &SessionLimits,
        cache: CacheType,
    ) -> Result<Session<'m>, InferError> {
        let sizes = Sizes::new(model.spec(), limits, cache)?;
        let state = State::new(model.spec(), sizes, model.cpu().threads())?;
        Ok(Session { model, state })
    }

    /// The model that this session runs.
    #[must_use]
    pub fn model(&self) -> &'m Model {
        self.model
    }

    /// Longest sequence.
    #[must_use]
    pub fn max_seq_len(&self) -> usize {
        self.state.sizes.seq_len
    }

    /// Sequences that run side by side.
    #[must_use]
    pub fn max_sequences(&self) -> usize {
        self.state.sizes.sequences
    }

    /// Tokens of one forward pass.
    #[must_use]
    pub fn max_batch_tokens(&self) -> usize {
        self.state.sizes.tokens
    }

    /// Rows of logits of one forward pass.
    #[must_use]
    pub fn max_logits(&self) -> usize {
        self.state.sizes.logits
    }

    /// The tokens of a sequence whose keys and values are cached; empty for an unknown one.
    #[must_use]
    pub fn tokens(&self, sequence: usize) -> &[u32] {
        self.state
            .sequences
            .get(sequence)
            .map_or(&[], |s| &s.tokens)
    }

    /// Forgets a sequence.
    pub fn clear(&mut self, sequence: usize) {
        if sequence < self.state.sequences.len() {
            self.state.clear(sequence);
        }
    }

    /// Keeps the longest cached beginning of `sequence` that `prompt` shares, drops the rest, and
    /// returns its length. At least one token of the prompt is left to compute.
    pub fn keep_prefix(&mut self, sequence: usize, prompt: &[u32]) -> usize {
        self.keep_known_prefix(sequence, prompt, 0)
    }

    /// As [`Session::keep_prefix`], where the first `known` tokens of the prompt are known to be
    /// what the sequence has.
    pub(crate) fn keep_known_prefix(
        &mut self,
        sequence: usize,
        prompt: &[u32],
        known: usize,
    ) -> usize {
        let tokens = self.tokens(sequence);
        let known = known.min(tokens.len()).min(prompt.len());
        let same = known + shared(&tokens[known..], &prompt[known..]);
        let most = same.min(prompt.len().saturating_sub(1));
        let kept = match self.can_rewind(sequence, most) {
            true => most,
            false => 0,
        };
        if sequence < self.max_sequences() {
            self.state.rewind(sequence, kept);
        }
        kept
    }

    /// Whether a sequence may go on behind its first `len` tokens.
    pub(crate) fn can_rewind(&self, sequence: usize, len: usize) -> bool {
        let windows = self.model.spec().layers.iter().map(|layer| layer.window);
        let state = self.state.sequences.get(sequence);
        state.is_some_and(|state| state.can_rewind(windows, len))
    }

    /// One forward pass over new tokens of some sequences. Returns the logits that the runs want,
    /// `[rows, vocab_size]`, runs in order.
    ///
    /// # Errors
    /// [`InferError`] when a run is empty, a token isn't in the vocabulary, a limit is exceeded, or
    /// a router meets numbers that aren't finite. After an error of a kernel the sequences of the
    /// runs are forgotten.
    pub fn forward(&mut self, runs: &[Run<'_>]) -> Result<&mut [f32], InferError> {
        self.forward_observed(runs, &mut NoObserver)
    }

    /// As [`Session::forward`], with intermediate values shown to `observer`.
    ///
    /// # Errors
    /// As [`Session::forward`].
    pub fn forward_observed(
        &mut self,
        runs: &[Run<'_>],
        observer: &mut dyn Observer,
    ) -> Result<&mut [f32], InferError> {
        let (spec, weights) = (self.model.spec(), self.model.weights());
        decoder::forward(
            self.model.cpu(),
            spec,
            weights,
            &mut self.state,
            runs,
            observer,
        )
    }

    /// Feeds `tokens` to a sequence in pieces of the batch size and returns the last token's
    /// logits, `[vocab_size]`.
    ///
    /// # Errors
    /// As [`Session::forward`]; [`InferError::ContextExceeded`] before anything is computed.
    pub fn prefill(&mut self, sequence: usize, tokens: &[u32]) -> Result<&mut [f32], InferError> {
        let total = self.tokens(sequence).len().saturating_add(tokens.len());
        if total > self.max_seq_len() {
            let max_seq_len = self.max_seq_len();
            return Err(InferError::ContextExceeded {
                tokens: total,
                max_seq_len,
            });
        }
        decoder::check_ids(tokens, self.model.spec().vocab_size)?;
        let piece = self.max_batch_tokens();
        let last = tokens.len().saturating_sub(1) / piece * piece;
        for tokens in tokens[..last].chunks(piece) {
            self.forward(&[Run {
                sequence,
                tokens,
                logits: LogitRows::None,
            }])?;
        }
        self.forward(&[Run {
            sequence,
            tokens: &tokens[last..],
            logits: LogitRows::Last,
        }])
    }

    /// Continues a prompt. The iterator yields one piece a token; what the cache already holds of
    /// the prompt isn't computed again.
    ///
    /// # Errors
    /// [`InferError`] when the prompt is empty, doesn't fit the context, has ids outside the
    /// vocabulary, or an option is out of range.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        options: &GenerateOptions,
    ) -> Result<Generation<'_, 'm>, InferError> {
        Generation::new(Batch::new(self), &[prompt], options)
    }

    /// Continues several prompts side by side, one sequence each, in one batch. Pieces carry the
    /// index of their prompt, and seeds count up from that of the options. For prompts that come
    /// later, or with options of their own, see [`Batch`].
    ///
    /// # Errors
    /// As [`Session::generate`], and [`InferError::Limit`] for more prompts than sequences.
    pub fn generate_batch(
        &mut self,
        prompts: &[&[u32]],
        options: &GenerateOptions,
    ) -> Result<Generation<'_, 'm>, InferError> {
        Generation::new(Batch::new(self), prompts, options)
    }

    /// Continues a prompt as [`Session::generate`] does, with a smaller model's session for
    /// [`Speculation::Draft`](crate::Speculation::Draft).
    ///
    /// # Errors
    /// As [`Session::generate`] and [`Batch::with_draft`].
    pub fn generate_with_draft<'s>(
        &'s mut self,
        draft: &'s mut Session<'m>,
        prompt: &[u32],
        options: &GenerateOptions,
    ) -> Result<Generation<'s, 'm>, InferError> {
        Generation::new(Batch::with_draft(self, draft)?, &[prompt], options)
    }
}
