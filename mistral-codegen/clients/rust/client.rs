//! The client.

use std::io::Read as _;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;
use ureq::Body;
use ureq::http::Response;

use crate::guard::Reservation;
use crate::sse::Events;
use crate::types::{
    Answer, ChatChunk, ChatRequest, ChatResponse, Choice, Content, Message, StreamOptions,
    ToolCall, Usage,
};
use crate::{CostGuard, Dialect, Error, Settings, plan, retry};

/// Time for a connection to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const LONGEST: u64 = 32 << 20;
/// Characters of a server's message that errors show.
const SHOWN: usize = 500;

/// Asks a server, tries again, counts the cost. It can be shared between threads.
#[derive(Debug)]
pub struct Client {
    agent: ureq::Agent,
    settings: Settings,
    guard: CostGuard,
}

impl Client {
    /// A client with the plan's prices.
    pub fn new(settings: Settings) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // An answer from elsewhere would be no answer, and the key must not follow.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(settings.timeout))
            .user_agent("mistral-client")
            .build()
            .new_agent();
        let guard = CostGuard::new(
            settings.limit_usd,
            plan::USD_PER_MTOK_IN,
            plan::USD_PER_MTOK_OUT,
        );
        Self {
            agent,
            settings,
            guard,
        }
    }

    /// What was spent, and the limit.
    pub fn guard(&self) -> &CostGuard {
        &self.guard
    }

    /// A request with the plan's model, sampling and length.
    pub fn request(&self, messages: Vec<Message>) -> ChatRequest {
        let (random_seed, seed) = match self.settings.dialect {
            Dialect::Mistral => (plan::SEED, None),
            Dialect::OpenAi => (None, plan::SEED),
        };
        ChatRequest {
            model: plan::MODEL.to_owned(),
            messages,
            temperature: Some(plan::TEMPERATURE),
            top_p: Some(plan::TOP_P),
            max_tokens: Some(plan::MAX_TOKENS),
            random_seed,
            seed,
            ..ChatRequest::default()
        }
    }

    /// The whole answer to a request.
    ///
    /// # Errors
    /// [`Error::OverBudget`] before anything is sent; [`Error::Status`], [`Error::Wait`] and
    /// [`Error::Transport`] after the last try; [`Error::Form`] for what isn't an answer.
    pub fn chat(&self, mut request: ChatRequest) -> Result<ChatResponse, Error> {
        request.stream = false;
        request.stream_options = None;
        let (mut response, money) = self.send(&request)?;
        let body = response.body_mut().with_config().limit(LONGEST);
        let text = body.read_to_string().map_err(|e| Error::Transport {
            tries: 1,
            source: Box::new(e),
        })?;
        let answer: ChatResponse = serde_json::from_str(&text).map_err(form)?;
        money.settle(answer.usage);
        Ok(answer)
    }

    /// Streams the answer to a request: each new piece of text goes to `piece` as it comes, the
    /// answer as a whole comes back.
    ///
    /// # Errors
    /// As [`chat`](Self::chat), and [`Error::Cut`], [`Error::InStream`] or [`Error::LongEvent`] once
    /// the stream has begun; it isn't tried again then, since pieces were handed on.
    pub fn stream(
        &self,
        mut request: ChatRequest,
        mut piece: impl FnMut(&str),
    ) -> Result<ChatResponse, Error> {
        request.stream = true;
        request.stream_options = match self.settings.dialect {
            Dialect::Mistral => None,
            Dialect::OpenAi => Some(StreamOptions {
                include_usage: true,
            }),
        };
        let (response, money) = self.send(&request)?;
        let body = response.into_body().into_reader().take(LONGEST);
        let mut events = Events::new(body);
        let mut joined = Joined::default();
        loop {
            let Some(data) = events.next_data()? else {
                return Err(Error::Cut {
                    events: events.seen(),
                    source: None,
                });
            };
            if data == "[DONE]" {
                break;
            }
            joined.add(chunk(&data)?, &mut piece);
        }
        // A server that doesn't count leaves the reservation to be taken as spent.
        match joined.usage {
            Some(usage) => money.settle(usage),
            None => drop(money),
        }
        joined.into_response()
    }

    /// Sends until an answer begins or trying again is of no use.
    fn send(&self, request: &ChatRequest) -> Result<(Response<Body>, Reservation<'_>), Error> {
        let body = serde_json::to_string(request).map_err(form)?;
        let max_tokens = request.max_tokens.unwrap_or(plan::MAX_TOKENS);
        let mut tries = 0;
        loop {
            let money = self.guard.reserve(body.len(), max_tokens)?;
            tries += 1;
            let last = tries > self.settings.retries;
            let pause = match self.once(request.stream, &body) {
                Ok(response) if response.status().is_success() => return Ok((response, money)),
                Ok(response) => {
                    money.release();
                    let status = response.status().as_u16();
                    let asked = asked(&response);
                    if last || !retry::may_help(status) {
                        return Err(refusal(response, tries));
                    }
                    asked.unwrap_or_else(|| retry::pause(tries))
                }
                Err(source) => {
                    // Where the server may have worked on it, its money stays spent.
                    if unsent(&source) {
                        money.release();
                    }
                    if last {
                        return Err(Error::Transport {
                            tries,
                            source: Box::new(source),
                        });
                    }
                    retry::pause(tries)
                }
            };
            if pause > retry::MOST {
                return Err(Error::Wait {
                    asked: pause,
                    most: retry::MOST,
                });
            }
            std::thread::sleep(pause);
        }
    }

    fn once(&self, stream: bool, body: &str) -> Result<Response<Body>, ureq::Error> {
        let accept = if stream {
            "text/event-stream"
        } else {
            "application/json"
        };
        let mut request = self
            .agent
            .post(format!("{}/chat/completions", self.settings.base_url))
            .header("content-type", "application/json")
            .header("accept", accept);
        if let Some(key) = &self.settings.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        request.send(body)
    }
}

