//! `GET /api/events`: one stream a tab, resumed by `Last-Event-ID`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event as SseEvent, KeepAlive};
use phi3::api::Event;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{Stream, StreamExt as _};

use crate::events::Subscription;
use crate::state::AppState;

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Streams events; an id that is no number is that of a fresh reader.
pub(super) async fn stream(
    State(state): State<AppState>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<SseEvent, Infallible>>> {
    let last_id = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.trim().parse().ok());
    let Subscription { missed, live } = state.hub.subscribe(last_id);
    let hub = Arc::clone(&state.hub);
    // A reader too slow is told so and dropped; it resumes after the reset.
    let mut dropped = false;
    let live = BroadcastStream::new(live).map_while(move |next| match next {
        _ if dropped => None,
        Ok(event) => Some(event),
        Err(_lagged) => {
            dropped = true;
            Some(hub.reset())
        }
    });
    // The first piece goes out at once, so that the browser sees the stream open.
    let opening = SseEvent::default().retry(Duration::from_secs(1)).comment("preflight");
    let events = tokio_stream::iter(missed).chain(live).map(|event| write(&event));
    let stream = tokio_stream::once(opening).chain(events).map(Ok);
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn write(event: &Event) -> SseEvent {
    let data = serde_json::to_string(event).unwrap_or_default();
    SseEvent::default().id(event.id.to_string()).event(event.kind.name()).data(data)
}
