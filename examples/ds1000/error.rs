//! Why a run can't be done. A program that fails its tests is no error.

use std::path::PathBuf;

/// Unusable input, or a machine that can't run programs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ds1000Error {
    /// A file can't be read or a folder not be made.
    #[error("{}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A line is no object of the expected form.
    #[error("{}, line {line}: expected {expected}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What a line holds.
        expected: &'static str,
        /// What the parser found.
        #[source]
        source: serde_json::Error,
    },
    /// A field has a value that can't be used.
    #[error("{}, line {line}: {field}: expected {expected}, found {found}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The field's name.
        field: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The file is larger than its limits.
    #[error("{}, line {line}: expected at most {limit} {unit}, found more", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The limit.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// Nothing is left to run.
    #[error("expected at least one problem, found none{}", because.as_ref().map_or(String::new(), |b| format!(": {b}")))]
    NoProblems {
        /// What was asked for.
        because: Option<String>,
    },
    /// The interpreter can't be started or doesn't answer.
    #[error("{}: expected a Python interpreter, found: {found}", python.display())]
    Python {
        /// The program tried.
        python: PathBuf,
        /// What happened.
        found: String,
    },
    /// The model failed in a way that says nothing about the problem.
    #[error("no answer to {id}")]
    Generator {
        /// The problem.
        id: String,
        /// The generator's reason.
        #[source]
        source: mistral_core::llm::TextError,
    },
}
