//! `/api/profiles`: saved ladders.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use phi3::api::{ErrorBody, ProfileEntry};
use serde::Deserialize;

use super::error::HttpError;
use super::extract::{InPath, JsonBody};
use crate::state::AppState;

/// A profile's text in TOML; its name stands in it.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SaveBody {
    toml: String,
}

/// `GET /api/profiles`: the product's own first, then by name.
#[utoipa::path(
    get,
    path = "/api/profiles",
    operation_id = "list_profiles",
    tag = "ladders",
    responses((status = 200, description = "The answer", body = [ProfileEntry]), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn list(State(state): State<AppState>) -> Result<Json<Vec<ProfileEntry>>, HttpError> {
    Ok(Json(state.profiles.list().await?))
}

/// `POST /api/profiles`: checks a profile and saves it under the name that stands in it, in place of one of that name.
#[utoipa::path(
    post,
    path = "/api/profiles",
    operation_id = "save_profile",
    tag = "ladders",
    request_body = SaveBody,
    responses((status = 201, description = "A new profile", body = ProfileEntry), (status = 200, description = "One of that name was replaced", body = ProfileEntry), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn save(
    State(state): State<AppState>,
    JsonBody(SaveBody { toml }): JsonBody<SaveBody>,
) -> Result<(StatusCode, Json<ProfileEntry>), HttpError> {
    let (entry, is_new) = state.profiles.save(toml).await?;
    Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, Json(entry)))
}

/// `GET /api/profiles/{name}`: one profile.
#[utoipa::path(
    get,
    path = "/api/profiles/{name}",
    operation_id = "get_profile",
    tag = "ladders",
    params(("name" = String, Path, description = "Name of the profile")),
    responses((status = 200, description = "The answer", body = ProfileEntry), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn one(
    State(state): State<AppState>,
    InPath(name): InPath,
) -> Result<Json<ProfileEntry>, HttpError> {
    Ok(Json(state.profiles.get(&name).await?))
}

/// `DELETE /api/profiles/{name}`: forgets it; ladders that were started with it keep theirs.
#[utoipa::path(
    delete,
    path = "/api/profiles/{name}",
    operation_id = "remove_profile",
    tag = "ladders",
    params(("name" = String, Path, description = "Name of the profile")),
    responses((status = 204, description = "It is gone"), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn remove(
    State(state): State<AppState>,
    InPath(name): InPath,
) -> Result<StatusCode, HttpError> {
    state.profiles.remove(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}
