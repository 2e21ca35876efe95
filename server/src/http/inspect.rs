//! `POST /api/inspect`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use phi3::api::ErrorBody;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::{self, HttpError};
use super::extract::JsonBody;
use super::source::SourceRequest;
use crate::reports::{self, Inspected};
use crate::state::AppState;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InspectBody {
    source: SourceRequest,
    #[serde(default)]
    options: InspectOptions,
}

#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct InspectOptions {
    /// Whether the config is told as it stands in the file too, as `config`: of a long list a field tells the ends.
    #[serde(default)]
    config: bool,
}

/// The report, and what was asked for beside it.
#[derive(Serialize)]
pub(super) struct Answer {
    #[serde(flatten)]
    inspected: Inspected,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Map<String, Value>>,
}

/// Answers with the JSON of `preflight inspect --json`; an unknown architecture is an answer too. Weights that differ
/// from their config give the status of that error, with the whole report and `error` in one object.
#[utoipa::path(
    post,
    path = "/api/inspect",
    operation_id = "inspect",
    tag = "answers",
    request_body = InspectBody,
    responses((status = 200, description = "What `preflight inspect --json` prints", body = Object), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn post(
    State(state): State<AppState>,
    JsonBody(body): JsonBody<InspectBody>,
) -> Result<(StatusCode, Json<Answer>), HttpError> {
    let mut inspected = body.source.ask(&state, reports::inspect_source).await?;
    let folders = state.registry.folders();
    for finding in &mut inspected.report.findings {
        finding.message = folders.told_text(&finding.message);
    }
    inspected.error = inspected.error.map(|error| folders.told(error));
    let status = inspected.error.as_ref().map_or(StatusCode::OK, |error| error::status(&error.code));
    let config = body.options.config.then(|| std::mem::take(&mut inspected.config));
    Ok((status, Json(Answer { inspected, config })))
}
