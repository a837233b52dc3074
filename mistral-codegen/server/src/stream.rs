//! Gives an answer out, in one body or as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use futures_util::stream;
use serde_json::Value;

use crate::backend::{Event, Finish};
use crate::error::{ApiError, json_response};
use crate::generation::Running;

/// After this time without a token a comment is sent, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Such a comment.
const WAITING: &str = ": waiting\n\n";

/// How an endpoint writes its answers.
pub trait Shape: Send + 'static {
    /// Chunks before the first token.
    fn opening(&mut self) -> Vec<Value>;
    /// Takes a token; the chunk for it, if there is anything to show.
    fn piece(&mut self, token: u32, text: String) -> Option<Value>;
    /// Chunks that end the answer.
    fn closing(&mut self, finish: Finish) -> Vec<Value>;
    /// The chunk that counts tokens.
    fn usage(&self, usage: Value) -> Value;
    /// The whole answer in one object, after [`closing`](Self::closing).
    fn whole(&mut self, usage: Value) -> Value;
}

/// Waits for the whole answer.
///
/// # Errors
/// What stopped the answer.
pub async fn whole(
    mut running: Running,
    mut shape: impl Shape,
) -> Result<Response<Body>, ApiError> {
    loop {
        match running.next().await {
            Event::Piece { token, text } => drop(shape.piece(token, text)),
            Event::Done(finish) => {
                shape.closing(finish);
                return Ok(json_response(StatusCode::OK, &shape.whole(running.usage())));
            }
            Event::Failed(error) => return Err(error),
        }
    }
}

/// Streams the answer. The stream waits a while for its first event, so that an answer that fails
/// at once fails with a status.
///
/// # Errors
/// What stopped the answer in that while.
pub async fn events(
    mut running: Running,
    mut shape: impl Shape,
    usage: Usage,
) -> Result<Response<Body>, ApiError> {
    let mut lines: VecDeque<String> = shape.opening().iter().map(data).collect();
    let first = tokio::time::timeout(KEEP_ALIVE, running.next()).await;
    if let Ok(Event::Failed(error)) = first {
        return Err(error);
    }
    let mut writer = Writer {
        running,
        shape,
        usage,
        ended: false,
    };
    match first {
        Ok(event) => writer.write(event, &mut lines),
        Err(_) => lines.push_back(WAITING.to_owned()),
    }
    let chunks = stream::unfold((writer, lines), |(mut writer, mut lines)| async move {
        while lines.is_empty() {
            if writer.ended {
                return None;
            }
            match tokio::time::timeout(KEEP_ALIVE, writer.running.next()).await {
                Ok(event) => writer.write(event, &mut lines),
                Err(_) => lines.push_back(WAITING.to_owned()),
            }
        }
        let chunk: String = lines.drain(..).collect();
        Some((Ok::<_, Infallible>(chunk), (writer, lines)))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Reverse proxies otherwise collect the answer before they pass it on.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Whether a stream ends with a count of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// The request asked for it.
    Shown,
    /// It didn't.
    Hidden,
}

struct Writer<S> {
    running: Running,
    shape: S,
    usage: Usage,
    ended: bool,
}

impl<S: Shape> Writer<S> {
    fn write(&mut self, event: Event, lines: &mut VecDeque<String>) {
        match event {
            Event::Piece { token, text } => {
                lines.extend(self.shape.piece(token, text).iter().map(data));
                return;
            }
            Event::Done(finish) => {
                lines.extend(self.shape.closing(finish).iter().map(data));
                if self.usage == Usage::Shown {
                    lines.push_back(data(&self.shape.usage(self.running.usage())));
                }
            }
            // The status has been sent: clients read an error from the stream itself.
            Event::Failed(error) => lines.push_back(data(&error.body())),
        }
        lines.push_back("data: [DONE]\n\n".to_owned());
        self.ended = true;
    }
}

/// An event; JSON on one line has no line ends in it.
fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}
