//! What a model answers, taken apart: text, thoughts and tool calls.

use super::error::ChatError;
use super::json::Json;
use super::request::{FunctionCall, ToolCall, ToolKind};
use crate::tokenizer::{DecodeStream, Tokenizer, TokenizerVersion as Version};

/// A part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyPart {
    /// More of the text.
    Text(String),
    /// More of the thoughts before the text.
    Thinking(String),
    /// A tool call, complete.
    ToolCall(ToolCall),
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reply {
    /// The text.
    pub text: String,
    /// The thoughts.
    pub thinking: String,
    /// The tool calls, in order.
    pub tool_calls: Vec<ToolCall>,
    /// Whether the model ended its turn; otherwise generation was cut.
    pub ended: bool,
}

/// Takes an answer apart while it is generated.
///
/// Control tokens decide, never their names in the text: a model that writes `[TOOL_CALLS]` as
/// text calls nothing.
///
/// ```
/// # fn demo(tokenizer: &mistral_infer::tokenizer::Tokenizer, generated: &[u32])
/// # -> Result<(), mistral_infer::chat::ChatError> {
/// use mistral_infer::chat::{ReplyParser, ReplyPart};
///
/// let mut parser = ReplyParser::new(tokenizer, 7)?;
/// for &token in generated {
///     for part in parser.push(token)? {
///         match part {
///             ReplyPart::Text(text) => print!("{text}"),
///             ReplyPart::Thinking(_) => {}
///             ReplyPart::ToolCall(call) => println!("{}({})", call.function.name, call.function.arguments),
///         }
///     }
/// }
/// let rest = parser.finish()?;
/// # drop(rest); Ok(()) }
/// ```
#[derive(Debug)]
pub struct ReplyParser<'t> {
    tokenizer: &'t Tokenizer,
    stream: DecodeStream<'t>,
    markers: Vec<(u32, Marker)>,
    sections: Sections,
}

/// A control token that starts or ends a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    ToolCalls,
    CallId,
    Args,
    Think,
    EndThink,
    End,
}

impl Marker {
    const NAMED: [(Self, &'static str); 5] = [
        (Self::ToolCalls, "[TOOL_CALLS]"),
        (Self::CallId, "[CALL_ID]"),
        (Self::Args, "[ARGS]"),
        (Self::Think, "[THINK]"),
        (Self::EndThink, "[/THINK]"),
    ];
}

impl<'t> ReplyParser<'t> {
    /// A parser for the tokenizer's version.
    ///
    /// Versions 2 and 13 on give tool calls no id: these get one from `id_seed`, which a server
    /// takes anew for each answer.
    ///
    /// # Errors
    /// [`ChatError::NoVersion`] when the version is not known.
    pub fn new(tokenizer: &'t Tokenizer, id_seed: u64) -> Result<Self, ChatError> {
        let version = tokenizer.version().ok_or(ChatError::NoVersion)?;
        let named = Marker::NAMED
            .into_iter()
            .filter_map(|(marker, name)| Some((tokenizer.control_token(name).ok()?, marker)));
        let mut markers: Vec<_> = named.collect();
        markers.extend(tokenizer.eos_id().map(|id| (id, Marker::End)));
        Ok(Self {
            tokenizer,
            stream: tokenizer.decode_stream(),
            markers,
            sections: Sections::new(version, id_seed),
        })
    }

    /// The parts that a token completes. Tokens after the end of the turn give none.
    ///
    /// # Errors
    /// [`ChatError::CallSyntax`] for a tool call that is none; [`ChatError::Tokenizer`] for an id
    /// outside the vocabulary.
    pub fn push(&mut self, token: u32) -> Result<Vec<ReplyPart>, ChatError> {
        let mut parts = Vec::new();
        if self.sections.ended {
            return Ok(parts);
        }
        let marker = self
            .markers
            .iter()
            .find(|(id, _)| *id == token)
            .map(|(_, marker)| *marker);
        match marker {
            Some(marker) => {
                // Each section was encoded on its own, and is decoded so.
                let stream = std::mem::replace(&mut self.stream, self.tokenizer.decode_stream());
                self.sections.text(&stream.finish(), &mut parts);
                self.sections.marker(marker, &mut parts)?;
            }
            None => self.sections.text(self.stream.push(token)?, &mut parts),
        }
        Ok(parts)
    }

