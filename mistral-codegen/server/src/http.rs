//! Routes, and what every request passes through: the key, the size, the time.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::{Map, Value, json};

use crate::backend::Backend;
use crate::error::{ApiError, json_response};
use crate::log::{Entry, Sink};
use crate::metrics::Metrics;
use crate::options::random;
use crate::settings::Settings;
use crate::worker::Queue;
use crate::{chat, completions, plan};

/// Paths that are answered by the model.
const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

/// The header that names a request, in both directions.
const REQUEST_ID: &str = "x-request-id";
/// Longer names are replaced: they would fill the log.
const MAX_ID_BYTES: usize = 128;

/// What requests are answered with.
#[derive(Clone)]
pub struct App {
    /// Encodes prompts and reads tool calls.
    pub backend: Arc<dyn Backend>,
    /// The way to the worker.
    pub queue: Queue,
    /// Limits and the key.
    pub settings: Arc<Settings>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where the log goes.
    pub log: Sink,
    /// When the server started, in seconds since 1970.
    pub started_s: u64,
}

/// The server's routes.
pub fn router(app: App) -> Router {
    Router::new()
        .route(CHAT, post(chat_completions))
        .route(TEXT, post(text_completions))
        .route("/v1/models", get(models))
        .route("/v1/models/{*model}", get(model))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

async fn chat_completions(State(app): State<App>, request: Request) -> Response<Body> {
    let metrics = Arc::clone(&app.metrics);
    let entry = entry(&app, &request, CHAT);
    let answered = match body(&app, request).await {
        Ok((bytes, body)) => chat::answer(app, entry.clone(), bytes, body).await,
        Err(error) => Err(error),
    };
    counted(&metrics, CHAT, &entry, answered)
}

async fn text_completions(State(app): State<App>, request: Request) -> Response<Body> {
    let metrics = Arc::clone(&app.metrics);
    let entry = entry(&app, &request, TEXT);
    let answered = match body(&app, request).await {
        Ok((_, body)) => completions::answer(app, entry.clone(), body).await,
        Err(error) => Err(error),
    };
    counted(&metrics, TEXT, &entry, answered)
}

/// The log's line of a request, under the id that its client or a proxy gave it, if that is one.
fn entry(app: &App, request: &Request, route: &'static str) -> Entry {
    let given = request.headers().get(REQUEST_ID);
    let given = given.and_then(|value| value.to_str().ok());
    let id = given.filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()));
    let id = id.map_or_else(|| format!("{:016x}", random()), str::to_owned);
    Entry::new(Arc::clone(&app.log), id, route)
}

fn counted(
    metrics: &Metrics,
    route: &'static str,
    entry: &Entry,
    answered: Result<Response<Body>, ApiError>,
) -> Response<Body> {
    let mut response = answered.unwrap_or_else(|error| {
        entry.error(error.code, error.detail.clone());
        error.into_response()
    });
    let status = response.status().as_u16();
    metrics.request(route, status);
    entry.status(status);
    if let Ok(id) = HeaderValue::from_str(entry.id()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn models(State(app): State<App>, headers: HeaderMap) -> Result<Response<Body>, ApiError> {
    authorize(&app.settings, &headers)?;
    let body = json!({"object": "list", "data": [description(&app)]});
    Ok(json_response(StatusCode::OK, &body))
}

async fn model(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response<Body>, ApiError> {
    authorize(&app.settings, &headers)?;
    if name != plan::SERVED_NAME {
        let message = format!("no such model: this server has {:?}", plan::SERVED_NAME);
        return Err(ApiError::request(
            StatusCode::NOT_FOUND,
            "model_not_found",
            message,
        ));
    }
    Ok(json_response(StatusCode::OK, &description(&app)))
}

fn description(app: &App) -> Value {
    json!({
        "id": plan::SERVED_NAME,
        "object": "model",
        "created": app.started_s,
        "owned_by": "mistral-infer",
        "max_model_len": app.backend.context(),
    })
}

async fn health(State(app): State<App>) -> Response<Body> {
    if app.queue.is_alive() {
        json_response(StatusCode::OK, &json!({"status": "ok"}))
    } else {
        let body = json!({"status": "the model is not running"});
        json_response(StatusCode::SERVICE_UNAVAILABLE, &body)
    }
}

async fn metrics(State(app): State<App>) -> Response<Body> {
    let mut response = Response::new(Body::from(app.metrics.page()));
    let text = HeaderValue::from_static("text/plain; version=0.0.4");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

async fn not_found() -> ApiError {
    ApiError::request(StatusCode::NOT_FOUND, "not_found", "no such path")
}

async fn wrong_method(method: Method) -> ApiError {
    let message = format!("{method} is not for this path");
    ApiError::request(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}

/// The body of an authorized request, as sent and as a JSON object.
async fn body(app: &App, request: Request) -> Result<(Bytes, Map<String, Value>), ApiError> {
    authorize(&app.settings, request.headers())?;
    let limit = app.settings.body_bytes;
    let too_large = || {
        let message = format!("a request has at most {limit} bytes");
        ApiError::request(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    };
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > limit) {
        return Err(too_large());
    }
    let read = to_bytes(request.into_body(), limit);
    let bytes = match tokio::time::timeout(app.settings.body_time, read).await {
        Ok(Ok(bytes)) => bytes,
        // The limit is the one error that a client's body can cause and still read the answer to.
        Ok(Err(_)) => return Err(too_large()),
        Err(_) => {
            let message = "the request's body did not arrive in time";
            return Err(ApiError::request(
                StatusCode::REQUEST_TIMEOUT,
                "body_timeout",
                message,
            ));
        }
    };
    let object = serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("expected a JSON object: {error}");
        ApiError::request(StatusCode::BAD_REQUEST, "invalid_json", message)
    })?;
    Ok((bytes, object))
}

fn authorize(settings: &Settings, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(key) = &settings.key else {
        return Ok(());
    };
    let given = headers
        .get(header::AUTHORIZATION)
        .map(HeaderValue::as_bytes);
    let given = given
        .and_then(|value| value.strip_prefix(b"Bearer "))
        .unwrap_or_default();
    if same(given, key.as_bytes()) {
        return Ok(());
    }
    let message = "expected the server's key as: Authorization: Bearer KEY";
    let error = ApiError::request(StatusCode::UNAUTHORIZED, "invalid_api_key", message);
    Err(ApiError {
        kind: "authentication_error",
        ..error
    })
}

/// Whether two texts are equal, in a time that depends on their lengths only.
fn same(given: &[u8], key: &[u8]) -> bool {
    let differing = given
        .iter()
        .zip(key)
        .fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    given.len() == key.len() && differing == 0
}

/// Runs something slow away from the threads that serve everyone.
///
/// # Errors
/// What it returns; status 500 when it panics.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        let message = "the request could not be processed";
        Err(ApiError::server(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            message,
        ))
    })
}

/// Seconds since 1970.
#[must_use]
pub fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn keys_are_equal_or_not() {
        assert!(same(b"secret", b"secret"));
        for wrong in [&b""[..], b"secre", b"secret ", b"Secret", b"secreT"] {
            assert!(!same(wrong, b"secret"), "{wrong:?}");
        }
    }
}
