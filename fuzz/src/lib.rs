//! Fuzz targets for everything that reads foreign bytes.
//!
//! Run one with `cargo +nightly fuzz run model_spec fuzz/corpus/model_spec fuzz/seeds/model_spec`. The same
//! functions meet the seeds and simple mutations of them in the workspace's tests.

pub mod targets;
