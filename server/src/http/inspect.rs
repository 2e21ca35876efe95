//! `POST /api/inspect`.

use axum::Json;
use axum::extract::State;
use phi3::inspect::InspectReport;
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
    /// `inspect` has no options; `{}` is what a client sends that treats both alike.
    #[serde(default, rename = "options")]
    _options: NoOptions,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

/// Answers with the JSON of `preflight inspect --json`; an unknown architecture is an answer too.
pub(super) async fn post(
    State(state): State<AppState>,
    JsonBody(body): JsonBody<Body>,
) -> Result<Json<InspectReport>, HttpError> {
    let model = body.source.open(&state).await?;
    let inspected = tokio::task::spawn_blocking(move || reports::inspect(&model)).await;
    inspected.map_err(|error| HttpError::new("internal", error.to_string()))?.map(Json).map_err(HttpError)
}
