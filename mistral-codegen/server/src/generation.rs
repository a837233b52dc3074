//! One request's answer while it is being made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use mistral_infer::Constraint;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::backend::{Event, Job};
use crate::error::ApiError;
use crate::http::App;
use crate::log::Entry;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::plan;

/// How long after a job's deadline its end is waited for: the worker looks at the clock between
/// tokens.
const GRACE: Duration = Duration::from_secs(2);

/// An accepted request. Dropping it tells the worker that no one waits any more.
#[derive(Debug)]
pub struct Running {
    events: UnboundedReceiver<Event>,
    deadline: Instant,
    started: Instant,
    /// When the last token came.
    last: Option<Instant>,
    metrics: Arc<Metrics>,
    entry: Entry,
    prompt_tokens: usize,
    generated: usize,
}

/// What a request asks of the model.
pub struct Asked {
    /// Token ids.
    pub prompt: Vec<u32>,
    /// What else it asks for.
    pub options: Options,
    /// What decides which tokens may follow.
    pub constraint: Option<Box<dyn Constraint>>,
}

impl Running {
    /// Checks that the prompt fits and queues it.
    ///
    /// # Errors
    /// Status 400 for an empty prompt or one that doesn't fit the context, and as
    /// [`Queue::push`](crate::worker::Queue::push).
    pub fn start(app: &App, asked: Asked, entry: Entry) -> Result<Self, ApiError> {
        let context = app.backend.context();
        let usual = plan::MAX_OUTPUT_TOKENS;
        let Asked {
            prompt,
            options,
            constraint,
        } = asked;
        let max_tokens = room(context, prompt.len(), options.max_tokens, usual)?;
        let (sender, events) = unbounded_channel();
        let started = Instant::now();
        let deadline = started + app.settings.answer_time;
        let prompt_tokens = prompt.len();
        app.queue.push(Job {
            prompt,
            max_tokens,
            sampling: options.sampling,
            seed: options.seed,
            stop: options.stop,
            constraint,
            deadline,
            events: sender,
        })?;
        app.metrics.prompt_tokens.add(prompt_tokens as u64);
        entry.prompt(prompt_tokens);
        Ok(Self {
            events,
            deadline,
            started,
            last: None,
            metrics: Arc::clone(&app.metrics),
            entry,
            prompt_tokens,
            generated: 0,
        })
    }

    /// The next step of the answer. After [`Event::Done`] or [`Event::Failed`] there is none.
    pub async fn next(&mut self) -> Event {
        let end = tokio::time::Instant::from_std(self.deadline + GRACE);
        let event = match tokio::time::timeout_at(end, self.events.recv()).await {
            Ok(Some(event)) => event,
            Ok(None) => Event::Failed(ApiError::server(
                StatusCode::INTERNAL_SERVER_ERROR,
                "worker_gone",
                "the model stopped before the answer was complete",
            )),
            Err(_) => Event::Failed(ApiError::late()),
        };
        match &event {
            Event::Piece { .. } => self.count(),
            Event::Done(finish) => {
                self.metrics.answer.record(self.started.elapsed());
                self.metrics.finished(finish.name());
                self.entry.finish(finish.name());
            }
            Event::Failed(error) => {
                self.metrics.answer.record(self.started.elapsed());
                self.metrics.finished("error");
                self.entry.finish("error");
                self.entry.error(error.code, error.detail.clone());
            }
        }
        event
    }

    fn count(&mut self) {
        let now = Instant::now();
        match self.last.replace(now) {
            None => self.metrics.first_token.record(now - self.started),
            Some(last) => self.metrics.inter_token.record(now - last),
        }
        self.generated += 1;
        self.metrics.generated_tokens.add(1);
        self.entry.token();
    }

    /// Tokens so far, as answers report them.
    #[must_use]
    pub fn usage(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.generated,
            "total_tokens": self.prompt_tokens + self.generated,
        })
    }
}

/// How many tokens may follow the prompt: those that the request wants, which must fit, else the
/// usual number or what is left.
fn room(
    context: usize,
    prompt: usize,
    wanted: Option<usize>,
    usual: Option<usize>,
) -> Result<usize, ApiError> {
    if prompt == 0 {
        let message = "the prompt has no tokens";
        return Err(ApiError::request(
            StatusCode::BAD_REQUEST,
            "empty_prompt",
            message,
        ));
    }
    let left = context.saturating_sub(prompt);
    let asked = wanted.unwrap_or(usual.map_or(left, |usual| usual.min(left)));
    if left == 0 || asked > left {
        let message = format!(
            "this model's maximum context length is {context} tokens; the request has {prompt} in \
             its prompt and asks for {} more",
            wanted.unwrap_or(1)
        );
        let code = "context_length_exceeded";
        return Err(ApiError::request(StatusCode::BAD_REQUEST, code, message));
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_after_a_prompt() {
        let cases = [
            ((100, 10, None, None), Some(90)),
            ((100, 10, Some(5), None), Some(5)),
            ((100, 10, Some(90), None), Some(90)),
            ((100, 10, Some(91), None), None),
            ((100, 99, None, None), Some(1)),
            ((100, 100, None, None), None),
            ((100, 101, Some(1), None), None),
            ((100, 0, None, None), None),
            ((100, 10, None, Some(20)), Some(20)),
            ((100, 90, None, Some(20)), Some(10)),
            ((100, 90, Some(11), Some(20)), None),
        ];
        for ((context, prompt, wanted, usual), expected) in cases {
            let found = room(context, prompt, wanted, usual).ok();
            assert_eq!(found, expected, "{context} {prompt} {wanted:?} {usual:?}");
        }
    }
}
