//! The only HTTP: the server's routes as functions. Addresses are relative, so that the page works below any path.

mod events;

pub use events::{Events, Heard};

use gloo::net::http::{Request, Response};
use phi3::api::{Attempt, ErrorBody, ErrorObject, ModelEntry, Started};
use serde::de::DeserializeOwned;

/// Id of the model that a server runs when nothing else is said.
pub const DEFAULT_MODEL: &str = "default";

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// Nobody answers, or something that is no Preflight server.
    #[error("no server answers: {0}")]
    Absent(String),
    /// The server refuses, in its own words.
    #[error("{0}")]
    Refused(ErrorObject),
}

/// Whether a server answers. A static host may answer any address with its page, so the words count.
pub async fn health() -> bool {
    #[derive(serde::Deserialize)]
    struct Health {
        status: String,
    }
    let health: Result<Health, ApiError> = answer(Request::get("health").send().await).await;
    health.is_ok_and(|health| health.status == "ok")
}

/// The models that the server can load.
///
/// # Errors
/// [`ApiError`]
pub async fn models() -> Result<Vec<ModelEntry>, ApiError> {
    answer(Request::get("api/models").send().await).await
}

/// Puts a validation with the default prompt into the queue.
///
/// # Errors
/// [`ApiError`]
pub async fn validate(model: &str) -> Result<Started, ApiError> {
    answer(Request::post(&format!("api/models/{model}/validate")).send().await).await
}

/// An attempt as it is now, with its log.
///
/// # Errors
/// [`ApiError`]
pub async fn attempt(id: u64) -> Result<Attempt, ApiError> {
    answer(Request::get(&format!("api/attempts/{id}")).send().await).await
}

/// Asks for the end of an attempt.
///
/// # Errors
/// [`ApiError`]
pub async fn cancel(id: u64) -> Result<Attempt, ApiError> {
    answer(Request::post(&format!("api/attempts/{id}/cancel")).send().await).await
}

async fn answer<T: DeserializeOwned>(response: Result<Response, gloo::net::Error>) -> Result<T, ApiError> {
    let absent = |error: gloo::net::Error| ApiError::Absent(error.to_string());
    let response = response.map_err(absent)?;
    if response.ok() {
        // A static host may answer any address with its index page.
        return response.json().await.map_err(absent);
    }
    match response.json::<ErrorBody>().await {
        Ok(body) => Err(ApiError::Refused(body.error)),
        Err(_no_body) => Err(ApiError::Absent(format!("status {}", response.status()))),
    }
}
