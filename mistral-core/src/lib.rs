//! The types that all crates of the workspace share.
#![forbid(unsafe_code)]

pub mod model;
