//! `/v1/chat/completions`.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::Response;
use serde_json::{Map, Value, json};

use crate::answer::{Answer, Part, Rest};
use crate::backend::{Finish, Form, ToolCall};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::generation::{Asked, Running};
use crate::http::{self, App};
use crate::log::Entry;
use crate::options::{Options, random};
use crate::plan;
use crate::stream::{self, Shape, Usage};
use crate::tools;

/// Answers a chat request.
///
/// # Errors
/// [`ApiError`] for a request that can't be answered.
pub async fn answer(
    app: App,
    entry: Entry,
    body: Bytes,
    request: Map<String, Value>,
) -> Result<Response<Body>, ApiError> {
    let fields = Fields(&request);
    let mut options = Options::read(fields)?;
    let (tools, forced) = tools::read(fields)?;
    match (&options.form, forced) {
        (_, None) => {}
        (Form::Free, Some(calls)) => options.form = calls,
        (_, Some(_)) => {
            let message = "the answer can't be a call and have another form";
            return Err(ApiError::invalid("response_format", message));
        }
    }
    let backend = Arc::clone(&app.backend);
    let form = options.form.clone();
    // Long prompts take their time to encode: not on the threads that serve everyone.
    let (prompt, constraint) = http::blocking(move || {
        let prompt = backend.encode_chat(&body, tools)?;
        Ok((prompt, backend.constraint(&form)?))
    })
    .await?;
    let shape = Chat {
        id: format!("chatcmpl-{:016x}", random()),
        created: http::now_s(),
        answer: Some(Answer::new(Arc::clone(&app.backend), tools)),
        content: String::new(),
        thoughts: String::new(),
        calls: Vec::new(),
        finish: "stop",
    };
    let (streamed, usage) = (options.stream, options.include_usage);
    let asked = Asked {
        prompt,
        options,
        constraint,
    };
    let running = Running::start(&app, asked, entry)?;
    if streamed {
        let usage = if usage { Usage::Shown } else { Usage::Hidden };
        stream::events(running, shape, usage).await
    } else {
        stream::whole(running, shape).await
    }
}

struct Chat {
    id: String,
    created: u64,
    /// Until the answer ends.
    answer: Option<Answer>,
    content: String,
    thoughts: String,
    calls: Vec<Value>,
    finish: &'static str,
}

impl Chat {
    fn chunk(&self, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": plan::SERVED_NAME,
            "choices": choices,
        })
    }

    fn delta(&self, delta: Value, finish: Option<&str>) -> Value {
        self.chunk(json!([{
            "index": 0,
            "delta": delta,
            "logprobs": null,
            "finish_reason": finish,
        }]))
    }

    fn text(&mut self, text: String) -> Option<Value> {
        if text.is_empty() {
            return None;
        }
        self.content.push_str(&text);
        Some(self.delta(json!({"content": text}), None))
    }
}

impl Shape for Chat {
    fn opening(&mut self) -> Vec<Value> {
        vec![self.delta(json!({"role": "assistant", "content": ""}), None)]
    }

    fn piece(&mut self, token: u32, text: String) -> Option<Value> {
        match self.answer.as_mut()?.piece(token, text) {
            Part::Text(text) => self.text(text),
            Part::Thought(text) if text.is_empty() => None,
            Part::Thought(text) => {
                self.thoughts.push_str(&text);
                Some(self.delta(json!({"reasoning_content": text}), None))
            }
        }
    }

    fn closing(&mut self, finish: Finish) -> Vec<Value> {
        let mut chunks = Vec::new();
        self.finish = finish.name();
        match self.answer.take().map_or(Rest::Nothing, Answer::finish) {
            Rest::Nothing => {}
            Rest::Text(text) => chunks.extend(self.text(text)),
            Rest::Calls(calls) => {
                self.finish = "tool_calls";
                self.calls = calls.into_iter().map(call).collect();
                let indexed = (0u32..).zip(&self.calls).map(|(index, call)| {
                    let mut call = call.clone();
                    call["index"] = json!(index);
                    call
                });
                let delta = json!({"tool_calls": indexed.collect::<Vec<_>>()});
                chunks.push(self.delta(delta, None));
            }
        }
        chunks.push(self.delta(json!({}), Some(self.finish)));
        chunks
    }

    fn usage(&self, usage: Value) -> Value {
        let mut chunk = self.chunk(json!([]));
        chunk["usage"] = usage;
        chunk
    }

    fn whole(&mut self, usage: Value) -> Value {
        let mut message = json!({"role": "assistant", "content": self.content, "refusal": null});
        if !self.thoughts.is_empty() {
            message["reasoning_content"] = json!(self.thoughts);
        }
        if !self.calls.is_empty() {
            if self.content.is_empty() {
                message["content"] = Value::Null;
            }
            message["tool_calls"] = json!(self.calls);
        }
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": plan::SERVED_NAME,
            "choices": [{
                "index": 0,
                "message": message,
                "logprobs": null,
                "finish_reason": self.finish,
            }],
            "usage": usage,
        })
    }
}

/// A call as the interface has it. A missing id gets one of nine letters and digits, which is what
/// Mistral's formats accept when the call comes back in a later request.
fn call(call: ToolCall) -> Value {
    let id = if call.id.is_empty() {
        nine_characters(random())
    } else {
        call.id
    };
    json!({
        "id": id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    })
}

fn nine_characters(mut number: u64) -> String {
    const CHARACTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut id = String::with_capacity(9);
    for _ in 0..9 {
        id.push(char::from(CHARACTERS[(number % 62) as usize]));
        number /= 62;
    }
    id
}
