//! From a [`Plan`] to the files that run it, each checked by the program that will read it.
//!
//! A [`Target`] turns a plan into a [`FileSet`]: a Rust server on `mistral-infer`, or the
//! commands and containers of vLLM and llama-server. Generation is a pure function: the same
//! plan and options give the same bytes. Every text of a plan passes through the quoting rules of
//! the file it enters ([`quote`]), every flag through a table of its engine's version
//! ([`flags`]); what a format can't hold or an engine doesn't have is refused by name.
//! [`verify`] runs the real checkers on the result.
//!
//! This crate doesn't download, start or train anything.
//!
//! ```
//! use mistral_codegen::{Options, Target, generate};
//!
//! let plan = serde_json::from_str(r#"{
//!     "schema": 1,
//!     "model": {"id": "mistral-nemo-12b", "hf_repo": "mistralai/Mistral-Nemo-Instruct-2407"},
//!     "precision": "bf16",
//!     "runtime": "vllm",
//!     "placement": {"device": "L40S", "count": 1, "tensor_parallel": 1},
//!     "limits": {"context_tokens": 16384, "concurrency": 8}
//! }"#)?;
//! let files = generate(Target::Vllm, &plan, &Options::default())?;
//! let script = &files.get("start.sh").expect("every engine target has it").contents;
//! assert!(script.contains("--max-model-len 16384"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod diff;
mod error;
pub mod flags;
pub mod quote;
mod render;
pub mod report;
mod target;
mod targets;
pub mod tune;
pub mod verify;
mod yaml;

pub use diff::{FieldChange, FileChange, FlagChange, FlagFate, PlanDiff, diff};
pub use error::CodegenError;
pub use mistral_core::files::{FileSet, GeneratedFile};
pub use mistral_core::plan::Plan;
pub use target::{Dependency, Options, Target, explain, explain_target, generate};
pub use targets::cluster::Cluster;
pub use targets::cuda;
