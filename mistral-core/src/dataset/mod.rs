//! A profile of a user's own data: rows, lengths in tokens, languages, formats, duplicates.
//!
//! The profile itself is plain data and always here. Reading files needs the feature `dataset`
//! (JSON Lines, JSON, CSV, plain text, each also gzipped) and for Parquet the feature `parquet`.
//!
//! Files are streamed: memory is bounded by [`Limits`], not by the data. What a bounded memory
//! can't know exactly is estimated, and the profile says so.
//!
//! ```
//! # #[cfg(feature = "dataset")] {
//! use mistral_core::dataset::{Profiler, Shape};
//!
//! let rows = r#"{"prompt": "What is 2 + 2?", "completion": "4"}
//! {"prompt": "And 3 + 3?", "completion": "6"}
//! {"prompt": "And 3 + 3?", "completion": "#;
//! let mut profiler = Profiler::default();
//! profiler.read("sums.jsonl", rows.as_bytes());
//! let profile = profiler.finish();
//! assert_eq!((profile.rows, profile.unreadable_rows), (2, 1));
//! assert_eq!(profile.shapes[&Shape::Instruction], 2);
//! # }
//! ```

mod count;
mod profile;

#[cfg(feature = "dataset")]
mod columns;
#[cfg(feature = "dataset")]
mod distinct;
#[cfg(feature = "dataset")]
mod error;
#[cfg(feature = "dataset")]
mod estimate;
#[cfg(feature = "dataset")]
mod json;
#[cfg(feature = "dataset")]
mod language;
#[cfg(feature = "dataset")]
mod lengths;
#[cfg(feature = "dataset")]
mod limits;
#[cfg(feature = "dataset")]
mod lines;
#[cfg(feature = "dataset")]
mod node;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "dataset")]
mod profiler;
#[cfg(feature = "dataset")]
mod shape;
#[cfg(feature = "dataset")]
mod source;
#[cfg(feature = "dataset")]
mod table;
#[cfg(feature = "dataset")]
mod tally;
#[cfg(feature = "dataset")]
mod walk;

pub use count::{CountError, CountTokens};
pub use profile::{
    ColumnProfile, Counting, DatasetProfile, Duplicates, FileFormat, FileProblem, FileProfile,
    LanguageProfile, LanguageShare, Lengths, LongRow, Place, RowFault, RowProblem, Shape, Speaker,
    TokenProfile, ValueKind,
};

#[cfg(feature = "dataset")]
pub use error::DatasetError;
#[cfg(feature = "dataset")]
pub use limits::Limits;
#[cfg(feature = "dataset")]
pub use profiler::{Profiler, Progress, profile};
