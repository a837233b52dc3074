//! Prefixes: tokens with their cached rows, which save computing a prompt's beginning again.
//!
//! What one sequence of a session has computed serves another one by
//! [`Session::copy_prefix`], and a [`Batch`](crate::Batch) does so by itself. A [`Prefix`] is a
//! sequence's beginning outside of any session: it goes into other sessions of the same model, also
//! of another context length, and into files ([`Prefix::save`]). A [`PrefixStore`] keeps many,
//! bounded in bytes. Continuing behind a prefix gives the logits that continuing where it was
//! computed gives, to the bit; in a session whose limits give layers with windows other rings, and
//! on another processor, but for rounding.
//!
//! ```
//! use mistral_infer::{GenerateOptions, LoadOptions, Model, Prefix, SessionLimits};
//!
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/tiny-mixtral");
//! # let file = std::env::temp_dir().join(format!("king-{}.prefix", std::process::id()));
//! let model = Model::load(path, &LoadOptions::default())?;
//! let prompt = model.need_tokenizer()?.encode("KING RICHARD III:\nNow is the winter\n")?;
//! let mut session = model.session(SessionLimits::default())?;
//! session.prefill(0, &prompt)?;
//! session.prefix(0, prompt.len())?.save(&file)?;
//!
//! // Later, in another process:
//! let prefix = Prefix::load(&file, &model)?;
//! let mut session = model.session(SessionLimits::default())?;
//! session.restore(0, &prefix, prefix.usable(&prompt))?;
//! let options = GenerateOptions { max_tokens: 8, ..GenerateOptions::default() };
//! print!("{}", session.generate(&prompt, &options)?.into_text()?);
//! # std::fs::remove_file(file).expect("it was saved");
//! # Ok::<(), mistral_infer::InferError>(())
//! ```

mod error;
mod file;
mod hash;
mod store;

use mistral_core::model::{AttentionKind, ModelSpec};
use mistral_kernels::CacheType;

use crate::error::InferError;
use crate::session::Session;

pub use error::PrefixError;
pub use store::PrefixStore;

/// What tells a model from others: a hash of its description and of samples of its weights. Made to
/// find mistakes: it doesn't prove anything about files from people you don't trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u64; 2]);

impl Fingerprint {
    pub(crate) fn of(bytes: &[u8]) -> Fingerprint {
        Fingerprint([0, 1].map(|seed| hash::xxh64(bytes, seed)))
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}{:016x}", self.0[0], self.0[1])
    }
}

/// The first tokens of a sequence with their cached rows.
///
/// Invariant: there are tokens, all of them ids of the model, and `rows` has the length that the
/// model's description, the cache's type and the number of tokens give.
#[derive(Clone, PartialEq, Eq)]
pub struct Prefix {
    fingerprint: Fingerprint,
    cache: CacheType,
    tokens: Vec<u32>,
    /// Buffer by buffer `[heads, positions, row]`; of a layer with a window the last positions.
    rows: Vec<u8>,
    /// Of the layer whose window is the shortest.
    window: Option<usize>,
}

/// Without the rows, which may be gigabytes.
impl std::fmt::Debug for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prefix")
            .field("fingerprint", &self.fingerprint)
            .field("cache", &self.cache)
            .field("tokens", &self.tokens.len())
            .field("row_bytes", &self.rows.len())
            .finish_non_exhaustive()
    }
}

impl Prefix {
    /// The tokens.
    #[must_use]
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Format of the cached rows.
    #[must_use]
    pub fn cache(&self) -> CacheType {
        self.cache
    }

    /// The model that computed it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Bytes that it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Prefix>() + 4 * self.tokens.len() + self.rows.len()
    }

    /// How many of its tokens spare computing `prompt`: the beginning that both share, without the
    /// prompt's last token, which is always computed. 0 when layers with windows need positions
    /// that the prefix, which ends elsewhere, doesn't hold.
    #[must_use]
    pub fn usable(&self, prompt: &[u32]) -> usize {
        let shared = shared(&self.tokens, prompt).min(prompt.len().saturating_sub(1));
        match self.can_end(shared) {
            true => shared,
            false => 0,
        }
    }

    /// Whether a sequence may go on behind the first `len` tokens.
    fn can_end(&self, len: usize) -> bool {
        self.window
            .is_none_or(|window| self.tokens.len() <= window.max(len + 1))
    }
}

