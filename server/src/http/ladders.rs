//! `/api/ladders`: profiles run rung after rung; their end, and their going on after it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use phi3::api::{ErrorBody, Ladder, LadderStarted};
use serde::Deserialize;

use super::attempts::{MOST, PAGE};
use super::error::HttpError;
use super::extract::{self, ApiQuery, InPath, JsonBody};
use crate::attempts::NOTE_BYTES;
use crate::ladders::Profiles;
use crate::registry::check_text;
use crate::state::AppState;

/// Which ladders; all may be left out.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ListQuery {
    model: Option<String>,
    limit: Option<u32>,
    /// Ladders older than this one.
    cursor: Option<u64>,
}

/// What is climbed, and with which profile: a saved one by its name, or its text in TOML. The product's own ladder where
/// neither is given.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StartBody {
    model: String,
    profile: Option<String>,
    toml: Option<String>,
    #[serde(default)]
    note: String,
}

/// `GET /api/ladders`: newest first.
#[utoipa::path(
    get,
    path = "/api/ladders",
    operation_id = "list_ladders",
    tag = "ladders",
    params(ListQuery),
    responses((status = 200, description = "Newest first", body = [Ladder]), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn list(
    State(state): State<AppState>,
    ApiQuery(query): ApiQuery<ListQuery>,
) -> Result<Json<Vec<Ladder>>, HttpError> {
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=MOST).contains(&limit) {
        return Err(HttpError::field("limit", format_args!("is {limit}, expected 1 to {MOST}")));
    }
    Ok(Json(state.ladders.list(query.model.as_deref(), query.cursor, limit).await?))
}

/// `POST /api/ladders`: puts a ladder into the queue. One that goes on for the same model with the same profile is that
/// ladder. A model that is loaded is unloaded when its turn comes.
#[utoipa::path(
    post,
    path = "/api/ladders",
    operation_id = "start_ladder",
    tag = "ladders",
    request_body = StartBody,
    responses((status = 202, description = "The ladder waits; its course comes as events", body = LadderStarted), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn start(
    State(state): State<AppState>,
    JsonBody(body): JsonBody<StartBody>,
) -> Result<(StatusCode, Json<LadderStarted>), HttpError> {
    let StartBody { model, profile, toml, note } = body;
    check_text("note", &note, NOTE_BYTES)?;
    let profile = match (profile, toml) {
        (None, None) => Profiles::standard(),
        (Some(name), None) => Profiles::parse(&state.profiles.get(&name).await?.toml)?,
        (None, Some(toml)) => Profiles::parse(&toml)?,
        (Some(_), Some(_)) => {
            return Err(HttpError::field("toml", "stands beside `profile`: give one of both"));
        }
    };
    let _as_it_is = state.registry.as_it_is().await;
    state.registry.locate(&model).await?;
    let ladder_id = state.ladders.start(model, profile, note).await?;
    Ok((StatusCode::ACCEPTED, Json(LadderStarted { ladder_id })))
}

/// `GET /api/ladders/{id}`: one ladder with all its rungs.
#[utoipa::path(
    get,
    path = "/api/ladders/{id}",
    operation_id = "get_ladder",
    tag = "ladders",
    params(("id" = u64, Path, description = "Id of the ladder")),
    responses((status = 200, description = "As it is now", body = Ladder), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn one(
    State(state): State<AppState>,
    InPath(id): InPath,
) -> Result<Json<Ladder>, HttpError> {
    Ok(Json(state.ladders.get(parse(&id)?).await?))
}

/// `POST /api/ladders/{id}/cancel`: asks for its end, and that of the attempt that runs for it.
#[utoipa::path(
    post,
    path = "/api/ladders/{id}/cancel",
    operation_id = "cancel_ladder",
    tag = "ladders",
    params(("id" = u64, Path, description = "Id of the ladder")),
    responses((status = 200, description = "As it is now; its end comes as an event", body = Ladder), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn cancel(
    State(state): State<AppState>,
    InPath(id): InPath,
) -> Result<Json<Ladder>, HttpError> {
    Ok(Json(state.ladders.cancel(parse(&id)?).await?))
}

/// `DELETE /api/ladders/{id}`: the same; what was tried is kept.
#[utoipa::path(
    delete,
    path = "/api/ladders/{id}",
    operation_id = "cancel_ladder_by_delete",
    tag = "ladders",
    params(("id" = u64, Path, description = "Id of the ladder")),
    responses((status = 200, description = "As it is now; its end comes as an event", body = Ladder), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn cancel_by_delete(state: State<AppState>, id: InPath) -> Result<Json<Ladder>, HttpError> {
    cancel(state, id).await
}

/// `POST /api/ladders/{id}/resume`: a ladder that was cancelled or interrupted goes on with the rung that it stopped at.
#[utoipa::path(
    post,
    path = "/api/ladders/{id}/resume",
    operation_id = "resume_ladder",
    tag = "ladders",
    params(("id" = u64, Path, description = "Id of the ladder")),
    responses((status = 202, description = "It waits for its turn", body = Ladder), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn resume(
    State(state): State<AppState>,
    InPath(id): InPath,
) -> Result<(StatusCode, Json<Ladder>), HttpError> {
    let id = parse(&id)?;
    let _as_it_is = state.registry.as_it_is().await;
    // What cannot be begun is left as it is, so that it can be resumed when its model is there.
    state.registry.locate(&state.ladders.get(id).await?.model).await?;
    Ok((StatusCode::ACCEPTED, Json(state.ladders.resume(id).await?)))
}

fn parse(id: &str) -> Result<u64, HttpError> {
    extract::number(id, "ladder", "no_such_ladder")
}
