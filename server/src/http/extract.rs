//! What a request says, read into what a handler takes: its body, its query, what stands in its path.

use axum::body::HttpBody as _;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use phi3::config::{JsonError, JsonLimits, parse_json};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use super::error::HttpError;
use crate::values::{self, Wrong};

/// A body of `application/json`; no other type, so that a form of another page cannot send one.
pub(super) struct JsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = HttpError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, HttpError> {
        if !is_json(&request) {
            return Err(HttpError::new(
                "not_json",
                "the body must be sent as content-type: application/json",
            ));
        }
        // It is in memory already, within its limits.
        let body = axum::body::to_bytes(request.into_body(), usize::MAX).await;
        parse(&body.map_err(HttpError::internal)?).map(Self)
    }
}

pub(super) fn is_json(request: &Request) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json")
}

/// A body that may be left out, or be empty: the default then.
pub(super) struct OptionalJson<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJson<T> {
    type Rejection = HttpError;

    async fn from_request(request: Request, state: &S) -> Result<Self, HttpError> {
        // What came without its type is refused, not passed over; so is nothing at all of another.
        let has_type = request.headers().get(CONTENT_TYPE).is_some();
        if request.body().is_end_stream() && (!has_type || is_json(&request)) {
            return Ok(Self(T::default()));
        }
        JsonBody::from_request(request, state).await.map(|JsonBody(body)| Self(body))
    }
}

/// The query of an address.
pub(super) struct ApiQuery<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, HttpError> {
        // Texts are all that there is to a query before it is known what they should be.
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let Query(pairs) = pairs.map_err(HttpError::internal)?;
        values::from_pairs(pairs).map(Self).map_err(|wrong| refused(wrong, "", "the query"))
    }
}

/// The name or id that stands in the path of an address.
pub(super) struct InPath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for InPath {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(_not_text) => {
                let message = "the address holds bytes that are no text: percent-encode names in UTF-8";
                Err(HttpError::new("invalid_request", message))
            }
        }
    }
}

/// The number that an attempt or a ladder is named by; `code` is the error where there is none of that name.
///
/// # Errors
/// It is no number.
pub(super) fn number(text: &str, what: &str, code: &str) -> Result<u64, HttpError> {
    text.parse().ok().ok_or_else(|| {
        let text: String = text.chars().filter(|c| !c.is_control()).take(60).collect();
        HttpError::new(code, format!("there is no {what} `{text}`: expected its number"))
    })
}

/// Reads a part of a body that is JSON already; `at` is its path.
pub(super) fn from_value<T: DeserializeOwned>(at: &str, value: &Value) -> Result<T, HttpError> {
    values::from_json(value).map_err(|wrong| refused(wrong, at, at))
}

/// What is wrong with a text that is no JSON; `None` where it is.
pub(super) fn syntax(body: &[u8]) -> Option<String> {
    let error = serde_json::from_slice::<IgnoredAny>(body).err()?;
    let (line, column) = (error.line(), error.column());
    Some(match (body.trim_ascii().is_empty(), error.is_eof()) {
        (true, _) => "it is empty".to_owned(),
        (_, true) => format!("it ends too early, at line {line}, column {column}"),
        _ => format!("look at line {line}, column {column}"),
    })
}

/// Text that is no JSON at all is another fault than JSON that is refused: too deep, a number out of range, a field
/// that is not known.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, HttpError> {
    if let Some(problem) = syntax(body) {
        return Err(HttpError::new("invalid_json", format!("the body is not JSON: {problem}")));
    }
    // A key that stands twice says two things, in a config as in a request. No config has as many values.
    let limits = JsonLimits { depth: 126, values: 1 << 17, string_bytes: usize::MAX };
    let value = parse_json(body, limits).map_err(|error| match error {
        JsonError::DuplicateKey { path } => {
            let rest = " stands twice, and readers disagree on which one counts: remove one".to_owned();
            refused(Wrong { path, rest }, "", "the body")
        }
        JsonError::Syntax(_) => {
            let rest = " holds a number that is out of range, or a text that is no Unicode".to_owned();
            refused(Wrong { path: place(body), rest }, "", "the body")
        }
        error => refused(Wrong { path: place(body), rest: format!(": {error}") }, "", "the body"),
    })?;
    values::from_json(&value).map_err(|wrong| refused(wrong, "", "the body"))
}

/// Where a JSON text is not read further: the first steps of its path, which may be as long as the text is deep.
fn place(body: &[u8]) -> String {
    const STEPS: usize = 4;
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let Err(error) = serde_path_to_error::deserialize::<_, Value>(&mut deserializer) else {
        return String::new();
    };
    let mut place = String::new();
    for step in error.path().iter().take(STEPS) {
        let dot = if place.is_empty() || matches!(step, serde_path_to_error::Segment::Seq { .. }) {
            ""
        } else {
            "."
        };
        place.push_str(&format!("{dot}{step}"));
    }
    place
}

/// The error of a value at a path below `at`; `whole` is what the value is called that stands at the top.
fn refused(wrong: Wrong, at: &str, whole: &str) -> HttpError {
    let Wrong { path, rest } = wrong;
    let path = match (at, path.as_str()) {
        ("", "") => return HttpError::new("invalid_request", format!("{whole}{rest}")),
        (at, "") => at.to_owned(),
        ("", path) => path.to_owned(),
        (at, path) => format!("{at}.{path}"),
    };
    HttpError(phi3::api::ErrorObject::new("invalid_request", format!("`{path}`{rest}")).at(path))
}
