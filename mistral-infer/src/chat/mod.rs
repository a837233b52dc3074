//! Chats as Mistral's models are trained on them: messages to token ids and back.
//!
//! [`Tokenizer::encode_chat`](crate::tokenizer::Tokenizer::encode_chat) encodes a [`ChatRequest`]
//! for the tokenizer's version, as `mistral-common` 1.13 does; a conversation that the version does
//! not allow is refused with a [`ChatError`]. [`ReplyParser`] reads what
//! a model answers: text, thoughts and tool calls. Images and audio are refused by name.

mod encode;
mod error;
mod json;
mod normalize;
mod reply;
mod request;
mod schema;
mod settings;
mod template;
mod validate;

pub use self::encode::ChatOptions;
pub use self::error::{ChatError, SchemaError};
pub use self::json::{Json, MAX_DEPTH};
pub use self::reply::{Reply, ReplyParser, ReplyPart};
pub use self::request::{
    ChatRequest, Chunk, Content, FimRequest, Function, FunctionCall, Message, NamedSchema,
    ResponseFormat, Role, Tool, ToolCall, ToolKind,
};
pub use self::settings::{EffortBuilder, ModelSettingsBuilder, ReasoningEffort, SchemaBuilder};
pub(crate) use self::template::{settings_of, version_of};
pub use self::validate::ValidationMode;
