//! The errors of this crate.

use std::path::PathBuf;

/// Why a deployment could not be generated, checked or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodegenError {
    /// No target of that name.
    #[error("expected a target among {known}, found {found:?}")]
    UnknownTarget {
        /// The name that was asked for.
        found: String,
        /// The names that exist, separated by commas.
        known: String,
    },
    /// A text that the format can't hold.
    #[error("{format} can't hold the character U+{character:04X} at byte {at} of {text:?}")]
    Unquotable {
        /// The format that the text was to be written in.
        format: &'static str,
        /// Code point of the first character that doesn't fit.
        character: u32,
        /// Byte offset of that character.
        at: usize,
        /// The text, shortened to its first 80 characters.
        text: String,
    },
    /// A flag that this version of the engine doesn't have.
    #[error("{engine} {version} has no flag {flag}{hint}")]
    UnknownFlag {
        /// The engine's name.
        engine: String,
        /// The engine's version that the table describes.
        version: String,
        /// The flag that was asked for.
        flag: String,
        /// What replaced it, when that is known.
        hint: String,
    },
    /// A value that a flag of this engine doesn't take.
    #[error("{engine} {version}: {flag} expects {expected}, found {found:?}")]
    FlagValue {
        /// The engine's name.
        engine: String,
        /// The engine's version that the table describes.
        version: String,
        /// The flag.
        flag: String,
        /// What the table says that it takes.
        expected: String,
        /// The value that was given.
        found: String,
    },
    /// An expression over a metric that the engine's version doesn't serve so.
    #[error("{engine} {version}: {metric} is not {expected}")]
    Metric {
        /// The engine's name.
        engine: String,
        /// The engine's version that the table describes.
        version: String,
        /// The metric that was asked for.
        metric: String,
        /// What was expected of it.
        expected: String,
    },
    /// A table of flags that can't be read.
    #[error("the table of flags can't be read: {reason}")]
    Table {
        /// What is wrong with it.
        reason: String,
    },
    /// An engine or version that no table describes.
    #[error("expected one of {known}, found {found:?}")]
    UnknownVersion {
        /// What was asked for.
        found: String,
        /// The versions that there are, separated by commas.
        known: String,
    },
    /// A variable of a command that has no value where no script sets it (a defect of a target).
    #[error("the command's variable {name} has no value here")]
    UnsetVariable {
        /// The variable.
        name: &'static str,
    },
    /// A plan that the target can't serve.
    #[error("target {target} can't serve this plan: {field} is {found}, expected {expected}")]
    Unsupported {
        /// The target's name.
        target: &'static str,
        /// The plan's field that stands in the way.
        field: &'static str,
        /// What the plan has there.
        found: String,
        /// What the target could serve.
        expected: String,
    },
    /// A plan that can't be written as JSON (a number in it isn't finite).
    #[error("the plan can't be written as json: {source}")]
    Plan {
        /// What the writer said.
        source: serde_json::Error,
    },
    /// A template that can't be rendered (a defect of this crate's data).
    #[error("template {name}: {source}")]
    Template {
        /// The template's name.
        name: String,
        /// What the renderer said.
        source: minijinja::Error,
    },
    /// An empty text where the format needs one.
    #[error("{format} can't hold an empty text")]
    EmptyText {
        /// The format that the text was to be written in.
        format: &'static str,
    },
    /// An OpenAPI document that a server can't be made from.
    #[error("an OpenAPI document: expected {expected}")]
    OpenApi {
        /// What it lacks or what is wrong with it.
        expected: String,
    },
    /// A file or folder that can't be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A path that the set of files refuses.
    #[error(transparent)]
    Files(#[from] mistral_core::files::FilesError),
}

impl CodegenError {
    /// What makes an [`Io`](Self::Io) of what the system said of this file or folder.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        |source| Self::Io {
            path: path.into(),
            source,
        }
    }
}
