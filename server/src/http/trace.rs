//! A name for each request, in the log and in its answer, so that one can be found by the other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

const HEADER: &str = "x-request-id";

/// Counts requests of this process.
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// Logs a request with its name, its status and its time; the query may hold what a user wrote and stays out.
pub(super) async fn request(request: Request, next: Next) -> Response {
    let id = format!("{:x}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let span = tracing::debug_span!("request", id, method = %request.method(), path = ?request.uri().path());
    let begun = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let ms = begun.elapsed().as_secs_f64() * 1e3;
    tracing::debug!(parent: &span, status = response.status().as_u16(), ms, "answered");
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, id);
    }
    response
}
