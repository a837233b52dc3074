//! What can go wrong.

use std::path::PathBuf;

/// Why a need can't be read or served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecommendError {
    /// Nothing was said.
    #[error("expected a need, found an empty text")]
    Empty,
    /// More was said than is read.
    #[error("expected at most {limit} characters, found {found}")]
    TooLong {
        /// Characters that are read.
        limit: usize,
        /// Characters of the text.
        found: usize,
    },
    /// No part of the text is about choosing or running a model.
    #[error("expected a job, a machine or a limit, found none of them")]
    NotUnderstood,
    /// A need in JSON that isn't one.
    #[error("not a need in JSON")]
    Json {
        /// The parser's finding, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A version of the need that this code doesn't read.
    #[error("schema: expected {expected}, found {found}")]
    Schema {
        /// The version that is read.
        expected: u32,
        /// The version found.
        found: u32,
    },
    /// A device that isn't in the table.
    #[error("{field}: no device {name:?} in the hardware table")]
    UnknownDevice {
        /// Path in the need.
        field: &'static str,
        /// The name, at most 64 characters of it.
        name: String,
    },
    /// A model that isn't in the catalogue.
    #[error("{field}: no model {name:?} in the catalogue")]
    UnknownModel {
        /// Path in the need.
        field: &'static str,
        /// The name, at most 64 characters of it.
        name: String,
    },
    /// Money in a currency that no rate is kept for.
    #[error("budget: expected dollars, euros or pounds, found {name:?}")]
    UnknownCurrency {
        /// The currency's name or sign.
        name: String,
    },
    /// A number that can't be meant.
    #[error("{field}: expected {expected}, found {found}")]
    OutOfRange {
        /// Path in the need.
        field: &'static str,
        /// What is accepted.
        expected: &'static str,
        /// What was found.
        found: f64,
    },
    /// A measured run that can't be compared with the estimate.
    #[error("report: {field}: expected {expected}, found {found}")]
    Report {
        /// Path in the report.
        field: &'static str,
        /// What is accepted.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// A name that no history is kept for.
    #[error("user: expected a name of 1 to 256 bytes, found {bytes}")]
    User {
        /// Bytes of the name.
        bytes: usize,
    },
    /// An answer that this user wasn't shown.
    #[error("history: this user was shown no answer {shown}")]
    NotRecorded {
        /// The number that was named.
        shown: u64,
    },
    /// A file that holds no history, or a damaged one; it is left as it is.
    #[error("{path}: expected a history, found {found}")]
    NotAHistory {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// A history that a later version wrote; it is left as it is.
    #[error("{path}: expected a history of version {expected} at most, found {found}")]
    HistoryVersion {
        /// The file.
        path: PathBuf,
        /// The latest version that is read.
        expected: u32,
        /// The version found.
        found: u32,
    },
    /// A history whose file can't be read.
    #[error("{path}: can't be read")]
    HistoryFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A history that the database can't serve, such as one that another process keeps locked.
    #[cfg(feature = "history")]
    #[error("{path}: {doing} failed")]
    Database {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the database says.
        #[source]
        source: rusqlite::Error,
    },
    /// A choice that no plan can be made of.
    #[error("model {model}: {because}")]
    NoPlan {
        /// Catalogue id.
        model: String,
        /// What is missing.
        because: &'static str,
    },
}

impl RecommendError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty_need",
            Self::TooLong { .. } => "too_long",
            Self::NotUnderstood => "not_understood",
            Self::Json { .. } => "invalid_json",
            Self::Schema { .. } => "unknown_schema",
            Self::UnknownDevice { .. } => "unknown_device",
            Self::UnknownModel { .. } => "unsupported_model",
            Self::UnknownCurrency { .. } => "unknown_currency",
            Self::OutOfRange { .. } => "out_of_range",
            Self::Report { .. } => "unusable_report",
            Self::User { .. } => "unusable_user",
            Self::NotRecorded { .. } => "not_recorded",
            Self::NotAHistory { .. } => "not_a_history",
            Self::HistoryVersion { .. } => "unknown_history_version",
            Self::HistoryFile { .. } => "unreadable_history",
            #[cfg(feature = "history")]
            Self::Database { .. } => "history_database",
            Self::NoPlan { .. } => "no_plan",
        }
    }
}
