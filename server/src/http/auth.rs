//! Who may ask. One layer around every route; what is open is listed here.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE, SET_COOKIE, WWW_AUTHENTICATE};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use phi3::api::ErrorBody;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::error::{HttpError, refused};
use super::extract::JsonBody;
use crate::evidence::hex;
use crate::state::AppState;

/// Routes that need no token: whether the server lives, and the one that takes the token. The dashboard's files are no
/// routes; they hold nothing that is not public.
const OPEN: [&str; 2] = ["/health", "/api/session"];

/// The cookie of a page that has shown the token: it is sent by no other site, and no script can read it.
pub(super) const COOKIE_NAME: &str = "preflight_session";

/// The token that requests must carry. What is kept are hashes: comparing them tells nothing about the token.
#[derive(Clone)]
pub struct Token {
    hash: [u8; 32],
    session: String,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// The token of a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        // A session ends with the token, not with the server: a page survives a restart.
        let session = hex(&Sha256::digest(format!("preflight session\0{text}")));
        Self { hash: Sha256::digest(text).into(), session }
    }

    fn is(&self, text: &str) -> bool {
        <[u8; 32]>::from(Sha256::digest(text)) == self.hash
    }

    fn is_session(&self, value: &str) -> bool {
        Sha256::digest(value) == Sha256::digest(&self.session)
    }

    fn lets_in(&self, headers: &HeaderMap) -> bool {
        let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
        let bearer = text(AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        if bearer.is_some_and(|token| self.is(token)) {
            return true;
        }
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.any(|(name, value)| name == COOKIE_NAME && self.is_session(value))
    }
}

/// Refuses requests without the token, where the server has one.
pub(super) async fn check(State(state): State<AppState>, request: Request, next: Next) -> Response {
    if let Some(token) = &state.token
        && !OPEN.contains(&request.uri().path())
        && !token.lets_in(request.headers())
    {
        let message = "the server wants its token: `authorization: Bearer TOKEN`, or POST it to /api/session";
        let challenge = [(WWW_AUTHENTICATE, "Bearer")];
        return (challenge, refused(request.uri().path(), "unauthorized", message)).into_response();
    }
    next.run(request).await
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionBody {
    token: String,
}

/// `POST /api/session`: takes the token and gives a cookie, for pages: an event stream cannot send headers.
#[utoipa::path(
    post,
    path = "/api/session",
    operation_id = "open_session",
    tag = "operations",
    security(()),
    request_body = SessionBody,
    responses((status = 200, description = "Whether a token is asked for; a cookie where it is", body = Object), (status = "default", description = "What was wrong", body = ErrorBody))
)]
pub(super) async fn session(
    State(state): State<AppState>,
    JsonBody(SessionBody { token: shown }): JsonBody<SessionBody>,
) -> Result<Response, HttpError> {
    let Some(token) = &state.token else {
        return Ok(Json(json!({ "token_required": false })).into_response());
    };
    if !token.is(&shown) {
        return Err(HttpError::new("unauthorized", "that is not the server's token"));
    }
    let cookie = format!("{COOKIE_NAME}={}; Path=/; HttpOnly; SameSite=Strict", token.session);
    Ok(([(SET_COOKIE, cookie)], Json(json!({ "token_required": true }))).into_response())
}
