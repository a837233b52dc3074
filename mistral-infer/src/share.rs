//! Which sequence of a session serves a prompt best, and what others lend it.

use crate::prefix::shared;
use crate::session::Session;

/// Where a prompt may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Cached tokens that are forgotten there.
    lost: usize,
    /// Whether the prompt's beginning has to be copied to it.
    copied: bool,
    sequence: usize,
}

impl Session<'_> {
    /// Tokens of a prompt that a sequence has cached, without its last one.
    fn cached(&self, sequence: usize, prompt: &[u32]) -> usize {
        shared(self.tokens(sequence), prompt).min(prompt.len().saturating_sub(1))
    }

    /// The other sequence that can lend most of a prompt's beginning, and how much.
    fn lender(&self, to: Option<usize>, prompt: &[u32]) -> Option<(usize, usize)> {
        (0..self.max_sequences())
            .filter(|sequence| Some(*sequence) != to)
            .map(|sequence| (sequence, self.cached(sequence, prompt)))
            .filter(|(sequence, len)| self.can_lend(*sequence, *len))
            .max_by_key(|(_, len)| *len)
    }

    /// The sequence among the `free` ones in which a prompt goes on with least to compute, and of
    /// those the one that forgets least; its beginning is copied there if it has to be. `None` when
    /// none is free.
    pub(crate) fn settle(&mut self, prompt: &[u32], free: impl Fn(usize) -> bool) -> Option<usize> {
        let kept = |sequence: usize| {
            let len = self.cached(sequence, prompt);
            if self.can_rewind(sequence, len) {
                len
            } else {
                0
            }
        };
        let all = || (0..self.max_sequences()).filter(|sequence| free(*sequence));
        let lent = self.lender(None, prompt).map_or(0, |(_, len)| len);
        let most = all().map(kept).fold(lent, usize::max);
        let place = |sequence: usize| {
            let (held, copied) = (self.tokens(sequence).len(), kept(sequence) < most);
            let lost = if copied { held } else { held - most };
            (lent == most || !copied).then_some(Place {
                lost,
                copied,
                sequence,
            })
        };
        let best = all().filter_map(place).min()?;
        if best.copied {
            self.borrow_prefix(best.sequence, prompt, 0);
        }
        Some(best.sequence)
    }

    /// Copies a prompt's beginning to a sequence that has `own` tokens of it from the one that has
    /// most, if that is more. Returns how many tokens the sequence has then.
    pub(crate) fn borrow_prefix(&mut self, to: usize, prompt: &[u32], own: usize) -> usize {
        match self.lender(Some(to), prompt) {
            Some((from, len)) if len > own && self.copy_prefix(from, to, len).is_ok() => len,
            _ => own,
        }
    }
}
