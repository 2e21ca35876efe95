//! `GET /metrics`, `GET /api/devices`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use phi3::api::Devices;
use phi3::api::ErrorBody;

use super::error::HttpError;
use crate::metrics;
use crate::state::AppState;

/// Counters, in the text format of Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
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
    tag = "operations",
    responses((status = 200, description = "The answer", body = Devices), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn devices(State(state): State<AppState>) -> Result<Json<Devices>, HttpError> {
    let host = Arc::clone(&state.host);
    let found = tokio::task::spawn_blocking(move || host.devices()).await;
    let devices = found.map_err(|error| HttpError::new("internal", error.to_string()))?;
    Ok(Json(Devices { devices, environment: state.host.environment() }))
}
