//! Continuous batching: sequences join and leave while others go on.

use crate::constraint::Constraint;
use crate::decoder::{self, LogitRows, Run};
use crate::error::InferError;
use crate::generate::{GenerateOptions, Piece};
use crate::lane::Lane;
use crate::session::Session;
use crate::speculate::Speculation;

/// Stop strings beyond these bounds are a mistake or an attack.
const MAX_STOPS: usize = 64;
const MAX_STOP_BYTES: usize = 4096;

/// Continues several prompts side by side, each with its own options, in the sequences of one
/// session. Prompts are computed in pieces beside the sequences that already write.
///
/// What a sequence draws doesn't depend on its neighbours, but for rounding: a pass of many tokens
/// may add the same products in another order than a pass of few.
///
/// ```
/// use mistral_infer::{Batch, GenerateOptions, LoadOptions, Model, SessionLimits};
///
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/tiny-mixtral");
/// let model = Model::load(path, &LoadOptions::default())?;
/// let tokenizer = model.need_tokenizer()?;
/// let limits = SessionLimits { max_sequences: 2, ..SessionLimits::default() };
/// let mut session = model.session(limits)?;
/// let mut batch = Batch::new(&mut session);
/// let options = GenerateOptions { max_tokens: 8, ..GenerateOptions::default() };
/// batch.admit(&tokenizer.encode("KING RICHARD III:\n")?, &options)?;
/// batch.step()?;
/// // Another one joins.
/// let late = batch.admit(&tokenizer.encode("ROMEO:\n")?, &options)?;
/// while !batch.is_empty() {
///     for piece in batch.step()? {
///         if piece.sequence == late {
///             print!("{}", piece.text);
///         }
///     }
/// }
/// # Ok::<(), mistral_infer::InferError>(())
/// ```
pub struct Batch<'s, 'm> {
    session: &'s mut Session<'m>,
    draft: Option<&'s mut Session<'m>>,
    /// In the order of admission.
    lanes: Vec<Lane<'m>>,
    next_id: usize,
    counts: GenerationCounts,
    /// Numbers of sequences that were in a pass that failed: each goes on alone until it has drawn.
    suspects: Vec<usize>,
}

/// What a pass brought.
#[derive(Debug, Default)]
pub struct Step {
    /// The pieces drawn.
    pub pieces: Vec<Piece>,
    /// Sequences that can't go on, and why. They have left.
    pub failed: Vec<(usize, InferError)>,
}

/// What generation has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GenerationCounts {
    /// Tokens drawn.
    pub generated: usize,
    /// Forward passes, those over prompts among them.
    pub passes: usize,
    /// Tokens guessed.
    pub drafted: usize,
    /// Guesses that were confirmed.
    pub accepted: usize,
}

/// A pass that failed as a whole.
struct Broken {
    /// The sequences in it; none when it wasn't begun.
    ids: Vec<usize>,
    error: Box<InferError>,
}

/// A lane's part of a pass.
struct Part {
    /// Its place among the lanes.
    lane: usize,
    tokens: Vec<u32>,
    logits: LogitRows,
}

impl<'s, 'm> Batch<'s, 'm> {
    /// An empty batch over the sequences of `session`. What one of them has cached serves every
    /// prompt that begins with it: in its own place when it is free and that forgets least,
    /// elsewhere as a copy.
    pub fn new(session: &'s mut Session<'m>) -> Self {
        Batch {
            session,
            draft: None,
            lanes: Vec::new(),
            next_id: 0,
            counts: GenerationCounts::default(),
            suspects: Vec::new(),
        }
    }

    /// As [`Batch::new`], with a session of a smaller model for [`Speculation::Draft`].
    ///
    /// # Errors
    /// When the draft has another vocabulary size, fewer sequences or a shorter context.
    pub fn with_draft(
        session: &'s mut Session<'m>,
        draft: &'s mut Session<'m>,
    ) -> Result<Self, InferError> {
        let expected = session.model().spec().vocab_size;
        let found = draft.model().spec().vocab_size;
        if found != expected {
            return Err(InferError::DraftVocabulary { expected, found });
        }
        for (limit, found, least) in [
            (
                "max_sequences",
                draft.max_sequences(),
                session.max_sequences(),
            ),
            ("max_seq_len", draft.max_seq_len(), session.max_seq_len()),
        ] {
            if found < least {
                return Err(InferError::Limit {
                    limit,
                    found,
                    expected: format!("at least {least} of a draft"),
                });
            }
        }
        Ok(Batch {
            draft: Some(draft),
            ..Batch::new(session)
        })
    }

    /// Lets a prompt join. Returns the number that its pieces will carry: 0, 1, … in the order of
    /// admission. Nothing is computed yet. With `max_tokens` 0 no piece will come.
    ///
    /// # Errors
    /// When the prompt is empty, doesn't fit the context or has ids outside the vocabulary, an
    /// option is out of range; [`InferError::Limit`] when no sequence is free, or a pass can't
    /// hold a token and the guesses of every lane.
    pub fn admit(
        &mut self,
        prompt: &[u32],
        options: &GenerateOptions,
    ) -> Result<usize, InferError> {
        self.admit_constrained(prompt, options, None)
    }

