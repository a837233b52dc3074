//! A conversation as the encoder sees it: neighbouring messages of one role become one, JSON gets
//! one spelling, tool results follow the order of their calls.
//!
//! Source of the rules: mistral-common 1.13, `protocol/instruct/normalize.py`.

use std::collections::HashMap;

use super::error::ChatError;
use super::json::Json;
use super::request::{Chunk, Content, FunctionCall, Message, Role, ToolCall};
use crate::tokenizer::TokenizerVersion as Version;

/// What stands between texts that are joined.
const JOIN: &str = "\n\n";

/// A conversation ready to be encoded.
#[derive(Debug, PartialEq)]
pub(super) struct Normalized {
    pub(super) messages: Vec<Message>,
    /// All system messages joined, before v7.
    pub(super) system_prompt: Option<String>,
}

/// Normalises a validated conversation.
pub(super) fn normalize(messages: &[Message], version: Version) -> Result<Normalized, ChatError> {
    let rules = Rules { version };
    let mut out = Vec::new();
    let mut call_ids: Vec<String> = Vec::new();
    for group in messages.chunk_by(|a, b| a.role() == b.role()) {
        match group[0].role() {
            Role::System if version >= Version::V7 => {
                out.extend(group.iter().map(|m| Message::System {
                    content: rules.join(&[m]),
                }));
            }
            Role::System => {}
            Role::User => out.push(Message::User {
                content: rules.join_all(group),
            }),
            Role::Assistant => {
                let message = rules.assistant(group);
                call_ids.extend(message.tool_calls().iter().map(|call| call.id.clone()));
                out.push(message);
            }
            Role::Tool => {
                out.extend(rules.results(group, &call_ids)?);
                call_ids.clear();
            }
        }
    }
    let starts_with_user = out.first().is_some_and(|m| m.role() == Role::User);
    if out.is_empty() || (version < Version::V7 && !starts_with_user) {
        out.insert(0, Message::user(""));
    }
    let system_prompt = if version < Version::V7 {
        rules.system_prompt(messages)?
    } else {
        None
    };
    Ok(Normalized {
        messages: out,
        system_prompt,
    })
}

struct Rules {
    version: Version,
}

impl Rules {
    fn join_all(&self, group: &[Message]) -> Content {
        self.join(&group.iter().collect::<Vec<_>>())
    }

    /// Joins the texts of messages, and of neighbouring text chunks; other chunks stay.
    fn join(&self, group: &[&Message]) -> Content {
        let chunk_join = if self.version >= Version::V15 {
            ""
        } else {
            JOIN
        };
        let mut chunks: Vec<Chunk> = Vec::new();
        let mut text: Option<String> = None;
        for content in group.iter().filter_map(|message| message.content()) {
            let mut separator = JOIN;
            let mut add = |part: &str, text: &mut Option<String>| {
                match text {
                    Some(text) => {
                        text.push_str(separator);
                        text.push_str(part);
                    }
                    None => *text = Some(part.to_owned()),
                }
                separator = chunk_join;
            };
            match content {
                Content::Text(part) if part.is_empty() => {}
                Content::Text(part) => add(part, &mut text),
                Content::Chunks(parts) => {
                    for part in parts {
                        match part {
                            Chunk::Text { text: part } if part.is_empty() => {}
                            Chunk::Text { text: part } => {
                                add(part, &mut text);
                            }
                            other => {
                                chunks.extend(text.take().map(|text| Chunk::Text { text }));
                                chunks.push(other.clone());
                            }
                        }
                    }
                }
            }
        }
        if chunks.is_empty() {
            return Content::Text(text.unwrap_or_default());
        }
        chunks.extend(text.map(|text| Chunk::Text { text }));
        Content::Chunks(chunks)
    }

    fn assistant(&self, group: &[Message]) -> Message {
        let calls = group.iter().flat_map(|message| message.tool_calls());
        let calls: Vec<ToolCall> = calls.map(normalize_call).collect();
        Message::Assistant {
            content: Some(self.join_all(group)),
            tool_calls: (!calls.is_empty()).then_some(calls),
            prefix: group
                .iter()
                .any(|m| matches!(m, Message::Assistant { prefix: true, .. })),
        }
    }

    fn results(&self, group: &[Message], call_ids: &[String]) -> Result<Vec<Message>, ChatError> {
        let mut results = Vec::with_capacity(group.len());
        for message in group {
            let Message::Tool {
                tool_call_id, name, ..
            } = message
            else {
                continue;
            };
            let mut content = self.join(&[message]);
            if self.version < Version::V7
                && let Content::Text(text) = &content
            {
                content = Content::Text(normalize_json(text));
            }
            results.push(Message::Tool {
                content,
                tool_call_id: tool_call_id.clone(),
                name: name.clone(),
            });
        }
        if self.version >= Version::V11 {
            let id = |message: &Message| match message {
                Message::Tool { tool_call_id, .. } => tool_call_id.clone().unwrap_or_default(),
                _ => String::new(),
            };
            let places = |ids: &[String]| -> HashMap<String, usize> {
                ids.iter()
                    .enumerate()
                    .map(|(i, id)| (id.clone(), i))
                    .collect()
            };
            let calls = places(call_ids);
            let given = places(&results.iter().map(id).collect::<Vec<_>>());
            results.sort_by_key(|message| {
                let id = id(message);
                (
                    calls.get(&id).copied().unwrap_or(usize::MAX),
                    given.get(&id).copied(),
                )
            });
        }
        Ok(results)
    }

    fn system_prompt(&self, messages: &[Message]) -> Result<Option<String>, ChatError> {
        let mut prompts = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            if let Message::System { content } = message
                && !content.is_empty()
            {
                match self.join(&[message]) {
                    Content::Text(text) => prompts.push(text),
                    Content::Chunks(_) => {
                        return Err(ChatError::ChunkInVersion {
                            index,
                            role: Role::System,
                            kind: "other than text",
                        });
                    }
                }
            }
        }
        Ok((!prompts.is_empty()).then(|| prompts.join(JOIN)))
    }
}

fn normalize_call(call: &ToolCall) -> ToolCall {
    ToolCall {
        id: call.id.clone(),
        kind: call.kind,
        function: FunctionCall {
            name: call.function.name.clone(),
            arguments: normalize_json(&call.function.arguments),
        },
    }
}

/// JSON in the spelling that Python gives it; text that is no JSON stays.
fn normalize_json(text: &str) -> String {
    if text.is_empty() {
        return "{}".to_owned();
    }
    Json::parse(text).map_or_else(|| text.to_owned(), |value| value.dumps())
}
