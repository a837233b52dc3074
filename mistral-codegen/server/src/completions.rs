//! `/v1/completions`.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use serde_json::{Map, Value, json};

use crate::backend::{Backend, Finish};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::generation::{Asked, Running};
use crate::http::{self, App};
use crate::log::Entry;
use crate::options::{Options, random};
use crate::plan;
use crate::stream::{self, Shape, Usage};

/// Answers a completion request.
///
/// # Errors
/// [`ApiError`] for a request that can't be answered.
pub async fn answer(
    app: App,
    entry: Entry,
    request: Map<String, Value>,
) -> Result<Response<Body>, ApiError> {
    let fields = Fields(&request);
    let options = Options::read(fields)?;
    fields.refuse("echo", &[json!(false)])?;
    let backend = Arc::clone(&app.backend);
    let form = options.form.clone();
    let (prompt, constraint) = http::blocking(move || {
        let prompt = prompt(&*backend, Fields(&request))?;
        Ok((prompt, backend.constraint(&form)?))
    })
    .await?;
    let shape = Completion {
        id: format!("cmpl-{:016x}", random()),
        created: http::now_s(),
        text: String::new(),
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

/// The prompt's tokens: of a text, a list of one text, or a list of token ids.
fn prompt(backend: &dyn Backend, fields: Fields<'_>) -> Result<Vec<u32>, ApiError> {
    let expected = "expected a text, a list of one text, or a list of token ids";
    let refused = || ApiError::invalid("prompt", expected);
    let suffix = fields.text("suffix")?;
    let text = match fields.get("prompt") {
        Some(Value::String(text)) => text,
        Some(Value::Array(items)) => match items.as_slice() {
            [Value::String(text)] => text,
            [Value::Array(ids)] if suffix.is_none() => return token_ids(backend, ids),
            [Value::Number(_), ..] if suffix.is_none() => return token_ids(backend, items),
            _ => return Err(refused()),
        },
        _ => return Err(refused()),
    };
    match suffix {
        None => backend.encode_text(text),
        Some(suffix) => backend.encode_fim(text, suffix),
    }
}

fn token_ids(backend: &dyn Backend, ids: &[Value]) -> Result<Vec<u32>, ApiError> {
    let vocabulary = backend.vocabulary();
    let id = |value: &Value| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.filter(|&id| (id as usize) < vocabulary).ok_or_else(|| {
            let message = format!("expected token ids below {vocabulary}");
            ApiError::invalid("prompt", message)
        })
    };
    ids.iter().map(id).collect()
}

struct Completion {
    id: String,
    created: u64,
    text: String,
    finish: &'static str,
}

impl Completion {
    fn body(&self, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": plan::SERVED_NAME,
            "choices": choices,
        })
    }

    fn choice(&self, text: &str, finish: Option<&str>) -> Value {
        self.body(json!([{
            "index": 0,
            "text": text,
            "logprobs": null,
            "finish_reason": finish,
        }]))
    }
}

impl Shape for Completion {
    fn opening(&mut self) -> Vec<Value> {
        Vec::new()
    }

    fn piece(&mut self, _: u32, text: String) -> Option<Value> {
        if text.is_empty() {
            return None;
        }
        self.text.push_str(&text);
        Some(self.choice(&text, None))
    }

    fn closing(&mut self, finish: Finish) -> Vec<Value> {
        self.finish = finish.name();
        vec![self.choice("", Some(self.finish))]
    }

    fn usage(&self, usage: Value) -> Value {
        let mut chunk = self.body(json!([]));
        chunk["usage"] = usage;
        chunk
    }

    fn whole(&mut self, usage: Value) -> Value {
        let mut body = self.choice(&self.text, Some(self.finish));
        body["usage"] = usage;
        body
    }
}
