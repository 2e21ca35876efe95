//! HTTP: the table of routes, and the layers around all of them. Only [`error`] knows status codes of failures.

mod assets;
mod attempts;
mod body;
mod error;
mod estimate;
mod events;
mod extract;
mod health;
mod inspect;
mod load;
mod models;
mod security;
mod source;
mod validate;

use axum::Router;
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use crate::state::AppState;

/// Every route of the server.
pub fn router(state: AppState) -> Router {
    let api = Router::new()
        .route("/inspect", post(inspect::post))
        .route("/estimate", post(estimate::post))
        .route("/models", get(models::list).post(models::register))
        .route("/models/offline", post(models::stage))
        .route("/models/{id}", get(models::one).patch(models::patch).delete(models::remove))
        .route("/models/{id}/load", post(load::load))
        .route("/models/{id}/unload", post(load::unload))
        .route("/models/{id}/validate", post(validate::post))
        .route("/models/{id}/known-good", get(models::certificate).post(models::commit))
        .route("/attempts", get(attempts::list))
        .route("/attempts/compare", get(attempts::compare))
        .route("/attempts/export", get(attempts::export))
        .route("/attempts/{id}", get(attempts::one).patch(attempts::note).delete(attempts::cancel))
        .route("/attempts/{id}/log", get(attempts::log))
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
        .layer(axum::middleware::from_fn(body::read))
        .layer(security::csrf())
        .layer(axum::middleware::from_fn_with_state(state.clone(), security::check_host))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(axum::middleware::map_response(security::headers))
        .with_state(state)
}
