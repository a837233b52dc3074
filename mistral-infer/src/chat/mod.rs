//! Chats as Mistral's models are trained on them: messages to token ids and back.

mod settings;

pub use self::settings::{EffortBuilder, ModelSettingsBuilder, ReasoningEffort, SchemaBuilder};
