//! `GET /v1/models`: what is loaded.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::super::error::HttpError;
use super::super::extract::InPath;
use super::describe::{ApiErrorBody, LoadedEntry, ModelList};
use super::error::ApiError;
use crate::loaded::LoadedModel;
use crate::state::AppState;

/// `GET /v1/models`: every loaded model.
#[utoipa::path(
    get,
    path = "/models",
    operation_id = "list_loaded_models",
    tag = "openai",
    responses((status = 200, description = "Every loaded model", body = ModelList), (status = "default", description = "What was wrong", body = ApiErrorBody))
)]
pub(super) async fn list(State(state): State<AppState>) -> Json<Value> {
    let data: Vec<Value> = state.loaded.all().iter().map(entry).collect();
    Json(json!({ "object": "list", "data": data }))
}

/// `GET /v1/models/{id}`: one loaded model.
#[utoipa::path(
    get,
    path = "/models/{id}",
    operation_id = "get_loaded_model",
    tag = "openai",
    params(("id" = String, Path, description = "Id of the model")),
    responses((status = 200, description = "The model", body = LoadedEntry), (status = "default", description = "What was wrong", body = ApiErrorBody))
)]
pub(super) async fn one(
    State(state): State<AppState>,
    id: Result<InPath, HttpError>,
) -> Result<Json<Value>, ApiError> {
    let InPath(id) = id.map_err(|HttpError(error)| ApiError::from(error))?;
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
