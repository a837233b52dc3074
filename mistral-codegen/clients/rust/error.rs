//! What can go wrong.

use std::time::Duration;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting from the environment that can't be used.
    #[error("{name}: expected {expected}")]
    Setting {
        /// The variable.
        name: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// The request could cost more than what is left.
    #[error(
        "the limit of {limit_usd} USD would be passed: {spent_usd:.6} USD are spent or reserved, \
         and this request may cost {may_cost_usd:.6} USD"
    )]
    OverBudget {
        /// The limit.
        limit_usd: f64,
        /// What was spent, and what running requests may cost.
        spent_usd: f64,
        /// The most that the refused request could have cost.
        may_cost_usd: f64,
    },
    /// The server said no, for good or after all tries.
    #[error("status {status} after {tries} tries: {message}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// Requests that were sent.
        tries: u32,
        /// The beginning of what the server said.
        message: String,
    },
    /// The server asks to wait longer than the client is willing to.
    #[error("the server asks to wait {} s, more than {} s", .asked.as_secs(), .most.as_secs())]
    Wait {
        /// What it asks for.
        asked: Duration,
        /// What is waited at most.
        most: Duration,
    },
    /// The server can't be reached, or not in time.
    #[error("not reached after {tries} tries: {source}")]
    Transport {
        /// Requests that were sent.
        tries: u32,
        /// The last one's failure.
        source: Box<ureq::Error>,
    },
    /// An answer that isn't what the API describes.
    #[error("an answer of another form: {source}")]
    Form {
        /// Where it differs.
        source: serde_json::Error,
    },
    /// An answer without any choice.
    #[error("an answer without a choice")]
    Empty,
    /// A stream that ended before its end was said. What came before was handed on.
    #[error("the stream was cut after {events} events{}", .source.as_ref().map(|e| format!(": {e}")).unwrap_or_default())]
    Cut {
        /// Parts that arrived.
        events: u64,
        /// The connection's failure, where there was one.
        source: Option<std::io::Error>,
    },
    /// An event that is longer than any the API sends.
    #[error("an event of more than {most} bytes")]
    LongEvent {
        /// The limit.
        most: usize,
    },
    /// The server said within a stream that it failed.
    #[error("the server failed within the stream: {message}")]
    InStream {
        /// The beginning of what it said.
        message: String,
    },
}
