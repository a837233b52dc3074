//! The model, on `mistral-infer`.

use std::error::Error;
use std::sync::OnceLock;

use axum::http::StatusCode;
use mistral_infer::chat::ChatRequest;
use mistral_infer::constrain::{Callable, Calls, Grammars};
use mistral_infer::tokenizer::Affixes;
use mistral_infer::{
    Constraint, InferError, LoadOptions, Model, Session, SessionLimits, Tokenizer,
};
use serde_json::json;

use crate::backend::{Backend, Count, Form, Markers, ToolCall, Tools};
use crate::batching;
use crate::error::ApiError;
use crate::options::random;
use crate::plan;
use crate::settings::Settings;
use crate::worker::Jobs;

/// A loaded model with its tokenizer.
pub struct Mistral {
    model: Model,
    context: usize,
    slots: usize,
    /// Made for the first answer that needs them.
    grammars: OnceLock<Grammars>,
}

impl Mistral {
    /// Loads the model and makes sure that it has a tokenizer and that a session's memory can be
    /// had.
    ///
    /// # Errors
    /// [`InferError`] when the files are missing, broken or too large for this machine.
    pub fn load(settings: &Settings) -> Result<Self, InferError> {
        let mut options = LoadOptions {
            schedules: settings.schedules.clone(),
            ..LoadOptions::default()
        };
        if let Some(threads) = settings.threads {
            options.threads = threads;
        }
        let model = Model::load(&settings.model, &options)?;
        model.need_tokenizer()?;
        let own = model.spec().max_seq_len.unwrap_or(plan::CONTEXT_TOKENS);
        let loaded = Self {
            model,
            context: plan::CONTEXT_TOKENS.min(own),
            slots: settings.slots.get(),
            grammars: OnceLock::new(),
        };
        loaded.session()?;
        Ok(loaded)
    }

    fn session(&self) -> Result<Session<'_>, InferError> {
        self.model.session(SessionLimits {
            max_seq_len: Some(self.context),
            max_sequences: self.slots,
            max_batch_tokens: plan::BATCH_TOKENS.min(self.context).max(self.slots),
            max_logits: self.slots,
            cache: plan::CACHE,
        })
    }

    fn tokenizer(&self) -> Result<&Tokenizer, ApiError> {
        self.model.need_tokenizer().map_err(|error| failed(&error))
    }

    fn grammars(&self) -> Result<&Grammars, ApiError> {
        if let Some(grammars) = self.grammars.get() {
            return Ok(grammars);
        }
        // Two requests may make them at the same moment; one of the results is kept.
        let made = Grammars::new(&self.model).map_err(|error| failed(&error))?;
        Ok(self.grammars.get_or_init(|| made))
    }
}

/// An error with its causes, on one line.
pub(crate) fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The client learns that the model failed; the log says how.
pub(crate) fn failed(error: &InferError) -> ApiError {
    let message = "the model could not answer";
    ApiError {
        detail: Some(told(error)),
        ..ApiError::server(
            StatusCode::INTERNAL_SERVER_ERROR,
            "generation_failed",
            message,
        )
    }
}

impl Backend for Mistral {
    fn context(&self) -> usize {
        self.context
    }

    fn encode_chat(&self, body: &[u8], tools: Tools) -> Result<Vec<u32>, ApiError> {
        let refused = |error: &dyn Error| ApiError::invalid("messages", told(error));
        let mut request: ChatRequest = serde_json::from_slice(body).map_err(|e| refused(&e))?;
        if tools == Tools::None {
            request.tools = None;
        }
        self.tokenizer()?
            .encode_chat(&request)
            .map_err(|e| refused(&e))
    }

    fn encode_text(&self, text: &str) -> Result<Vec<u32>, ApiError> {
        let tokenizer = self.tokenizer()?;
        let affixes = Affixes {
            bos: tokenizer.bos_id().is_some(),
            eos: false,
        };
        tokenizer
            .encode_with(text, affixes)
            .map_err(|error| ApiError::invalid("prompt", told(&error)))
    }

    fn encode_fim(&self, prompt: &str, suffix: &str) -> Result<Vec<u32>, ApiError> {
        self.tokenizer()?
            .encode_fim(prompt, Some(suffix))
            .map_err(|error| ApiError::invalid("suffix", told(&error)))
    }

    fn vocabulary(&self) -> usize {
        self.model.spec().vocab_size
    }

    fn markers(&self) -> Markers {
        let id = |name| self.model.tokenizer()?.control_token(name).ok();
        Markers {
            calls: id("[TOOL_CALLS]"),
            thought: id("[THINK]").zip(id("[/THINK]")),
        }
    }

    fn tool_calls(&self, tokens: &[u32]) -> Option<Vec<ToolCall>> {
        // Formats without ids of their own get them from the number.
        let reply = self.model.tokenizer()?.parse_reply(tokens, random()).ok()?;
        let calls = reply.tool_calls.into_iter().map(|call| ToolCall {
            id: call.id,
            name: call.function.name,
            arguments: call.function.arguments,
        });
        Some(calls.collect())
    }

    fn constraint(&self, form: &Form) -> Result<Option<Box<dyn Constraint>>, ApiError> {
        let (field, made) = match form {
            Form::Free => return Ok(None),
            Form::Object => (
                "response_format",
                self.grammars()?.json(&json!({"type": "object"})),
            ),
            Form::Schema(schema) => ("response_format", self.grammars()?.json(schema)),
            Form::Calls(functions, count) => {
                let tools: Vec<Callable<'_>> = functions
                    .iter()
                    .map(|function| Callable {
                        name: &function.name,
                        parameters: &function.parameters,
                    })
                    .collect();
                let count = match count {
                    Count::One => Calls::One,
                    Count::Some => Calls::Some,
                };
                ("tools", self.grammars()?.calls(&tools, count))
            }
        };
        let grammar = made.map_err(|error| ApiError::invalid(field, told(&error)))?;
        Ok(Some(Box::new(grammar)))
    }

    fn work(&self, jobs: &Jobs) {
        match self.session() {
            Ok(mut session) => batching::work(&mut session, jobs),
            // The queue tells those who wait, and the process ends.
            Err(error) => crate::log::note("the worker can't start", &told(&error)),
        }
    }
}
