//! Errors as OpenAI's clients expect them.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

/// A refusal or failure of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// The error's family, such as `invalid_request_error`.
    pub kind: &'static str,
    /// A stable name for programs.
    pub code: &'static str,
    /// The request's field that is at fault.
    pub param: Option<&'static str>,
    /// What was expected and what was found.
    pub message: String,
    /// When it is worth trying again.
    pub retry: Option<Duration>,
    /// What the log says besides; clients don't see it.
    pub detail: Option<String>,
}

impl ApiError {
    /// A request that can't be answered as it stands, because of one of its fields.
    #[must_use]
    pub fn invalid(param: &'static str, message: impl std::fmt::Display) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "invalid_request_error",
            code: "invalid_value",
            param: Some(param),
            message: format!("{param}: {message}"),
            retry: None,
            detail: None,
        }
    }

    /// A feature of the interface that this server doesn't have.
    #[must_use]
    pub fn unsupported(param: &'static str, message: impl std::fmt::Display) -> Self {
        Self {
            code: "unsupported_parameter",
            ..Self::invalid(param, message)
        }
    }

    /// A request error without a field, of the given status.
    #[must_use]
    pub fn request(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind: "invalid_request_error",
            code,
            param: None,
            message: message.into(),
            retry: None,
            detail: None,
        }
    }

    /// A failure of the server. `message` must not tell what a client has no business to know.
    #[must_use]
    pub fn server(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind: "server_error",
            ..Self::request(status, code, message)
        }
    }

    /// An answer that took too long.
    #[must_use]
    pub fn late() -> Self {
        Self::server(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            "the answer was not complete within the time that this server allows",
        )
    }

    /// A request that a server meets while it ends.
    #[must_use]
    pub fn stopping() -> Self {
        let message = "the server is shutting down";
        Self {
            retry: Some(Duration::from_secs(5)),
            ..Self::server(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", message)
        }
    }

    /// The body, as the interface defines it.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({"error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        let mut response = json_response(self.status, &self.body());
        let headers = response.headers_mut();
        if let Some(retry) = self.retry {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry.as_secs()));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A JSON answer.
#[must_use]
pub fn json_response(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
