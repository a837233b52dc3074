//! Which conversations a version allows.
//!
//! Source of the rules, and of their order: mistral-common 1.13, `protocol/instruct/validator.py`.

use std::collections::HashSet;

use super::error::ChatError;
use super::request::{ChatRequest, Chunk, Content, Message, ResponseFormat, Role, ToolCall};
use super::schema;
use crate::tokenizer::TokenizerVersion as Version;

/// What a request is for, which decides how a conversation may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ValidationMode {
    /// As serving, but lenient: no model's name, and the last tool calls need no results.
    #[default]
    Lenient,
    /// The model answers the last message.
    Serving,
    /// The model is trained on the conversation, whose last message is its own.
    Finetuning,
}

/// The id that stands for none.
const NULL_ID: &str = "null";
const NINE: &str = "nine letters or digits";
const SOME_ID: &str = "an id that is neither empty nor null";

/// Checks a request against the rules of a version.
pub(super) fn validate(
    request: &ChatRequest,
    version: Version,
    mode: ValidationMode,
) -> Result<(), ChatError> {
    let messages = &request.messages;
    messages.iter().try_for_each(check_form)?;
    if let ResponseFormat::JsonSchema { json_schema } = &request.response_format {
        schema::check(&json_schema.schema).map_err(|error| ChatError::ResponseSchema { error })?;
    }
    if mode == ValidationMode::Serving && request.model.is_none() {
        return Err(ChatError::NoModel);
    }
    let rules = Rules { version, mode };
    rules.structure(messages)?;
    for (index, message) in messages.iter().enumerate() {
        rules.content(index, message, index + 1 == messages.len())?;
    }
    for tool in request.tools.iter().flatten() {
        let function = &tool.function;
        schema::check(&function.parameters).map_err(|error| ChatError::ToolSchema {
            function: function.name.clone(),
            error,
        })?;
        if !is_name(&function.name) {
            return Err(ChatError::FunctionName {
                name: function.name.clone(),
            });
        }
    }
    match request.reasoning_effort {
        Some(effort) if version < Version::V15 => {
            Err(ChatError::EffortInVersion { effort, version })
        }
        _ => Ok(()),
    }
}

/// Chunks that no version allows in a role.
fn check_form(message: &Message) -> Result<(), ChatError> {
    let role = message.role();
    let Some(Content::Chunks(chunks)) = message.content() else {
        return Ok(());
    };
    for chunk in chunks {
        let fits = match (role, chunk) {
            (_, Chunk::Text { .. }) => true,
            (Role::System, Chunk::Thinking { .. } | Chunk::InputAudio {}) => true,
            (Role::System, _) => false,
            (Role::Assistant, Chunk::Thinking { .. }) => true,
            (Role::Assistant, _) => false,
            (Role::User | Role::Tool, Chunk::Thinking { .. }) => false,
            (Role::User | Role::Tool, _) => true,
        };
        if !fits {
            return Err(ChatError::ChunkInRole {
                role,
                kind: chunk.kind(),
            });
        }
    }
    Ok(())
}

struct Rules {
    version: Version,
    mode: ValidationMode,
}

impl Rules {
    fn structure(&self, messages: &[Message]) -> Result<(), ChatError> {
        let (Some(first), Some(last)) = (messages.first(), messages.last()) else {
            return Err(ChatError::NoMessages);
        };
        if messages.len() == 1 && !matches!(first.role(), Role::User | Role::System) {
            return Err(ChatError::FirstRole { role: first.role() });
        }
        if self.mode == ValidationMode::Finetuning || messages.len() > 1 {
            self.last(messages.len() - 1, last)?;
        }
        order(messages)?;
        if self.version >= Version::V11 {
            self.results_by_id(messages)?;
        } else {
            self.results_by_count(messages)?;
        }
        if self.version == Version::V7 {
            let has_system = messages.iter().any(|m| m.role() == Role::System);
            if has_system && messages.iter().any(has_audio) {
                return Err(ChatError::SystemWithAudio {
                    version: self.version,
                });
            }
        }
        Ok(())
    }

