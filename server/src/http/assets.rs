//! The dashboard's files, with a fallback to its page for the page's own paths.

use std::path::Path;

use axum::extract::{OriginalUri, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
use tower::ServiceExt as _;
use tower_http::services::ServeDir;

use super::error::{self, HttpError};
use super::{security, v1};
use crate::state::AppState;

/// Serves a file, or the page where the path names none.
pub(super) async fn serve(State(state): State<AppState>, request: Request) -> Response {
    if request.uri().path().starts_with("/v1/") {
        // Of what lies under it, this alone is not nested: `/v1/`.
        return v1::error::no_such_route(request.method().clone(), OriginalUri(request.uri().clone()))
            .await
            .into_response();
    }
    if is_api(request.uri().path()) {
        return error::no_such_route(OriginalUri(request.uri().clone())).await.into_response();
    }
    let Some(directory) = state.dashboard.as_deref().map(|path| path.as_path()) else {
        let message = "the dashboard is not built; run `./dev build`, or give its folder with --dashboard";
        return HttpError::new("dashboard_not_built", message).into_response();
    };
    let path = request.uri().path().to_owned();
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    let mut response = match path.as_str() {
        "/" | "/index.html" if is_read => page(directory).await,
        _ => {
            let found = file(directory, request).await;
            let is_absent = found.status() == StatusCode::NOT_FOUND;
            if is_absent && is_read && is_page_path(&path) { page(directory).await } else { found }
        }
    };
    // A browser that keeps a file takes over the headers of the answer that it is unchanged.
    if response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED {
        // Names with a hash never change their content; the page that names them may.
        let cache = if is_hashed(&path) { "public, max-age=31536000, immutable" } else { "no-cache" };
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(cache));
        if path.ends_with(".js") {
            let policy = HeaderValue::from_static(security::WORKER_POLICY);
            response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
        }
    }
    response
}

/// The page, with a policy that lets its own inline scripts run and no others.
async fn page(directory: &Path) -> Response {
    let html = match tokio::fs::read_to_string(directory.join("index.html")).await {
        Ok(html) => html,
        Err(error) => {
            let message = format!("the dashboard's index.html cannot be read: {error}");
            return HttpError::new("dashboard_not_built", message).into_response();
        }
    };
    let policy = security::content_policy(&html);
    let mut response = Html(html).into_response();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

async fn file(directory: &Path, request: Request) -> Response {
    let files = ServeDir::new(directory).precompressed_br().precompressed_gzip();
    match files.oneshot(request).await {
        Ok(response) => response.into_response(),
        Err(never) => match never {},
    }
}

/// A path that a program asks for: it gets no page.
fn is_api(path: &str) -> bool {
    ["/api", "/v1", "/api-docs", "/docs"]
        .iter()
        .any(|place| path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// A path without a file extension: one that the page itself handles.
fn is_page_path(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| !name.contains('.'))
}

/// Whether a name carries a content hash, as Trunk writes it: `app-0123456789abcdef_bg.wasm`.
fn is_hashed(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.split(['-', '_', '.']).any(|part| {
        part.len() == 16 && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashed_names_and_page_paths() {
        assert!(is_hashed("/app-5f3c1e9d2b7a4680.js"));
        assert!(is_hashed("/app-5f3c1e9d2b7a4680_bg.wasm"));
        for path in ["/", "/index.html", "/favicon.svg", "/app-notahash.js", "/presets/phi-4.json"] {
            assert!(!is_hashed(path), "{path}");
        }
        assert!(is_page_path("/") && is_page_path("/estimate") && is_page_path("/models/7/"));
        assert!(!is_page_path("/absent.js"));
    }
}
