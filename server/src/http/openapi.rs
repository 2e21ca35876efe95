//! What the routes are, for programs (`/api-docs/openapi.json`) and people (`/docs`, which needs no network).

use axum::extract::Request;
use axum::http::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi as _};
use utoipa_swagger_ui::SwaggerUi;

use super::auth::COOKIE_NAME;
use crate::state::AppState;

/// Where the description is.
const JSON: &str = "/api-docs/openapi.json";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Preflight",
        description = "Tells whether a language model will load on given hardware and how, then proves it.",
    ),
    tags(
        (name = "models", description = "The registry; loading, validating and unloading"),
        (name = "attempts", description = "What was tried"),
        (name = "ladders", description = "Profiles of tries, run rung after rung"),
        (name = "answers", description = "What a model is and what it needs; nothing is loaded"),
        (name = "openai", description = "Loaded models, as OpenAI's clients ask them"),
        (name = "events", description = "What happens, as it happens"),
        (name = "operations", description = "Health, counters, devices"),
    ),
    modifiers(&Schemes),
    // Where the server has a token; the routes that need none say so themselves.
    security(("bearer" = []), ("session" = []))
)]
struct Description;

/// How a request shows the token.
struct Schemes;

impl Modify for Schemes {
    fn modify(&self, api: &mut OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "The token of --token-file or PREFLIGHT_TOKEN. A server without one asks nobody.",
            ))
            .build();
        let session =
            ApiKeyValue::with_description(COOKIE_NAME, "What POST /api/session gives a page for the token.");
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(session)));
    }
}

/// What is said before any route is added.
pub(super) fn begin() -> OpenApi {
    Description::openapi()
}

/// The pages of the description.
pub(super) fn pages(api: OpenApi) -> axum::Router<AppState> {
    let pages = axum::Router::from(SwaggerUi::new("/docs").url(JSON, api));
    pages.layer(axum::middleware::from_fn(policy))
}

/// The pages bring their own scripts and styles; none comes from elsewhere.
async fn policy(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let policy = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; \
                  base-uri 'self'; form-action 'self'; frame-ancestors 'none'";
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}
