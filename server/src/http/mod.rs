//! HTTP: the table of routes, and the layers around all of them. Only [`error`] knows status codes of failures.

mod assets;
mod attempts;
mod auth;
mod body;
mod error;
mod estimate;
mod events;
mod extract;
mod health;
mod inspect;
mod ladders;
mod listen;
mod load;
mod models;
mod openapi;
mod operations;
mod profiles;
mod security;
mod source;
mod trace;
mod v1;
mod validate;

pub use auth::Token;
pub(crate) use listen::serve;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::AppState;

/// Every route of the server.
pub fn router(state: AppState) -> Router {
    let (routes, api) = OpenApiRouter::with_openapi(openapi::begin())
        .routes(routes!(auth::session))
        .routes(routes!(inspect::post))
        .routes(routes!(estimate::post))
        .routes(routes!(operations::devices))
        .routes(routes!(operations::settings))
        .routes(routes!(models::list, models::register))
        .routes(routes!(models::stage))
        .routes(routes!(models::one, models::patch, models::remove))
        .routes(routes!(load::load))
        .routes(routes!(load::unload))
        .routes(routes!(validate::post))
        .routes(routes!(models::certificate, models::commit))
        .routes(routes!(attempts::list))
        .routes(routes!(attempts::compare))
        .routes(routes!(attempts::export))
        .routes(routes!(attempts::one, attempts::note, attempts::cancel))
        .routes(routes!(attempts::log))
        .routes(routes!(attempts::cancel_by_post))
        .routes(routes!(ladders::list, ladders::start))
        .routes(routes!(ladders::one, ladders::cancel_by_delete))
        .routes(routes!(ladders::cancel))
        .routes(routes!(ladders::resume))
        .routes(routes!(profiles::list, profiles::save))
        .routes(routes!(profiles::one, profiles::remove))
        .routes(routes!(events::stream))
        .routes(routes!(health::health))
        .routes(routes!(health::ready))
        .routes(routes!(operations::metrics))
        .split_for_parts();
    let (v1, v1_api) = v1::routes();
    let routes = routes.merge(openapi::pages(api.nest("/v1", v1_api))).nest("/v1", v1);
    routes
        .method_not_allowed_fallback(error::method_not_allowed)
        .route_layer(axum::middleware::from_fn(body::read))
        .layer(DefaultBodyLimit::disable())
        .route_layer(axum::middleware::from_fn_with_state(state.clone(), health::refuse_new_work))
        // The one place that lets in: a route that is added above is behind it, and so is its body.
        .route_layer(axum::middleware::from_fn_with_state(state.clone(), auth::check))
        .fallback(assets::serve)
        .layer(CompressionLayer::new())
        .layer(security::csrf())
        .layer(axum::middleware::from_fn(security::tell_cross_site))
        .layer(axum::middleware::from_fn_with_state(state.clone(), security::check_host))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(axum::middleware::map_response(security::headers))
        .layer(axum::middleware::from_fn(trace::request))
        .with_state(state)
}
