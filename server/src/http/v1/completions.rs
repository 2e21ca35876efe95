//! `POST /v1/completions`.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use phi3::api::{PromptInput, TokenLogprobs};
use serde_json::{Map, Value, json};

use super::describe::{ApiErrorBody, CompletionAnswer, CompletionBody};
use super::error::ApiError;
use super::request::{Body, Common, Fields, wrong};
use super::run::{Asked, Shape, run};
use crate::state::AppState;

/// OpenAI's default here, where nothing is said.
const MAX_TOKENS: u64 = 16;

/// Most of the likeliest tokens that are told.
const MOST_LOGPROBS: u64 = 5;

/// Most prompts of one request.
const MOST_PROMPTS: usize = 16;

/// `POST /v1/completions`: goes on with a text or with ids, as they are.
#[utoipa::path(
    post,
    path = "/completions",
    operation_id = "create_completion",
    tag = "openai",
    request_body = CompletionBody,
    responses((status = 200, description = "The answer; with `stream` as events", body = CompletionAnswer), (status = "default", description = "What was wrong", body = ApiErrorBody))
)]
pub(super) async fn post(State(state): State<AppState>, Body(body): Body) -> Result<Response, ApiError> {
    let asked = read(&body)?;
    let name = &asked.common.model;
    let model = state.loaded(name).ok_or_else(|| ApiError::not_loaded(name))?;
    run::<Text>(model, asked).await
}

fn read(body: &Bytes) -> Result<Asked, ApiError> {
    let mut fields = Fields::parse(body)?;
    let common = Common::take(&mut fields)?;
    let value = fields.take("prompt");
    let value = value.ok_or_else(|| ApiError::param("prompt", "Missing required parameter: 'prompt'"))?;
    let prompts = prompts(&value).ok_or_else(|| {
        let expected = format!("a string, ids, or a list of up to {MOST_PROMPTS} of either");
        wrong("prompt", &value, &expected)
    })?;
    let max_tokens = fields.count("max_tokens", 1..=u64::from(u32::MAX))?.unwrap_or(MAX_TOKENS);
    let logprobs = fields.count("logprobs", 0..=MOST_LOGPROBS)?;
    let best_of = [json!(common.choices)];
    fields.only("best_of", &best_of)?;
    fields.only("echo", &[json!(false)])?;
    fields.only("suffix", &[json!("")])?;
    fields.end()?;
    Ok(Asked {
        common,
        prompts,
        max_new_tokens: Some(max_tokens as usize),
        logprobs: logprobs.map(|top| top as usize),
    })
}

/// A text, ids, or a list of them.
fn prompts(value: &Value) -> Option<Vec<PromptInput>> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(PromptInput::Text(text.clone())),
        Value::Array(ids) => {
            let ids = ids.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()));
            ids.collect::<Option<Vec<_>>>().map(PromptInput::Ids)
        }
        _ => None,
    };
    match value {
        Value::Array(list) if list.first().is_some_and(|first| !first.is_number()) => {
            let list = (list.len() <= MOST_PROMPTS).then_some(list)?;
            list.iter().map(one).collect()
        }
        single => one(single).map(|prompt| vec![prompt]),
    }
}

struct Text;

impl Shape for Text {
    const OBJECT: &'static str = "text_completion";
    const CHUNK: &'static str = "text_completion";
    const PREFIX: &'static str = "cmpl-";
    const PROMPT: &'static str = "prompt";

    fn choice(index: usize, text: &str, reason: &str, logprobs: Value) -> Value {
        json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": reason })
    }

    fn opening(_index: usize) -> Option<Value> {
        None
    }

    fn piece(index: usize, text: &str, logprobs: Value) -> Value {
        json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": null })
    }

    fn closing(index: usize, reason: &str) -> Value {
        json!({ "index": index, "text": "", "logprobs": null, "finish_reason": reason })
    }

    fn logprobs(tokens: &[TokenLogprobs], offset: usize) -> Value {
        let mut offsets = Vec::with_capacity(tokens.len());
        let mut at = offset;
        for token in tokens {
            offsets.push(at);
            at += token.chosen.text.chars().count();
        }
        let chosen = || tokens.iter().map(|token| &token.chosen);
        let top = tokens.iter().map(|token| {
            // The token that was drawn is always among them, so that there may be one more than asked for.
            let all = token.top.iter().chain([&token.chosen]);
            let mut entries = Map::new();
            for token in all {
                entries.entry(&token.text).or_insert_with(|| json!(token.logprob));
            }
            Value::Object(entries)
        });
        json!({
            "tokens": chosen().map(|token| &token.text).collect::<Vec<_>>(),
            "token_logprobs": chosen().map(|token| token.logprob).collect::<Vec<_>>(),
            "top_logprobs": top.collect::<Vec<_>>(),
            "text_offset": offsets,
        })
    }
}

#[cfg(test)]
mod tests {
    use phi3::api::TokenLogprob;

    use super::*;

    #[test]
    fn the_drawn_token_is_among_the_likeliest() {
        let token = |text: &str, logprob| TokenLogprob { token: 1, text: text.to_owned(), logprob };
        let top = vec![token("a", -0.5), token("b", -1.5)];
        let of = |chosen| {
            let tokens = [TokenLogprobs { chosen, top: top.clone() }];
            Text::logprobs(&tokens, 0)["top_logprobs"][0].clone()
        };
        assert_eq!(of(token("c", -3.0)), json!({ "a": -0.5, "b": -1.5, "c": -3.0 }));
        assert_eq!(of(token("b", -1.5)), json!({ "a": -0.5, "b": -1.5 }));
    }
}
