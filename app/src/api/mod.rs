//! The only HTTP: the server's routes as functions. Addresses are relative, so that the page works below any path.

pub mod chat;
mod events;
mod sse;

pub use events::{Events, Heard};

use phi3::api::{
    Attempt, AttemptRecord, Certificate, Comparison, Devices, ErrorObject, Ladder, LadderStarted, ModelEntry,
    ModelSource, ProfileEntry, Registered, Settings, Started,
};
use phi3::validate::ProbeSet;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::platform::http::{self, Answer};
use crate::platform::page;
use crate::text;

/// Id of the model that a server runs when nothing else is said.
pub const DEFAULT_MODEL: &str = "default";

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// Nobody answers, or something that is no Preflight server.
    #[error("no server answers: {0}")]
    Absent(String),
    /// It answers what this page cannot read: it may be of another version.
    #[error("this page does not understand the server's answer: {0}")]
    Unreadable(String),
    /// The server refuses, in its own words.
    #[error("{0}")]
    Refused(ErrorObject),
}

/// Told in the tab when a request had no answer: who watches whether a server is there asks at once.
pub const DOUBTED: &str = "preflight-doubt";

/// Has it asked.
pub fn doubt() {
    page::tell(DOUBTED);
}

/// Whether a server answers. A static host may answer any address with its page, so the words count.
pub async fn health() -> bool {
    get::<Value>("health").await.is_ok_and(|health| health["status"] == "ok")
}

/// The devices of the server's machine as they are now.
///
/// # Errors
/// [`ApiError`]
pub async fn devices() -> Result<Devices, ApiError> {
    get("api/devices").await
}

/// The same devices as the server writes them, for the first program, which reads few of their fields.
///
/// # Errors
/// [`ApiError`]
pub async fn device_list() -> Result<Vec<Value>, ApiError> {
    let mut told: Value = get("api/devices").await?;
    Ok(told.get_mut("devices").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default())
}

/// The server's settings, each with where it comes from.
///
/// # Errors
/// [`ApiError`]
pub async fn settings() -> Result<Settings, ApiError> {
    get("api/settings").await
}

/// Shows the server a token; it answers with a cookie, and whether it asks for one at all.
///
/// # Errors
/// [`ApiError`]
pub async fn session(token: &str) -> Result<bool, ApiError> {
    let told: Value = send("POST", "api/session", &json!({ "token": token })).await?;
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
    send("POST", "api/inspect", &asked).await.map(|Inspected { config }| config)
}

/// The models that the server can load.
///
/// # Errors
/// [`ApiError`]
pub async fn models() -> Result<Vec<ModelEntry>, ApiError> {
    get("api/models").await
}

/// Attempts, newest first; those older than `cursor`, where it is given.
///
/// # Errors
/// [`ApiError`]
pub async fn attempts(limit: u32, cursor: Option<u64>) -> Result<Vec<Attempt>, ApiError> {
    let cursor = cursor.map_or_else(String::new, |id| format!("&cursor={id}"));
    get(&format!("api/attempts?limit={limit}{cursor}")).await
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
    get(&format!("api/attempts/{id}")).await
}

/// What differs between attempts.
///
/// # Errors
/// [`ApiError`]
pub async fn compare(ids: &[u64]) -> Result<Comparison, ApiError> {
    let ids = ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    get(&format!("api/attempts/compare?ids={ids}")).await
}

/// Replaces the note of an attempt.
///
/// # Errors
/// [`ApiError`]
pub async fn note(id: u64, note: &str) -> Result<AttemptRecord, ApiError> {
    send("PATCH", &format!("api/attempts/{id}"), &json!({ "note": note })).await
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
    send("POST", &format!("api/models/{}/load", name(model)), run).await
}

/// Puts a validation into the queue.
///
/// # Errors
/// [`ApiError`]
pub async fn validate(model: &str, run: &Run) -> Result<Started, ApiError> {
    send("POST", &format!("api/models/{}/validate", name(model)), run).await
}

/// Asks for a model to be unloaded.
///
/// # Errors
/// [`ApiError`]
pub async fn unload(model: &str) -> Result<Started, ApiError> {
    post(&format!("api/models/{}/unload", name(model))).await
}

