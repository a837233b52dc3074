//! Conversations to token ids.
//!
//! Source of the rules: mistral-common 1.13, `tokens/tokenizers/instruct.py`. Every text between
//! two control tokens is encoded on its own, so that nothing in it can join with, or become, a
//! control token.

use super::error::ChatError;
use super::json::Json;
use super::normalize::{Normalized, normalize};
use super::request::{
    ChatRequest, Chunk, Content, FimRequest, Message, ResponseFormat, Role, Tool, ToolCall,
};
use super::settings::ModelSettings;
use super::validate::{ValidationMode, validate};
use crate::tokenizer::{Tokenizer, TokenizerError, TokenizerKind, TokenizerVersion as Version};

/// How a chat is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChatOptions {
    /// What the request is for.
    pub mode: ValidationMode,
    /// The most tokens that a request with `truncate_for_context_length` may have (v7 and later;
    /// earlier versions do not truncate).
    pub max_tokens: Option<usize>,
}

impl Tokenizer {
    /// Token ids of a chat, as `mistral-common` encodes it for this tokenizer's version.
    ///
    /// ```no_run
    /// use mistral_infer::chat::{ChatRequest, Message};
    /// use mistral_infer::tokenizer::Tokenizer;
    ///
    /// let tokenizer = Tokenizer::from_file("tekken.json")?;
    /// let request =
    ///     ChatRequest { messages: vec![Message::user("Hello")], ..ChatRequest::default() };
    /// let ids = tokenizer.encode_chat(&request)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ChatError`] for a conversation that the version does not allow.
    pub fn encode_chat(&self, request: &ChatRequest) -> Result<Vec<u32>, ChatError> {
        self.encode_chat_with(request, ChatOptions::default())
    }

    /// Token ids of a chat with options.
    ///
    /// # Errors
    /// [`ChatError`] for a conversation that the version or the mode does not allow.
    pub fn encode_chat_with(
        &self,
        request: &ChatRequest,
        options: ChatOptions,
    ) -> Result<Vec<u32>, ChatError> {
        let version = self.version().ok_or(ChatError::NoVersion)?;
        if request.continue_final_message {
            return self.encode_chat_with(&continued(request)?, options);
        }
        validate(request, version, options.mode)?;
        if request.truncate_for_context_length && options.max_tokens.is_none() {
            return Err(ChatError::NoContextLength);
        }
        let normalized = normalize(&request.messages, version)?;
        let settings = self.settings(request, version)?;
        let limit = options
            .max_tokens
            .filter(|_| request.truncate_for_context_length);
        let encoder = Encoder {
            tokenizer: self,
            version,
        };
        encoder.chat(
            &normalized,
            request.tools.as_deref().unwrap_or_default(),
            &settings,
            limit,
        )
    }

    /// Token ids of a text with a hole, for models that fill it in (v2 and later). An empty suffix
    /// is none.
    ///
    /// # Errors
    /// [`ChatError::NoFim`] for v1 tokenizers.
    pub fn encode_fim(&self, prompt: &str, suffix: Option<&str>) -> Result<Vec<u32>, ChatError> {
        let version = self.version().ok_or(ChatError::NoVersion)?;
        if version < Version::V2 {
            return Err(ChatError::NoFim { version });
        }
        let encoder = Encoder {
            tokenizer: self,
            version,
        };
        let mut ids = vec![encoder.bos()?, encoder.control("[SUFFIX]")?];
        if let Some(suffix) = suffix.filter(|suffix| !suffix.is_empty()) {
            // A character in front takes the space that SentencePiece adds; it is two tokens.
            let with_guard = self.encode(&format!("\u{263a}{suffix}"))?;
            ids.extend(with_guard.iter().skip(2));
        }
        ids.push(encoder.control("[PREFIX]")?);
        self.encode_into(prompt, &mut ids)?;
        Ok(ids)
    }

