//! `POST /v1/chat/completions`.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use phi3::api::{PromptInput, TokenLogprob, TokenLogprobs, Turn};
use serde_json::{Map, Value, json};

use super::describe::{ApiErrorBody, ChatBody, CompletionAnswer};
use super::error::ApiError;
use super::request::{Body, Common, Fields, wrong};
use super::run::{Asked, Shape, run};
use crate::state::AppState;

/// Most of the likeliest tokens that are told.
const MOST_LOGPROBS: u64 = 20;

/// Most turns of a conversation.
const MOST_MESSAGES: usize = 1024;

/// `POST /v1/chat/completions`: goes on with a conversation, through the model's chat template.
#[utoipa::path(
    post,
    path = "/chat/completions",
    operation_id = "create_chat_completion",
    tag = "openai",
    request_body = ChatBody,
    responses((status = 200, description = "The answer; with `stream` as events", body = CompletionAnswer), (status = "default", description = "What was wrong", body = ApiErrorBody))
)]
pub(super) async fn post(State(state): State<AppState>, Body(body): Body) -> Result<Response, ApiError> {
    let asked = read(&body)?;
    let name = &asked.common.model;
    let model = state.loaded(name).ok_or_else(|| ApiError::not_loaded(name))?;
    run::<Chat>(model, asked).await
}

fn read(body: &Bytes) -> Result<Asked, ApiError> {
    let mut fields = Fields::parse(body)?;
    let common = Common::take(&mut fields)?;
    let turns = match fields.take("messages") {
        Some(Value::Array(list)) if (1..=MOST_MESSAGES).contains(&list.len()) => list
            .iter()
            .enumerate()
            .map(|(index, turn)| message(index, turn))
            .collect::<Result<Vec<_>, _>>()?,
        Some(other) => return Err(wrong("messages", &other, &format!("1 to {MOST_MESSAGES} messages"))),
        None => return Err(ApiError::param("messages", "Missing required parameter: 'messages'")),
    };
    let old = fields.count("max_tokens", 1..=u64::from(u32::MAX))?;
    let new = fields.count("max_completion_tokens", 1..=u64::from(u32::MAX))?;
    if old.zip(new).is_some_and(|(old, new)| old != new) {
        let message = "'max_tokens' and 'max_completion_tokens' say two things: the first is the old name of the second";
        return Err(ApiError::param("max_tokens", message));
    }
    let max_new_tokens = new.or(old);
    let with_logprobs = fields.flag("logprobs")?;
    let top = fields.count("top_logprobs", 0..=MOST_LOGPROBS)?;
    if top.is_some() && !with_logprobs {
        return Err(ApiError::param("top_logprobs", "'top_logprobs' needs 'logprobs' to be true"));
    }
    fields.only("response_format", &[json!({ "type": "text" })])?;
    fields.only("tools", &[json!([])])?;
    fields.only("tool_choice", &[json!("none"), json!("auto")])?;
    fields.only("parallel_tool_calls", &[json!(true), json!(false)])?;
    fields.only("modalities", &[json!(["text"])])?;
    fields.end()?;
    Ok(Asked {
        common,
        prompts: vec![PromptInput::Chat(turns)],
        max_new_tokens: max_new_tokens.map(|tokens| tokens as usize),
        logprobs: with_logprobs.then_some(top.unwrap_or(0) as usize),
    })
}

/// One message: a role, and a text or parts of text.
fn message(index: usize, value: &Value) -> Result<Turn, ApiError> {
    let place = format!("messages[{index}]");
    let Value::Object(map) = value else { return Err(wrong(&place, value, "an object")) };
    let text = |key: &str| match map.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(wrong(&format!("{place}.{key}"), other, "a string")),
        None => Err(ApiError::param(
            format!("{place}.{key}"),
            format!("Missing required parameter: '{place}.{key}'"),
        )),
    };
    // Clients send our own answer back as a turn: what is `null` in it says nothing.
    let is_unknown = |(key, value): &(&String, &Value)| {
        !value.is_null() && !["role", "content", "name"].contains(&key.as_str())
    };
    if let Some((key, _)) = map.iter().find(is_unknown) {
        let path = format!("{place}.{key}");
        return Err(ApiError::param(path.clone(), format!("Unrecognized request argument supplied: {path}")));
    }
    let content = match map.get("content") {
        Some(Value::Array(parts)) => parts
            .iter()
            .enumerate()
            .map(|(part, value)| {
                part_text(value).ok_or_else(|| {
                    wrong(
                        &format!("{place}.content[{part}]"),
                        value,
                        "a part of type text; this server reads no others",
                    )
                })
            })
            .collect::<Result<String, _>>()?,
        _ => text("content")?,
    };
    let role = text("role")?;
    let role = match role.as_str() {
        "system" | "user" | "assistant" => role,
        // What newer clients call the system's turn; templates know the old name.
        "developer" => "system".to_owned(),
        // A template leaves out a turn whose role it does not know.
        _ => {
            let path = format!("{place}.role");
            let known = "one of system, developer, user and assistant";
            return Err(wrong(&path, &Value::String(role), known));
        }
    };
    Ok(Turn { role, content })
}

fn part_text(part: &Value) -> Option<&str> {
    let map: &Map<String, Value> = part.as_object().filter(|map| map.len() == 2)?;
    map.get("type").filter(|kind| *kind == "text")?;
    map.get("text")?.as_str()
}

struct Chat;

impl Shape for Chat {
    const OBJECT: &'static str = "chat.completion";
    const CHUNK: &'static str = "chat.completion.chunk";
    const PREFIX: &'static str = "chatcmpl-";
    const PROMPT: &'static str = "messages";

    fn choice(index: usize, text: &str, reason: &str, logprobs: Value) -> Value {
        json!({
            "index": index,
            "message": { "role": "assistant", "content": text, "refusal": null },
            "logprobs": logprobs,
            "finish_reason": reason,
        })
    }

    fn opening(index: usize) -> Option<Value> {
        let delta = json!({ "role": "assistant", "content": "" });
        Some(json!({ "index": index, "delta": delta, "logprobs": null, "finish_reason": null }))
    }

    fn piece(index: usize, text: &str, logprobs: Value) -> Value {
        let delta = json!({ "content": text });
        json!({ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": null })
    }

    fn closing(index: usize, reason: &str) -> Value {
        json!({ "index": index, "delta": {}, "logprobs": null, "finish_reason": reason })
    }

    fn logprobs(tokens: &[TokenLogprobs], _offset: usize) -> Value {
        let one = |token: &TokenLogprob| {
            // A part of a character has bytes that its text does not tell.
            let is_whole = !token.text.contains(char::REPLACEMENT_CHARACTER);
            let bytes = is_whole.then_some(token.text.as_bytes());
            json!({ "token": token.text, "logprob": token.logprob, "bytes": bytes })
        };
        let of = |token: &TokenLogprobs| {
            let mut entry = one(&token.chosen);
            entry["top_logprobs"] = token.top.iter().map(one).collect();
            entry
        };
        json!({ "content": tokens.iter().map(of).collect::<Vec<_>>(), "refusal": null })
    }
}
