//! What a model is: plain data under Mistral's names, and its readers.
//!
//! [`ModelSpec`] is the only description of a decoder in this workspace. It comes from a
//! Hugging Face `config.json` ([`ModelSpec::from_hf_config`]), a Mistral `params.json`
//! ([`ModelSpec::from_params`]) or GGUF metadata ([`ModelSpec::from_gguf_metadata`]). Each
//! reader refuses, by name, an architecture it doesn't know and any field that would change the
//! numbers and isn't supported.

mod fields;
mod gguf;
mod hf;
mod hf_mla;
mod params;
mod spec;
mod validate;

pub use gguf::{GgufArray, GgufValue};
pub use spec::{
    Architecture, AttentionKind, FeedForward, GqaSpec, Indexer, IndexerSpec, LayerSpec, MlaSpec,
    ModelSpec, MoeSpec, PositionScale, RopeLayout, RopeSpec, Scoring, YarnSpec,
};
