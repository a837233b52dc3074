//! Documentation, read into what can be checked, searched and cited: so far pages of Markdown and MDX as
//! sections with their lines ([`markdown`]), folders of them, translations side by side ([`corpus`]), their
//! links looked up ([`links`]), and facts about code, with the lines they come from ([`facts`]), as the
//! readers of code find them ([`extract`]).
//!
//! With the feature `answers` (default) questions are answered from pages, with quotes and their lines (`answer`).
//!
//! It runs nothing and opens no connection.
#![forbid(unsafe_code)]

#[cfg(feature = "answers")]
pub mod answer;
pub mod corpus;
pub mod error;
pub mod extract;
pub mod facts;
pub mod links;
pub mod markdown;

pub use error::DocgenError;
