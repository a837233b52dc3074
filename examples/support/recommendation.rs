//! A recommendation for people.

pub use mistral_recommend::text as render;
