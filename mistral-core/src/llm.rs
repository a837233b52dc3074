//! The one door through which other crates use a language model.
//!
//! `mistral-infer` implements [`TextGenerator`] locally; an HTTP client implements it remotely.
//! Crates that can use a model take `&mut dyn TextGenerator` and work without one too.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions.
    System,
    /// The human.
    User,
    /// The model.
    Assistant,
    /// A tool's result.
    Tool,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn of the user.
    #[must_use]
    pub fn user(content: impl Into<String>) -> Self {
        Self {
            role: Role::User,
            content: content.into(),
        }
    }

    /// Instructions.
    #[must_use]
    pub fn system(content: impl Into<String>) -> Self {
        Self {
            role: Role::System,
            content: content.into(),
        }
    }

    /// A turn of the model.
    #[must_use]
    pub fn assistant(content: impl Into<String>) -> Self {
        Self {
            role: Role::Assistant,
            content: content.into(),
        }
    }
}

/// Limits and choices of a generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextOptions {
    /// Most tokens generated.
    pub max_tokens: u32,
    /// 0 takes the likeliest token.
    pub temperature: f32,
    /// Smallest set of likeliest tokens with this probability; 1 keeps all.
    pub top_p: f32,
    /// The same seed gives the same text where the generator can promise that.
    pub seed: u64,
    /// Texts at which to stop; they aren't part of the answer.
    pub stop: Vec<String>,
    /// A JSON schema that the answer must satisfy; a generator that can't force one refuses.
    pub json_schema: Option<String>,
}

impl Default for TextOptions {
    /// 512 tokens, greedy, seed 0.
    fn default() -> Self {
        Self {
            max_tokens: 512,
            temperature: 0.0,
            top_p: 1.0,
            seed: 0,
            stop: Vec::new(),
            json_schema: None,
        }
    }
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its answer.
    Eos,
    /// A stop text came up.
    Stop,
    /// `max_tokens` or the context was reached.
    Length,
    /// The caller's `on_text` asked to stop.
    Cancelled,
}

/// A finished generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextAnswer {
    /// The whole text.
    pub text: String,
    /// Why it ended.
    pub finish: FinishReason,
    /// Tokens of the prompt, when known.
    pub prompt_tokens: Option<u32>,
    /// Tokens generated, when known.
    pub output_tokens: Option<u32>,
}

/// Why a generation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The prompt doesn't fit.
    #[error("expected at most {limit} prompt tokens, found {found}")]
    PromptTooLong {
        /// Tokens that fit.
        limit: u32,
        /// Tokens of the prompt.
        found: u32,
    },
    /// The generator lacks something that the options ask for.
    #[error("{generator} does not support {option}")]
    Unsupported {
        /// The generator's name.
        generator: String,
        /// The option's name.
        option: &'static str,
    },
    /// An option is outside its range.
    #[error("{option}: expected {expected}, found {found}")]
    InvalidOption {
        /// The option's name.
        option: &'static str,
        /// Its range.
        expected: &'static str,
        /// Its value.
        found: String,
    },
    /// A remote generator answered with an error.
    #[error("{generator}: status {status}")]
    Status {
        /// The generator's name.
        generator: String,
        /// The HTTP status.
        status: u16,
    },
    /// The generator itself failed.
    #[error("{generator} failed")]
    Generator {
        /// The generator's name.
        generator: String,
        /// Its error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Something that continues a conversation.
pub trait TextGenerator {
    /// A name for reports: a model id, or an address without credentials.
    fn name(&self) -> &str;

    /// Continues `messages`, handing each piece of text to `on_text` as it arrives; pieces end at
    /// character borders and their concatenation is the answer's text. When `on_text` breaks, the
    /// generation ends with [`FinishReason::Cancelled`].
    ///
    /// # Errors
    /// [`TextError`] when the options can't be met, the prompt doesn't fit or the generator fails.
    fn generate_streaming(
        &mut self,
        messages: &[Message],
        options: &TextOptions,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<TextAnswer, TextError>;

    /// Continues `messages`.
    ///
    /// # Errors
    /// As [`generate_streaming`](Self::generate_streaming).
    fn generate(
        &mut self,
        messages: &[Message],
        options: &TextOptions,
    ) -> Result<TextAnswer, TextError> {
        self.generate_streaming(messages, options, &mut |_| ControlFlow::Continue(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;
    impl TextGenerator for Echo {
        fn name(&self) -> &str {
            "echo"
        }
        fn generate_streaming(
            &mut self,
            messages: &[Message],
            _: &TextOptions,
            on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
        ) -> Result<TextAnswer, TextError> {
            let mut text = String::new();
            let mut finish = FinishReason::Eos;
            for m in messages {
                text.push_str(&m.content);
                if on_text(&m.content).is_break() {
                    finish = FinishReason::Cancelled;
                    break;
                }
            }
            Ok(TextAnswer {
                text,
                finish,
                prompt_tokens: None,
                output_tokens: None,
            })
        }
    }

    #[test]
    fn is_object_safe_and_streams() {
        let mut echo = Echo;
        let llm: &mut dyn TextGenerator = &mut echo;
        let turns = [Message::user("a"), Message::assistant("b")];
        let whole = llm
            .generate(&turns, &TextOptions::default())
            .expect("echo never fails");
        assert_eq!(
            (whole.text.as_str(), whole.finish),
            ("ab", FinishReason::Eos)
        );
        let mut seen = String::new();
        let cut = llm
            .generate_streaming(&turns, &TextOptions::default(), &mut |t| {
                seen.push_str(t);
                ControlFlow::Break(())
            })
            .expect("echo never fails");
        assert_eq!((seen.as_str(), cut.finish), ("a", FinishReason::Cancelled));
    }
}
