//! The types and facts that all crates of the workspace share: model specifications, the catalogue of
//! released models, devices, sizes, a performance estimate, and the chain from [`need`] to
//! [`recommendation`], [`plan`] and [`files`].
//!
//! It reads no weights, starts nothing and opens no connection.
//!
//! ```
//! use mistral_core::catalog::Catalog;
//! use mistral_core::plan::KvPrecision;
//! use mistral_core::sizing;
//!
//! let model = Catalog::embedded().find("Mistral 7B v0.3").expect("a released model");
//! let spec = model.spec()?.expect("its configuration is public");
//! assert_eq!(sizing::parameters(&spec).total, 7_248_023_552);
//! assert_eq!(sizing::kv_bytes_per_token(&spec, KvPrecision::Bf16), 131_072.0);
//! # Ok::<(), mistral_core::CoreError>(())
//! ```
#![forbid(unsafe_code)]

pub mod capability;
pub mod catalog;
pub mod dataset;
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
pub mod schedule;
pub mod sizing;
pub mod sourced;
pub mod tuning;

pub use error::CoreError;
