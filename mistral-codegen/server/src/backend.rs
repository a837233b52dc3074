//! What makes the tokens: the seam between HTTP and the model.

use std::fmt;
use std::time::Instant;

use mistral_infer::Constraint;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use crate::error::ApiError;
use crate::worker::Jobs;

/// How tokens are drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest token.
    pub temperature: f32,
    /// Smallest set of likeliest tokens with this probability; 1 keeps all.
    pub top_p: f32,
    /// Likeliest tokens kept; 0 keeps all.
    pub top_k: usize,
    /// Tokens kept are at least this share of the likeliest's probability; 0 keeps all.
    pub min_p: f32,
    /// Divides the score of tokens that occurred; 1 changes nothing.
    pub repetition_penalty: f32,
    /// Subtracted from a token's score for each time that it occurred.
    pub frequency_penalty: f32,
    /// Subtracted from a token's score once it occurred.
    pub presence_penalty: f32,
}

/// A request on its way to the worker.
pub struct Job {
    /// Token ids, at least one, fewer than the context.
    pub prompt: Vec<u32>,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// The same seed and prompt draw the same tokens.
    pub seed: u64,
    /// Texts that end the answer and aren't part of it.
    pub stop: Vec<String>,
    /// What decides which tokens may follow, when the answer has a form.
    pub constraint: Option<Box<dyn Constraint>>,
    /// When the answer has to be complete.
    pub deadline: Instant,
    /// Where the answer goes. A job whose receiver is gone has no one waiting for it.
    pub events: UnboundedSender<Event>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the prompt: it is the client's.
        f.debug_struct("Job")
            .field("prompt_tokens", &self.prompt.len())
            .field("max_tokens", &self.max_tokens)
            .field("constrained", &self.constraint.is_some())
            .finish_non_exhaustive()
    }
}

/// What an answer has to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// Any text.
    Free,
    /// A JSON object.
    Object,
    /// JSON that this schema accepts.
    Schema(Value),
    /// Calls of some of these tools.
    Calls(Vec<Function>, Count),
}

/// How many calls an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// One.
    One,
    /// One at least.
    Some,
}

/// A tool that has to be called.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The schema of its arguments.
    pub parameters: Value,
}

/// A step of an answer.
#[derive(Debug)]
pub enum Event {
    /// A token, with the text that became certain with it.
    Piece {
        /// The token's id.
        token: u32,
        /// Whole characters, possibly none.
        text: String,
    },
    /// The answer is complete.
    Done(Finish),
    /// The answer can't be completed.
    Failed(ApiError),
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, or a stop text came up.
    Stop,
    /// `max_tokens` or the context was reached.
    Length,
}

impl Finish {
    /// As the interface names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// Whether the model is told of tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tools {
    /// The request offers some, and calls are looked for in the answer.
    Offered,
    /// There are none, or they may not be called: the answer is text.
    None,
}

/// Tokens that divide an answer, where the model's format has them. They have no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Markers {
    /// Begins tool calls, which go on to the answer's end.
    pub calls: Option<u32>,
    /// Begins and ends the model's thoughts.
    pub thought: Option<(u32, u32)>,
}

/// A tool that the model wants called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The model's id of the call; empty when its format has none.
    pub id: String,
    /// The function's name.
    pub name: String,
    /// Its arguments as JSON text.
    pub arguments: String,
}

/// A model, or a stand-in for one.
pub trait Backend: Send + Sync + 'static {
    /// Longest sequence, prompt and answer, in tokens.
    fn context(&self) -> usize;

    /// Token ids of a chat request's messages, and of its tools when they are offered. The body
    /// comes as it was sent: models see the keys of a tool's schema in the order given.
    ///
    /// # Errors
    /// A request error that says what the model's chat format can't express.
    fn encode_chat(&self, body: &[u8], tools: Tools) -> Result<Vec<u32>, ApiError>;

    /// Token ids of a text, as the beginning of a sequence.
    ///
    /// # Errors
    /// A request error for a text that can't be encoded.
    fn encode_text(&self, text: &str) -> Result<Vec<u32>, ApiError>;

    /// Token ids that ask for what stands between `prompt` and `suffix`.
    ///
    /// # Errors
    /// A request error for a model that can't fill in the middle.
    fn encode_fim(&self, prompt: &str, suffix: &str) -> Result<Vec<u32>, ApiError>;

    /// How many token ids there are.
    fn vocabulary(&self) -> usize;

    /// The tokens that divide an answer.
    fn markers(&self) -> Markers;

    /// The calls in `tokens`, the first of which is [`Markers::calls`]; `None` when they aren't
    /// calls in the model's format.
    fn tool_calls(&self, tokens: &[u32]) -> Option<Vec<ToolCall>>;

    /// What keeps an answer in its form; `None` for [`Form::Free`].
    ///
    /// # Errors
    /// A request error for a schema that can't be kept, or a form that the model has no format for.
    fn constraint(&self, form: &Form) -> Result<Option<Box<dyn Constraint>>, ApiError>;

    /// Answers jobs, on a thread of its own, until there are none any more. A job is answered by
    /// pieces and one [`Event::Done`] or [`Event::Failed`]; it is dropped when it is to be given up
    /// ([`Jobs::end_of`]).
    fn work(&self, jobs: &Jobs);
}
