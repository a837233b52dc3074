//! Why a prefix is refused.

use mistral_kernels::CacheType;

use super::Fingerprint;

/// Errors of taking, putting in and reading prefixes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrefixError {
    /// More tokens are asked for than there are, or none.
    #[error("a prefix of {tokens} tokens, expected from 1 to the {cached} that are cached")]
    NotCached {
        /// Tokens asked for.
        tokens: usize,
        /// Tokens there are.
        cached: usize,
    },
    /// The ring of a layer with a window, or a prefix whose end is left out, doesn't hold what the
    /// next token sees.
    #[error("layer {layer} holds positions from {oldest} on, expected from {needed} on")]
    Overwritten {
        /// The decoder layer.
        layer: usize,
        /// Oldest position that is needed.
        needed: usize,
        /// Oldest position that is there.
        oldest: usize,
    },
    /// The prefix was computed by another model.
    #[error("made by model {found}, expected this model, {expected}")]
    OtherModel {
        /// This model.
        expected: Fingerprint,
        /// The model that made it.
        found: Fingerprint,
    },
    /// The session caches in another format.
    #[error("rows are {found:?}, expected the session's {expected:?}")]
    OtherCache {
        /// The session's format.
        expected: CacheType,
        /// The prefix's.
        found: CacheType,
    },
    /// The rows can't be held in memory.
    #[error("{bytes} bytes can't be allocated")]
    OutOfMemory {
        /// Their size.
        bytes: usize,
    },
    /// The file doesn't begin as one of prefixes does.
    #[error("not a file of cached tokens")]
    NotAPrefix,
    /// The file is of another version of the format.
    #[error("version {found}, expected {expected}")]
    Version {
        /// The version that this code reads.
        expected: u32,
        /// The file's.
        found: u32,
    },
    /// The file's rows are of a format that this code doesn't know.
    #[error("cache format {found} is unknown")]
    UnknownCache {
        /// Its number.
        found: u32,
    },
    /// The file isn't as long as its number of tokens makes it: it was cut off, or lies.
    #[error("{tokens} tokens take {expected} bytes, found {found}")]
    Length {
        /// Tokens according to the header.
        tokens: u64,
        /// Bytes that they take with header and hash; `u64::MAX` when that can't be told.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// More tokens than the model's context holds.
    #[error("{tokens} tokens, expected at most the model's {max_seq_len}")]
    Context {
        /// Tokens of the prefix.
        tokens: u64,
        /// The model's context.
        max_seq_len: usize,
    },
    /// The bytes are not those that were written.
    #[error("hash of the content is {found:016x}, expected {expected:016x}")]
    Corrupt {
        /// Hash that the file states.
        expected: u64,
        /// Hash of what it holds.
        found: u64,
    },
    /// A token isn't in the model's vocabulary.
    #[error("token id {id} at position {position}: the vocabulary has {vocab_size}")]
    Token {
        /// The id.
        id: u32,
        /// Its place.
        position: usize,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
}