/// Commits the newest validated load config of a model as known to be good.
///
/// # Errors
/// [`ApiError`]
pub async fn commit(model: &str) -> Result<Certificate, ApiError> {
    post(&format!("api/models/{}/known-good", name(model))).await
}

/// Ladders, newest first.
///
/// # Errors
/// [`ApiError`]
pub async fn ladders(limit: u32) -> Result<Vec<Ladder>, ApiError> {
    get(&format!("api/ladders?limit={limit}")).await
}

/// The profiles that ladders can be started with.
///
/// # Errors
/// [`ApiError`]
pub async fn profiles() -> Result<Vec<ProfileEntry>, ApiError> {
    get("api/profiles").await
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
    send("POST", "api/ladders", climb).await
}

/// Asks for the end of a ladder.
///
/// # Errors
/// [`ApiError`]
pub async fn cancel_ladder(id: u64) -> Result<Ladder, ApiError> {
    post(&format!("api/ladders/{id}/cancel")).await
}

/// Has a ladder go on where it stopped.
///
/// # Errors
/// [`ApiError`]
pub async fn resume_ladder(id: u64) -> Result<Ladder, ApiError> {
    post(&format!("api/ladders/{id}/resume")).await
}

/// Registers a model.
///
/// # Errors
/// [`ApiError`]
pub async fn register(source: &ModelSource) -> Result<Registered, ApiError> {
    send("POST", "api/models", &json!({ "source": source })).await
}

/// A model's id as a part of an address.
fn name(model: &str) -> String {
    form_urlencoded::byte_serialize(model.as_bytes()).collect::<String>().replace('+', "%20")
}

async fn get<T: DeserializeOwned>(path: &str) -> Result<T, ApiError> {
    answer(http::get(path).await).await
}

async fn post<T: DeserializeOwned>(path: &str) -> Result<T, ApiError> {
    answer(http::send("POST", path, None, None).await).await
}

async fn send<T: DeserializeOwned>(
    method: &str,
    path: &str,
    body: &impl serde::Serialize,
) -> Result<T, ApiError> {
    let body = serde_json::to_string(body).map_err(|error| ApiError::Absent(error.to_string()))?;
    answer(http::send(method, path, Some(&body), None).await).await
}

/// An attempt as it is now, with its log.
///
/// # Errors
/// [`ApiError`]
pub async fn attempt(id: u64) -> Result<Attempt, ApiError> {
    get(&format!("api/attempts/{id}")).await
}

/// Asks for the end of an attempt.
///
/// # Errors
/// [`ApiError`]
pub async fn cancel(id: u64) -> Result<Attempt, ApiError> {
    post(&format!("api/attempts/{id}/cancel")).await
}

async fn answer<T: DeserializeOwned>(answer: Option<Answer>) -> Result<T, ApiError> {
    // A browser tells no page why nobody answered.
    let absent = || ApiError::Absent(text::problem::NO_ANSWER.to_owned());
    let answer = answer.ok_or_else(absent)?;
    let status = answer.status();
    let body = answer.text().await.ok_or_else(absent)?;
    if (200..300).contains(&status) {
        return serde_json::from_str(&body).map_err(|error| match error.is_data() {
            true => ApiError::Unreadable(error.to_string()),
            // What is no JSON is an index page, with which a static host may answer any address.
            false => ApiError::Absent(error.to_string()),
        });
    }
    match serde_json::from_str::<Value>(&body) {
        Ok(body) if body["error"]["message"].is_string() => Err(ApiError::Refused(refusal(&body["error"]))),
        _ => Err(ApiError::Absent(format!("status {status}"))),
    }
}

/// What is refused, in the words of either API: `/api` has `path`, `/v1` has `param`, and a code only for some.
fn refusal(error: &Value) -> ErrorObject {
    let text = |key: &str| error[key].as_str().map(str::to_owned);
    let code = text("code").or_else(|| text("type")).unwrap_or_default();
    let path = text("path").or_else(|| text("param"));
    ErrorObject { path, ..ErrorObject::new(code, text("message").unwrap_or_default()) }
}