    /// Whether the model ended its turn.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.sections.ended
    }

    /// The parts that the end of generation completes.
    ///
    /// # Errors
    /// [`ChatError::CallSyntax`] for a tool call that was cut.
    pub fn finish(mut self) -> Result<Vec<ReplyPart>, ChatError> {
        let mut parts = Vec::new();
        if !self.sections.ended {
            self.sections.text(&self.stream.finish(), &mut parts);
            self.sections.finish(&mut parts)?;
        }
        Ok(parts)
    }
}

impl Tokenizer {
    /// Takes a whole generated answer apart; `id_seed` as in [`ReplyParser::new`].
    ///
    /// # Errors
    /// As [`ReplyParser::push`] and [`ReplyParser::finish`].
    pub fn parse_reply(&self, tokens: &[u32], id_seed: u64) -> Result<Reply, ChatError> {
        let mut parser = ReplyParser::new(self, id_seed)?;
        let mut reply = Reply::default();
        for &token in tokens {
            reply.extend(parser.push(token)?);
        }
        reply.ended = parser.ended();
        reply.extend(parser.finish()?);
        Ok(reply)
    }
}

impl Reply {
    fn extend(&mut self, parts: Vec<ReplyPart>) {
        for part in parts {
            match part {
                ReplyPart::Text(text) => self.text.push_str(&text),
                ReplyPart::Thinking(text) => self.thinking.push_str(&text),
                ReplyPart::ToolCall(call) => self.tool_calls.push(call),
            }
        }
    }

    /// Takes apart an answer that is text with the names of control tokens in it, as other engines
    /// return it. The names are markers wherever they stand; use [`ReplyParser`] where there are
    /// tokens.
    ///
    /// # Errors
    /// [`ChatError::CallSyntax`] for a tool call that is none.
    pub fn from_text(text: &str, version: Version, id_seed: u64) -> Result<Self, ChatError> {
        let mut sections = Sections::new(version, id_seed);
        let mut parts = Vec::new();
        let known = |marker: Marker| match marker {
            Marker::ToolCalls => version >= Version::V2,
            Marker::CallId | Marker::Args => version >= Version::V11,
            Marker::Think | Marker::EndThink => version >= Version::V13,
            Marker::End => true,
        };
        let markers: Vec<(Marker, &str)> = Marker::NAMED
            .into_iter()
            .chain([(Marker::End, "</s>")])
            .filter(|(marker, _)| known(*marker))
            .collect();
        let mut rest = text;
        while !sections.ended {
            let found = rest.char_indices().find_map(|(at, _)| {
                let marker = markers
                    .iter()
                    .find(|(_, name)| rest[at..].starts_with(name));
                marker.map(|(marker, name)| (at, *marker, name.len()))
            });
            let Some((at, marker, length)) = found else {
                break;
            };
            sections.text(&rest[..at], &mut parts);
            sections.marker(marker, &mut parts)?;
            rest = &rest[at + length..];
        }
        let ended = sections.ended;
        if !ended {
            sections.text(rest, &mut parts);
            sections.finish(&mut parts)?;
        }
        let mut reply = Self {
            ended,
            ..Self::default()
        };
        reply.extend(parts);
        Ok(reply)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Text,
    Thinking,
    /// All calls as one JSON list (v2 to v7).
    CallList,
    Name,
    Id,
    Args,
}

/// Where in an answer the parser is, and what it has of the current call.
#[derive(Debug)]
struct Sections {
    version: Version,
    section: Section,
    name: String,
    id: String,
    args: String,
    ended: bool,
    seed: u64,
    calls: u64,
}

impl Sections {
    fn new(version: Version, seed: u64) -> Self {
        Self {
            version,
            section: Section::Text,
            name: String::new(),
            id: String::new(),
            args: String::new(),
            ended: false,
            seed,
            calls: 0,
        }
    }