    /// Token ids of a [`FimRequest`].
    ///
    /// # Errors
    /// As [`Self::encode_fim`].
    pub fn encode_fim_request(&self, request: &FimRequest) -> Result<Vec<u32>, ChatError> {
        self.encode_fim(&request.prompt, request.suffix.as_deref())
    }

    /// The model settings that a request asks for and the tokenizer allows.
    fn settings(
        &self,
        request: &ChatRequest,
        version: Version,
    ) -> Result<ModelSettings, ChatError> {
        if version < Version::V15 {
            return Ok(ModelSettings::default());
        }
        let builder = self.model_settings().ok_or(ChatError::NoModelSettings)?;
        builder.build(request.reasoning_effort, &request.response_format)
    }
}

/// The request with `prefix` on its last message.
fn continued(request: &ChatRequest) -> Result<ChatRequest, ChatError> {
    let mut request = request.clone();
    request.continue_final_message = false;
    match request.messages.last_mut() {
        Some(Message::Assistant { prefix, .. }) => *prefix = true,
        _ => return Err(ChatError::NothingToContinue),
    }
    Ok(request)
}

struct Encoder<'t> {
    tokenizer: &'t Tokenizer,
    version: Version,
}

/// Where a message stands.
struct Place {
    index: usize,
    is_first_user: bool,
    is_last_user: bool,
    before_last_user: bool,
}