/// Length of the beginning that both have.
pub(crate) fn shared(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The shortest window behind which a layer forgets. Latents are kept whole.
fn shortest_window(spec: &ModelSpec) -> Option<usize> {
    match &spec.attention {
        AttentionKind::Gqa(_) => spec.layers.iter().filter_map(|layer| layer.window).min(),
        AttentionKind::Mla(_) => None,
    }
}

impl Session<'_> {
    fn check_sequence(&self, found: usize) -> Result<(), InferError> {
        if found < self.max_sequences() {
            return Ok(());
        }
        Err(InferError::Limit {
            limit: "sequence",
            found,
            expected: format!("below {}", self.max_sequences()),
        })
    }

    /// Whether [`Session::copy_prefix`] can copy a sequence's first `len` tokens.
    pub(crate) fn can_lend(&self, sequence: usize, len: usize) -> bool {
        let spec = self.model().spec();
        self.state.check_rows(spec, sequence, len).is_ok()
    }

    /// Lets the sequence `to` begin with the first `len` tokens of `from`, whose cached rows are
    /// copied; what `to` held is forgotten.
    ///
    /// # Errors
    /// [`InferError::Limit`] for a sequence that isn't there; [`InferError::Prefix`] when `len` is
    /// 0 or more than `from` has cached, or when the ring of a layer with a window has overwritten
    /// what is needed: then both sequences are as they were.
    pub fn copy_prefix(&mut self, from: usize, to: usize, len: usize) -> Result<(), InferError> {
        self.check_sequence(from)?;
        self.check_sequence(to)?;
        let spec = self.model().spec();
        self.state.copy_rows(spec, (from, to), len)
    }

    /// Takes out the first `len` tokens of a sequence with their cached rows, which the sequence
    /// keeps.
    ///
    /// # Errors
    /// As [`Session::copy_prefix`], and when there is no memory for the rows.
    pub fn prefix(&self, sequence: usize, len: usize) -> Result<Prefix, InferError> {
        self.check_sequence(sequence)?;
        let spec = self.model().spec();
        Ok(Prefix {
            rows: self.state.take_rows(spec, sequence, len)?,
            fingerprint: self.model().fingerprint(),
            cache: self.state.sizes.cache,
            tokens: self.tokens(sequence)[..len].to_vec(),
            window: shortest_window(spec),
        })
    }

    /// Lets a sequence begin with the first `len` tokens of a prefix, mostly [`Prefix::usable`] of
    /// the prompt that follows; what it held is forgotten. With `len` 0 it is empty then.
    ///
    /// # Errors
    /// [`InferError::Limit`] for a sequence that isn't there; [`InferError::ContextExceeded`];
    /// [`InferError::Prefix`] when the prefix has fewer tokens, is of another model or cache type,
    /// or lacks positions that the layers with windows need behind `len` tokens. Then the sequence
    /// is as it was.
    pub fn restore(
        &mut self,
        sequence: usize,
        prefix: &Prefix,
        len: usize,
    ) -> Result<(), InferError> {
        self.check_sequence(sequence)?;
        let spec = self.model().spec();
        let expected = self.model().fingerprint();
        let (cache, max_seq_len) = (self.state.sizes.cache, self.max_seq_len());
        if prefix.fingerprint != expected {
            let found = prefix.fingerprint;
            return Err(PrefixError::OtherModel { expected, found }.into());
        }
        if prefix.cache != cache {
            let (expected, found) = (cache, prefix.cache);
            return Err(PrefixError::OtherCache { expected, found }.into());
        }
        if len > prefix.tokens.len() {
            let cached = prefix.tokens.len();
            return Err(PrefixError::NotCached {
                tokens: len,
                cached,
            }
            .into());
        }
        if len > max_seq_len {
            return Err(InferError::ContextExceeded {
                tokens: len,
                max_seq_len,
            });
        }
        if len == 0 {
            self.clear(sequence);
            return Ok(());
        }
        self.state.check_end(spec, prefix.tokens.len(), len)?;
        let tokens = (&prefix.tokens[..], len);
        self.state.put_rows(spec, sequence, tokens, &prefix.rows)
    }
}
