//! `GET /health`: the process lives. `GET /ready`: it can take work.

use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use phi3::api::ErrorBody;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{HttpError, refused};
use super::extract::ApiQuery;
use crate::launcher::Local;
use crate::state::AppState;

const ENDING: &str = "the server is shutting down";

/// Always 200.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "get_health",
    tag = "operations",
    security(()),
    responses((status = 200, description = "The process lives", body = Object), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn health() -> Json<Value> {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// Refuses to begin or change anything once the server ends; what is only looked at is still told.
pub(super) async fn refuse_new_work(State(state): State<AppState>, request: Request, next: Next) -> Response {
    if state.attempts.is_closed() && !request.method().is_safe() {
        return refused(request.uri().path(), "shutting_down", ENDING);
    }
    next.run(request).await
}

/// What is asked for.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReadyQuery {
    /// Id of a model that must be loaded.
    model: Option<String>,
}

/// 200 where a worker can be started and the server does not end, else 503 with the reason; 409 where `model` is not loaded.
#[utoipa::path(
    get,
    path = "/ready",
    operation_id = "get_readiness",
    params(ReadyQuery),
    tag = "operations",
    responses((status = 200, description = "Work is taken", body = Object), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn ready(
    State(state): State<AppState>,
    ApiQuery(ReadyQuery { model }): ApiQuery<ReadyQuery>,
) -> Result<Json<Value>, HttpError> {
    if state.attempts.is_closed() {
        return Err(HttpError::new("shutting_down", ENDING));
    }
    state.store.check().await?;
    Local::find(Some("cpu")).map_err(|error| HttpError::new("worker_not_started", error.to_string()))?;
    if let Some(model) = model.filter(|model| state.loaded(model).is_none()) {
        // One that there is not at all is told as such.
        state.registry.locate(&model).await?;
        return Err(HttpError::new("not_loaded", format!("`{model}` is not loaded")));
    }
    Ok(Json(json!({ "status": "ready" })))
}
