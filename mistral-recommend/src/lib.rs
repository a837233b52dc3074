//! From a need in words to ranked models and configurations, with predictions and reasons.
//!
//! Four stages: retrieve candidates (model × precision × engine × device × number), drop those
//! that break a hard limit, score the rest by parts, order them. Every stage is a pure function:
//! the same need, catalogue and day give the same bytes.
//!
//! ```
//! use mistral_recommend::{Context, recommend_text};
//!
//! let context = Context::embedded("2026-11-23");
//! let answer = recommend_text("a support bot on two L4 cards, under 300 ms to first token", &context)?;
//! let best = &answer.choices[0];
//! println!("{} in {:?} on {} × {:?}", best.model, best.precision, best.count, best.device);
//! assert!(best.predicted.ttft_ms.is_some_and(|t| t.value <= 300.0));
//! # Ok::<(), mistral_recommend::RecommendError>(())
//! ```
//!
//! It doesn't download, start or measure anything: see `mistral-codegen` and `mistral-infer`.
#![forbid(unsafe_code)]

mod answer;
mod candidate;
mod changes;
mod check;
mod context;
mod data;
mod demand;
mod error;
pub mod learn;
mod limits;
mod lost;
mod order;
mod page;
mod pareto;
mod plan;
mod quality;
mod question;
mod reasons;
mod retrieve;
mod say;
mod score;
mod search;
pub mod understand;

pub use answer::{answer, considered, explain, failed, feasible, recommend, recommend_text};
pub use candidate::Candidate;
pub use changes::with;
pub use context::Context;
pub use data::fill_from_data;
pub use demand::Demand;
pub use error::RecommendError;
pub use page::{page, text};
pub use plan::plan;
pub use quality::{Quality, quality};
pub use score::{PARTS, Score, Weights, features, score, score_by};
pub use understand::{Language, Understood, understand, understand_json};
