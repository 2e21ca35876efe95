//! The only HTTP: the server's routes as functions. Addresses are relative, so that the page works below any path.

mod events;

pub use events::{Events, Heard};

use gloo::net::http::{Request, RequestBuilder, Response};
use phi3::api::{
    Attempt, AttemptRecord, Certificate, Comparison, ErrorBody, ErrorObject, ModelEntry, ModelSource,
    Registered, Started,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

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

/// Attempts, newest first; those older than `cursor`, where it is given.
///
/// # Errors
/// [`ApiError`]
pub async fn attempts(limit: u32, cursor: Option<u64>) -> Result<Vec<Attempt>, ApiError> {
    let cursor = cursor.map_or_else(String::new, |id| format!("&cursor={id}"));
    answer(Request::get(&format!("api/attempts?limit={limit}{cursor}")).send().await).await
}

/// All that is kept of an attempt.
///
/// # Errors
/// [`ApiError`]
pub async fn record(id: u64) -> Result<AttemptRecord, ApiError> {
    answer(Request::get(&format!("api/attempts/{id}")).send().await).await
}

/// What differs between attempts.
///
/// # Errors
/// [`ApiError`]
pub async fn compare(ids: &[u64]) -> Result<Comparison, ApiError> {
    let ids = ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    answer(Request::get(&format!("api/attempts/compare?ids={ids}")).send().await).await
}

/// Replaces the note of an attempt.
///
/// # Errors
/// [`ApiError`]
pub async fn note(id: u64, note: &str) -> Result<AttemptRecord, ApiError> {
    send(Request::patch(&format!("api/attempts/{id}")), &json!({ "note": note })).await
}

/// Puts a load into the queue.
///
/// # Errors
/// [`ApiError`]
pub async fn load(model: &str, load_config: Map<String, Value>) -> Result<Started, ApiError> {
    send(Request::post(&format!("api/models/{}/load", name(model))), &json!({ "load_config": load_config }))
        .await
}

/// Puts a validation with a load config into the queue.
///
/// # Errors
/// [`ApiError`]
pub async fn validate_with(model: &str, load_config: Map<String, Value>) -> Result<Started, ApiError> {
    send(
        Request::post(&format!("api/models/{}/validate", name(model))),
        &json!({ "load_config": load_config }),
    )
    .await
}

/// Asks for a model to be unloaded.
///
/// # Errors
/// [`ApiError`]
pub async fn unload(model: &str) -> Result<Started, ApiError> {
    answer(Request::post(&format!("api/models/{}/unload", name(model))).send().await).await
}

/// Commits the newest validated load config of a model as known to be good.
///
/// # Errors
/// [`ApiError`]
pub async fn commit(model: &str) -> Result<Certificate, ApiError> {
    answer(Request::post(&format!("api/models/{}/known-good", name(model))).send().await).await
}

/// Registers a model.
///
/// # Errors
/// [`ApiError`]
pub async fn register(source: &ModelSource) -> Result<Registered, ApiError> {
    send(Request::post("api/models"), &json!({ "source": source })).await
}

/// A model's id as a part of an address.
fn name(model: &str) -> String {
    form_urlencoded::byte_serialize(model.as_bytes()).collect::<String>().replace('+', "%20")
}

async fn send<T: DeserializeOwned>(request: RequestBuilder, body: &Value) -> Result<T, ApiError> {
    let request = request.json(body).map_err(|error| ApiError::Absent(error.to_string()))?;
    answer(request.send().await).await
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
