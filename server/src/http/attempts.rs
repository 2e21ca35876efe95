//! `/api/attempts`: what was tried, and the end of what is being tried.

use axum::Json;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, LINK};
use axum::response::{IntoResponse, Response};
use phi3::api::ErrorBody;
use phi3::api::{Attempt, AttemptKind, AttemptRecord, AttemptState, Comparison};
use phi3::load_config::OutcomeClass;
use phi3::units::format_counted;
use serde::Deserialize;

use super::error::HttpError;
use super::extract::{self, ApiQuery, InPath, JsonBody};
use crate::attempts::{EndedBy, NOTE_BYTES};
use crate::ledger::{self, Filter, Format};
use crate::registry::check_text;
use crate::state::AppState;

/// Attempts on a page where nothing is said.
pub(super) const PAGE: u32 = 100;

/// Most attempts in one answer: on a page, or side by side.
pub(super) const MOST: u32 = 1000;

/// Which attempts; all may be left out.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ListQuery {
    model: Option<String>,
    kind: Option<AttemptKind>,
    state: Option<AttemptState>,
    #[param(value_type = Option<String>)]
    outcome: Option<OutcomeClass>,
    limit: Option<u32>,
    /// Attempts older than this one.
    cursor: Option<u64>,
}

impl ListQuery {
    fn filter(self, limit: Option<u32>) -> Filter {
        Filter {
            model: self.model,
            kind: self.kind,
            state: self.state,
            outcome: self.outcome,
            before: self.cursor,
            limit,
        }
    }
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct CompareQuery {
    ids: String,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportQuery {
    #[param(value_type = String)]
    format: Format,
    model: Option<String>,
    kind: Option<AttemptKind>,
    state: Option<AttemptState>,
    #[param(value_type = Option<String>)]
    outcome: Option<OutcomeClass>,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NoteBody {
    note: String,
}

/// `GET /api/attempts`: newest first. Where there are more, the header `link` has the address of the next page.
#[utoipa::path(
    get,
    path = "/api/attempts",
    operation_id = "list_attempts",
    tag = "attempts",
    params(ListQuery),
    responses((status = 200, description = "Newest first; the header `link` has the next page", body = [Attempt]), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn list(
    State(state): State<AppState>,
    ApiQuery(query): ApiQuery<ListQuery>,
) -> Result<Response, HttpError> {
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=MOST).contains(&limit) {
        return Err(HttpError::field("limit", format_args!("is {limit}, expected 1 to {MOST}")));
    }
    let filter = query.filter(Some(limit + 1));
    let mut records = state.attempts.list(&filter).await?;
    let more = records.len() > limit as usize;
    records.truncate(limit as usize);
    let next = records.last().filter(|_| more).map(|last| next_page(&filter, limit, last.attempt.id));
    let attempts: Vec<Attempt> = records.into_iter().map(|record| record.attempt).collect();
    let mut response = Json(attempts).into_response();
    if let Some(next) = next.and_then(|next| next.parse().ok()) {
        response.headers_mut().insert(LINK, next);
    }
    Ok(response)
}

fn next_page(filter: &Filter, limit: u32, last: u64) -> String {
    let mut query = format!("limit={limit}&cursor={last}");
    let named = [
        ("kind", filter.kind.map(AttemptKind::name)),
        ("state", filter.state.map(AttemptState::name)),
        ("outcome", filter.outcome.map(OutcomeClass::name)),
    ];
    for (key, value) in named {
        if let Some(value) = value {
            query.push_str(&format!("&{key}={value}"));
        }
    }
    if let Some(model) = &filter.model {
        let encode = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        };
        let encoded: String = model.bytes().map(encode).collect();
        query.push_str(&format!("&model={encoded}"));
    }
    format!("</api/attempts?{query}>; rel=\"next\"")
}

/// `GET /api/attempts/{id}`: all that is kept of one attempt, with its log.
#[utoipa::path(
    get,
    path = "/api/attempts/{id}",
    operation_id = "get_attempt",
    tag = "attempts",
    params(("id" = u64, Path, description = "Id of the attempt")),
    responses((status = 200, description = "The answer", body = AttemptRecord), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn one(
    State(state): State<AppState>,
    InPath(id): InPath,
) -> Result<Json<AttemptRecord>, HttpError> {
    Ok(Json(state.attempts.get(parse(&id)?).await?))
}

/// `PATCH /api/attempts/{id}`: replaces its note, the one thing that may change.
#[utoipa::path(
    patch,
    path = "/api/attempts/{id}",
    operation_id = "note_attempt",
    tag = "attempts",
    request_body = NoteBody,
    params(("id" = u64, Path, description = "Id of the attempt")),
    responses((status = 200, description = "The answer", body = AttemptRecord), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn note(
    State(state): State<AppState>,
    InPath(id): InPath,
    JsonBody(NoteBody { note }): JsonBody<NoteBody>,
) -> Result<Json<AttemptRecord>, HttpError> {
    check_text("note", &note, NOTE_BYTES)?;
    Ok(Json(state.attempts.note(parse(&id)?, &note).await?))
}

/// `GET /api/attempts/{id}/log`: the last lines of the worker's log, as text.
#[utoipa::path(
    get,
    path = "/api/attempts/{id}/log",
    operation_id = "get_attempt_log",
    tag = "attempts",
    params(("id" = u64, Path, description = "Id of the attempt")),
    responses((status = 200, description = "The last lines of the worker's log", content_type = "text/plain", body = String), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn log(State(state): State<AppState>, InPath(id): InPath) -> Result<Response, HttpError> {
    let record = state.attempts.get(parse(&id)?).await?;
    let mut text = record.attempt.log.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// `DELETE /api/attempts/{id}`: asks for its end.
#[utoipa::path(
    delete,
    path = "/api/attempts/{id}",
    operation_id = "cancel_attempt_by_delete",
    tag = "attempts",
    params(("id" = u64, Path, description = "Id of the attempt")),
    responses((status = 200, description = "As it is now; its end comes as an event", body = Attempt), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn cancel(
    State(state): State<AppState>,
    InPath(id): InPath,
) -> Result<Json<Attempt>, HttpError> {
    Ok(Json(state.attempts.cancel(parse(&id)?, EndedBy::Request).await?))
}

/// `POST /api/attempts/{id}/cancel`: the same.
#[utoipa::path(
    post,
    path = "/api/attempts/{id}/cancel",
    operation_id = "cancel_attempt",
    tag = "attempts",
    params(("id" = u64, Path, description = "Id of the attempt")),
    responses((status = 200, description = "As it is now; its end comes as an event", body = Attempt), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn cancel_by_post(state: State<AppState>, id: InPath) -> Result<Json<Attempt>, HttpError> {
    cancel(state, id).await
}

/// `GET /api/attempts/compare?ids=1,2,3`: what differs between them, and nothing else.
#[utoipa::path(
    get,
    path = "/api/attempts/compare",
    operation_id = "compare_attempts",
    tag = "attempts",
    params(CompareQuery),
    responses((status = 200, description = "The answer", body = Comparison), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn compare(
    State(state): State<AppState>,
    ApiQuery(CompareQuery { ids }): ApiQuery<CompareQuery>,
) -> Result<Json<Comparison>, HttpError> {
    let ids: Vec<&str> = ids.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
    if !(2..=MOST as usize).contains(&ids.len()) {
        let named = format_counted(ids.len() as u64, "attempt");
        let rest = format!("names {named}, expected 2 to {MOST}, separated by commas");
        return Err(HttpError::field("ids", rest));
    }
    let mut records = Vec::new();
    for id in ids {
        records.push(state.attempts.get(parse(id)?).await?);
    }
    Ok(Json(ledger::compare(&records)))
}

/// `GET /api/attempts/export?format=jsonl|csv|markdown`: all attempts, oldest first, as a file.
#[utoipa::path(
    get,
    path = "/api/attempts/export",
    operation_id = "export_attempts",
    tag = "attempts",
    params(ExportQuery),
    responses((status = 200, description = "A file", body = String), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn export(
    State(state): State<AppState>,
    ApiQuery(query): ApiQuery<ExportQuery>,
) -> Result<Response, HttpError> {
    let ExportQuery { format, model, kind, state: in_state, outcome } = query;
    let filter = Filter { model, kind, state: in_state, outcome, ..Filter::default() };
    let mut records = state.attempts.list(&filter).await?;
    records.reverse();
    // Of many attempts it takes a while.
    let text = tokio::task::spawn_blocking(move || ledger::export(&records, format)).await;
    let text = text.map_err(HttpError::internal)??;
    let name = format!("attachment; filename=\"attempts.{}\"", format.extension());
    Ok(([(CONTENT_TYPE, format.media_type().to_owned()), (CONTENT_DISPOSITION, name)], text).into_response())
}

fn parse(id: &str) -> Result<u64, HttpError> {
    extract::number(id, "attempt", "no_such_attempt")
}