impl Encoder<'_> {
    fn chat(
        &self,
        chat: &Normalized,
        tools: &[Tool],
        settings: &ModelSettings,
        limit: Option<usize>,
    ) -> Result<Vec<u32>, ChatError> {
        let is_user = |message: &Message| message.role() == Role::User;
        let first_user = chat.messages.iter().position(is_user);
        let last_user = chat.messages.iter().rposition(is_user);
        if self.version == Version::V2 {
            check_single_results(&chat.messages, last_user)?;
        }
        if self.version == Version::V11 {
            self.check_audio(&chat.messages)?;
        }
        let mut parts: Vec<Option<Vec<u32>>> = Vec::with_capacity(chat.messages.len());
        for (index, message) in chat.messages.iter().enumerate() {
            let place = Place {
                index,
                is_first_user: first_user == Some(index),
                is_last_user: last_user == Some(index),
                before_last_user: last_user.is_some_and(|last| index < last),
            };
            let mut ids = Vec::new();
            match message {
                Message::System { content } => self.system(content, &place, &mut ids)?,
                Message::User { content } => {
                    let (tools_here, prompt_here) = self.user_extras(&place);
                    if tools_here {
                        self.tools(tools, &mut ids)?;
                        self.settings(settings, &mut ids)?;
                    }
                    let prompt = chat.system_prompt.as_deref().filter(|_| prompt_here);
                    self.user(content, prompt, &place, &mut ids)?;
                }
                Message::Assistant {
                    content,
                    tool_calls,
                    prefix,
                } => {
                    let calls = tool_calls.as_deref().unwrap_or_default();
                    let said = self.assistant(content.as_ref(), calls, &place, &mut ids)?;
                    if said && !prefix {
                        ids.push(self.eos()?);
                    }
                }
                Message::Tool {
                    content,
                    tool_call_id,
                    name,
                } => {
                    let id = tool_call_id.as_deref();
                    self.result(content, id, name.as_deref(), &place, &mut ids)?;
                }
            }
            parts.push(Some(ids));
        }
        if let Some(limit) = limit.filter(|_| self.version >= Version::V7) {
            truncate(&mut parts, &chat.messages, limit, last_user)?;
        }
        let mut ids = vec![self.bos()?];
        ids.extend(parts.into_iter().flatten().flatten());
        Ok(ids)
    }

    /// v11 allows audio beside a system message only by address.
    fn check_audio(&self, messages: &[Message]) -> Result<(), ChatError> {
        let has_system = messages
            .iter()
            .any(|message| message.role() == Role::System);
        let is_audio = |chunk: &Chunk| matches!(chunk, Chunk::InputAudio {});
        let has_audio = messages.iter().any(|message| match message {
            Message::User {
                content: Content::Chunks(chunks),
            } => chunks.iter().any(is_audio),
            _ => false,
        });
        if has_system && has_audio {
            return Err(ChatError::SystemWithAudio {
                version: self.version,
            });
        }
        Ok(())
    }

    /// Whether tools and settings, and whether the system prompt, stand at a user message.
    fn user_extras(&self, place: &Place) -> (bool, bool) {
        match self.version {
            Version::V1 => (false, place.is_first_user),
            version if version < Version::V13 => (place.is_last_user, place.is_last_user),
            _ => (place.is_first_user, false),
        }
    }

    fn tools(&self, tools: &[Tool], ids: &mut Vec<u32>) -> Result<(), ChatError> {
        if tools.is_empty() {
            return Ok(());
        }
        let list = Json::Array(tools.iter().map(describe).collect());
        ids.push(self.control("[AVAILABLE_TOOLS]")?);
        self.text(&list.dumps(), ids)?;
        ids.push(self.control("[/AVAILABLE_TOOLS]")?);
        Ok(())
    }

    fn settings(&self, settings: &ModelSettings, ids: &mut Vec<u32>) -> Result<(), ChatError> {
        let Some(settings) = settings.to_json() else {
            return Ok(());
        };
        ids.push(self.control("[MODEL_SETTINGS]")?);
        self.text(&settings.dumps(), ids)?;
        ids.push(self.control("[/MODEL_SETTINGS]")?);
        Ok(())
    }

    fn system(
        &self,
        content: &Content,
        place: &Place,
        ids: &mut Vec<u32>,
    ) -> Result<(), ChatError> {
        ids.push(self.control("[SYSTEM_PROMPT]")?);
        self.content(content, place, ids)?;
        ids.push(self.control("[/SYSTEM_PROMPT]")?);
        Ok(())
    }

    fn user(
        &self,
        content: &Content,
        system_prompt: Option<&str>,
        place: &Place,
        ids: &mut Vec<u32>,
    ) -> Result<(), ChatError> {
        let prompt = system_prompt.filter(|prompt| !prompt.is_empty());
        let prompt = prompt
            .map(|prompt| format!("{prompt}\n\n"))
            .unwrap_or_default();
        if self.version == Version::V1 {
            let Content::Text(text) = content else {
                return Err(unsupported(content, place));
            };
            return Ok(self.text(&format!("[INST] {prompt}{text} [/INST]"), ids)?);
        }
        ids.push(self.control("[INST]")?);
        match content {
            Content::Text(text) => self.text(&format!("{prompt}{text}"), ids)?,
            Content::Chunks(_) => self.content(content, place, ids)?,
        }
        ids.push(self.control("[/INST]")?);
        Ok(())
    }

    /// Returns whether the turn is encoded at all.
    fn assistant(
        &self,
        content: Option<&Content>,
        calls: &[ToolCall],
        place: &Place,
        ids: &mut Vec<u32>,
    ) -> Result<bool, ChatError> {
        let content = content.filter(|content| !content.is_empty());
        let version = self.version;
        if content.is_none() && calls.is_empty() {
            return Err(ChatError::EmptyAssistant { index: place.index });
        }
        if version == Version::V1 && !calls.is_empty() {
            return Err(ChatError::NoTools { version });
        }
        if version < Version::V7 && content.is_some() && !calls.is_empty() {
            return Err(ChatError::ContentAndCalls { index: place.index });
        }
        if version == Version::V2 && !calls.is_empty() && place.before_last_user {
            return Ok(false);
        }
        match content {
            Some(Content::Text(text)) if version == Version::V1 => self.text(text, ids)?,
            Some(Content::Text(text)) => self.text(text.trim_end_matches(' '), ids)?,
            Some(chunks) => self.content(chunks, place, ids)?,
            None => {}
        }
        if !calls.is_empty() {
            self.calls(calls, ids)?;
        }
        Ok(true)
    }

    fn calls(&self, calls: &[ToolCall], ids: &mut Vec<u32>) -> Result<(), ChatError> {
        let marker = self.control("[TOOL_CALLS]")?;
        if self.version < Version::V11 {
            let list = calls.iter().map(|call| {
                let mut entries = vec![
                    ("name".to_owned(), Json::string(&call.function.name)),
                    ("arguments".to_owned(), parsed(&call.function.arguments)),
                ];
                if self.version >= Version::V3 && !call.id.is_empty() && call.id != "null" {
                    entries.push(("id".to_owned(), Json::string(&call.id)));
                }
                Json::Object(entries)
            });
            ids.push(marker);
            return Ok(self.text(&Json::Array(list.collect()).dumps(), ids)?);
        }
        for call in calls {
            ids.push(marker);
            self.text(&call.function.name, ids)?;
            if self.version == Version::V11 && !call.id.is_empty() && call.id != "null" {
                ids.push(self.control("[CALL_ID]")?);
                self.text(&call.id, ids)?;
            }
            ids.push(self.control("[ARGS]")?);
            self.text(&parsed(&call.function.arguments).dumps(), ids)?;
        }
        Ok(())
    }

    fn result(
        &self,
        content: &Content,
        id: Option<&str>,
        name: Option<&str>,
        place: &Place,
        ids: &mut Vec<u32>,
    ) -> Result<(), ChatError> {
        let version = self.version;
        if version == Version::V1 {
            return Err(ChatError::NoTools { version });
        }
        if version == Version::V2 && place.before_last_user {
            return Ok(());
        }
        ids.push(self.control("[TOOL_RESULTS]")?);
        if version < Version::V7 {
            let Content::Text(text) = content else {
                return Err(unsupported(content, place));
            };
            let result = if version == Version::V2 {
                let name = name.map_or(Json::Null, Json::string);
                Json::Array(vec![Json::object([
                    ("name", name),
                    ("content", parsed(text)),
                ])])
            } else {
                let id = id.map_or(Json::Null, Json::string);
                Json::object([("content", parsed(text)), ("call_id", id)])
            };
            self.text(&result.dumps(), ids)?;
        } else {
            if version < Version::V13 {
                self.text(id.unwrap_or_default(), ids)?;
                ids.push(self.control("[TOOL_CONTENT]")?);
            }
            self.content(content, place, ids)?;
        }
        ids.push(self.control("[/TOOL_RESULTS]")?);
        Ok(())
    }

    fn content(
        &self,
        content: &Content,
        place: &Place,
        ids: &mut Vec<u32>,
    ) -> Result<(), ChatError> {
        let chunks = match content {
            Content::Text(text) => return Ok(self.text(text, ids)?),
            Content::Chunks(chunks) => chunks,
        };
        for chunk in chunks {
            match chunk {
                Chunk::Text { text } => self.text(text, ids)?,
                Chunk::Thinking { .. } if self.version < Version::V13 => {
                    return Err(ChatError::NoThinking {
                        version: self.version,
                    });
                }
                Chunk::Thinking { thinking, closed } => {
                    ids.push(self.control("[THINK]")?);
                    self.text(thinking, ids)?;
                    if *closed {
                        ids.push(self.control("[/THINK]")?);
                    }
                }
                Chunk::Image {}
                | Chunk::ImageUrl {}
                | Chunk::InputAudio {}
                | Chunk::AudioUrl {} => {
                    return Err(unsupported(content, place));
                }
            }
        }
        Ok(())
    }

    fn text(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        self.tokenizer.encode_into(text, ids)
    }

    fn control(&self, name: &str) -> Result<u32, TokenizerError> {
        let found = self.tokenizer.control_token(name);
        // SentencePiece gives the unknown token for a name that it lacks, and so v2 models, which
        // have no [PREFIX] and [SUFFIX], were prompted with it.
        match (found, self.tokenizer.unk_id()) {
            (Err(_), Some(unk)) if self.tokenizer.kind() == TokenizerKind::SentencePiece => Ok(unk),
            (found, _) => found,
        }
    }

    fn bos(&self) -> Result<u32, TokenizerError> {
        self.tokenizer
            .bos_id()
            .map_or_else(|| self.tokenizer.control_token("<s>"), Ok)
    }

    fn eos(&self) -> Result<u32, TokenizerError> {
        self.tokenizer
            .eos_id()
            .map_or_else(|| self.tokenizer.control_token("</s>"), Ok)
    }
}

