//! The one place that turns a failure into a status code and a body.

use std::any::Any;

use axum::Json;
use axum::extract::OriginalUri;
use axum::http::header::{HeaderValue, RETRY_AFTER};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use phi3::api::{ErrorBody, ErrorObject};
use preflight_files::FilesError;
use serde_json::{Map, Value, json};

use super::v1::error::ApiError;
use crate::ask::AskError;
use crate::attempts::AttemptsError;
use crate::stage::StageError;
use crate::store::StoreError;

/// A failure on its way to a client.
#[derive(Debug)]
pub(super) struct HttpError(pub(super) ErrorObject);

impl HttpError {
    /// A failure that is about no file or field.
    pub(super) fn new(code: &str, message: impl Into<String>) -> Self {
        Self(ErrorObject::new(code, message))
    }

    /// A value of a request that is refused: `field` is its JSON path or its name in the query, `rest` what a sentence
    /// says of it.
    pub(super) fn field(field: &str, rest: impl std::fmt::Display) -> Self {
        Self(ErrorObject::new("invalid_request", format!("`{field}` {rest}")).at(field))
    }

    /// A fault of ours, whose text stays in the log.
    pub(super) fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "internal");
        Self::new("internal", "an internal error; the server's log has more")
    }
}

/// Status of an error's code; what is not listed is a value that the client can mend.
pub(super) fn status(code: &str) -> StatusCode {
    match code {
        "not_found"
        | "no_known_good"
        | "no_such_model"
        | "no_such_attempt"
        | "no_such_ladder"
        | "no_such_profile"
        | "no_such_route"
        | "dashboard_not_built" => StatusCode::NOT_FOUND,
        "method_not_allowed" => StatusCode::METHOD_NOT_ALLOWED,
        "unauthorized" => StatusCode::UNAUTHORIZED,
        "path_outside_roots" | "cross_site" => StatusCode::FORBIDDEN,
        "wrong_host" => StatusCode::MISDIRECTED_REQUEST,
        "invalid_json" | "body_broken" => StatusCode::BAD_REQUEST,
        "not_json" | "body_encoded" => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "body_too_large" => StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_slow" => StatusCode::REQUEST_TIMEOUT,
        "too_many_changes" | "identical_retry" | "not_loaded" | "not_validated" | "model_exists"
        | "model_loaded" | "model_in_use" | "model_unloaded" | "ladder_ended" | "ladder_going_on"
        | "profile_built_in" => StatusCode::CONFLICT,
        "storage_full" => StatusCode::INSUFFICIENT_STORAGE,
        "queue_full" => StatusCode::TOO_MANY_REQUESTS,
        "hub_unavailable"
        | "hub_bad_answer"
        | "hub_truncated"
        | "hub_redirect_refused"
        | "hub_range_ignored"
        | "hub_wrong_bytes" => StatusCode::BAD_GATEWAY,
        "hub_timeout" => StatusCode::GATEWAY_TIMEOUT,
        "hub_rate_limited" | "shutting_down" | "worker_not_started" => StatusCode::SERVICE_UNAVAILABLE,
        "internal" | "database" | "model_unreadable" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// Seconds after which a client that was turned away may try again.
const RETRY_AFTER_S: &str = "1";

/// What a layer around the routes refuses, in the shape of the API that the path is of.
pub(super) fn refused(path: &str, code: &str, message: &str) -> Response {
    let error = ErrorObject::new(code, message);
    if path.starts_with("/v1/") {
        ApiError::from(error).into_response()
    } else {
        HttpError(error).into_response()
    }
}

/// An answer of that status; one that turns a client away for now says when to come back.
pub(super) fn answer(status: StatusCode, body: impl serde::Serialize) -> Response {
    let mut response = (status, Json(body)).into_response();
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
    }
    response
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        answer(status(&self.0.code), ErrorBody { error: self.0 })
    }
}

impl From<ErrorObject> for HttpError {
    fn from(error: ErrorObject) -> Self {
        if error.code == "internal" { Self::internal(error.message) } else { Self(error) }
    }
}

impl From<AttemptsError> for HttpError {
    fn from(error: AttemptsError) -> Self {
        match error {
            AttemptsError::Store(error) => error.into(),
            error => Self::new(error.code(), error.to_string()),
        }
    }
}

impl From<StageError> for HttpError {
    fn from(error: StageError) -> Self {
        match error {
            StageError::Refused(error) => error.into(),
            StageError::Attempts(error) => error.into(),
        }
    }
}

impl From<StoreError> for HttpError {
    fn from(error: StoreError) -> Self {
        Self(error.into())
    }
}

/// A refusal with facts beside its error.
#[derive(Debug)]
pub(super) struct Refusal {
    error: HttpError,
    facts: Map<String, Value>,
}

impl<T: Into<HttpError>> From<T> for Refusal {
    fn from(error: T) -> Self {
        Self { error: error.into(), facts: Map::new() }
    }
}

impl From<AskError> for Refusal {
    fn from(error: AskError) -> Self {
        let told = HttpError::new(error.code(), error.to_string());
        let facts = match error {
            AskError::Refused(error) => return error.into(),
            AskError::Attempts(error) => return error.into(),
            AskError::TooManyChanges { parent, changes, .. } => {
                json!({ "parent": parent, "changes": changes })
            }
            AskError::Identical(record) => {
                let evidence = record.evidence;
                json!({
                    "attempt_id": record.attempt.id,
                    "outcome": record.attempt.outcome,
                    "next": evidence.next,
                    "advice": evidence.advice,
                })
            }
        };
        let facts = if let Value::Object(facts) = facts { facts } else { Map::new() };
        Self { error: told, facts }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let HttpError(error) = self.error;
        let status = status(&error.code);
        let mut body = Map::new();
        body.insert("error".to_owned(), json!(error));
        body.extend(self.facts);
        answer(status, body)
    }
}

impl From<FilesError> for HttpError {
    fn from(error: FilesError) -> Self {
        Self(error.into())
    }
}

/// An unknown path under `/api`.
pub(super) async fn no_such_route(OriginalUri(uri): OriginalUri) -> HttpError {
    HttpError::new("no_such_route", format!("there is no {}", uri.path()))
}

/// A known path with another method.
pub(super) async fn method_not_allowed(method: Method, OriginalUri(uri): OriginalUri) -> HttpError {
    HttpError::new("method_not_allowed", format!("{} takes no {method}", uri.path()))
}

/// A panic in a handler: a fault of ours, whose text stays in the log.
pub(super) fn panicked(payload: Box<dyn Any + Send + 'static>) -> Response {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
    HttpError::internal(format_args!("a handler panicked: {text}")).into_response()
}
