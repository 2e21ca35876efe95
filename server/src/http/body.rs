//! Bodies are small here: each is read whole, within its limits, before anything looks at it.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_stream::StreamExt as _;

use super::error::HttpError;

/// Largest body that is taken: a config of the largest size read, written as JSON inside JSON.
const BODY_BYTES: usize = 4 << 20;

/// Most that is read of a larger one, and thrown away.
const DRAINED_BYTES: usize = 64 << 20;

/// Longest pause between two pieces of a body.
const PAUSE: Duration = Duration::from_secs(15);

/// Longest time for all of a body.
const TIME: Duration = Duration::from_secs(60);

/// All bodies together may hold 64 MiB, counted in blocks of 16 KiB.
const BLOCK_BYTES: usize = 16 << 10;
static BLOCKS: Semaphore = Semaphore::const_new((64 << 20) / BLOCK_BYTES);

/// Hands on a request whose body is in memory, or answers why it is not taken.
pub(super) async fn read(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match collect(&parts.headers, body).await {
        // What it holds is given back when it has been answered.
        Ok((bytes, _held)) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Err(error) => error.into_response(),
    }
}

/// Reads a body whose request is answered already, and throws it away: a client that still writes when the connection is
/// closed sees a broken pipe in place of the answer.
fn drain(mut pieces: BodyDataStream, mut seen: usize) {
    tokio::spawn(async move {
        let end = Instant::now() + TIME;
        while let Ok(Ok(Some(Ok(piece)))) = timeout_at(end, timeout(PAUSE, pieces.next())).await {
            seen += piece.len();
            if seen > DRAINED_BYTES {
                break;
            }
        }
    });
}

async fn collect(
    headers: &HeaderMap,
    body: Body,
) -> Result<(Bytes, Option<SemaphorePermit<'static>>), HttpError> {
    let too_large =
        || HttpError::new("body_too_large", format!("the body is larger than {} MiB", BODY_BYTES >> 20));
    let too_slow = |what: &str, limit: Duration| {
        HttpError::new("body_too_slow", format!("{what} {} s", limit.as_secs()))
    };
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|bytes| bytes > BODY_BYTES as u64) {
        // Who waits to be told before it sends anything is told, and sends nothing.
        if !headers.contains_key(EXPECT) {
            drain(body.into_data_stream(), 0);
        }
        return Err(too_large());
    }
    let mut pieces = body.into_data_stream();
    let mut kept = Vec::new();
    let mut held: Option<SemaphorePermit<'static>> = None;
    let mut seen = 0;
    let end = Instant::now() + TIME;
    loop {
        let next = timeout_at(end, timeout(PAUSE, pieces.next())).await;
        let next = next.map_err(|_elapsed| too_slow("the body was not complete within", TIME))?;
        let Some(piece) = next.map_err(|_elapsed| too_slow("no piece of the body came for", PAUSE))? else {
            break;
        };
        let piece = piece.map_err(|error| {
            tracing::debug!(%error, "a body broke off");
            HttpError::new("body_broken", "the body broke off before its end: send it again")
        })?;
        seen += piece.len();
        if seen > BODY_BYTES {
            drain(pieces, seen);
            return Err(too_large());
        }
        let blocks = seen.div_ceil(BLOCK_BYTES) - held.as_ref().map_or(0, SemaphorePermit::num_permits);
        if blocks > 0 {
            let more = BLOCKS.try_acquire_many(blocks as u32).map_err(|_full| {
                HttpError::new("queue_full", "too many bodies are being read: send it again later")
            })?;
            match &mut held {
                Some(held) => held.merge(more),
                held => *held = Some(more),
            }
        }
        kept.extend_from_slice(&piece);
    }
    // Few bytes may become any number: nothing is unpacked here.
    let is_packed = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().any(is_packed) {
        let message = "the body is compressed: send it as it is, without content-encoding";
        return Err(HttpError::new("body_encoded", message));
    }
    Ok((kept.into(), held))
}