fn unsupported(content: &Content, place: &Place) -> ChatError {
    let kind = match content {
        Content::Text(_) => "text",
        Content::Chunks(chunks) => {
            let other = chunks
                .iter()
                .find(|chunk| !matches!(chunk, Chunk::Text { .. }));
            other.map_or("text", Chunk::kind)
        }
    };
    ChatError::UnsupportedContent {
        index: place.index,
        kind,
    }
}

/// A tool as models see it.
fn describe(tool: &Tool) -> Json {
    Json::object([
        ("type", Json::string("function")),
        (
            "function",
            Json::object([
                ("name", Json::string(&tool.function.name)),
                ("description", Json::string(&tool.function.description)),
                ("parameters", tool.function.parameters.clone()),
            ]),
        ),
    ])
}

/// The value of a JSON text; text that is none stands for itself.
fn parsed(text: &str) -> Json {
    Json::parse(text).unwrap_or_else(|| Json::string(text))
}

/// v2 encodes one result for an assistant's turn.
fn check_single_results(messages: &[Message], last_user: Option<usize>) -> Result<(), ChatError> {
    let mut after_calls = false;
    let mut results = 0;
    for message in &messages[last_user.unwrap_or(0)..] {
        match message {
            Message::Assistant { .. } => {
                after_calls = !message.tool_calls().is_empty();
                results = 0;
            }
            Message::Tool { .. } => {
                results += usize::from(after_calls);
                if results > 1 {
                    return Err(ChatError::ManyResults);
                }
            }
            Message::System { .. } | Message::User { .. } => {
                after_calls = false;
                results = 0;
            }
        }
    }
    Ok(())
}

