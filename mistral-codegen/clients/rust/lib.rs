//! A client of Mistral's API and of servers that speak as it does.
//!
//! [`Client`] asks for whole answers ([`Client::chat`]) and for streamed ones
//! ([`Client::stream`]), tries again where that can help, and counts what it spends
//! ([`CostGuard`]). The types of [`types`] are the API's own.

pub mod client;
pub mod error;
pub mod guard;
pub mod plan;
pub mod retry;
pub mod settings;
pub mod sse;
pub mod types;

pub use client::Client;
pub use error::Error;
pub use guard::CostGuard;
pub use settings::{Dialect, Settings};
