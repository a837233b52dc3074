//! The model, on `mistral-infer`.

use std::error::Error;
use std::time::Instant;

use axum::http::StatusCode;
use mistral_infer::chat::ChatRequest;
use mistral_infer::tokenizer::Affixes;
use mistral_infer::{
    GenerateOptions, InferError, LoadOptions, LogitRows, Model, Run, Session, SessionLimits,
    Tokenizer,
};

use crate::backend::{Backend, Event, Finish, Job, Markers, Sampling, ToolCall, Tools};
use crate::error::ApiError;
use crate::generation::late;
use crate::options::random;
use crate::plan;
use crate::settings::Settings;

/// A loaded model with its tokenizer.
#[derive(Debug)]
pub struct Mistral {
    model: Model,
    context: usize,
}

/// Why an answer isn't complete.
enum Stopped {
    /// No one waits for it.
    Gone,
    /// Its time is up.
    Late,
    /// The model failed.
    Failed(InferError),
}

impl From<InferError> for Stopped {
    fn from(error: InferError) -> Self {
        Self::Failed(error)
    }
}

impl Mistral {
    /// Loads the model and makes sure that it has a tokenizer and that a session's memory can be
    /// had.
    ///
    /// # Errors
    /// [`InferError`] when the files are missing, broken or too large for this machine.
    pub fn load(settings: &Settings) -> Result<Self, InferError> {
        let mut options = LoadOptions::default();
        if let Some(threads) = settings.threads {
            options.threads = threads;
        }
        let model = Model::load(&settings.model, &options)?;
        model.need_tokenizer()?;
        let own = model.spec().max_seq_len.unwrap_or(plan::CONTEXT_TOKENS);
        let loaded = Self {
            model,
            context: plan::CONTEXT_TOKENS.min(own),
        };
        loaded.session()?;
        Ok(loaded)
    }

    fn session(&self) -> Result<Session<'_>, InferError> {
        self.model.session(SessionLimits {
            max_seq_len: Some(self.context),
            max_batch_tokens: plan::BATCH_TOKENS.min(self.context),
            ..SessionLimits::default()
        })
    }

    fn tokenizer(&self) -> Result<&Tokenizer, ApiError> {
        self.model.need_tokenizer().map_err(|error| failed(&error))
    }

    fn answer(&self, session: &mut Session<'_>, job: &Job) -> Result<Finish, Stopped> {
        // All but the last token in pieces, so that a long prompt can be given up: `generate`
        // finds them in the cache.
        let kept = session.keep_prefix(0, &job.prompt);
        let piece = session.max_batch_tokens();
        for tokens in job.prompt[kept..job.prompt.len() - 1].chunks(piece) {
            wanted(job)?;
            session.forward(&[Run {
                sequence: 0,
                tokens,
                logits: LogitRows::None,
            }])?;
        }
        let options = GenerateOptions {
            max_tokens: job.max_tokens,
            sampling: sampling(&job.sampling),
            seed: job.seed,
            stop: job.stop.clone(),
            ..GenerateOptions::default()
        };
        for piece in session.generate(&job.prompt, &options)? {
            let piece = piece?;
            wanted(job)?;
            let event = Event::Piece {
                token: piece.token,
                text: piece.text,
            };
            job.events.send(event).map_err(|_| Stopped::Gone)?;
            match piece.finish {
                None => {}
                Some(mistral_infer::Finish::EndOfSequence | mistral_infer::Finish::StopString) => {
                    return Ok(Finish::Stop);
                }
                Some(_) => return Ok(Finish::Length),
            }
        }
        Ok(Finish::Length)
    }
}

/// Whether the answer is still waited for.
fn wanted(job: &Job) -> Result<(), Stopped> {
    if job.events.is_closed() {
        return Err(Stopped::Gone);
    }
    if Instant::now() >= job.deadline {
        return Err(Stopped::Late);
    }
    Ok(())
}

fn sampling(own: &Sampling) -> mistral_infer::Sampling {
    mistral_infer::Sampling {
        temperature: own.temperature,
        top_k: own.top_k,
        top_p: own.top_p,
        min_p: own.min_p,
        repetition_penalty: own.repetition_penalty,
        frequency_penalty: own.frequency_penalty,
        presence_penalty: own.presence_penalty,
    }
}

/// An error with its causes, on one line.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The client learns that the model failed; the log says how.
fn failed(error: &InferError) -> ApiError {
    eprintln!("answer failed: {}", told(error));
    let message = "the model could not answer";
    ApiError::server(
        StatusCode::INTERNAL_SERVER_ERROR,
        "generation_failed",
        message,
    )
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

    fn work(&self, next: &mut dyn FnMut() -> Option<Job>) {
        let mut session = match self.session() {
            Ok(session) => session,
            Err(error) => {
                eprintln!("the worker can't start: {}", told(&error));
                return;
            }
        };
        while let Some(job) = next() {
            let event = match self.answer(&mut session, &job) {
                Ok(finish) => Event::Done(finish),
                Err(Stopped::Gone) => continue,
                Err(Stopped::Late) => Event::Failed(late()),
                Err(Stopped::Failed(error)) => Event::Failed(failed(&error)),
            };
            // A client that has left in the meantime needs no answer.
            let _ = job.events.send(event);
        }
    }
}
