//! Loopback is no trust boundary: any page in the user's browser can reach it. Hosts, origins, headers.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{HOST, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};
use tower_http::csrf::{CsrfLayer, ProtectionError};

use super::error::refused;
use crate::state::AppState;

/// Refuses requests from other sites that could change something.
pub(super) fn csrf() -> CsrfLayer<fn(ProtectionError) -> Response<Body>> {
    // Whose shape the answer must have is not known here.
    CsrfLayer::new().with_rejection_response(|_error| {
        let mut response = Response::default();
        response.extensions_mut().insert(CrossSite);
        response
    })
}

/// Stands in an answer that is a refusal by [`csrf`].
#[derive(Debug, Clone, Copy)]
struct CrossSite;

/// Says what [`csrf`] refuses.
pub(super) async fn tell_cross_site(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    match response.extensions().get() {
        Some(CrossSite) => {
            refused(&path, "cross_site", "refused: the request comes from a page of another site")
        }
        None => response,
    }
}

/// Refuses names that are not this machine's: a page whose name was rebound to its address would ask for that name.
/// Where others can reach the server its addresses are its own, which no name can be bound to; and any name is where a token
/// is asked for and none was given.
pub(super) async fn check_host(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let allowed = &state.allowed_hosts;
    let is_known = |host: &str| {
        let named = |name: &String| name.eq_ignore_ascii_case(host_name(host));
        let any = allowed.is_empty() && state.token.is_some();
        is_loopback_name(host)
            || allowed.iter().any(named)
            || (!state.loopback_only && (any || is_address(host)))
    };
    let mut hosts = Vec::new();
    hosts.extend(request.uri().authority().map(|authority| authority.as_str().to_owned()));
    // One that is no text is told by its being unknown.
    hosts.extend(request.headers().get_all(HOST).iter().map(|host| host.to_str().unwrap_or("?").to_owned()));
    // Two that differ are meant for two who read one each.
    let one = hosts.windows(2).all(|pair| pair[0] == pair[1]);
    let empty = hosts.iter().any(|host| host_name(host).is_empty());
    if hosts.is_empty() || !one || empty || !hosts.iter().all(|host| is_known(host)) {
        let message =
            "refused: this server answers to localhost, its addresses and what --allowed-host names";
        return refused(request.uri().path(), "wrong_host", message);
    }
    next.run(request).await
}

/// A `Host` without its port.
fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether a `Host` names this machine, with any port (it may be forwarded).
fn is_loopback_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some((_, port)) if !port.ends_with(']') => return false,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]"
}

/// Whether a `Host` is an address.
fn is_address(host: &str) -> bool {
    let name = host_name(host);
    name.parse::<Ipv4Addr>().is_ok()
        || name
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok())
}

/// Headers of every answer. The engines of the page are wasm and may share memory between threads.
const HEADERS: [(&str, &str); 7] = [
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-embedder-policy", "require-corp"),
    ("cross-origin-resource-policy", "same-origin"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
];

/// The content policy of a script, which holds where it runs as a worker: more scripts, wasm and files from here.
pub(super) const WORKER_POLICY: &str =
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'; frame-ancestors 'none'";

/// The content policy of a page: everything from here, its inline scripts by their hashes, wasm, and style attributes.
pub(super) fn content_policy(html: &str) -> String {
    let hashes: String = inline_scripts(html)
        .map(|script| format!(" 'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(script))))
        .collect();
    format!(
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'{hashes}; style-src 'self' 'unsafe-inline'; \
         img-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; \
         form-action 'self'; frame-ancestors 'none'"
    )
}

/// Contents of the `<script>` elements that name no file.
fn inline_scripts(html: &str) -> impl Iterator<Item = &str> {
    html.split("<script").skip(1).filter_map(|rest| {
        let (attributes, rest) = rest.split_once('>')?;
        let (script, _) = rest.split_once("</script>")?;
        (!attributes.contains("src=")).then_some(script)
    })
}

/// Adds [`HEADERS`] where a handler has not set its own.
pub(super) async fn headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        let name = HeaderName::from_static(name);
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_pass() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080"] {
            assert!(is_loopback_name(host), "{host}");
        }
        for host in [
            "",
            "evil.com",
            "127.0.0.1.evil.com",
            "localhost.evil.com:8080",
            "evil.com:127.0.0.1",
            "127.0.0.1:80@evil.com",
            "127.0.0.1:",
            "::1",
            "[::1",
            "0.0.0.0",
            "127.0.0.2",
        ] {
            assert!(!is_loopback_name(host), "{host}");
        }
    }

    #[test]
    fn inline_scripts_run_by_their_hash() {
        let policy =
            content_policy("<p><script type=\"module\">alert(1)</script><script src=\"a.js\"></script>");
        // printf 'alert(1)' | openssl dgst -sha256 -binary | base64
        assert!(policy.contains("'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='"), "{policy}");
        assert_eq!(policy.matches("sha256-").count(), 1);
    }
}
