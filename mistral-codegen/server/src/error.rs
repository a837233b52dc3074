//! Errors as OpenAI's clients expect them.

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
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
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
