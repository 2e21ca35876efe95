//! `GET /api/events`: one stream a tab, resumed by `Last-Event-ID`.

use phi3::api::ErrorBody;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event as SseEvent, KeepAlive};
use phi3::api::{Event, EventKind};
use tokio_stream::{Stream, StreamExt as _};

use super::error::HttpError;
use crate::events::Published;
use crate::state::AppState;

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Most readers at once: half of the connections stay for requests.
const READERS: usize = 512;

/// Streams events; an id that is no number is that of a fresh reader.
#[utoipa::path(
    get,
    path = "/api/events",
    operation_id = "stream_events",
    tag = "events",
    responses((status = 200, description = "Events as they come, resumed by `last-event-id`", content_type = "text/event-stream", body = Event), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn stream(
    State(state): State<AppState>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, HttpError> {
    if state.hub.readers() >= READERS {
        let message = format!("{READERS} readers are there already: close some, or poll /api/attempts");
        return Err(HttpError::new("queue_full", message));
    }
    let last_id = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.trim().parse().ok());
    let subscription = state.hub.subscribe(last_id);
    let missed = subscription.reset().map_or_else(Vec::new, |reset| with_snapshot(&state, reset));
    // The first piece goes out at once, so that the browser sees the stream open.
    let opening = SseEvent::default().retry(Duration::from_secs(1)).comment("preflight");
    let events = tokio_stream::iter(missed).chain(subscription).map(|event| write(&event));
    let stream = tokio_stream::once(opening).chain(events).map(Ok);
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// A reader that is told to begin anew gets what goes on. What is published meanwhile comes after it, and the newest of
/// an attempt last.
fn with_snapshot(state: &AppState, reset: Arc<Published>) -> Vec<Arc<Published>> {
    let id = reset.event.id;
    let attempts = state.attempts.going_on().into_iter();
    let attempts = attempts.map(|attempt| EventKind::Attempt { attempt: Box::new(attempt) });
    let ladders = state.ladders.going_on().into_iter();
    let ladders = ladders.map(|ladder| EventKind::Ladder { ladder: Box::new(ladder) });
    let going_on = attempts.chain(ladders).map(|kind| Published::new(id, kind));
    std::iter::once(reset).chain(going_on).collect()
}

fn write(Published { event, json }: &Published) -> SseEvent {
    SseEvent::default().id(event.id.to_string()).event(event.kind.name()).data(json)
}
