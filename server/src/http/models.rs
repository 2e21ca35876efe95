//! `/api/models`: the registry.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use phi3::api::{
    Certificate, ErrorBody, ErrorObject, Evidence, ModelDetail, ModelEntry, ModelSource, Registered,
};
use phi3::validate::Verdict;
use preflight_files::Source;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::attempts;
use super::error::HttpError;
use super::extract::{InPath, JsonBody, OptionalJson};
use crate::ledger::Filter;
use crate::registry::{Patch, Registration};
use crate::stage;
use crate::state::AppState;

/// What a request registers; of a model that is registered already, what is said of it anew.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisterBody {
    source: ModelSource,
    id: Option<String>,
    name: Option<String>,
    notes: Option<String>,
    #[schema(value_type = Option<Object>)]
    load_config: Option<Map<String, Value>>,
}

/// What a request changes of a model.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PatchBody {
    name: Option<String>,
    notes: Option<String>,
    #[schema(value_type = Option<Object>)]
    load_config: Option<Map<String, Value>>,
}

/// The attempt whose load config is committed.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CommitBody {
    /// The model's newest attempt that passed its validation where it is not given.
    attempt_id: Option<u64>,
}

/// `GET /api/models`: the default first, then all others by id.
#[utoipa::path(
    get,
    path = "/api/models",
    operation_id = "list_models",
    tag = "models",
    responses((status = 200, description = "The answer", body = [ModelEntry]), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn list(State(state): State<AppState>) -> Result<Json<Vec<ModelEntry>>, HttpError> {
    let mut entries = state.registry.list().await?;
    // One that is loaded is there, though its folder is listed under another id by now.
    for loaded in state.loaded.all() {
        if entries.iter().all(|entry| entry.id != loaded.model) {
            entries.push(with_loaded(&state, &loaded.model).await?.entry);
        }
    }
    for entry in &mut entries {
        entry.loaded_by = state.loaded(&entry.id).map(|loaded| loaded.attempt_id);
    }
    Ok(Json(entries))
}

/// `POST /api/models`: checks a model and registers it; a revision on the Hub is pinned to its commit.
#[utoipa::path(
    post,
    path = "/api/models",
    operation_id = "register_model",
    tag = "models",
    request_body = RegisterBody,
    responses((status = 201, description = "A new model", body = Registered), (status = 200, description = "It was registered already; what is said of it anew is kept", body = Registered), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn register(
    State(state): State<AppState>,
    JsonBody(body): JsonBody<RegisterBody>,
) -> Result<(StatusCode, Json<Registered>), HttpError> {
    add(&state, body, true).await
}

/// `POST /api/models/offline`: the same, with all files on this machine and nothing loaded. Those of a repository that are not
/// in the cache are brought there by an attempt, whose id is answered too; asked again, it goes on where it broke off.
#[utoipa::path(
    post,
    path = "/api/models/offline",
    operation_id = "stage_model",
    tag = "models",
    request_body = RegisterBody,
    responses((status = 201, description = "A new model", body = Registered), (status = 200, description = "It was registered already; what is said of it anew is kept", body = Registered), (status = 202, description = "Registered; its files are on their way", body = Registered), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn stage(
    State(state): State<AppState>,
    JsonBody(body): JsonBody<RegisterBody>,
) -> Result<(StatusCode, Json<Registered>), HttpError> {
    if state.registry.is_here(&body.source).await? {
        return add(&state, body, false).await;
    }
    let revision = match &body.source {
        ModelSource::Hub(hub) => Some(Source::hub_model(hub)?.revision().to_owned()),
        ModelSource::Path(_) => None,
    };
    let asked = match add(&state, body.clone(), true).await {
        // Without the Hub what the cache has must do, if it is enough.
        Err(error) if ["hub_unavailable", "hub_timeout"].contains(&error.0.code.as_str()) => {
            return add(&state, body, false).await.map_err(|_not_enough| error);
        }
        asked => asked,
    };
    let (_, Json(registered)) = asked?;
    let attempt_id = stage::stage(&state, &registered.model_id, revision).await?;
    Ok((StatusCode::ACCEPTED, Json(Registered { attempt_id, ..registered })))
}

async fn add(
    state: &AppState,
    body: RegisterBody,
    may_ask_hub: bool,
) -> Result<(StatusCode, Json<Registered>), HttpError> {
    let RegisterBody { source, id, name, notes, load_config } = body;
    let asked = Registration { id, patch: Patch { name, notes, load_config }, may_ask_hub };
    let (registered, is_new) = state.registry.register(source, asked).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(registered)))
}

/// `GET /api/models/{id}`: with card and files.
#[utoipa::path(
    get,
    path = "/api/models/{id}",
    operation_id = "get_model",
    tag = "models",
    params(("id" = String, Path, description = "Id of the model")),
    responses((status = 200, description = "The answer", body = ModelDetail), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn one(
    State(state): State<AppState>,
    InPath(id): InPath,
) -> Result<Json<ModelDetail>, HttpError> {
    detail(&state, &id).await
}

/// `PATCH /api/models/{id}`: name, notes, load config.
#[utoipa::path(
    patch,
    path = "/api/models/{id}",
    operation_id = "change_model",
    tag = "models",
    request_body = PatchBody,
    params(("id" = String, Path, description = "Id of the model")),
    responses((status = 200, description = "The answer", body = ModelDetail), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn patch(
    State(state): State<AppState>,
    InPath(id): InPath,
    JsonBody(PatchBody { name, notes, load_config }): JsonBody<PatchBody>,
) -> Result<Json<ModelDetail>, HttpError> {
    state.registry.patch(&id, Patch { name, notes, load_config }).await?;
    detail(&state, &id).await
}

/// `DELETE /api/models/{id}`: forgets the row and what was committed to it; files and attempts stay.
#[utoipa::path(
    delete,
    path = "/api/models/{id}",
    operation_id = "remove_model",
    tag = "models",
    params(("id" = String, Path, description = "Id of the model")),
    responses((status = 204, description = "Its row and its known-good load config are gone; files and attempts stay"), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn remove(
    State(state): State<AppState>,
    InPath(id): InPath,
) -> Result<StatusCode, HttpError> {
    let in_use = || {
        if state.attempts.loading(&id).is_some() {
            let message = format!("`{id}` is loaded: POST /api/models/{id}/unload first");
            return Some(ErrorObject::new("model_loaded", message));
        }
        let ladders = state.ladders.going_on();
        let ladder = ladders.iter().find(|one| one.model == id).map(|one| ("ladder", one.id));
        let attempt = || {
            let attempts = state.attempts.going_on();
            attempts.iter().find(|one| one.model == id).map(|one| ("attempt", one.id))
        };
        let (what, number) = ladder.or_else(attempt)?;
        let message = format!("{what} {number} of `{id}` goes on: DELETE /api/{what}s/{number} first");
        Some(ErrorObject::new("model_in_use", message))
    };
    state.registry.remove(&id, in_use).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/models/{id}/known-good`: the certificate.
#[utoipa::path(
    get,
    path = "/api/models/{id}/known-good",
    operation_id = "get_known_good",
    tag = "models",
    params(("id" = String, Path, description = "Id of the model")),
    responses((status = 200, description = "The answer", body = Certificate), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn certificate(
    State(state): State<AppState>,
    InPath(id): InPath,
) -> Result<Json<Certificate>, HttpError> {
    Ok(Json(state.registry.certificate(&id).await?))
}

/// `POST /api/models/{id}/known-good`: commits the load config of a validated attempt.
#[utoipa::path(
    post,
    path = "/api/models/{id}/known-good",
    operation_id = "commit_known_good",
    tag = "models",
    request_body = CommitBody,
    params(("id" = String, Path, description = "Id of the model")),
    responses((status = 201, description = "Committed", body = Certificate), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn commit(
    State(state): State<AppState>,
    InPath(id): InPath,
    OptionalJson(body): OptionalJson<CommitBody>,
) -> Result<(StatusCode, Json<Certificate>), HttpError> {
    let attempt = match body.attempt_id {
        Some(attempt) => attempt,
        None => {
            let filter = Filter { model: Some(id.clone()), limit: Some(attempts::MOST), ..Filter::default() };
            let records = state.attempts.list(&filter).await?;
            let is_validated = |record: &phi3::api::AttemptRecord| {
                let passed = |report: &phi3::validate::Report| report.verdict != Verdict::Fail;
                record.attempt.state.is_final() && record.attempt.report.as_ref().is_some_and(passed)
            };
            // What was validated under this id may have been another model.
            let source = state.registry.source(&id).await?;
            let mut validated = records.into_iter().filter(is_validated);
            let newest = validated.find(|record| record.evidence.source == source);
            let newest = newest.ok_or_else(|| {
                HttpError::new("not_validated", format!("no validation of `{id}` has passed"))
            })?;
            newest.attempt.id
        }
    };
    let record = state.attempts.get(attempt).await?;
    let certificate = state.registry.commit(&id, &record).await?;
    Ok((StatusCode::CREATED, Json(certificate)))
}

async fn detail(state: &AppState, id: &str) -> Result<Json<ModelDetail>, HttpError> {
    let mut detail = with_loaded(state, id).await?;
    detail.entry.loaded_by = state.loaded(id).map(|loaded| loaded.attempt_id);
    Ok(Json(detail))
}

/// A model with all that is kept of it. One that is loaded is there though its files are gone by now: as the attempt that
/// loaded it knows it.
async fn with_loaded(state: &AppState, id: &str) -> Result<ModelDetail, HttpError> {
    let (error, loaded) = match (state.registry.detail(id).await, state.loaded(id)) {
        (Err(error), Some(loaded)) if error.code == "no_such_model" => (error, loaded),
        (detail, _) => return Ok(detail?),
    };
    let Evidence { source, files, .. } = state.attempts.get(loaded.attempt_id).await?.evidence;
    let (path, hub) = match source {
        ModelSource::Path(path) => (path, None),
        ModelSource::Hub(hub) => (String::new(), Some(hub)),
    };
    let message = format!("the files of `{id}` are gone; it runs until it is unloaded");
    let entry = ModelEntry {
        id: id.to_owned(),
        name: id.to_owned(),
        path,
        hub,
        error: Some(ErrorObject { message, ..error }),
        ..ModelEntry::default()
    };
    Ok(ModelDetail { entry, card: None, files, created_ms: None, updated_ms: None })
}
