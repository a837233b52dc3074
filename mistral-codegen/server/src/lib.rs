//! An OpenAI-compatible server for one model.
//!
//! [`http`] takes requests, [`chat`] and [`completions`] check them and shape their answers, and a
//! [`backend::Backend`] makes the tokens: [`mistral`] runs the model, tests bring their own. One
//! worker thread ([`worker`]) runs the backend, which answers several requests at the same moment
//! (`batching`); more wait for it in a short queue.

pub mod answer;
pub mod backend;
mod batching;
pub mod chat;
pub mod completions;
pub mod connections;
pub mod error;
pub mod fields;
pub mod generation;
pub mod http;
pub mod log;
pub mod metrics;
pub mod mistral;
pub mod options;
pub mod plan;
pub mod settings;
pub mod socket;
pub mod stream;
pub mod tools;
pub mod worker;
