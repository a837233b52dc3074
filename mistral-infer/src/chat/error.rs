//! Why a chat cannot be encoded.

use super::request::Role;
use super::settings::ReasoningEffort;
use super::validate::ValidationMode;
use crate::tokenizer::{TokenizerError, TokenizerVersion};

/// A chat that a tokenizer version does not allow.
///
/// [`ChatError::class`] names the exception that `mistral-common` raises for the same request.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The text tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The tokenizer's version is not known.
    #[error("the tokenizer file fits several chat versions: name one with Tokenizer::with_version")]
    NoVersion,
    /// A request that is not one.
    #[error("invalid request: {0}")]
    Form(#[from] serde_json::Error),
    /// A chunk that no message of this role has.
    #[error("a {kind} chunk cannot stand in a {} message", role.name())]
    ChunkInRole {
        /// The message's role.
        role: Role,
        /// The chunk's kind.
        kind: &'static str,
    },
    /// Images and audio are not supported.
    #[error("message {index} has a chunk of the kind {kind}, which is not supported")]
    UnsupportedContent {
        /// Index of the message.
        index: usize,
        /// The chunk's kind.
        kind: &'static str,
    },

    /// No messages.
    #[error("expected at least one message, found none")]
    NoMessages,
    /// The first message has another role than user or system.
    #[error("expected a user or system message first, found {}", role.name())]
    FirstRole {
        /// Its role.
        role: Role,
    },
    /// The last message has a role that the mode does not allow.
    #[error(
        "expected {} last, found {}",
        match mode {
            ValidationMode::Finetuning => "an assistant message",
            _ => "a user or tool message, or an assistant message with prefix",
        },
        role.name()
    )]
    LastRole {
        /// The mode.
        mode: ValidationMode,
        /// Its role.
        role: Role,
    },
    /// Training continues no message.
    #[error("an assistant message with prefix cannot be trained on")]
    PrefixInFinetuning,
    /// `continue_final_message` without an assistant's message at the end.
    #[error("continue_final_message wants an assistant message last")]
    NothingToContinue,
    /// A role may not follow another.
    #[error("message {index}: unexpected role {} after {}", role.name(), previous.name())]
    RoleOrder {
        /// Index of the message.
        index: usize,
        /// Its role.
        role: Role,
        /// The role before it.
        previous: Role,
    },
    /// Tool calls and results do not pair up.
    #[error("expected as many tool results as tool calls: {calls} calls, {results} results")]
    ResultCount {
        /// Number of calls.
        calls: usize,
        /// Number of results.
        results: usize,
    },
    /// Two results for one call.
    #[error("two tool results for the call {id:?}")]
    DuplicateResult {
        /// The call's id.
        id: String,
    },
    /// A result for no call.
    #[error("a tool result for the call {id:?}, which does not exist")]
    UnexpectedResult {
        /// The call's id.
        id: String,
    },
    /// Two calls with one id.
    #[error("two tool calls with the id {id:?} in one message")]
    DuplicateCall {
        /// The id.
        id: String,
    },

    /// A message has chunks that the version does not allow in its role.
    #[error("message {index}: unexpected {kind} chunk in a {} message", role.name())]
    ChunkInVersion {
        /// Index of the message.
        index: usize,
        /// Its role.
        role: Role,
        /// The chunk's kind.
        kind: &'static str,
    },
    /// An assistant's message has both content and tool calls, or neither.
    #[error("message {index}: expected either content or tool calls")]
    ContentOrCalls {
        /// Index of the message.
        index: usize,
    },
    /// Neighbouring assistant's messages that have both content and tool calls when joined.
    #[error("message {index}: content and tool calls in one turn do not exist before v7")]
    ContentAndCalls {
        /// Index of the message, once neighbours of one role are joined.
        index: usize,
    },
    /// A prefix that is not last.
    #[error("message {index}: only the last message may have prefix")]
    PrefixNotLast {
        /// Index of the message.
        index: usize,
    },
    /// An assistant's message with nothing in it.
    #[error("message {index}: an assistant message without content and tool calls")]
    EmptyAssistant {
        /// Index of the message.
        index: usize,
    },

    /// A tool's name in a result.
    #[error(
        "message {index}: expected a tool name of 1 to 64 letters, digits, _ or -, found {name:?}"
    )]
    ResultName {
        /// Index of the message.
        index: usize,
        /// The name.
        name: String,
    },
    /// A result without the id of its call.
    #[error("message {index}: a tool result without tool_call_id")]
    NoResultId {
        /// Index of the message.
        index: usize,
    },
    /// A result with an id that the version does not allow.
    #[error("message {index}: expected {expected} as tool_call_id, found {id:?}")]
    ResultId {
        /// Index of the message.
        index: usize,
        /// What it has to be.
        expected: &'static str,
        /// The id.
        id: String,
    },
    /// A function's name in a call.
    #[error(
        "message {index}: expected a function name of 1 to 64 letters, digits, _ or -, found {name:?}"
    )]
    CallName {
        /// Index of the message.
        index: usize,
        /// The name.
        name: String,
    },
    /// A call with an id that the version or mode does not allow.
    #[error("message {index}: expected {expected} as id of a tool call, found {id:?}")]
    CallId {
        /// Index of the message.
        index: usize,
        /// What it has to be.
        expected: &'static str,
        /// The id.
        id: String,
    },
    /// A tool's name.
    #[error("expected a function name of 1 to 64 letters, digits, _ or -, found {name:?}")]
    FunctionName {
        /// The name.
        name: String,
    },
    /// A tool's parameters are no JSON Schema.
    #[error("the parameters of the function {function:?} are no JSON Schema: {error}")]
    ToolSchema {
        /// The function.
        function: String,
        /// What is wrong with them.
        error: SchemaError,
    },
    /// A response format's schema is none.
    #[error("the response format is no JSON Schema: {error}")]
    ResponseSchema {
        /// What is wrong with it.
        error: SchemaError,
    },

    /// Serving without a model's name.
    #[error("serving wants the name of a model")]
    NoModel,
    /// A reasoning effort before v15.
    #[error("reasoning effort {effort:?} is not supported by {version} tokenizers")]
    EffortInVersion {
        /// The effort.
        effort: ReasoningEffort,
        /// The version.
        version: TokenizerVersion,
    },
    /// A reasoning effort that the tokenizer file does not list.
    #[error("expected a reasoning effort of {allowed:?}, found {effort:?}")]
    EffortNotAllowed {
        /// The effort.
        effort: ReasoningEffort,
        /// What the file allows.
        allowed: Vec<ReasoningEffort>,
    },
    /// A v15 tokenizer without model settings.
    #[error("the tokenizer file has no model settings, which v15 wants")]
    NoModelSettings,

    /// Tools before v2.
    #[error("tools do not exist for {version} tokenizers")]
    NoTools {
        /// The version.
        version: TokenizerVersion,
    },
    /// Thinking before v13.
    #[error("thinking does not exist for {version} tokenizers")]
    NoThinking {
        /// The version.
        version: TokenizerVersion,
    },
    /// Fill-in-the-middle before v2.
    #[error("fill-in-the-middle does not exist for {version} tokenizers")]
    NoFim {
        /// The version.
        version: TokenizerVersion,
    },
    /// Several results of one turn in v2.
    #[error("v2 tokenizers encode one tool result for an assistant's turn")]
    ManyResults,
    /// System prompt and audio together before v11.
    #[error("a system message and audio do not go together for {version} tokenizers")]
    SystemWithAudio {
        /// The version.
        version: TokenizerVersion,
    },
    /// Truncation without a limit.
    #[error("truncate_for_context_length wants the model's context length")]
    NoContextLength,
    /// Truncation drops neither the system's nor the user's last message.
    #[error("the messages that have to stay are {over} tokens above the limit of {limit}")]
    DoesNotFit {
        /// How many tokens too many.
        over: usize,
        /// The limit.
        limit: usize,
    },
    /// Generated text that calls a tool in a form that is none.
    #[error("expected a tool call, found {text:?}")]
    CallSyntax {
        /// The text between the control tokens.
        text: String,
    },
}