/// Drops the oldest messages until the rest fits. System messages and the last user message stay;
/// with a user message goes what follows it until the next one.
fn truncate(
    parts: &mut [Option<Vec<u32>>],
    messages: &[Message],
    limit: usize,
    last_user: Option<usize>,
) -> Result<(), ChatError> {
    let total: usize = parts.iter().flatten().map(Vec::len).sum();
    let mut over = total.saturating_sub(limit);
    let mut drop_at = |index: usize, over: &mut usize| {
        if messages[index].role() != Role::System && last_user != Some(index) {
            let length = parts[index].take().map_or(0, |ids| ids.len());
            *over = over.saturating_sub(length);
        }
    };
    let mut index = 0;
    while over > 0 && index < messages.len() {
        drop_at(index, &mut over);
        let was_user = messages[index].role() == Role::User;
        index += 1;
        while was_user && index < messages.len() && messages[index].role() != Role::User {
            drop_at(index, &mut over);
            index += 1;
        }
    }
    if over > 0 {
        Err(ChatError::DoesNotFit { over, limit })
    } else {
        Ok(())
    }
}

/// The response format's schema as model settings carry it.
pub(super) fn response_schema(format: &ResponseFormat) -> Option<Json> {
    let of_type = |name| Json::object([("type", Json::string(name))]);
    match format {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => Some(Json::object([(
            "anyOf",
            Json::Array(vec![of_type("object"), of_type("array")]),
        )])),
        ResponseFormat::JsonSchema { json_schema } => Some(json_schema.schema.clone()),
    }
}
