//! One request's answer while it is being made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::backend::{Event, Job};
use crate::error::ApiError;
use crate::http::App;
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
    metrics: Arc<Metrics>,
    prompt_tokens: usize,
    generated: usize,
}

impl Running {
    /// Checks that the prompt fits and queues it.
    ///
    /// # Errors
    /// Status 400 for an empty prompt or one that doesn't fit the context, and as
    /// [`Queue::push`](crate::worker::Queue::push).
    pub fn start(app: &App, prompt: Vec<u32>, options: Options) -> Result<Self, ApiError> {
        let context = app.backend.context();
        let usual = plan::MAX_OUTPUT_TOKENS;
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
            deadline,
            events: sender,
        })?;
        app.metrics.prompt_tokens.add(prompt_tokens as u64);
        let metrics = Arc::clone(&app.metrics);
        Ok(Self {
            events,
            deadline,
            started,
            metrics,
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
            Err(_) => Event::Failed(late()),
        };
        match event {
            Event::Piece { .. } => {
                if self.generated == 0 {
                    self.metrics.first_token.record(self.started.elapsed());
                }
                self.generated += 1;
                self.metrics.generated_tokens.add(1);
            }
            Event::Done(_) | Event::Failed(_) => {
                self.metrics.answer.record(self.started.elapsed());
            }
        }
        event
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

/// The error of an answer that took too long.
#[must_use]
pub fn late() -> ApiError {
    ApiError::server(
        StatusCode::GATEWAY_TIMEOUT,
        "timeout",
        "the answer was not complete within the time that this server allows",
    )
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
