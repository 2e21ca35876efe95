//! `GET /v1/models`: what is loaded.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::error::ApiError;
use crate::loaded::LoadedModel;
use crate::state::AppState;

/// Every loaded model.
pub(super) async fn list(State(state): State<AppState>) -> Json<Value> {
    let data: Vec<Value> = state.loaded.all().iter().map(entry).collect();
    Json(json!({ "object": "list", "data": data }))
}

/// One loaded model.
pub(super) async fn one(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let model = state.loaded(&id).ok_or_else(|| ApiError::not_loaded(&id))?;
    Ok(Json(entry(&model)))
}

fn entry(model: &LoadedModel) -> Value {
    json!({
        "id": model.model,
        "object": "model",
        "created": model.loaded_s,
        "owned_by": "preflight",
        "status": "ready",
        "device": model.loaded.engine.device,
        "dtype": model.loaded.engine.dtype,
        "max_model_len": model.loaded.context,
    })
}
