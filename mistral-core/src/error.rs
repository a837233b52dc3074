//! What can go wrong when a description is read.

/// Errors of the readers in this crate. Messages say what was expected, what was found and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoreError {
    /// The text isn't JSON.
    #[error("{file}: not valid JSON")]
    Json {
        /// Kind of file, such as `config.json`.
        file: &'static str,
        /// The parser's finding, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A field that the numbers need is absent.
    #[error("{file}: field `{field}` is missing")]
    MissingField {
        /// Kind of file.
        file: &'static str,
        /// Dotted path of the field.
        field: String,
    },
    /// A field has another type, or a number that isn't finite, whole or in range.
    #[error("{file}: field `{field}` should be {expected}, found {found}")]
    WrongType {
        /// Kind of file.
        file: &'static str,
        /// Dotted path of the field.
        field: String,
        /// What it should have been.
        expected: &'static str,
        /// What stands there, shortened.
        found: String,
    },
    /// The architecture isn't one that this crate describes.
    #[error("{file}: architecture `{found}` is not supported")]
    UnknownArchitecture {
        /// Kind of file.
        file: &'static str,
        /// The name found.
        found: String,
    },
    /// A field that would change the numbers, or may, and that nothing here implements.
    #[error("{file}: field `{field}` = {found} is not supported")]
    UnsupportedField {
        /// Kind of file.
        file: &'static str,
        /// Dotted path of the field.
        field: String,
        /// Its value, shortened.
        found: String,
    },
    /// Fields that are each well-formed contradict each other or exceed a limit.
    #[error("model specification: `{field}` = {found}, expected {expected}")]
    Inconsistent {
        /// Field of [`ModelSpec`](crate::model::ModelSpec).
        field: &'static str,
        /// Its value.
        found: String,
        /// The condition it fails.
        expected: String,
    },
}
