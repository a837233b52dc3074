//! What a model can do, and what it is asked for.

use serde::{Deserialize, Serialize};

/// Something that a model does or doesn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Capability {
    /// Follows instructions in a conversation.
    Chat,
    /// Writes and explains code.
    Code,
    /// Fills in the middle of code.
    Fim,
    /// Reads images.
    Vision,
    /// Calls functions.
    Tools,
    /// Works over many steps with tools.
    Agents,
    /// Thinks before it answers.
    Reasoning,
    /// Answers in a given JSON schema.
    StructuredOutput,
    /// Reads text out of documents.
    Ocr,
    /// Understands or transcribes speech.
    AudioInput,
    /// Speaks.
    SpeechOutput,
    /// Turns text into vectors.
    Embedding,
    /// Judges content.
    Moderation,
    /// Was trained on many languages.
    Multilingual,
    /// Proves mathematics or solves its exercises.
    Math,
}

impl Capability {
    /// Every capability, in declared order.
    pub const ALL: &'static [Capability] = &[
        Self::Chat,
        Self::Code,
        Self::Fim,
        Self::Vision,
        Self::Tools,
        Self::Agents,
        Self::Reasoning,
        Self::StructuredOutput,
        Self::Ocr,
        Self::AudioInput,
        Self::SpeechOutput,
        Self::Embedding,
        Self::Moderation,
        Self::Multilingual,
        Self::Math,
    ];

    /// The name as it is serialised.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Code => "code",
            Self::Fim => "fim",
            Self::Vision => "vision",
            Self::Tools => "tools",
            Self::Agents => "agents",
            Self::Reasoning => "reasoning",
            Self::StructuredOutput => "structured_output",
            Self::Ocr => "ocr",
            Self::AudioInput => "audio_input",
            Self::SpeechOutput => "speech_output",
            Self::Embedding => "embedding",
            Self::Moderation => "moderation",
            Self::Multilingual => "multilingual",
            Self::Math => "math",
        }
    }
}
