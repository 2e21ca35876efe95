//! HTTP: the table of routes, and the layers around all of them. Only [`error`] knows status codes of failures.

mod assets;
mod attempts;
mod error;
mod estimate;
mod events;
mod extract;
mod health;
mod inspect;
mod models;
mod security;
mod source;
mod validate;

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::state::AppState;

/// Largest body that is read: a config of the largest size read, written as JSON inside JSON.
const BODY_BYTES: usize = 4 << 20;

/// Longest pause between two pieces of a request's body.
const BODY_PAUSE: Duration = Duration::from_secs(15);

/// Every route of the server.
pub fn router(state: AppState) -> Router {
    let api = Router::new()
        .route("/inspect", post(inspect::post))
        .route("/estimate", post(estimate::post))
        .route("/models", get(models::list))
        .route("/models/{id}/validate", post(validate::post))
        .route("/attempts", get(attempts::list))
        .route("/attempts/{id}", get(attempts::one).delete(attempts::cancel))
        .route("/attempts/{id}/cancel", post(attempts::cancel))
        .route("/events", get(events::stream))
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::method_not_allowed);
    Router::new()
        .nest("/api", api)
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .fallback(assets::serve)
        .layer(CompressionLayer::new())
        .layer(RequestBodyLimitLayer::new(BODY_BYTES))
        .layer(RequestBodyTimeoutLayer::new(BODY_PAUSE))
        .layer(security::csrf())
        .layer(axum::middleware::from_fn_with_state(state.clone(), security::check_host))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(axum::middleware::map_response(security::headers))
        .with_state(state)
}
