//! `/api/attempts`: what was tried, and the end of what is being tried.

use axum::Json;
use axum::extract::{Path, State};
use phi3::api::Attempt;

use super::error::HttpError;
use crate::state::AppState;

/// `GET /api/attempts`: every attempt, newest first.
pub(super) async fn list(State(state): State<AppState>) -> Json<Vec<Attempt>> {
    Json(state.attempts.list())
}

/// `GET /api/attempts/{id}`: one attempt with its log.
pub(super) async fn one(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Attempt>, HttpError> {
    Ok(Json(state.attempts.get(parse(&id)?)?))
}

/// `DELETE /api/attempts/{id}`, `POST /api/attempts/{id}/cancel`: asks for its end.
pub(super) async fn cancel(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Attempt>, HttpError> {
    Ok(Json(state.attempts.cancel(parse(&id)?)?))
}

fn parse(id: &str) -> Result<u64, HttpError> {
    id.parse().ok().ok_or_else(|| HttpError::new("no_such_attempt", "attempts are named by a number"))
}
