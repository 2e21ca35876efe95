//! The OpenAI API on loaded models: any client of theirs works.
//!
//! A plain stream belongs to its request: a client that leaves ends it before its next token.

mod chat;
mod completions;
mod describe;
pub(super) mod error;
mod models;
mod request;
mod run;

use axum::Router;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::AppState;

/// Routes under `/v1`, and their description.
pub(super) fn routes() -> (Router<AppState>, OpenApi) {
    let (routes, api) = OpenApiRouter::with_openapi(OpenApi::default())
        .routes(routes!(models::list))
        .routes(routes!(models::one))
        .routes(routes!(chat::post))
        .routes(routes!(completions::post))
        .split_for_parts();
    let routes = routes.fallback(error::no_such_route);
    (routes.method_not_allowed_fallback(error::method_not_allowed), api)
}