    fn text(&mut self, text: &str, parts: &mut Vec<ReplyPart>) {
        if text.is_empty() {
            return;
        }
        match self.section {
            Section::Text => parts.push(ReplyPart::Text(text.to_owned())),
            Section::Thinking => parts.push(ReplyPart::Thinking(text.to_owned())),
            Section::CallList | Section::Args => self.args.push_str(text),
            Section::Name => self.name.push_str(text),
            Section::Id => self.id.push_str(text),
        }
    }

    fn marker(&mut self, marker: Marker, parts: &mut Vec<ReplyPart>) -> Result<(), ChatError> {
        match marker {
            Marker::CallId if self.section == Section::Name => self.section = Section::Id,
            Marker::Args if matches!(self.section, Section::Name | Section::Id) => {
                self.section = Section::Args;
            }
            Marker::CallId | Marker::Args => {}
            Marker::ToolCalls => {
                self.finish(parts)?;
                let list = self.version < Version::V11;
                self.section = if list {
                    Section::CallList
                } else {
                    Section::Name
                };
            }
            Marker::Think => {
                self.finish(parts)?;
                self.section = Section::Thinking;
            }
            Marker::EndThink | Marker::End => {
                self.finish(parts)?;
                self.ended = marker == Marker::End;
            }
        }
        Ok(())
    }

    /// Ends the section: a call has to be complete.
    fn finish(&mut self, parts: &mut Vec<ReplyPart>) -> Result<(), ChatError> {
        let section = std::mem::replace(&mut self.section, Section::Text);
        let name = std::mem::take(&mut self.name);
        let id = std::mem::take(&mut self.id);
        let args = std::mem::take(&mut self.args);
        match section {
            Section::Text | Section::Thinking => Ok(()),
            Section::CallList => self.list(&args, parts),
            Section::Name | Section::Id => Err(ChatError::CallSyntax { text: name }),
            Section::Args => {
                let (name, id, args) = (name.trim(), id.trim(), args.trim());
                let is_object = matches!(Json::parse(args), Some(Json::Object(_)));
                if name.is_empty() || !is_object {
                    let text = format!("{name} {args}");
                    return Err(ChatError::CallSyntax { text });
                }
                self.call(name, id, args.to_owned(), parts);
                Ok(())
            }
        }
    }

    fn list(&mut self, text: &str, parts: &mut Vec<ReplyPart>) -> Result<(), ChatError> {
        let refuse = || ChatError::CallSyntax {
            text: text.to_owned(),
        };
        let calls = match Json::parse(text).ok_or_else(refuse)? {
            Json::Array(calls) => calls,
            call @ Json::Object(_) => vec![call],
            _ => return Err(refuse()),
        };
        for call in calls {
            let name = call.get("name").and_then(Json::as_str).ok_or_else(refuse)?;
            let id = call.get("id").and_then(Json::as_str).unwrap_or_default();
            let args = match call.get("arguments") {
                None | Some(Json::Null) => "{}".to_owned(),
                Some(Json::String(text)) => text.clone(),
                Some(value) => value.dumps(),
            };
            self.call(name, id, args, parts);
        }
        Ok(())
    }