    /// As [`Batch::admit`], for a continuation that `constraint` has a say in.
    ///
    /// # Errors
    /// As [`Batch::admit`]; [`InferError::Option`] for [`Speculation::Draft`], whose model guesses
    /// without knowing what may follow.
    pub fn admit_constrained(
        &mut self,
        prompt: &[u32],
        options: &GenerateOptions,
        constraint: Option<Box<dyn Constraint>>,
    ) -> Result<usize, InferError> {
        check(self.session, prompt, options)?;
        if constraint.is_some() && matches!(options.speculation, Speculation::Draft { .. }) {
            return Err(InferError::Option {
                option: "speculation",
                found: "a draft model".to_owned(),
                expected: "none or a lookup beside a constraint",
            });
        }
        let max_seq_len = self.session.max_seq_len();
        let mut lane = Lane::new(self.session.model(), max_seq_len, prompt, options)?;
        lane.constraint = constraint;
        if matches!(options.speculation, Speculation::Draft { .. }) && self.draft.is_none() {
            return Err(InferError::Option {
                option: "speculation",
                found: "a draft model".to_owned(),
                expected: "none or a lookup: no session of a draft model was given",
            });
        }
        lane.sequence = self.free_sequence(&lane)?;
        lane.id = self.next_id;
        self.next_id += 1;
        let id = lane.id;
        if options.max_tokens > 0 {
            self.lanes.push(lane);
        }
        Ok(id)
    }

    /// Whether a pass can hold what all lanes want at most. So each lane's guesses stay the same
    /// in company, and a prompt goes on in every pass.
    fn check_room(&self, new: &Lane<'_>) -> Result<(), InferError> {
        let running: usize = self.lanes.iter().map(Lane::width).sum();
        let least = running + new.width();
        let session = &self.session;
        for (limit, found) in [
            ("max_logits", session.max_logits()),
            ("max_batch_tokens", session.max_batch_tokens()),
        ] {
            if found < least {
                return Err(InferError::Limit {
                    limit,
                    found,
                    expected: format!("at least {least} for each sequence's token and guesses"),
                });
            }
        }
        Ok(())
    }

    /// A free sequence that has most of a new lane's prompt cached, or was given it by another one.
    fn free_sequence(&mut self, new: &Lane<'_>) -> Result<usize, InferError> {
        let lanes = &self.lanes;
        let full = || InferError::Limit {
            limit: "max_sequences",
            found: lanes.len() + 1,
            expected: format!("at most {}", lanes.len()),
        };
        if lanes.len() == self.session.max_sequences() {
            return Err(full());
        }
        self.check_room(new)?;
        let free = |s: usize| lanes.iter().all(|lane| lane.sequence != s);
        let sequence = self.session.settle(&new.tokens, free).ok_or_else(full)?;
        if let (Speculation::Draft { .. }, Some(draft)) =
            (new.drafter.speculation(), self.draft.as_deref_mut())
        {
            let own = draft.keep_prefix(sequence, &new.tokens);
            draft.borrow_prefix(sequence, &new.tokens, own);
        }
        Ok(sequence)
    }

    /// Ends a sequence. Its cache stays for later prompts. Returns whether it was running.
    pub fn cancel(&mut self, id: usize) -> bool {
        let before = self.lanes.len();
        self.lanes.retain(|lane| lane.id != id);
        self.lanes.len() < before
    }

    /// Whether no sequence runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Sequences that run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// What was done so far, for all sequences together.
    #[must_use]
    pub fn counts(&self) -> GenerationCounts {
        self.counts
    }

    /// One forward pass: each sequence whose prompt is computed goes on, and with the room that
    /// is left prompts are computed, the oldest first. Returns the pieces drawn: none as long as
    /// there are only prompts, or several a sequence when guesses are confirmed. A sequence whose
    /// piece has `finish` set has left.
    ///
    /// # Errors
    /// As [`Session::forward`], and when a logit isn't finite. Then all sequences have left.
    pub fn step(&mut self) -> Result<Vec<Piece>, InferError> {
        let stepped = match self.pass() {
            Ok(mut step) => match step.failed.pop() {
                None => Ok(step.pieces),
                Some((_, error)) => Err(error),
            },
            Err(broken) => Err(*broken.error),
        };
        if stepped.is_err() {
            self.lanes.clear();
        }
        stepped
    }

    /// As [`Batch::step`], for sequences that are strangers to each other: one that fails leaves,
    /// and the others go on. A pass that fails as a whole is computed again, each sequence alone,
    /// so that a step may bring nothing.
    ///
    /// # Errors
    /// As [`Session::forward`] for the draft's session; then all sequences have left.
    pub fn step_apart(&mut self) -> Result<Step, InferError> {
        let Broken { ids, error } = match self.pass() {
            Ok(step) => return Ok(step),
            Err(broken) => broken,
        };
        let mut step = Step::default();
        match ids[..] {
            [] => {
                self.lanes.clear();
                return Err(*error);
            }
            [id] => {
                self.lanes.retain(|lane| lane.id != id);
                step.failed.push((id, *error));
            }
            _ => self.suspects = ids,
        }
        Ok(step)
    }

