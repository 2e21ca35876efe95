//! `GET /metrics`, `GET /api/devices`, `GET /api/settings`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use phi3::api::{Devices, ErrorBody, Settings};

use super::error::HttpError;
use crate::metrics;
use crate::state::AppState;

/// Counters, in the text format of Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "get_metrics",
    tag = "operations",
    responses((status = 200, description = "Counters in the text format of Prometheus", content_type = "text/plain", body = String), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn metrics(State(state): State<AppState>) -> Response {
    let text = metrics::render(&state).await;
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// The devices of the server's machine as they are now.
#[utoipa::path(
    get,
    path = "/api/devices",
    operation_id = "list_devices",
    tag = "operations",
    responses((status = 200, description = "The answer", body = Devices), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn devices(State(state): State<AppState>) -> Result<Json<Devices>, HttpError> {
    let host = Arc::clone(&state.host);
    let found = tokio::task::spawn_blocking(move || host.devices()).await;
    let devices = found.map_err(HttpError::internal)?;
    Ok(Json(Devices { devices, environment: state.host.environment() }))
}

/// The server's settings as they hold, each with where it comes from: a flag, else the environment, else the config file,
/// else the default. No secret is among them.
#[utoipa::path(
    get,
    path = "/api/settings",
    operation_id = "get_settings",
    tag = "operations",
    responses((status = 200, description = "The answer", body = Settings), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn settings(State(state): State<AppState>) -> Json<Settings> {
    Json((*state.settings).clone())
}
