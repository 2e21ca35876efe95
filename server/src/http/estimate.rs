//! `POST /api/estimate`.

use axum::Json;
use axum::extract::State;
use phi3::estimate::{Options, Report};
use serde::Deserialize;

use super::error::HttpError;
use super::extract::JsonBody;
use super::source::SourceRequest;
use crate::reports;
use crate::state::AppState;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    source: SourceRequest,
    #[serde(default)]
    options: Options,
}

/// Answers with the JSON of `preflight estimate --json`.
pub(super) async fn post(
    State(state): State<AppState>,
    JsonBody(body): JsonBody<Body>,
) -> Result<Json<Report>, HttpError> {
    let model = body.source.open(&state).await?;
    reports::estimate(&model, &body.options).map(Json).map_err(HttpError)
}
