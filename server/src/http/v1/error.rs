//! Failures in OpenAI's shape: `{"error": {message, type, param, code}}`.

use axum::extract::OriginalUri;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use phi3::api::ErrorObject;
use serde_json::{Value, json};

use super::super::error::{answer, status};

/// A failure on its way to a client.
#[derive(Debug)]
pub(in crate::http) struct ApiError {
    status: StatusCode,
    code: Option<String>,
    param: Option<String>,
    message: String,
}

impl ApiError {
    /// A value that is refused; `param` is its path in the request.
    pub(super) fn param(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: None,
            param: Some(param.into()),
            message: message.into(),
        }
    }

    /// A body that is no request.
    pub(super) fn body(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: None, param: None, message: message.into() }
    }

    /// A body that says that it is something else.
    pub(super) fn not_json() -> Self {
        Self {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            code: Some("not_json".to_owned()),
            param: None,
            message: "The body must be sent as content-type: application/json".to_owned(),
        }
    }

    /// A model that is not loaded.
    pub(super) fn not_loaded(model: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            code: Some("model_not_found".to_owned()),
            param: Some("model".to_owned()),
            message: format!(
                "The model `{model}` is not loaded; GET /v1/models lists those that are, POST /api/models/ID/load loads one."
            ),
        }
    }

    /// The body alone, for a stream that has begun.
    pub(super) fn json(&self) -> Value {
        let kind = match self.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        json!({ "error": { "message": self.message, "type": kind, "param": self.param, "code": self.code } })
    }
}

impl From<ErrorObject> for ApiError {
    fn from(error: ErrorObject) -> Self {
        let ErrorObject { code: ours, message, path, .. } = error;
        let status = match ours.as_str() {
            "oom" | "backend" | "nan_logits" | "worker_killed" | "worker_stalled" | "protocol_error" => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            "model_unloaded" | "unloaded" | "cancelled" | "not_loaded" => StatusCode::SERVICE_UNAVAILABLE,
            ours => match status(ours) {
                // What the client can mend is 400 in this API.
                StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
                status => status,
            },
        };
        Self { status, code: Some(code(&ours).to_owned()), param: path, message }
    }
}

/// What a code of ours is called in this API.
fn code(ours: &str) -> &str {
    match ours {
        "context_too_long" => "context_length_exceeded",
        ours => ours,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        answer(self.status, self.json())
    }
}

/// An unknown path under `/v1`.
pub(in crate::http) async fn no_such_route(method: Method, OriginalUri(uri): OriginalUri) -> ApiError {
    let message = format!("Unknown request URL: {method} {}", uri.path());
    ApiError { status: StatusCode::NOT_FOUND, code: Some("unknown_url".to_owned()), param: None, message }
}

/// A known path with another method.
pub(super) async fn method_not_allowed(method: Method, OriginalUri(uri): OriginalUri) -> ApiError {
    let message = format!("{} takes no {method}", uri.path());
    ApiError { status: StatusCode::METHOD_NOT_ALLOWED, code: None, param: None, message }
}