    fn call(&mut self, name: &str, id: &str, arguments: String, parts: &mut Vec<ReplyPart>) {
        let id = match id {
            "" | "null" => call_id(self.seed, self.calls),
            id => id.to_owned(),
        };
        self.calls += 1;
        let function = FunctionCall {
            name: name.to_owned(),
            arguments,
        };
        parts.push(ReplyPart::ToolCall(ToolCall {
            id,
            kind: ToolKind::Function,
            function,
        }));
    }
}

/// Nine letters and digits, as versions 3 to 11 want them, by SplitMix64.
fn call_id(seed: u64, call: u64) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut bits = seed.wrapping_add(call.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    // 62^9 is below 2^54, so each place is nearly even.
    (0..9)
        .map(|_| {
            let symbol = ALPHABET[(bits % 62) as usize];
            bits /= 62;
            char::from(symbol)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, arguments and id (empty when generated) of each call.
    type Calls<'a> = &'a [(&'a str, &'a str, &'a str)];

    #[test]
    fn takes_answers_apart() {
        use Version as V;
        let cases: [(Version, &str, &str, &str, Calls<'_>, bool); 12] = [
            (
                V::V1,
                "Hi [TOOL_CALLS] there</s>",
                "Hi [TOOL_CALLS] there",
                "",
                &[],
                true,
            ),
            (V::V3, "Hello", "Hello", "", &[], false),
            (
                V::V2,
                "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": 1.0}}]</s>",
                "",
                "",
                &[("f", "{\"a\": 1.0}", "")],
                true,
            ),
            (
                V::V3,
                "[TOOL_CALLS] [{\"name\":\"f\",\"arguments\":\"{}\",\"id\":\"Ab1cD2eF3\"},{\"name\":\"g\"}]</s>",
                "",
                "",
                &[("f", "{}", "Ab1cD2eF3"), ("g", "{}", "")],
                true,
            ),
            (
                V::V7,
                "So:[TOOL_CALLS]{\"name\": \"f\", \"arguments\": []}",
                "So:",
                "",
                &[("f", "[]", "")],
                false,
            ),
            (
                V::V11,
                "Well[TOOL_CALLS]f[CALL_ID]Ab1cD2eF3[ARGS]{\"x\": 1}[TOOL_CALLS]g[ARGS]{}</s>",
                "Well",
                "",
                &[("f", "{\"x\": 1}", "Ab1cD2eF3"), ("g", "{}", "")],
                true,
            ),
            (
                V::V13,
                "[THINK]hm[/THINK]Yes.[TOOL_CALLS]f[ARGS]{}</s>ignored",
                "Yes.",
                "hm",
                &[("f", "{}", "")],
                true,
            ),
            (V::V15, "[THINK]open", "", "open", &[], false),
            (V::V15, "a[ARGS]b[/THINK]c", "abc", "", &[], false),
            (V::V11, "[THINK]text", "[THINK]text", "", &[], false),
            (V::V13, "", "", "", &[], false),
            (V::V13, "</s>", "", "", &[], true),
        ];
        for (version, text, said, thinking, calls, ended) in cases {
            let reply =
                Reply::from_text(text, version, 1).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(
                (reply.text.as_str(), reply.thinking.as_str(), reply.ended),
                (said, thinking, ended),
                "{version} {text}"
            );
            assert_eq!(reply.tool_calls.len(), calls.len(), "{version} {text}");
            for (found, (name, arguments, id)) in reply.tool_calls.iter().zip(calls) {
                assert_eq!(found.function.name, *name, "{version} {text}");
                assert_eq!(found.function.arguments, *arguments, "{version} {text}");
                let nine =
                    found.id.len() == 9 && found.id.bytes().all(|b| b.is_ascii_alphanumeric());
                assert!(
                    if id.is_empty() { nine } else { found.id == *id },
                    "{version} {text}"
                );
            }
        }
    }

    #[test]
    fn calls_that_are_none_are_refused() {
        let cases = [
            (Version::V3, "[TOOL_CALLS]"),
            (Version::V3, "[TOOL_CALLS][{\"name\": \"f\", \"argu"),
            (Version::V3, "[TOOL_CALLS][{\"arguments\": {}}]"),
            (Version::V7, "[TOOL_CALLS]5"),
            (Version::V11, "[TOOL_CALLS]f"),
            (Version::V11, "[TOOL_CALLS]f[CALL_ID]x</s>"),
            (Version::V13, "[TOOL_CALLS]f[ARGS]{\"a\": "),
            (Version::V13, "[TOOL_CALLS][ARGS]{}"),
            (Version::V13, "[TOOL_CALLS]f[ARGS][]"),
        ];
        for (version, text) in cases {
            let found = Reply::from_text(text, version, 1);
            assert!(
                matches!(found, Err(ChatError::CallSyntax { .. })),
                "{version} {text}"
            );
        }
    }

    #[test]
    fn generated_ids_differ() {
        let ids: std::collections::HashSet<String> = (0..100)
            .flat_map(|seed| (0..100).map(move |call| call_id(seed, call)))
            .collect();
        assert_eq!(ids.len(), 10_000);
    }
}
