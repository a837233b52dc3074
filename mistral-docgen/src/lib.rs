//! Documentation that is read, searched and cited.
#![forbid(unsafe_code)]

pub mod error;
pub mod facts;

pub use error::DocgenError;
