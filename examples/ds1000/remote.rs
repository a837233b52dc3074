//! A model behind an OpenAI-compatible address.

use mistral_core::llm::{FinishReason, Message, TextAnswer, TextError, TextGenerator, TextOptions};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::time::Duration;

/// The longest reply that is read.
const REPLY_BYTES: u64 = 16 << 20;
/// One request, its queue included.
const TIME: Duration = Duration::from_secs(600);
/// Pauses before asking again when the server is busy.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// `POST BASE/chat/completions` of an OpenAI-compatible server.
#[derive(Debug)]
pub struct Remote {
    agent: ureq::Agent,
    address: String,
    model: String,
    key: Option<String>,
}

impl Remote {
    /// A client of `base` (for example `http://localhost:8000/v1`) that asks for `model`, with `key` as
    /// bearer token when there is one.
    #[must_use]
    pub fn new(base: &str, model: &str, key: Option<String>) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIME))
            .http_status_as_error(false)
            .max_redirects(0)
            .build();
        Self {
            agent: config.into(),
            address: format!("{}/chat/completions", base.trim_end_matches('/')),
            model: model.to_owned(),
            key,
        }
    }

    fn failed(&self, source: Box<dyn std::error::Error + Send + Sync>) -> TextError {
        TextError::Generator {
            generator: self.model.clone(),
            source,
        }
    }

    /// Status and body of one request.
    fn post(&self, body: &Value) -> Result<(u16, String), TextError> {
        let mut request = self
            .agent
            .post(&self.address)
            .header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = request
            .send(body.to_string())
            .map_err(|e| self.failed(Box::new(e)))?;
        let text = response
            .body_mut()
            .with_config()
            .limit(REPLY_BYTES)
            .read_to_string()
            .map_err(|e| self.failed(Box::new(e)))?;
        Ok((response.status().as_u16(), text))
    }

    fn answer(&self, text: &str) -> Result<TextAnswer, TextError> {
        let reply: Value = serde_json::from_str(text).map_err(|e| self.failed(Box::new(e)))?;
        let choice = &reply["choices"][0];
        let Some(content) = choice["message"]["content"].as_str() else {
            return Err(self.failed("the reply has no choices[0].message.content".into()));
        };
        let count = |name: &str| {
            let value = reply["usage"][name].as_u64();
            value.and_then(|v| u32::try_from(v).ok())
        };
        Ok(TextAnswer {
            text: content.to_owned(),
            finish: match choice["finish_reason"].as_str() {
                Some("length") => FinishReason::Length,
                _ => FinishReason::Stop,
            },
            prompt_tokens: count("prompt_tokens"),
            output_tokens: count("completion_tokens"),
        })
    }
}

impl TextGenerator for Remote {
    fn name(&self) -> &str {
        &self.model
    }

    fn generate_streaming(
        &mut self,
        messages: &[Message],
        options: &TextOptions,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<TextAnswer, TextError> {
        if options.json_schema.is_some() {
            return Err(TextError::Unsupported {
                generator: self.model.clone(),
                option: "json_schema",
            });
        }
        let mut body = json!({
            "model": self.model,
            "messages": messages,
            "max_tokens": options.max_tokens,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "seed": options.seed,
        });
        if !options.stop.is_empty() {
            body["stop"] = json!(options.stop);
        }
        let mut pauses = PAUSES.iter();
        loop {
            let (status, text) = self.post(&body)?;
            match status {
                200 => {
                    let mut answer = self.answer(&text)?;
                    if on_text(&answer.text).is_break() {
                        answer.finish = FinishReason::Cancelled;
                    }
                    return Ok(answer);
                }
                429 | 500..=599 => match pauses.next() {
                    Some(pause) => std::thread::sleep(*pause),
                    None => break Err(status),
                },
                // Servers that refuse a field name it, as the official API does with its own seed field.
                400 | 422 if body.get("seed").is_some() && text.contains("seed") => {
                    let seed = body
                        .as_object_mut()
                        .and_then(|fields| fields.remove("seed"));
                    body["random_seed"] = seed.unwrap_or_default();
                }
                _ => break Err(status),
            }
        }
        .map_err(|status| TextError::Status {
            generator: self.model.clone(),
            status,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    /// Answers each connection with the next of `replies`. Returns the base address, and the requests once
    /// all have come.
    fn server(
        replies: Vec<(u16, String)>,
    ) -> std::io::Result<(String, std::thread::JoinHandle<Vec<String>>)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let base = format!("http://{}/v1/", listener.local_addr()?);
        let thread = std::thread::spawn(move || {
            replies
                .into_iter()
                .map(|(status, body)| {
                    let (mut stream, _) = listener.accept().expect("the client connects");
                    let mut request = String::new();
                    let mut buffer = [0; 4096];
                    while !request.ends_with('}') {
                        let n = stream.read(&mut buffer).expect("the client sends");
                        request.push_str(&String::from_utf8_lossy(&buffer[..n]));
                    }
                    let head = format!(
                        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                        body.len()
                    );
                    stream
                        .write_all((head + &body).as_bytes())
                        .expect("the client reads");
                    request
                })
                .collect()
        });
        Ok((base, thread))
    }

    fn good(text: &str) -> (u16, String) {
        let body = json!({"choices": [{"message": {"content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 2}});
        (200, body.to_string())
    }

    #[test]
    fn replies_and_statuses() {
        // What the server says in turn, what comes of it.
        let rows = [
            (vec![good("x = 1")], Ok("x = 1")),
            (vec![(503, String::new()), good("late")], Ok("late")),
            (
                vec![(422, "unknown field seed".to_owned()), good("x")],
                Ok("x"),
            ),
            (vec![(401, String::new())], Err("m: status 401")),
            (vec![(200, "{}".to_owned())], Err("m failed")),
            (vec![(200, "no json".to_owned())], Err("m failed")),
        ];
        for (replies, expected) in rows {
            let (base, thread) = server(replies.clone()).expect("a port is free");
            let mut remote = Remote::new(&base, "m", Some("secret".to_owned()));
            let options = TextOptions {
                stop: vec!["</code>".to_owned()],
                ..TextOptions::default()
            };
            let got = remote.generate(&[Message::user("hello")], &options);
            let got = got.map(|a| a.text).map_err(|e| e.to_string());
            assert_eq!(
                got.as_deref().map_err(String::as_str),
                expected,
                "{replies:?}"
            );
            let requests = thread.join().expect("the server ends");
            assert!(requests[0].starts_with("POST /v1/chat/completions"));
            assert!(requests[0].contains("Bearer secret") && requests[0].contains("hello"));
        }
    }
}