    fn pass(&mut self) -> Result<Step, Broken> {
        let broken = |ids: Vec<usize>, error| Broken {
            ids,
            error: Box::new(error),
        };
        let parts = self.plan().map_err(|error| broken(Vec::new(), error))?;
        let mut step = Step::default();
        if parts.is_empty() {
            return Ok(step);
        }
        let runs: Vec<Run<'_>> = parts
            .iter()
            .map(|part| Run {
                sequence: self.lanes[part.lane].sequence,
                tokens: &part.tokens,
                logits: part.logits,
            })
            .collect();
        let vocab = self.session.model().spec().vocab_size;
        let ids = || parts.iter().map(|part| self.lanes[part.lane].id).collect();
        let mut logits = (self.session.forward(&runs)).map_err(|error| broken(ids(), error))?;
        self.counts.passes += 1;
        for (part, run) in parts.iter().zip(&runs) {
            let (rows, rest) = logits.split_at_mut(run.logit_rows() * vocab);
            logits = rest;
            if rows.is_empty() {
                continue;
            }
            let lane = &mut self.lanes[part.lane];
            self.suspects.retain(|id| *id != lane.id);
            self.counts.drafted += lane.drafter.drafted.len();
            match lane.draw(rows, vocab, &mut step.pieces) {
                Ok(accepted) => self.counts.accepted += accepted,
                Err(error) => step.failed.push((lane.id, error)),
            }
        }
        self.counts.generated += step.pieces.len();
        for part in &parts {
            // Drops the guesses that weren't confirmed.
            let lane = &mut self.lanes[part.lane];
            lane.cached =
                (self.session).keep_known_prefix(lane.sequence, &lane.tokens, lane.cached);
        }
        self.leave(&step);
        Ok(step)
    }

    /// Takes out the sequences that ended or failed.
    fn leave(&mut self, step: &Step) {
        self.lanes.retain(|lane| {
            let mine = |p: &&Piece| p.sequence == lane.id;
            let last = step.pieces.iter().rfind(mine);
            let failed = step.failed.iter().any(|(id, _)| *id == lane.id);
            !failed && last.is_none_or(|piece| piece.finish.is_none())
        });
    }

    /// What each lane computes in the next pass.
    fn plan(&mut self) -> Result<Vec<Part>, InferError> {
        let mut left = self.session.max_batch_tokens();
        let mut parts = Vec::with_capacity(self.lanes.len());
        let mut waiting = Vec::new();
        let lanes = &self.lanes;
        (self.suspects).retain(|id| lanes.iter().any(|lane| lane.id == *id));
        let alone = self.suspects.first().copied();
        for (i, lane) in self.lanes.iter_mut().enumerate() {
            if alone.is_some_and(|id| id != lane.id) {
                continue;
            }
            lane.drafter.drafted.clear();
            let (sequence, tokens) = (lane.sequence, &lane.tokens);
            lane.cached = (self.session).keep_known_prefix(sequence, tokens, lane.cached);
            if tokens.len() - lane.cached > 1 {
                // Others may have computed more of the same prompt by now.
                lane.cached = (self.session).borrow_prefix(sequence, tokens, lane.cached);
                waiting.push(i);
                continue;
            }
            let draft = self.draft.as_deref_mut().map(|d| (d, lane.sequence));
            let most = lane.useful_guesses();
            lane.drafter.guess(&lane.tokens, most, draft)?;
            let mut tokens = lane.tokens[lane.cached..].to_vec();
            tokens.extend_from_slice(&lane.drafter.drafted);
            left -= tokens.len();
            parts.push(Part {
                lane: i,
                tokens,
                logits: LogitRows::All,
            });
        }
        for i in waiting {
            let pending = &self.lanes[i].tokens[self.lanes[i].cached..];
            let taken = pending.len().min(left);
            if taken == 0 {
                break;
            }
            left -= taken;
            parts.push(Part {
                lane: i,
                tokens: pending[..taken].to_vec(),
                logits: match taken == pending.len() {
                    true => LogitRows::Last,
                    false => LogitRows::None,
                },
            });
        }
        Ok(parts)
    }
}

fn check(
    session: &Session<'_>,
    prompt: &[u32],
    options: &GenerateOptions,
) -> Result<(), InferError> {
    if prompt.is_empty() {
        return Err(InferError::EmptyPrompt);
    }
    decoder::check_ids(prompt, session.model().spec().vocab_size)?;
    let max_seq_len = session.max_seq_len();
    if prompt.len() > max_seq_len {
        return Err(InferError::ContextExceeded {
            tokens: prompt.len(),
            max_seq_len,
        });
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
