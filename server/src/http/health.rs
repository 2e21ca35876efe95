//! `GET /health`: the process lives. `GET /ready`: it can take work.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::error::HttpError;
use crate::launcher::Local;
use crate::state::AppState;

/// Always 200.
pub(super) async fn health() -> Json<Value> {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// 200 where a worker can be started and the server does not end, else 503 with the reason.
pub(super) async fn ready(State(state): State<AppState>) -> Result<Json<Value>, HttpError> {
    if state.attempts.is_closed() {
        return Err(HttpError::new("shutting_down", "the server is shutting down"));
    }
    state.store.check().await?;
    Local::find(Some("cpu")).map_err(|error| HttpError::new("worker_not_started", error.to_string()))?;
    Ok(Json(json!({ "status": "ready" })))
}
