//! Requests and answers of `/v1/chat/completions`, as the API's OpenAPI document has them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A request for an answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// The model's name.
    pub model: String,
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// 0 takes the likeliest token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Smallest set of likeliest tokens with this probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Most tokens of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Texts at which the answer ends.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub stop: Vec<String>,
    /// Makes answers repeatable, under Mistral's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random_seed: Option<u64>,
    /// Makes answers repeatable, under the name that other servers have for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Functions that the model may call.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tools: Vec<Tool>,
    /// Whether it may, must or must not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// The answer's form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_format: Option<ResponseFormat>,
    /// Whether the answer comes in parts; set by the client.
    pub stream: bool,
    /// Asks servers other than Mistral's to count tokens of streamed answers; set by the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
}

/// What a stream holds besides the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamOptions {
    /// A last part with the tokens that were used.
    pub include_usage: bool,
}

/// A turn of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub enum Message {
    /// What holds for the whole conversation.
    System {
        /// The text.
        content: Content,
    },
    /// What is asked.
    User {
        /// The text.
        content: Content,
    },
    /// What the model said.
    Assistant(Answer),
    /// What a called function gave back.
    Tool {
        /// The result as text.
        content: Content,
        /// Id of the call that it answers.
        tool_call_id: String,
        /// The function's name.
        name: String,
    },
}

impl Message {
    /// A user's turn.
    pub fn user(text: impl Into<String>) -> Self {
        Self::User {
            content: Content::Text(text.into()),
        }
    }
}

/// What the model said: a text, calls of functions, or both.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The text.
    #[serde(default)]
    pub content: Option<Content>,
    /// Functions to call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
}

impl Answer {
    /// The text without thoughts; empty when there is none.
    pub fn text(&self) -> String {
        self.content
            .as_ref()
            .map(Content::to_text)
            .unwrap_or_default()
    }

    /// The calls; none where the field is absent.
    pub fn calls(&self) -> &[ToolCall] {
        self.tool_calls.as_deref().unwrap_or_default()
    }
}

/// A text, or its parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Parts of several kinds.
    Chunks(Vec<Chunk>),
}

impl Content {
    /// The text of all parts, thoughts left out.
    pub fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Chunks(chunks) => chunks.iter().filter_map(Chunk::text).collect(),
        }
    }
}

/// A part of a content, with its fields as the API has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// `text`, `thinking`, `image_url`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Fields of that kind.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl Chunk {
    fn text(&self) -> Option<&str> {
        match self.kind.as_str() {
            "text" => self.fields.get("text")?.as_str(),
            _ => None,
        }
    }
}

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The function.
    pub function: Function,
}

impl Tool {
    /// A function with the JSON schema of its parameters.
    pub fn function(name: &str, description: &str, parameters: Value) -> Self {
        Self {
            kind: "function".to_owned(),
            function: Function {
                name: name.to_owned(),
                description: description.to_owned(),
                parameters,
            },
        }
    }
}

/// A function's description.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// JSON schema of an object.
    pub parameters: Value,
}

/// Whether functions are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// Never.
    None,
    /// At least one.
    Required,
}

/// A call of a function.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Names the call in its result.
    #[serde(default)]
    pub id: String,
    /// Always `function`.
    #[serde(rename = "type", default = "function_kind")]
    pub kind: String,
    /// What to call.
    pub function: FunctionCall,
    /// Place among the calls; parts of a stream with one index are one call.
    #[serde(default)]
    pub index: u32,
}

fn function_kind() -> String {
    "function".to_owned()
}

/// A function's name and arguments. In a stream both may come in parts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// The name.
    #[serde(default)]
    pub name: String,
    /// An object, or a text that holds one.
    #[serde(default)]
    pub arguments: Value,
}

impl FunctionCall {
    /// The arguments as a value, whichever way they came.
    ///
    /// # Errors
    /// When they came as a text that isn't JSON.
    pub fn parsed(&self) -> Result<Value, serde_json::Error> {
        match &self.arguments {
            Value::String(text) => serde_json::from_str(text),
            other => Ok(other.clone()),
        }
    }
}

/// The form of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ResponseFormat {
    /// Any text.
    Text,
    /// Some JSON object; the prompt has to ask for it.
    JsonObject,
    /// JSON that follows a schema.
    JsonSchema {
        /// The schema.
        json_schema: JsonSchema,
    },
}

/// A named schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JsonSchema {
    /// Its name.
    pub name: String,
    /// The schema.
    pub schema: Value,
    /// Whether every answer must follow it.
    pub strict: bool,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatResponse {
    /// The request's id at the server.
    pub id: String,
    /// The model that answered.
    pub model: String,
    /// One for each answer asked for.
    pub choices: Vec<Choice>,
    /// Tokens; what is billed.
    pub usage: Usage,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Its place.
    pub index: u32,
    /// What was said.
    pub message: Answer,
    /// `stop`, `length`, `tool_calls`, …
    #[serde(default)]
    pub finish_reason: Option<String>,
}

/// Tokens of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Of the prompt.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Of the answer.
    #[serde(default)]
    pub completion_tokens: u64,
}

/// A part of a streamed answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatChunk {
    /// The request's id at the server.
    pub id: String,
    /// The model that answers.
    pub model: String,
    /// What is new in each answer.
    pub choices: Vec<ChunkChoice>,
    /// In the last part only.
    #[serde(default)]
    pub usage: Option<Usage>,
}

/// What is new in an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChunkChoice {
    /// The answer's place.
    pub index: u32,
    /// Text and calls to append.
    pub delta: Answer,
    /// Set when the answer has ended.
    #[serde(default)]
    pub finish_reason: Option<String>,
}
