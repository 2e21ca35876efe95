//! The OpenAI API on loaded models: any client of theirs works.
//!
//! A plain stream belongs to its request: a client that leaves ends it before its next token.

mod chat;
mod completions;
mod error;
mod models;
mod request;
mod run;

use axum::Router;
use axum::routing::{get, post};

use crate::state::AppState;

/// Routes under `/v1`.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/models", get(models::list))
        .route("/models/{id}", get(models::one))
        .route("/chat/completions", post(chat::post))
        .route("/completions", post(completions::post))
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::method_not_allowed)
}
