//! A local model behind the workspace's [`TextGenerator`] door.

use std::ops::ControlFlow;

use mistral_core::llm::{
    FinishReason, Message, Role, TextAnswer, TextError, TextGenerator, TextOptions,
};

use crate::chat::{ChatRequest, Chunk, Content, Message as ChatMessage};
use crate::error::InferError;
use crate::generate::{Finish, GenerateOptions};
use crate::model::Model;
use crate::session::Session;
use crate::{Sampling, SessionLimits};

impl Model {
    /// Token ids of a conversation whose answer the model should write.
    ///
    /// With a tokenizer of a known version this is Mistral's chat format. A base model's tokenizer,
    /// which has no `[INST]`, gets the messages' texts one below the other as text to continue.
    ///
    /// # Errors
    /// [`InferError`] for a conversation that the format refuses, without a tokenizer, and for an
    /// instruction tokenizer whose version its file doesn't tell (`tokenizer.json`).
    pub fn encode_chat(&self, request: &ChatRequest) -> Result<Vec<u32>, InferError> {
        let tokenizer = self.need_tokenizer()?;
        if tokenizer.version().is_some() || tokenizer.control_token("[INST]").is_ok() {
            return Ok(tokenizer.encode_chat(request)?);
        }
        if request
            .tools
            .as_ref()
            .is_some_and(|tools| !tools.is_empty())
        {
            return Err(InferError::Option {
                option: "tools",
                found: "a list".to_owned(),
                expected: "none: the model's tokenizer has no tool tokens",
            });
        }
        let texts: Result<Vec<String>, InferError> =
            request.messages.iter().map(plain_text).collect();
        Ok(tokenizer.encode_with(&texts?.join("\n"), tokenizer.affixes())?)
    }
}

/// A session that answers conversations; implements [`TextGenerator`].
#[derive(Debug)]
pub struct TextSession<'m> {
    session: Session<'m>,
    name: String,
}

impl<'m> TextSession<'m> {
    /// A generator over its own session of `model`, called `name` in reports.
    ///
    /// # Errors
    /// As [`Model::session`], and [`InferError::NoTokenizer`].
    pub fn new(
        model: &'m Model,
        name: impl Into<String>,
        limits: SessionLimits,
    ) -> Result<Self, InferError> {
        model.need_tokenizer()?;
        Ok(TextSession {
            session: model.session(limits)?,
            name: name.into(),
        })
    }

    fn failed(&self, error: InferError) -> TextError {
        match error {
            InferError::ContextExceeded {
                tokens,
                max_seq_len,
            } => TextError::PromptTooLong {
                limit: u32::try_from(max_seq_len).unwrap_or(u32::MAX),
                found: u32::try_from(tokens).unwrap_or(u32::MAX),
            },
            InferError::Option {
                option,
                found,
                expected,
            } => TextError::InvalidOption {
                option,
                expected,
                found,
            },
            source => TextError::Generator {
                generator: self.name.clone(),
                source: Box::new(source),
            },
        }
    }

    fn run(
        &mut self,
        messages: &[Message],
        options: &TextOptions,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<TextAnswer, InferError> {
        let request = ChatRequest {
            messages: messages.iter().map(chat_message).collect(),
            ..ChatRequest::default()
        };
        let prompt = self.session.model().encode_chat(&request)?;
        let generate = GenerateOptions {
            max_tokens: options.max_tokens as usize,
            sampling: Sampling {
                temperature: options.temperature,
                top_p: options.top_p,
                ..Sampling::default()
            },
            seed: options.seed,
            stop: options.stop.clone(),
            ..GenerateOptions::default()
        };
        let mut answer = TextAnswer {
            text: String::new(),
            finish: FinishReason::Length,
            prompt_tokens: u32::try_from(prompt.len()).ok(),
            output_tokens: None,
        };
        let mut generation = self.session.generate(&prompt, &generate)?;
        while let Some(piece) = generation.next().transpose()? {
            answer.text.push_str(&piece.text);
            if let Some(finish) = piece.finish {
                answer.finish = match finish {
                    Finish::EndOfSequence => FinishReason::Eos,
                    Finish::StopString => FinishReason::Stop,
                    Finish::MaxTokens | Finish::Context => FinishReason::Length,
                };
            }
            if !piece.text.is_empty() && on_text(&piece.text).is_break() {
                answer.finish = FinishReason::Cancelled;
                break;
            }
        }
        answer.output_tokens = u32::try_from(generation.generated()).ok();
        Ok(answer)
    }
}

impl TextGenerator for TextSession<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn generate_streaming(
        &mut self,
        messages: &[Message],
        options: &TextOptions,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<TextAnswer, TextError> {
        if options.json_schema.is_some() {
            let generator = self.name.clone();
            return Err(TextError::Unsupported {
                generator,
                option: "json_schema",
            });
        }
        self.run(messages, options, on_text)
            .map_err(|error| self.failed(error))
    }
}

/// The text of a message that has nothing else.
fn plain_text(message: &ChatMessage) -> Result<String, InferError> {
    let chunks = match message.content() {
        None => return Ok(String::new()),
        Some(Content::Text(text)) => return Ok(text.clone()),
        Some(Content::Chunks(chunks)) => chunks,
    };
    chunks
        .iter()
        .map(|chunk| match chunk {
            Chunk::Text { text } => Ok(text.as_str()),
            _ => Err(InferError::Option {
                option: "content",
                found: "a chunk that is no text".to_owned(),
                expected: "text: the model's tokenizer has no chat format",
            }),
        })
        .collect()
}

fn chat_message(message: &Message) -> ChatMessage {
    let text = message.content.as_str();
    match message.role {
        Role::System => ChatMessage::system(text),
        Role::Assistant => ChatMessage::assistant(text),
        // A tool's result without a call id is told as what the user says.
        Role::User | Role::Tool => ChatMessage::user(text),
    }
}
