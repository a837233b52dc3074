//! The versions of Mistral's tokenizers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::TokenizerError;

/// A version decides which control tokens exist and how a chat is encoded; the vocabulary of plain
/// text hardly changes. Ordered by age.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenizerVersion {
    /// The first: `[INST]` is plain text (Mistral 7B v0.1, Mixtral 8x7B).
    V1,
    /// Control tokens for instructions and tools.
    V2,
    /// Ids on tool calls.
    V3,
    /// System prompts of their own.
    V7,
    /// Tool calls one by one, with `[ARGS]` and `[CALL_ID]`.
    V11,
    /// Tools before the first user message, thinking chunks, no call ids.
    V13,
    /// Model settings such as the reasoning effort.
    V15,
}

impl TokenizerVersion {
    /// All versions, oldest first.
    pub const ALL: [Self; 7] = [
        Self::V1,
        Self::V2,
        Self::V3,
        Self::V7,
        Self::V11,
        Self::V13,
        Self::V15,
    ];

    /// The version's name as files have it, `v1` to `v15`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V3 => "v3",
            Self::V7 => "v7",
            Self::V11 => "v11",
            Self::V13 => "v13",
            Self::V15 => "v15",
        }
    }

    /// The version that a file name of the form `tokenizer.model.v3` or `tokenizer.model.v7m1`
    /// carries; a bare `.model` is v1.
    ///
    /// # Errors
    /// [`TokenizerError::UnknownVersion`] for another ending.
    pub fn from_model_name(name: &str) -> Result<Self, TokenizerError> {
        let ending = name.rsplit('.').next().unwrap_or(name);
        if ending == "model" {
            return Ok(Self::V1);
        }
        // What follows an m is the version of the image encoder.
        ending.split('m').next().unwrap_or(ending).parse()
    }
}

impl fmt::Display for TokenizerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TokenizerVersion {
    type Err = TokenizerError;

    fn from_str(text: &str) -> Result<Self, TokenizerError> {
        Self::ALL
            .into_iter()
            .find(|version| version.name() == text)
            .ok_or_else(|| TokenizerError::UnknownVersion {
                found: text.to_owned(),
            })
    }
}
