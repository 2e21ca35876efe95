//! A JSON body, with errors that name the field.

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use phi3::config::{JsonError, JsonLimits, parse_json};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use super::error::HttpError;

/// A body of `application/json`; no other type, so that a form of another page cannot send one.
pub(super) struct JsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = HttpError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, HttpError> {
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(HttpError::new(
                "not_json",
                "the body must be sent as content-type: application/json",
            ));
        }
        // It is in memory already, within its limits.
        let body = axum::body::to_bytes(request.into_body(), usize::MAX).await;
        let body = body.map_err(|error| HttpError::new("internal", error.to_string()))?;
        parse(&body).map(Self)
    }
}

/// A body that may be left out: the default then.
pub(super) struct OptionalJson<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJson<T> {
    type Rejection = HttpError;

    async fn from_request(request: Request, state: &S) -> Result<Self, HttpError> {
        if request.headers().get(CONTENT_TYPE).is_none() {
            return Ok(Self(T::default()));
        }
        JsonBody::from_request(request, state).await.map(|JsonBody(body)| Self(body))
    }
}

/// The query of an address, with errors that name the field.
pub(super) struct ApiQuery<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, HttpError> {
        let query = Query::try_from_uri(&parts.uri);
        query
            .map(|Query(query)| Self(query))
            .map_err(|error| HttpError::new("invalid_request", format!("the query: {}", error.body_text())))
    }
}

/// Reads a part of a body that is JSON already; `at` is its path, for messages.
pub(super) fn from_value<T: DeserializeOwned>(at: &str, value: Value) -> Result<T, HttpError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { at.to_owned() } else { format!("{at}.{path}") };
        HttpError::field(path, error.into_inner().to_string())
    })
}

/// Text that is no JSON at all is another fault than JSON that is refused: too deep, a number out of range, a field
/// that is not known.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, HttpError> {
    serde_json::from_slice::<IgnoredAny>(body)
        .map_err(|error| HttpError::new("invalid_json", format!("the body is no JSON: {error}")))?;
    // A key that stands twice says two things, in a config as in a request. No config has as many values.
    let limits = JsonLimits { depth: 126, values: 1 << 17, string_bytes: usize::MAX };
    if let Err(JsonError::DuplicateKey { path }) = parse_json(body, limits) {
        let message = JsonError::DuplicateKey { path: path.clone() }.to_string();
        return Err(HttpError::field(path, message));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        HttpError::field(path, error.into_inner().to_string())
    })
}