    fn last(&self, index: usize, message: &Message) -> Result<(), ChatError> {
        let (role, mode) = (message.role(), self.mode);
        let has_prefix = matches!(message, Message::Assistant { prefix: true, .. });
        if self.mode == ValidationMode::Finetuning {
            if role != Role::Assistant {
                return Err(ChatError::LastRole { mode, role });
            }
            if has_prefix {
                return Err(ChatError::PrefixInFinetuning);
            }
            if self.version >= Version::V3 {
                for call in message.tool_calls() {
                    self.call(index, call, true)?;
                }
            }
        } else if role == Role::Assistant && !has_prefix {
            return Err(ChatError::LastRole { mode, role });
        }
        Ok(())
    }

    /// Before v11 only the numbers of calls and results have to be equal.
    fn results_by_count(&self, messages: &[Message]) -> Result<(), ChatError> {
        let (mut calls, mut results) = (0usize, 0usize);
        for message in messages.iter().skip(1) {
            match message {
                Message::Tool { .. } => results += 1,
                Message::Assistant { tool_calls, .. } => {
                    if calls != results {
                        return Err(ChatError::ResultCount { calls, results });
                    }
                    if let Some(new) = tool_calls {
                        (calls, results) = (new.len(), 0);
                    }
                }
                _ => {}
            }
        }
        let wrong = match self.mode {
            ValidationMode::Serving => calls != results,
            ValidationMode::Finetuning => calls < results,
            ValidationMode::Lenient => false,
        };
        if wrong {
            Err(ChatError::ResultCount { calls, results })
        } else {
            Ok(())
        }
    }

    /// From v11 on each result names a call of the last assistant's turn.
    fn results_by_id(&self, messages: &[Message]) -> Result<(), ChatError> {
        let mut calls: HashSet<&str> = HashSet::new();
        let mut results: HashSet<&str> = HashSet::new();
        for message in messages.iter().skip(1) {
            match message {
                Message::Tool { tool_call_id, .. } => {
                    let id = tool_call_id.as_deref().unwrap_or_default();
                    if results.contains(id) {
                        return Err(ChatError::DuplicateResult { id: id.to_owned() });
                    }
                    if tool_call_id.is_none() || !calls.contains(id) {
                        return Err(ChatError::UnexpectedResult { id: id.to_owned() });
                    }
                    results.insert(id);
                }
                Message::Assistant { .. } => {
                    if calls.len() != results.len() {
                        let (calls, results) = (calls.len(), results.len());
                        return Err(ChatError::ResultCount { calls, results });
                    }
                    calls.clear();
                    results.clear();
                    for call in message.tool_calls() {
                        if !calls.insert(&call.id) {
                            return Err(ChatError::DuplicateCall {
                                id: call.id.clone(),
                            });
                        }
                    }
                }
                _ => {}
            }
        }
        let (calls, results) = (calls.len(), results.len());
        let wrong = match self.mode {
            ValidationMode::Serving => calls != results,
            ValidationMode::Finetuning => calls < results,
            ValidationMode::Lenient => false,
        };
        if wrong {
            Err(ChatError::ResultCount { calls, results })
        } else {
            Ok(())
        }
    }

    fn content(&self, index: usize, message: &Message, is_last: bool) -> Result<(), ChatError> {
        self.chunks(index, message)?;
        match message {
            Message::User { .. } | Message::System { .. } => Ok(()),
            Message::Assistant {
                content,
                tool_calls,
                prefix,
            } => {
                let has_content = content.as_ref().is_some_and(|content| !content.is_empty());
                let has_calls = tool_calls.as_ref().is_some_and(|calls| !calls.is_empty());
                if self.version < Version::V7 && has_content == has_calls {
                    return Err(ChatError::ContentOrCalls { index });
                }
                for call in message.tool_calls() {
                    self.call(index, call, is_last)?;
                }
                if *prefix && !is_last {
                    return Err(ChatError::PrefixNotLast { index });
                }
                Ok(())
            }
            Message::Tool {
                tool_call_id, name, ..
            } => {
                if let Some(name) = name.as_ref().filter(|name| !is_name(name)) {
                    return Err(ChatError::ResultName {
                        index,
                        name: name.clone(),
                    });
                }
                self.result_id(index, tool_call_id.as_deref())
            }
        }
    }

