//! `POST /api/models/{id}/validate`: puts a validation into the queue.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use phi3::api::ErrorBody;
use phi3::api::worker::{PromptSource, Validate};
use phi3::api::{AttemptKind, Started};
use phi3::validate::ProbeSet;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::{HttpError, Refusal};
use super::extract::{InPath, OptionalJson};
use crate::ask::{Ask, Parent, ask};
use crate::state::AppState;

/// Longest prompt in bytes; what a model of 128 k positions could hold.
const PROMPT_BYTES: usize = 1 << 20;

/// Most tokens that may be asked for.
const MOST_TOKENS: usize = 4096;

/// The CLI's flags in snake_case; all may be left out.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ValidateBody {
    prompt: Option<String>,
    chat: Option<String>,
    max_new_tokens: Option<usize>,
    #[schema(value_type = String, example = "none")]
    probe: ProbeSet,
    device: Option<String>,
    #[schema(value_type = Object)]
    load_config: Map<String, Value>,
    #[serde(alias = "parent_id")]
    parent: Option<u64>,
    branch: bool,
    force: bool,
    note: String,
}

/// Answers 202 with the attempt's id; its tokens come as events. A client that leaves cancels nothing. A model that is
/// loaded is validated as it is loaded, unless a device or a load config says otherwise.
#[utoipa::path(
    post,
    path = "/api/models/{id}/validate",
    operation_id = "validate_model",
    tag = "models",
    request_body = ValidateBody,
    params(("id" = String, Path, description = "Id of the model")),
    responses((status = 202, description = "The attempt waits; its course comes as events", body = Started), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn post(
    State(state): State<AppState>,
    InPath(id): InPath,
    OptionalJson(body): OptionalJson<ValidateBody>,
) -> Result<(StatusCode, Json<Started>), Refusal> {
    let mut asked = body.ask(id)?;
    // Where nothing else is asked for, what is loaded is what is to be proved.
    if asked.device.is_none()
        && asked.load_config.is_empty()
        && let Some(loaded) = state.loaded(&asked.model)
    {
        let record = state.attempts.get(loaded.attempt_id).await?;
        (asked.load_config, asked.context) = (record.attempt.load_config, loaded.context);
        if asked.parent == Parent::Newest {
            asked.parent = Parent::Of(loaded.attempt_id);
        }
    }
    let attempt_id = ask(&state.registry, &state.attempts, &state.host, asked).await?;
    Ok((StatusCode::ACCEPTED, Json(Started { attempt_id })))
}

impl ValidateBody {
    fn ask(self, model: String) -> Result<Ask, HttpError> {
        let prompt = match (self.prompt, self.chat) {
            (None, None) => PromptSource::Default,
            (Some(text), None) => PromptSource::Text(text),
            (None, Some(text)) => PromptSource::Chat(text),
            (Some(_), Some(_)) => {
                return Err(HttpError::field("chat", "stands beside `prompt`: give one of both"));
            }
        };
        if prompt == PromptSource::Text(String::new()) {
            return Err(HttpError::field("prompt", "is empty: there would be nothing to go on from"));
        }
        if let PromptSource::Text(text) | PromptSource::Chat(text) = &prompt
            && text.len() > PROMPT_BYTES
        {
            return Err(HttpError::field("prompt", format_args!("is longer than {PROMPT_BYTES} bytes")));
        }
        let max_new_tokens = self.max_new_tokens.unwrap_or(Validate::MAX_NEW_TOKENS);
        if !(1..=MOST_TOKENS).contains(&max_new_tokens) {
            let rest = format!("is {max_new_tokens}, expected 1 to {MOST_TOKENS}");
            return Err(HttpError::field("max_new_tokens", rest));
        }
        Ok(Ask {
            model,
            kind: AttemptKind::Validate,
            device: self.device,
            load_config: self.load_config,
            validate: Some(Validate { prompt, max_new_tokens, probe: self.probe, reference: true }),
            context: None,
            parent: self.parent.into(),
            branch: self.branch,
            force: self.force,
            note: self.note,
        })
    }
}