/// Whether a request failed before any of it reached a server.
fn unsent(error: &ureq::Error) -> bool {
    use ureq::{Error as E, Timeout};
    match error {
        E::HostNotFound | E::ConnectionFailed => true,
        E::Timeout(during) => matches!(during, Timeout::Resolve | Timeout::Connect),
        E::Io(e) => e.kind() == std::io::ErrorKind::ConnectionRefused,
        _ => false,
    }
}

fn form(source: serde_json::Error) -> Error {
    Error::Form { source }
}

fn asked(response: &Response<Body>) -> Option<Duration> {
    let header = response.headers().get("retry-after")?.to_str().ok()?;
    retry::asked(header, SystemTime::now())
}

fn refusal(mut response: Response<Body>, tries: u32) -> Error {
    let status = response.status().as_u16();
    let mut bytes = Vec::new();
    let reader = response.body_mut().as_reader();
    // What can't be read of a refusal isn't needed: the status says enough.
    let _ = reader.take(4 * SHOWN as u64).read_to_end(&mut bytes);
    Error::Status {
        status,
        tries,
        message: shown(&String::from_utf8_lossy(&bytes)),
    }
}

/// The beginning of a server's text, fit for a terminal.
fn shown(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().map(printable).take(SHOWN).collect()
}

/// An event's part of the answer.
fn chunk(data: &str) -> Result<ChatChunk, Error> {
    let value: Value = serde_json::from_str(data).map_err(form)?;
    let failed = value.get("error").is_some() || value["object"] == "error";
    if failed && value.get("choices").is_none() {
        return Err(Error::InStream {
            message: shown(data),
        });
    }
    ChatChunk::deserialize(value).map_err(form)
}

/// A streamed answer as far as it came.
#[derive(Default)]
struct Joined {
    id: String,
    model: String,
    text: String,
    calls: Vec<ToolCall>,
    finish_reason: Option<String>,
    usage: Option<Usage>,
    begun: bool,
}

impl Joined {
    fn add(&mut self, chunk: ChatChunk, piece: &mut impl FnMut(&str)) {
        self.id = chunk.id;
        self.model = chunk.model;
        self.usage = chunk.usage.or(self.usage);
        // One answer is asked for.
        for choice in chunk.choices.into_iter().filter(|c| c.index == 0) {
            self.begun = true;
            let text = choice.delta.text();
            if !text.is_empty() {
                piece(&text);
                self.text.push_str(&text);
            }
            for call in choice.delta.tool_calls.into_iter().flatten() {
                self.call(call);
            }
            self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
        }
    }

    /// A call, or a further part of one.
    fn call(&mut self, part: ToolCall) {
        let known = self.calls.iter_mut().find(|call| call.index == part.index);
        let Some(call) = known else {
            self.calls.push(part);
            return;
        };
        if call.id.is_empty() {
            call.id = part.id;
        }
        call.function.name.push_str(&part.function.name);
        match (&mut call.function.arguments, part.function.arguments) {
            (_, Value::Null) => {}
            (Value::String(begin), Value::String(rest)) => begin.push_str(&rest),
            (arguments, other) => *arguments = other,
        }
    }

    fn into_response(self) -> Result<ChatResponse, Error> {
        if !self.begun {
            return Err(Error::Empty);
        }
        let message = Answer {
            content: Some(Content::Text(self.text)),
            tool_calls: (!self.calls.is_empty()).then_some(self.calls),
        };
        Ok(ChatResponse {
            id: self.id,
            model: self.model,
            choices: vec![Choice {
                index: 0,
                message,
                finish_reason: self.finish_reason,
            }],
            usage: self.usage.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_in_parts_are_joined() {
        let part = |delta: &str| {
            let data = format!(
                r#"{{"id": "1", "model": "m", "choices": [{{"index": 0, "delta": {delta}, "finish_reason": null}}]}}"#
            );
            chunk(&data).expect("a chunk")
        };
        let mut joined = Joined::default();
        let mut said = String::new();
        for delta in [
            r#"{"role": "assistant", "content": "a"}"#,
            r#"{"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "b"}]}"#,
            r#"{"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": "{\"n\":"}}]}"#,
            r#"{"tool_calls": [{"index": 1, "id": "y", "function": {"name": "g", "arguments": {"n": 2}}}]}"#,
            r#"{"tool_calls": [{"index": 0, "function": {"arguments": " 1}"}}]}"#,
        ] {
            joined.add(part(delta), &mut |piece| said.push_str(piece));
        }
        assert_eq!(said, "ab");
        let response = joined.into_response().expect("an answer");
        let calls = response.choices[0].message.calls();
        let found: Vec<_> = calls
            .iter()
            .map(|c| {
                (
                    c.id.as_str(),
                    c.function.name.as_str(),
                    c.function.parsed().expect("JSON"),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("x", "f", serde_json::json!({"n": 1})),
                ("y", "g", serde_json::json!({"n": 2}))
            ]
        );
    }

    #[test]
    fn failures_within_a_stream() {
        let error = chunk(r#"{"error": {"message": "gone\u001b"}}"#).expect_err("an error");
        assert!(matches!(error, Error::InStream { .. }), "{error}");
        assert!(!error.to_string().contains('\u{1b}'));
        assert!(matches!(chunk("{"), Err(Error::Form { .. })));
    }
}