    /// Chunks that this version does not allow in a role.
    fn chunks(&self, index: usize, message: &Message) -> Result<(), ChatError> {
        let Some(Content::Chunks(chunks)) = message.content() else {
            return Ok(());
        };
        let role = message.role();
        for chunk in chunks {
            let since = match (role, chunk) {
                (_, Chunk::Text { .. }) => Some(Version::V1),
                (Role::User, Chunk::Image {} | Chunk::ImageUrl {}) => Some(Version::V3),
                (Role::User, _) => Some(Version::V7),
                (Role::System, Chunk::Thinking { .. }) if self.version >= Version::V15 => None,
                (Role::System, _) => Some(Version::V7),
                (Role::Assistant, _) => Some(Version::V11),
                (Role::Tool, _) => Some(Version::V15),
            };
            if since.is_none_or(|since| self.version < since) {
                return Err(ChatError::ChunkInVersion {
                    index,
                    role,
                    kind: chunk.kind(),
                });
            }
        }
        Ok(())
    }

    fn call(&self, index: usize, call: &ToolCall, is_last: bool) -> Result<(), ChatError> {
        let refuse = |expected| {
            Err(ChatError::CallId {
                index,
                expected,
                id: call.id.clone(),
            })
        };
        if self.version >= Version::V13 {
            if call.id.is_empty() || call.id == NULL_ID {
                return refuse(SOME_ID);
            }
        } else if self.version >= Version::V3 {
            if call.id == NULL_ID {
                if self.mode != ValidationMode::Finetuning || !is_last {
                    return refuse(NINE);
                }
            } else if !is_nine(&call.id) {
                return refuse(NINE);
            }
        }
        let name = &call.function.name;
        if is_name(name) {
            Ok(())
        } else {
            Err(ChatError::CallName {
                index,
                name: name.clone(),
            })
        }
    }

    fn result_id(&self, index: usize, id: Option<&str>) -> Result<(), ChatError> {
        let refuse = |expected, id: &str| {
            Err(ChatError::ResultId {
                index,
                expected,
                id: id.to_owned(),
            })
        };
        if self.version < Version::V3 {
            return Ok(());
        }
        if self.version >= Version::V13 {
            return match id {
                None | Some("" | NULL_ID) => refuse(SOME_ID, id.unwrap_or_default()),
                Some(_) => Ok(()),
            };
        }
        match id {
            None => Err(ChatError::NoResultId { index }),
            Some(id) if !is_nine(id) => refuse(NINE, id),
            Some(_) => Ok(()),
        }
    }
}

fn order(messages: &[Message]) -> Result<(), ChatError> {
    for (i, pair) in messages.windows(2).enumerate() {
        let (previous, role) = (pair[0].role(), pair[1].role());
        let fits = match previous {
            Role::System | Role::User => role != Role::Tool,
            Role::Assistant | Role::Tool => role != Role::System,
        };
        if !fits {
            return Err(ChatError::RoleOrder {
                index: i + 1,
                role,
                previous,
            });
        }
    }
    Ok(())
}

fn has_audio(message: &Message) -> bool {
    let Message::User {
        content: Content::Chunks(chunks),
    } = message
    else {
        return false;
    };
    chunks
        .iter()
        .any(|chunk| matches!(chunk, Chunk::InputAudio {} | Chunk::AudioUrl {}))
}

/// `^[a-zA-Z0-9_-]{1,64}$`, where `$` also matches before a last newline as it does in Python.
fn is_name(name: &str) -> bool {
    let name = name.strip_suffix('\n').unwrap_or(name);
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

/// `^[a-zA-Z0-9]{9}$`, likewise.
fn is_nine(id: &str) -> bool {
    let id = id.strip_suffix('\n').unwrap_or(id);
    id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric())
}
