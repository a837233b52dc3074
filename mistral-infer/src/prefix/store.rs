//! Many prefixes, bounded in bytes.

use std::collections::VecDeque;

use super::Prefix;

/// Prefixes for prompts to come, as many as a number of bytes holds. Those that served longest ago
/// make room first.
///
/// ```
/// use mistral_infer::{LoadOptions, Model, PrefixStore, SessionLimits};
///
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/tiny-mixtral");
/// let model = Model::load(path, &LoadOptions::default())?;
/// let mut session = model.session(SessionLimits::default())?;
/// let mut store = PrefixStore::new(64 << 20);
/// let instructions = model.need_tokenizer()?.encode("Speak as a king would.\n")?;
/// session.prefill(0, &instructions)?;
/// store.insert(session.prefix(0, instructions.len())?);
///
/// let prompt = model.need_tokenizer()?.encode("Speak as a king would.\nGLOUCESTER:\n")?;
/// if let Some((prefix, len)) = store.best(&prompt) {
///     session.restore(0, prefix, len)?;
/// }
/// # assert!(session.tokens(0).len() > 5);
/// # Ok::<(), mistral_infer::InferError>(())
/// ```
#[derive(Debug)]
pub struct PrefixStore {
    max_bytes: usize,
    /// The one that served longest ago is the first.
    prefixes: VecDeque<Prefix>,
}

impl PrefixStore {
    /// An empty store that holds prefixes of `max_bytes` together.
    #[must_use]
    pub fn new(max_bytes: usize) -> PrefixStore {
        PrefixStore {
            max_bytes,
            prefixes: VecDeque::new(),
        }
    }

    /// Prefixes held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.prefixes.iter().map(Prefix::bytes).sum()
    }

    /// The prefix that spares most of computing `prompt`, and how many of its tokens do so
    /// ([`Prefix::usable`], at least 1). It counts as served.
    pub fn best(&mut self, prompt: &[u32]) -> Option<(&Prefix, usize)> {
        let usable = self.prefixes.iter().map(|prefix| prefix.usable(prompt));
        let (at, len) = usable.enumerate().max_by_key(|(_, len)| *len)?;
        if len == 0 {
            return None;
        }
        let prefix = self.prefixes.remove(at)?;
        self.prefixes.push_back(prefix);
        self.prefixes.back().map(|prefix| (prefix, len))
    }

    /// Keeps a prefix, and forgets those that it makes superfluous, then those that served longest
    /// ago, until all fit. Returns whether it is held: not when it alone is too large, nor when
    /// another one serves wherever it would.
    pub fn insert(&mut self, prefix: Prefix) -> bool {
        if prefix.bytes() > self.max_bytes || self.prefixes.iter().any(|p| p.covers(&prefix)) {
            return false;
        }
        self.prefixes.retain(|held| !prefix.covers(held));
        let room = self.max_bytes - prefix.bytes();
        while self.bytes() > room {
            self.prefixes.pop_front();
        }
        self.prefixes.push_back(prefix);
        true
    }
}

impl Prefix {
    /// Whether it serves every prompt as well as `other` does.
    fn covers(&self, other: &Prefix) -> bool {
        self.fingerprint == other.fingerprint
            && self.cache == other.cache
            && self.tokens.starts_with(&other.tokens)
            && (self.tokens.len() == other.tokens.len() || self.can_end(0))
    }
}
