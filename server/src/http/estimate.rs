//! `POST /api/estimate`.

use axum::Json;
use axum::extract::State;
use phi3::api::{ErrorBody, ErrorObject};
use phi3::estimate::Options;
use phi3::load_config::LoadConfig;
use preflight_files::{Model, Source};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::HttpError;
use super::extract::{self, JsonBody};
use super::source::SourceRequest;
use crate::launcher;
use crate::reports::{self, Estimated};
use crate::state::AppState;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EstimateBody {
    source: SourceRequest,
    /// The CLI's flags in snake_case; `load_config` holds the overrides themselves.
    #[serde(default)]
    #[schema(value_type = Object)]
    options: Map<String, Value>,
}

/// Answers with the JSON of `preflight estimate --json`.
#[utoipa::path(
    post,
    path = "/api/estimate",
    operation_id = "estimate",
    tag = "answers",
    request_body = EstimateBody,
    responses((status = 200, description = "What `preflight estimate --json` prints", body = Object), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn post(
    State(state): State<AppState>,
    JsonBody(EstimateBody { source, mut options }): JsonBody<EstimateBody>,
) -> Result<Json<Estimated>, HttpError> {
    let overrides = match options.remove("load_config") {
        None | Some(Value::Null) => Map::new(),
        Some(value) => extract::from_value("options.load_config", &value)?,
    };
    let options = extract::from_value::<Options>("options", &Value::Object(options));
    let mut options = options.map_err(with_load_config)?;
    if options.calibration.is_empty() {
        options.calibration = state.attempts.ledger().calibration(&state.host.environment()).await?;
    }
    let estimate = move |source: &Source| {
        let estimated = reports::estimate(&Model::open(source)?, &options, &overrides).map_err(in_body)?;
        let load_config = LoadConfig::from_map(&overrides).map_err(|error| in_body((&error).into()))?;
        launcher::check_template_early(load_config.chat_template.as_deref()).map_err(in_body)?;
        Ok(estimated)
    };
    source.ask(&state, estimate).await.map(Json)
}

/// Where in the body an option or an override stands, which the command line names by itself.
fn in_body(error: ErrorObject) -> ErrorObject {
    let place = match error.code.as_str() {
        "invalid_option" => "options",
        "load_config_invalid" => "options.load_config",
        _ => return error,
    };
    let path = error.path.map(|path| format!("{place}.{}", path.replace('-', "_")));
    ErrorObject { path, ..error }
}

/// The names that a wrong option is told: `load_config` is one of them, read apart from the others.
fn with_load_config(HttpError(mut error): HttpError) -> HttpError {
    let is_name = error.path.as_deref().is_some_and(|path| path.matches('.').count() == 1);
    if is_name && error.message.contains(" is not known, expected one of ") {
        error.message.push_str(", `load_config`");
    }
    HttpError(error)
}
