//! Speculation: several tokens are guessed and then computed in one pass, which reads the weights
//! once. What the pass doesn't confirm is dropped, so that guesses cost time and never change the
//! result.

use mistral_kernels::{Sampler, Sampling};

use crate::error::InferError;
use crate::session::Session;

/// Most tokens guessed for one pass.
pub(crate) const MAX_DRAFTED: usize = 15;
/// Longest n-gram that is looked for.
const MAX_MATCH: usize = 64;

/// Who guesses the tokens that a pass computes beside the next one.
///
/// A session needs [`SessionLimits::max_logits`](crate::SessionLimits) and `max_batch_tokens` of
/// one more than the guesses. Passes of up to 7 tokens multiply weights as passes of one do, to
/// the bit; longer ones, windows, and attention over long contexts may round differently, as
/// prompts in pieces do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Speculation {
    /// Nobody: one token a pass.
    #[default]
    None,
    /// What followed the last tokens where they occurred before, in the prompt or the text so far
    /// (Saxena, "Prompt Lookup Decoding", 2023). The same seed draws the same tokens as without.
    PromptLookup(PromptLookup),
    /// Another, smaller model of the same vocabulary; see
    /// [`Session::generate_with_draft`](crate::Session::generate_with_draft). Sampled tokens have
    /// the same distribution as without (Leviathan et al., arXiv 2211.17192), but aren't those
    /// that the seed draws without.
    Draft {
        /// Tokens guessed for each pass, 1 to 15.
        tokens: usize,
    },
}

/// How earlier text is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptLookup {
    /// Tokens guessed for each pass, 1 to 15.
    pub tokens: usize,
    /// Longest end of the text that is looked for, at most 64 tokens.
    pub longest_match: usize,
    /// Shortest end that counts as a match, at least 1.
    pub shortest_match: usize,
}

impl Default for PromptLookup {
    /// Six tokens behind the latest match of four to two.
    fn default() -> Self {
        PromptLookup {
            tokens: 6,
            longest_match: 4,
            shortest_match: 2,
        }
    }
}

impl PromptLookup {
    /// Guesses up to `most` tokens that follow `tokens`: those behind the latest earlier
    /// occurrence of its longest end. An occurrence that overlaps the end is a period, which the
    /// guess goes on with.
    #[must_use]
    pub fn guess(&self, tokens: &[u32], most: usize) -> Vec<u32> {
        let most = most.min(self.tokens);
        let longest = self.longest_match.min(tokens.len().saturating_sub(1));
        for n in (self.shortest_match.max(1)..=longest).rev() {
            let end = &tokens[tokens.len() - n..];
            let found = tokens[..tokens.len() - 1]
                .windows(n)
                .rposition(|window| window == end);
            if let Some(at) = found {
                let period = tokens.len() - n - at;
                let mut guess: Vec<u32> = Vec::with_capacity(most);
                for i in 0..most {
                    let next = tokens.get(at + n + i);
                    guess.push(next.copied().unwrap_or_else(|| guess[i - period]));
                }
                return guess;
            }
        }
        Vec::new()
    }
}

impl Speculation {
    /// Most tokens guessed for a pass.
    pub(crate) fn tokens(&self) -> usize {
        match self {
            Speculation::None => 0,
            Speculation::PromptLookup(lookup) => lookup.tokens,
            Speculation::Draft { tokens } => *tokens,
        }
    }

    pub(crate) fn check(&self) -> Result<(), InferError> {
        let refuse = |option, found: usize, expected| {
            Err(InferError::Option {
                option,
                found: found.to_string(),
                expected,
            })
        };
        if *self != Speculation::None && !(1..=MAX_DRAFTED).contains(&self.tokens()) {
            return refuse("speculation.tokens", self.tokens(), "from 1 to 15");
        }
        if let Speculation::PromptLookup(lookup) = self {
            let (longest, shortest) = (lookup.longest_match, lookup.shortest_match);
            if longest > MAX_MATCH {
                return refuse("speculation.longest_match", longest, "at most 64");
            }
            if !(1..=longest).contains(&shortest) {
                let expected = "from 1 to the longest match";
                return refuse("speculation.shortest_match", shortest, expected);
            }
        }
        Ok(())
    }
}

/// Guesses for one sequence.
#[derive(Debug)]
pub(crate) struct Drafter {
    speculation: Speculation,
    /// Draws the draft model's tokens, by other random numbers than those that decide.
    sampler: Sampler,
    /// The tokens guessed last.
    pub(crate) drafted: Vec<u32>,
    /// The distributions they were drawn from, `[drafted, vocab_size]`; empty for a lookup, which
    /// is certain of its guess.
    proposals: Vec<f32>,
    /// Tokens of the text that the draft's session is known to have cached.
    cached: usize,
}

