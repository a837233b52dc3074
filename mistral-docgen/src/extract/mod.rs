//! Readers that turn source code into facts, without building or running it.
//!
//! Both take a folder and return what users of the code can reach. Input may be hostile: what is too
//! large, nested too deeply, not UTF-8 or not parsable is left out and listed with its reason, and
//! the rest is read all the same. Links that lead out of the folder are not followed.

#[cfg(any(feature = "rust", feature = "python"))]
mod examples;
#[cfg(any(feature = "rust", feature = "python"))]
mod files;
#[cfg(feature = "python")]
pub mod python;
#[cfg(feature = "rust")]
pub mod rust;

#[cfg(any(feature = "rust", feature = "python"))]
use crate::DocgenError;
use crate::facts::FactParts;
use serde::{Deserialize, Serialize};
#[cfg(any(feature = "rust", feature = "python"))]
use std::path::Path;

/// Stack of the thread that parses; only what is used of it takes memory. [`Limits::tokens`] keeps
/// the recursion of the parsers far below.
#[cfg(any(feature = "rust", feature = "python"))]
const STACK_BYTES: usize = 512 << 20;

/// What is read at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
    /// Files, and entries of folders that are looked at.
    pub files: usize,
    /// Brackets or indented blocks within each other.
    pub nesting: usize,
    /// Tokens that can nest without brackets: those since the last separator, summed over all open
    /// brackets.
    pub tokens: usize,
}

impl Default for Limits {
    /// 4 MiB a file, 256 MiB and 20,000 files in all, 128 levels, 8,192 tokens.
    fn default() -> Self {
        Self {
            file_bytes: 4 << 20,
            total_bytes: 256 << 20,
            files: 20_000,
            nesting: 128,
            tokens: 8_192,
        }
    }
}

/// What was read, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extraction {
    /// The facts, for [`crate::facts::FactStore::new`].
    pub facts: FactParts,
    /// What was left out, by file.
    pub skipped: Vec<Skipped>,
    /// Files that were read, by name.
    pub files: Vec<String>,
}

/// Something that was left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Skipped {
    /// Relative to the folder that was read.
    pub file: String,
    /// Where the reason shows, from 1.
    pub line: Option<usize>,
    /// Why.
    pub reason: SkipReason,
}

/// Why something was left out.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SkipReason {
    /// A larger file than is read.
    #[error("expected at most {limit} bytes, found {bytes}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// [`Limits::file_bytes`] or what was left of [`Limits::total_bytes`].
        limit: u64,
    },
    /// More files than are read.
    #[error("expected at most {limit} files")]
    TooManyFiles {
        /// [`Limits::files`].
        limit: usize,
    },
    /// Text in another encoding.
    #[error("expected UTF-8")]
    NotUtf8,
    /// The system refuses.
    #[error("cannot be read: {kind}")]
    Unreadable {
        /// The system's answer.
        kind: String,
    },
    /// A file that is not there, or neither file nor folder.
    #[error("expected a file")]
    NotAFile,
    /// A path that leads out of the folder, itself or by a link.
    #[error("leads out of the folder that is read")]
    Outside,
    /// A macro among items that is another crate's, or that the expander doesn't understand: what it makes is
    /// not seen.
    #[error("cannot expand {name}!")]
    Macro {
        /// Its path as written.
        name: String,
    },
    /// A file or folder that contains itself.
    #[error("contains itself")]
    Cycle,
    /// More nesting than a parser is given.
    #[error("expected at most {nesting} levels and {tokens} tokens without a separator")]
    TooDeep {
        /// [`Limits::nesting`].
        nesting: usize,
        /// [`Limits::tokens`].
        tokens: usize,
    },
    /// The parser's finding.
    #[error("{message}")]
    Syntax {
        /// In the parser's words.
        message: String,
    },
}

/// Runs `read` on a thread of its own, whose stack is large enough for the parsers' recursion.
///
/// # Errors
///
/// [`DocgenError::Io`] where no thread can be had, [`DocgenError::Reader`] where a parser fails by
/// a defect of its own.
#[cfg(any(feature = "rust", feature = "python"))]
fn on_large_stack<T: Send>(
    folder: &Path,
    read: impl FnOnce() -> Result<T, DocgenError> + Send,
) -> Result<T, DocgenError> {
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new()
            .name("extract".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, read)
            .map_err(|source| DocgenError::Io {
                path: folder.to_owned(),
                source,
            })?;
        reader.join().unwrap_or_else(|_| {
            Err(DocgenError::Reader {
                path: folder.to_owned(),
            })
        })
    })
}
