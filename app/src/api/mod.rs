//! The only HTTP: the server's routes as functions. Addresses are relative, so that the page works below any path.

pub mod chat;
mod events;
mod sse;

pub use events::{Events, Heard};

use gloo::net::http::{Request, RequestBuilder, Response};
use phi3::api::{
    Attempt, AttemptRecord, Certificate, Comparison, Devices, ErrorObject, Ladder, LadderStarted, ModelEntry,
    ModelSource, ProfileEntry, Registered, Settings, Started,
};
use phi3::validate::ProbeSet;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::text;

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

/// The devices of the server's machine as they are now.
///
/// # Errors
/// [`ApiError`]
pub async fn devices() -> Result<Devices, ApiError> {
    answer(Request::get("api/devices").send().await).await
}

/// The same devices as the server writes them, for the first program, which reads few of their fields.
///
/// # Errors
/// [`ApiError`]
pub async fn device_list() -> Result<Vec<Value>, ApiError> {
    let mut told: Value = answer(Request::get("api/devices").send().await).await?;
    Ok(told.get_mut("devices").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default())
}

/// The server's settings, each with where it comes from.
///
/// # Errors
/// [`ApiError`]
pub async fn settings() -> Result<Settings, ApiError> {
    answer(Request::get("api/settings").send().await).await
}

/// Shows the server a token; it answers with a cookie, and whether it asks for one at all.
///
/// # Errors
/// [`ApiError`]
pub async fn session(token: &str) -> Result<bool, ApiError> {
    let told: Value = send(Request::post("api/session"), &json!({ "token": token })).await?;
    Ok(told["token_required"] == Value::Bool(true))
}

/// The config of a model's files.
///
/// # Errors
/// [`ApiError`]
pub async fn config(source: &ModelSource) -> Result<Map<String, Value>, ApiError> {
    #[derive(serde::Deserialize)]
    struct Inspected {
        config: Map<String, Value>,
    }
    let asked = json!({ "source": source, "options": { "config": true } });
    send(Request::post("api/inspect"), &asked).await.map(|Inspected { config }| config)
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

/// Where the server writes all attempts as a file: as `csv`, `jsonl` or `markdown`.
#[must_use]
pub fn exported(format: &str) -> String {
    format!("api/attempts/export?format={format}")
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

/// What a load or a validation is asked with; what is not said is left to the server.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Run {
    /// The layer of this attempt.
    pub load_config: Map<String, Value>,
    /// Longest sequence; only a load takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<u64>,
    /// Above the load config's `device_map`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Kept with the attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What a validation continues; the default prompt where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Most ids that a validation generates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
    /// Boundaries that a validation crosses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeSet>,
    /// The attempt that it goes on from; the model's newest where none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<u64>,
    /// Several changes of the parent are meant.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub branch: bool,
    /// Runs what would end as it did before, or is not known to fit.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

impl Run {
    /// With a load config and nothing else.
    #[must_use]
    pub fn with(load_config: Map<String, Value>) -> Self {
        Self { load_config, ..Self::default() }
    }
}

/// Puts a load into the queue.
///
/// # Errors
/// [`ApiError`]
pub async fn load(model: &str, run: &Run) -> Result<Started, ApiError> {
    send(Request::post(&format!("api/models/{}/load", name(model))), run).await
}

/// Puts a validation into the queue.
///
/// # Errors
/// [`ApiError`]
pub async fn validate(model: &str, run: &Run) -> Result<Started, ApiError> {
    send(Request::post(&format!("api/models/{}/validate", name(model))), run).await
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

/// Ladders, newest first.
///
/// # Errors
/// [`ApiError`]
pub async fn ladders(limit: u32) -> Result<Vec<Ladder>, ApiError> {
    answer(Request::get(&format!("api/ladders?limit={limit}")).send().await).await
}

/// The profiles that ladders can be started with.
///
/// # Errors
/// [`ApiError`]
pub async fn profiles() -> Result<Vec<ProfileEntry>, ApiError> {
    answer(Request::get("api/profiles").send().await).await
}

/// What a ladder is asked with: the name of a profile or its text; the product's own where neither is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Climb {
    /// Id of the model.
    pub model: String,
    /// Name of a profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toml: Option<String>,
    /// Kept with the ladder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Puts a ladder into the queue.
///
/// # Errors
/// [`ApiError`]
pub async fn start_ladder(climb: &Climb) -> Result<LadderStarted, ApiError> {
    send(Request::post("api/ladders"), climb).await
}

/// Asks for the end of a ladder.
///
/// # Errors
/// [`ApiError`]
pub async fn cancel_ladder(id: u64) -> Result<Ladder, ApiError> {
    answer(Request::post(&format!("api/ladders/{id}/cancel")).send().await).await
}

/// Has a ladder go on where it stopped.
///
/// # Errors
/// [`ApiError`]
pub async fn resume_ladder(id: u64) -> Result<Ladder, ApiError> {
    answer(Request::post(&format!("api/ladders/{id}/resume")).send().await).await
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

async fn send<T: DeserializeOwned>(
    request: RequestBuilder,
    body: &impl serde::Serialize,
) -> Result<T, ApiError> {
    let request = request.json(body).map_err(|error| ApiError::Absent(error.to_string()))?;
    answer(request.send().await).await
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
    // A browser tells no page why nobody answered.
    let response = response.map_err(|_unsaid| ApiError::Absent(text::problem::NO_ANSWER.to_owned()))?;
    if response.ok() {
        // A static host may answer any address with its index page.
        return response.json().await.map_err(absent);
    }
    match response.json::<Value>().await {
        Ok(body) if body["error"]["message"].is_string() => Err(ApiError::Refused(refusal(&body["error"]))),
        _ => Err(ApiError::Absent(format!("status {}", response.status()))),
    }
}

/// What is refused, in the words of either API: `/api` has `path`, `/v1` has `param`, and a code only for some.
fn refusal(error: &Value) -> ErrorObject {
    let text = |key: &str| error[key].as_str().map(str::to_owned);
    let code = text("code").or_else(|| text("type")).unwrap_or_default();
    let path = text("path").or_else(|| text("param"));
    ErrorObject { path, ..ErrorObject::new(code, text("message").unwrap_or_default()) }
}
