//! `POST /api/models/{id}/load` and `/unload`: puts a load into the queue; asks for its end.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use phi3::api::ErrorBody;
use phi3::api::{AttemptKind, Started};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::{HttpError, Refusal};
use super::extract::{InPath, OptionalJson};
use crate::ask::{Ask, ask};
use crate::attempts::EndedBy;
use crate::state::AppState;

/// Longest context that may be asked for: a hundred times what any published model has.
const MOST_TOKENS: usize = 1 << 30;

/// All may be left out.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LoadBody {
    device: Option<String>,
    #[schema(value_type = Object)]
    load_config: Map<String, Value>,
    context: Option<usize>,
    #[serde(alias = "parent_id")]
    parent: Option<u64>,
    branch: bool,
    force: bool,
    note: String,
}

/// Answers 202 with the attempt's id. A model that is loaded so already keeps its attempt.
#[utoipa::path(
    post,
    path = "/api/models/{id}/load",
    operation_id = "load_model",
    tag = "models",
    request_body = LoadBody,
    params(("id" = String, Path, description = "Id of the model")),
    responses((status = 202, description = "The attempt waits; its course comes as events", body = Started), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn load(
    State(state): State<AppState>,
    InPath(model): InPath,
    OptionalJson(body): OptionalJson<LoadBody>,
) -> Result<(StatusCode, Json<Started>), Refusal> {
    let LoadBody { device, load_config, context, parent, branch, force, note } = body;
    if let Some(tokens) = context.filter(|tokens| !(1..=MOST_TOKENS).contains(tokens)) {
        return Err(
            HttpError::field("context", format_args!("is {tokens}, expected 1 to {MOST_TOKENS}")).into()
        );
    }
    let kind = AttemptKind::Load;
    let parent = parent.into();
    let asked =
        Ask { model, kind, device, load_config, validate: None, context, parent, branch, force, note };
    let attempt_id = ask(&state.registry, &state.attempts, &state.host, asked).await?;
    Ok((StatusCode::ACCEPTED, Json(Started { attempt_id })))
}

/// Answers 202 with the id of the attempt that holds the model, or still loads it.
#[utoipa::path(
    post,
    path = "/api/models/{id}/unload",
    operation_id = "unload_model",
    tag = "models",
    params(("id" = String, Path, description = "Id of the model")),
    responses((status = 202, description = "The attempt that ends", body = Started), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn unload(
    State(state): State<AppState>,
    InPath(model): InPath,
) -> Result<(StatusCode, Json<Started>), HttpError> {
    let Some((attempt_id, _)) = state.attempts.loading(&model) else {
        // One that there is not at all is told as such.
        state.registry.locate(&model).await?;
        return Err(HttpError::new("not_loaded", format!("`{model}` is not loaded")));
    };
    state.attempts.cancel(attempt_id, EndedBy::Request).await?;
    Ok((StatusCode::ACCEPTED, Json(Started { attempt_id })))
}
