//! The types that all crates of the workspace share.
#![forbid(unsafe_code)]

pub mod capability;
pub mod catalog;
pub mod error;
pub mod estimate;
pub mod files;
pub mod hardware;
pub mod llm;
pub mod model;
pub mod need;
pub mod plan;
pub mod precision;
pub mod reason;
pub mod recommendation;
pub mod report;
pub mod sizing;
pub mod sourced;
pub mod tuning;

pub use error::CoreError;