impl Drafter {
    pub(crate) fn new(
        speculation: Speculation,
        sampling: Sampling,
        seed: u64,
    ) -> Result<Drafter, InferError> {
        speculation.check()?;
        // Seeds are spread by the sampler: any other one is unrelated.
        let sampler = Sampler::new(sampling, seed ^ 0x6472_6166_7400_0001)?;
        Ok(Drafter {
            speculation,
            sampler,
            drafted: Vec::new(),
            proposals: Vec::new(),
            cached: 0,
        })
    }

    pub(crate) fn speculation(&self) -> Speculation {
        self.speculation
    }

    /// Guesses up to `most` tokens that follow `tokens`. A draft model runs in its session's
    /// sequence of the same number.
    pub(crate) fn guess(
        &mut self,
        tokens: &[u32],
        most: usize,
        draft: Option<(&mut Session<'_>, usize)>,
    ) -> Result<(), InferError> {
        self.drafted.clear();
        match (self.speculation, draft) {
            (Speculation::PromptLookup(lookup), _) => self.drafted = lookup.guess(tokens, most),
            (Speculation::Draft { tokens: wanted }, Some((session, sequence))) => {
                self.run_draft(tokens, most.min(wanted), session, sequence)?;
            }
            (Speculation::None | Speculation::Draft { .. }, _) => {}
        }
        Ok(())
    }

    fn run_draft(
        &mut self,
        tokens: &[u32],
        count: usize,
        session: &mut Session<'_>,
        sequence: usize,
    ) -> Result<(), InferError> {
        if count == 0 {
            return Ok(());
        }
        let vocab = session.model().spec().vocab_size;
        self.proposals.resize(count * vocab, 0.0);
        let mut history = tokens.to_vec();
        self.cached = session.keep_known_prefix(sequence, tokens, self.cached);
        let mut pending = self.cached;
        for proposal in self.proposals.chunks_exact_mut(vocab) {
            let logits = session.prefill(sequence, &history[pending..])?;
            let token = self.sampler.propose(logits, &history, proposal)?;
            pending = history.len();
            history.push(token);
            self.drafted.push(token);
        }
        Ok(())
    }

    /// Draws the token behind `history` from the row of logits behind `i` guesses.
    pub(crate) fn decide(
        &self,
        i: usize,
        sampler: &mut Sampler,
        logits: &mut [f32],
        history: &[u32],
    ) -> Result<u32, InferError> {
        let vocab = logits.len();
        let drawn = match (self.speculation, self.drafted.get(i)) {
            (Speculation::Draft { .. }, Some(&drafted)) => {
                let proposal = &self.proposals[i * vocab..(i + 1) * vocab];
                sampler.verify(logits, history, drafted, proposal)?
            }
            // Against a guess that is certain, drawing and comparing is the same rule: it is
            // taken with its own probability, and else the rest is drawn from.
            _ => sampler.sample(logits, history)?,
        };
        Ok(drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_guess_follows_the_latest_longest_match() {
        let rows: &[(&[u32], usize, &[u32])] = &[
            (&[], 4, &[]),
            (&[1], 4, &[]),
            (&[1, 2, 3], 4, &[]),
            (&[1, 2, 9, 1, 2], 1, &[9]),
            (&[1, 2, 9, 1, 2], 4, &[9, 1, 2, 9]),
            (&[1, 2, 8, 1, 2, 9, 5, 1, 2], 2, &[9, 5]),
            (&[0, 1, 2, 8, 7, 1, 2, 9, 0, 1, 2], 2, &[8, 7]),
            (&[7, 7, 7], 3, &[7, 7, 7]),
            (&[1, 2, 9, 1, 2], 0, &[]),
        ];
        for (tokens, most, expected) in rows {
            let guess = PromptLookup::default().guess(tokens, *most);
            assert_eq!(guess, *expected, "{tokens:?}");
        }
    }

    /// The definition: the longest end first, each place from the back.
    fn slow(lookup: &PromptLookup, tokens: &[u32], most: usize) -> Vec<u32> {
        for n in (lookup.shortest_match..=lookup.longest_match).rev() {
            for at in (0..tokens.len().saturating_sub(n)).rev() {
                if tokens[at..].starts_with(&tokens[tokens.len() - n..]) {
                    let mut all = tokens.to_vec();
                    for i in 0..most.min(lookup.tokens) {
                        all.push(all[at + n + i]);
                    }
                    return all.split_off(tokens.len());
                }
            }
        }
        Vec::new()
    }

    proptest! {
        #[test]
        fn guesses_are_as_defined(
            tokens in prop::collection::vec(0u32..4, 0..40),
            most in 0usize..20,
            count in 1usize..16,
            shortest in 1usize..4,
            more in 0usize..4,
        ) {
            let lookup = PromptLookup {
                tokens: count,
                longest_match: shortest + more,
                shortest_match: shortest,
            };
            prop_assert_eq!(lookup.guess(&tokens, most), slow(&lookup, &tokens, most));
        }
    }
}
