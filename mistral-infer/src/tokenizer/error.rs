//! What can be wrong with a tokenizer file or a call.

use std::path::PathBuf;

use super::TokenizerVersion;

/// A tokenizer file that is refused, or a call that cannot be answered.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A directory holds none of the three tokenizer files.
    #[error(
        "no tokenizer in {path}: expected tekken.json, tokenizer.model, tokenizer.model.v* or tokenizer.json"
    )]
    NotFound {
        /// The directory.
        path: PathBuf,
    },
    /// The content is none of the three kinds of file.
    #[error(
        "unknown tokenizer format of {name:?}: expected tokenizer.json, tekken.json or a SentencePiece model"
    )]
    UnknownFormat {
        /// The file's name as given.
        name: String,
    },
    /// Something is larger than its limit in [`super::limits`].
    #[error("{what} is {found}, above the limit of {limit}")]
    TooLarge {
        /// What was counted, with its unit.
        what: &'static str,
        /// What the input has.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// JSON that does not parse, or lacks a field, or has a field of another type.
    #[error("invalid JSON in the tokenizer file: {0}")]
    Json(#[from] serde_json::Error),
    /// Bytes that are not a valid SentencePiece protobuf message.
    #[error("invalid SentencePiece model at byte {offset}: {what}")]
    Protobuf {
        /// Byte offset from the start of the file.
        offset: usize,
        /// What was expected there.
        what: &'static str,
    },
    /// A vocabulary entry that cannot be right.
    #[error("vocabulary entry {id}: expected {expected}, found {found}")]
    Vocabulary {
        /// The entry's token id, or its position in the file.
        id: u64,
        /// What an entry has to be.
        expected: &'static str,
        /// What it was.
        found: String,
    },
    /// A setting that is missing or out of its range.
    #[error("tokenizer field {field}: expected {expected}, found {found}")]
    Field {
        /// The field's name in the file.
        field: &'static str,
        /// What it has to be.
        expected: &'static str,
        /// What it was.
        found: String,
    },
    /// A setting that changes the results and is not supported.
    #[error("unsupported tokenizer setting {field} = {found}")]
    Unsupported {
        /// The setting.
        field: &'static str,
        /// Its value in the file.
        found: String,
    },
    /// A GGUF file whose metadata is broken.
    #[error("gguf metadata")]
    Gguf(#[from] crate::gguf::GgufError),
    /// A regular expression that does not compile, or may take exponential time.
    #[error("refused regular expression: {reason}")]
    Pattern {
        /// Why.
        reason: String,
    },
    /// A regular expression gave up on a text.
    #[error(
        "the tokenizer's regular expression gave up at byte {offset} of the text after {limit} steps"
    )]
    PatternSteps {
        /// Byte offset in the text.
        offset: usize,
        /// [`super::limits::MAX_PATTERN_STEPS`].
        limit: usize,
    },
    /// The `tokenizers` crate refused the file or a text.
    #[error("tokenizer.json: {0}")]
    Library(Box<dyn std::error::Error + Send + Sync>),
    /// A token id outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocab_size}")]
    UnknownId {
        /// The id.
        id: u32,
        /// Number of ids that exist.
        vocab_size: usize,
    },
    /// A control token that this tokenizer does not have.
    #[error("the tokenizer has no control token {name:?}")]
    NoControlToken {
        /// The token's name.
        name: String,
    },
    /// A text with a character that the vocabulary has no token for.
    #[error("the vocabulary has no token for byte {byte:#04x} and no unknown token")]
    NoToken {
        /// The byte.
        byte: u8,
    },
    /// A version name that Mistral has not released.
    #[error("unknown tokenizer version {found:?}: expected v1, v2, v3, v7, v11, v13 or v15")]
    UnknownVersion {
        /// What was found.
        found: String,
    },
    /// A kind of file that the version does not exist for.
    #[error("tokenizer version {version} does not exist as a {kind} file")]
    VersionKind {
        /// The version.
        version: TokenizerVersion,
        /// The kind of file.
        kind: &'static str,
    },
}

impl TokenizerError {
    pub(super) fn too_large(what: &'static str, found: usize, limit: usize) -> Self {
        Self::TooLarge {
            what,
            found: found as u64,
            limit: limit as u64,
        }
    }
}
