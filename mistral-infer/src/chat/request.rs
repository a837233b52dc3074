//! What a chat consists of: messages, tools, and the settings of a request.
//!
//! The types read two forms of JSON: that of `mistral-common` and that of OpenAI's chat endpoint
//! (the `developer` role, `reasoning_content`, arguments as objects, tools without description).
//! Fields that belong to sampling or transport are ignored here.

use serde::{Deserialize, Deserializer, Serialize};

use super::json::Json;
use super::settings::ReasoningEffort;

/// A chat to be encoded.
///
/// Read it from JSON text, not by way of `serde_json::Value`: that may sort the keys of schemas,
/// whose order is part of the prompt.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ChatRequest {
    /// The conversation, oldest message first.
    pub messages: Vec<Message>,
    /// Tools that the model may call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Tool>>,
    /// Name of the model; serving demands one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How much the model reasons (v15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<ReasoningEffort>,
    /// The form of the answer.
    #[serde(default, deserialize_with = "null_is_default")]
    pub response_format: ResponseFormat,
    /// Whether old messages may be dropped to fit the context.
    #[serde(default)]
    pub truncate_for_context_length: bool,
    /// Whether the last message is continued, as if it had `prefix`.
    #[serde(default)]
    pub continue_final_message: bool,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawMessage", into = "RawMessage")]
pub enum Message {
    /// Instructions for the whole conversation.
    System {
        /// What they say.
        content: Content,
    },
    /// The user's turn.
    User {
        /// What they say.
        content: Content,
    },
    /// The model's turn.
    Assistant {
        /// What it says, if anything.
        content: Option<Content>,
        /// Which tools it calls, if any.
        tool_calls: Option<Vec<ToolCall>>,
        /// Whether the turn is to be continued; only the last message may be.
        prefix: bool,
    },
    /// A tool's answer.
    Tool {
        /// What it says.
        content: Content,
        /// Which call it answers.
        tool_call_id: Option<String>,
        /// The tool's name, which v2 encodes.
        name: Option<String>,
    },
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The system.
    #[serde(alias = "developer")]
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// A tool.
    Tool,
}

impl Role {
    /// The role's name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// What a message says: one text, or a list of chunks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// One text.
    Text(String),
    /// Chunks in order.
    Chunks(Vec<Chunk>),
}

impl Content {
    /// Whether there is neither text nor chunk.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Chunks(chunks) => chunks.is_empty(),
        }
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Chunk {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// What the model thought before its answer (v13 and later).
    Thinking {
        /// The thoughts.
        thinking: String,
        /// Whether they are complete.
        #[serde(default = "yes")]
        closed: bool,
    },
    /// An image; known, so that it can be refused by name.
    Image {},
    /// An image by address; known, so that it can be refused by name.
    ImageUrl {},
    /// Audio; known, so that it can be refused by name.
    InputAudio {},
    /// Audio by address; known, so that it can be refused by name.
    AudioUrl {},
}

impl Chunk {
    /// The chunk's kind as the field `type` has it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::Thinking { .. } => "thinking",
            Self::Image {} => "image",
            Self::ImageUrl {} => "image_url",
            Self::InputAudio {} => "input_audio",
            Self::AudioUrl {} => "audio_url",
        }
    }
}

/// A tool that the model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// The only kind there is.
    #[serde(rename = "type", default)]
    pub kind: ToolKind,
    /// The function.
    pub function: Function,
}

/// Kind of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolKind {
    /// A function with arguments.
    #[default]
    Function,
}

/// A function's name and what it takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Letters, digits, `_` and `-`, at most 64.
    pub name: String,
    /// What it does.
    #[serde(default, deserialize_with = "null_is_default")]
    pub description: String,
    /// JSON Schema (draft 7) of its arguments.
    #[serde(default = "empty_object", deserialize_with = "schema")]
    pub parameters: Json,
    /// Whether the arguments are held to the schema; not encoded.
    #[serde(default, deserialize_with = "null_is_default")]
    pub strict: bool,
}

/// A call of a tool by the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Which call this is; `null` stands for none. Versions 3 to 11 want nine letters or digits.
    #[serde(default = "null_id")]
    pub id: String,
    /// The only kind there is.
    #[serde(rename = "type", default)]
    pub kind: ToolKind,
    /// What is called.
    pub function: FunctionCall,
}

/// A function's name with arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// The function's name.
    pub name: String,
    /// Its arguments as JSON text.
    #[serde(default = "no_arguments", deserialize_with = "arguments")]
    pub arguments: String,
}

/// The form of an answer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ResponseFormat {
    /// Plain text.
    #[default]
    Text,
    /// Any JSON object or list.
    JsonObject,
    /// JSON by a schema.
    JsonSchema {
        /// The schema and its name.
        json_schema: NamedSchema,
    },
}

/// A JSON Schema with a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamedSchema {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// The schema (draft 7).
    #[serde(deserialize_with = "schema")]
    pub schema: Json,
    /// Whether the answer is held to it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub strict: bool,
}

/// A text with a hole: the model writes what stands between prompt and suffix.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FimRequest {
    /// What stands before the hole.
    pub prompt: String,
    /// What stands after it.
    #[serde(default)]
    pub suffix: Option<String>,
}