/// Where a value is no JSON Schema of draft 7.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at {path}: expected {expected}")]
pub struct SchemaError {
    /// Path to the keyword, e.g. `/properties/city/type`.
    pub path: String,
    /// What the keyword wants.
    pub expected: &'static str,
}

impl ChatError {
    /// The name of the exception class that `mistral-common` 1.13 raises for the same request.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Form(_) | Self::ChunkInRole { .. } => "ValidationError",
            Self::ResponseSchema { .. } => "ValidationError",
            Self::UnsupportedContent { .. } => "AssertionError",
            Self::SystemWithAudio { .. } | Self::ContentAndCalls { .. } => "ValueError",
            Self::NoMessages
            | Self::FirstRole { .. }
            | Self::LastRole { .. }
            | Self::PrefixInFinetuning
            | Self::NothingToContinue
            | Self::RoleOrder { .. }
            | Self::ResultCount { .. }
            | Self::DuplicateResult { .. }
            | Self::UnexpectedResult { .. }
            | Self::DuplicateCall { .. } => "InvalidMessageStructureException",
            Self::ChunkInVersion { role, .. } => match role {
                Role::System => "InvalidSystemPromptException",
                Role::User => "InvalidUserMessageException",
                Role::Assistant => "InvalidAssistantMessageException",
                Role::Tool => "InvalidToolMessageException",
            },
            Self::ContentOrCalls { .. } | Self::PrefixNotLast { .. } => {
                "InvalidAssistantMessageException"
            }
            Self::ResultName { .. } | Self::ResultId { .. } => "InvalidToolMessageException",
            Self::CallName { .. } | Self::CallId { .. } => "InvalidFunctionCallException",
            Self::FunctionName { .. } => "InvalidToolException",
            Self::ToolSchema { .. } => "InvalidToolSchemaException",
            Self::NoResultId { .. }
            | Self::NoModel
            | Self::EffortInVersion { .. }
            | Self::EffortNotAllowed { .. }
            | Self::NoModelSettings => "InvalidRequestException",
            Self::ManyResults => "UnsupportedTokenizerFeatureException",
            Self::Tokenizer(_)
            | Self::NoVersion
            | Self::EmptyAssistant { .. }
            | Self::NoTools { .. }
            | Self::NoThinking { .. }
            | Self::NoFim { .. }
            | Self::NoContextLength
            | Self::DoesNotFit { .. }
            | Self::CallSyntax { .. } => "TokenizerException",
        }
    }
}