impl Message {
    /// A system message of one text.
    pub fn system(text: impl Into<String>) -> Self {
        Self::System {
            content: Content::Text(text.into()),
        }
    }

    /// A user message of one text.
    pub fn user(text: impl Into<String>) -> Self {
        Self::User {
            content: Content::Text(text.into()),
        }
    }

    /// An assistant message of one text.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::Assistant {
            content: Some(Content::Text(text.into())),
            tool_calls: None,
            prefix: false,
        }
    }

    /// Who speaks.
    #[must_use]
    pub const fn role(&self) -> Role {
        match self {
            Self::System { .. } => Role::System,
            Self::User { .. } => Role::User,
            Self::Assistant { .. } => Role::Assistant,
            Self::Tool { .. } => Role::Tool,
        }
    }

    /// What is said, if anything.
    #[must_use]
    pub const fn content(&self) -> Option<&Content> {
        match self {
            Self::System { content } | Self::User { content } | Self::Tool { content, .. } => {
                Some(content)
            }
            Self::Assistant { content, .. } => content.as_ref(),
        }
    }

    /// The tool calls of an assistant's message.
    #[must_use]
    pub fn tool_calls(&self) -> &[ToolCall] {
        match self {
            Self::Assistant {
                tool_calls: Some(calls),
                ..
            } => calls,
            _ => &[],
        }
    }
}

/// A message in JSON.
#[derive(Clone, Serialize, Deserialize)]
struct RawMessage {
    role: Role,
    #[serde(default)]
    content: Option<Content>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool_calls: Option<Vec<ToolCall>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefix: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing)]
    reasoning: Option<String>,
    #[serde(default, skip_serializing)]
    reasoning_content: Option<String>,
}

impl TryFrom<RawMessage> for Message {
    type Error = String;

    fn try_from(raw: RawMessage) -> Result<Self, String> {
        let content = || {
            raw.content
                .clone()
                .ok_or_else(|| format!("a {} message has no content", raw.role.name()))
        };
        Ok(match raw.role {
            Role::System => Self::System {
                content: content()?,
            },
            Role::User => Self::User {
                content: content()?,
            },
            Role::Tool => Self::Tool {
                content: content()?,
                tool_call_id: raw.tool_call_id,
                name: raw.name,
            },
            Role::Assistant => Self::Assistant {
                content: with_reasoning(raw.content, raw.reasoning_content, raw.reasoning)?,
                tool_calls: raw.tool_calls,
                prefix: raw.prefix.unwrap_or(false),
            },
        })
    }
}

/// Puts reasoning that stands in a field of its own in front of the content, as a chunk.
fn with_reasoning(
    content: Option<Content>,
    first: Option<String>,
    second: Option<String>,
) -> Result<Option<Content>, String> {
    if first.is_some() && second.is_some() && first != second {
        return Err("reasoning and reasoning_content differ".to_owned());
    }
    let Some(thinking) = first.or(second) else {
        return Ok(content);
    };
    let mut chunks = vec![Chunk::Thinking {
        thinking,
        closed: true,
    }];
    match content {
        None => {}
        Some(Content::Text(text)) => chunks.push(Chunk::Text { text }),
        Some(Content::Chunks(more)) => {
            if more
                .iter()
                .any(|chunk| matches!(chunk, Chunk::Thinking { .. }))
            {
                return Err("reasoning stands both in a field and in a chunk".to_owned());
            }
            chunks.extend(more);
        }
    }
    Ok(Some(Content::Chunks(chunks)))
}

impl From<Message> for RawMessage {
    fn from(message: Message) -> Self {
        let mut raw = Self {
            role: message.role(),
            content: message.content().cloned(),
            tool_calls: None,
            prefix: None,
            tool_call_id: None,
            name: None,
            reasoning: None,
            reasoning_content: None,
        };
        match message {
            Message::Assistant {
                tool_calls, prefix, ..
            } => {
                raw.tool_calls = tool_calls;
                raw.prefix = prefix.then_some(true);
            }
            Message::Tool {
                tool_call_id, name, ..
            } => {
                raw.tool_call_id = tool_call_id;
                raw.name = name;
            }
            Message::System { .. } | Message::User { .. } => {}
        }
        raw
    }
}

fn yes() -> bool {
    true
}

fn null_id() -> String {
    "null".to_owned()
}

fn no_arguments() -> String {
    "{}".to_owned()
}

fn empty_object() -> Json {
    Json::Object(Vec::new())
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn schema<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
    match Json::deserialize(deserializer)? {
        Json::Null => Ok(empty_object()),
        schema @ Json::Object(_) => Ok(schema),
        _ => Err(serde::de::Error::custom(
            "a JSON Schema has to be an object",
        )),
    }
}

fn arguments<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Json::deserialize(deserializer)? {
        Json::Null => Ok(no_arguments()),
        Json::String(text) => Ok(text),
        object @ Json::Object(_) => Ok(object.dumps()),
        _ => Err(serde::de::Error::custom(
            "arguments have to be a JSON text or an object",
        )),
    }
}
