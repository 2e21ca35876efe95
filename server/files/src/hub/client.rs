//! Requests: to the endpoint alone, redirects followed by hand so that each hop is held against the allow-list.

use std::io::{self, Read as _};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Response, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::{HubError, HubSettings};

/// Hops from an address to the file; the Hub takes two.
const MAX_REDIRECTS: usize = 5;

/// Tries of a request whose failure may pass, and the pause before each further one.
pub(super) const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(1000)];

/// Slowest rate that is waited for, beyond the timeout; each byte may come in time and all of them never.
const SLOWEST_BYTES_PER_S: f64 = 1024.0;

/// Bytes read at a time where the length is not known.
const PIECE_BYTES: usize = 16 << 10;

/// Bytes of a download read at a time.
const STREAM_BYTES: usize = 256 << 10;

/// Largest file that is taken whole from a server that ignores ranges.
const MAX_WHOLE_BYTES: u64 = 1 << 20;

/// A connection pool with the settings it keeps to.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    pub(super) settings: HubSettings,
}

/// Something to fetch.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Repository, for messages and the page of its terms.
    pub(super) repo: String,
    /// Revision that was asked for.
    pub(super) revision: String,
    /// What it is, for messages: `hf:ORG/NAME`, or a file in it.
    pub(super) what: String,
    pub(super) uri: Uri,
}

impl Client {
    pub(super) fn new(settings: &HubSettings) -> Arc<Self> {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // Another part of the process may have chosen one already.
            rustls::crypto::ring::default_provider().install_default().ok();
        });
        let timeout = Some(settings.timeout);
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(timeout)
            .timeout_send_request(timeout)
            .timeout_recv_response(timeout)
            .timeout_per_read(timeout)
            .accept("*/*")
            // A range of compressed bytes would be a range of something else.
            .accept_encoding("identity")
            .user_agent(concat!("preflight/", env!("CARGO_PKG_VERSION")))
            // The system's certificates: those of a company's own authority count too.
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build());
        if settings.endpoint.is_loopback() {
            config = config.proxy(None);
        }
        Arc::new(Self { agent: config.build().into(), settings: settings.clone() })
    }

    /// A whole small file.
    ///
    /// # Errors
    /// More than `limit` bytes, a web page instead of the file, another length than `expected`, any failure.
    pub(super) fn small(
        &self,
        target: &Target,
        limit: u64,
        expected: Option<u64>,
    ) -> Result<Vec<u8>, HubError> {
        if expected.is_some_and(|bytes| bytes > limit) {
            return Err(HubError::TooLarge { what: target.what.clone(), limit });
        }
        self.patiently(|| {
            let mut response = self.get(target, None)?;
            if is_html(response.headers()) {
                return Err(web_page(&target.what));
            }
            let bytes = self.whole(&target.what, &mut response, limit)?;
            if looks_like_html(&bytes) && !target.what.ends_with(".md") {
                return Err(web_page(&target.what));
            }
            match expected {
                Some(expected) if expected != bytes.len() as u64 => {
                    Err(HubError::Truncated { what: target.what.clone(), got: bytes.len() as u64, expected })
                }
                _ => Ok(bytes),
            }
        })
    }

    /// The bytes from `offset` on of a file of `len` bytes.
    ///
    /// # Errors
    /// A file of another length, a server that ignores ranges (unless the file is small), any failure.
    pub(super) fn range(
        &self,
        target: &Target,
        len: u64,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), HubError> {
        let Some(last) = (buffer.len() as u64).checked_sub(1).map(|rest| offset + rest) else {
            return Ok(());
        };
        self.patiently(|| {
            let mut response = self.get(target, Some((offset, last)))?;
            if is_html(response.headers()) {
                return Err(web_page(&target.what));
            }
            if response.status().as_u16() == 200 {
                if len > MAX_WHOLE_BYTES {
                    return Err(HubError::RangeIgnored { what: target.what.clone(), bytes: len });
                }
                let bytes = self.whole(&target.what, &mut response, len)?;
                let found =
                    bytes.get(offset as usize..last as usize + 1).filter(|_| bytes.len() as u64 == len);
                let cut = || HubError::Truncated {
                    what: target.what.clone(),
                    got: bytes.len() as u64,
                    expected: len,
                };
                buffer.copy_from_slice(found.ok_or_else(cut)?);
                return Ok(());
            }
            let expected = format!("bytes {offset}-{last}/{len}");
            let found = text(response.headers(), "content-range").unwrap_or("nothing");
            if found != expected {
                let why = format!("it holds `{found}` instead of `{expected}`; did the file change?");
                return Err(HubError::bad_answer(&target.what, why));
            }
            self.fill(&target.what, &mut response, buffer)
        })
    }

    /// The length of a file of which the list says nothing, as an answer to a range tells it.
    ///
    /// # Errors
    /// An answer that tells none, any failure.
    pub(super) fn length(&self, target: &Target) -> Result<u64, HubError> {
        self.patiently(|| {
            let response = self.get(target, Some((0, 0)))?;
            if is_html(response.headers()) {
                return Err(web_page(&target.what));
            }
            let told = match response.status().as_u16() {
                200 => text(response.headers(), "content-length"),
                _ => text(response.headers(), "content-range").and_then(|range| range.rsplit('/').next()),
            };
            let silent =
                || HubError::bad_answer(&target.what, "neither the list of files nor it tells its length");
            told.and_then(|bytes| bytes.parse().ok()).ok_or_else(silent)
        })
    }

    /// The bytes of a file of `len` bytes from `offset` on, piece by piece. Nothing is tried again here: what came before
    /// a failure has been taken.
    ///
    /// # Errors
    /// As [`Client::range`], and what `take` says.
    pub(super) fn stream(
        &self,
        target: &Target,
        len: u64,
        offset: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), HubError>,
    ) -> Result<(), HubError> {
        let what = &target.what;
        let range = (offset > 0).then(|| (offset, len - 1));
        let mut response = self.get(target, range)?;
        if is_html(response.headers()) {
            return Err(web_page(what));
        }
        check_plain(what, response.headers())?;
        if range.is_some() && response.status().as_u16() == 200 {
            return Err(HubError::RangeIgnored { what: what.clone(), bytes: len });
        }
        let told = text(response.headers(), "content-range").unwrap_or("nothing");
        let asked = format!("bytes {offset}-{}/{len}", len - 1);
        if range.is_some() && told != asked {
            let why = format!("it holds `{told}` instead of `{asked}`; did the file change?");
            return Err(HubError::bad_answer(what, why));
        }
        let expected = len - offset;
        if let Some(announced) = content_length(response.headers()).filter(|bytes| *bytes != expected) {
            let why =
                format!("it announces {announced} bytes where {expected} were to come; did the file change?");
            return Err(HubError::bad_answer(what, why));
        }
        let mut reader = response.body_mut().with_config().limit(u64::MAX).reader();
        let started = Instant::now();
        let mut piece = vec![0; STREAM_BYTES];
        let mut got = 0;
        loop {
            self.keep_pace(what, started, usize::try_from(got).unwrap_or(usize::MAX))?;
            match reader.read(&mut piece) {
                Ok(0) if got < expected => {
                    return Err(HubError::Truncated { what: what.clone(), got, expected });
                }
                Ok(0) => return Ok(()),
                Ok(read) if got + read as u64 > expected => {
                    return Err(HubError::bad_answer(
                        what,
                        format!("it has more than the {expected} bytes listed"),
                    ));
                }
                Ok(read) => {
                    got += read as u64;
                    take(&piece[..read])?;
                }
                Err(error) => return Err(broken(what, error, got, expected)),
            }
        }
    }

    /// Follows the answer's body into `buffer`, which it must fill exactly.
    fn fill(&self, what: &str, response: &mut Response<Body>, buffer: &mut [u8]) -> Result<(), HubError> {
        let expected = buffer.len() as u64;
        check_plain(what, response.headers())?;
        if let Some(announced) = content_length(response.headers()).filter(|announced| *announced != expected)
        {
            let why = format!("it announces {announced} bytes where {expected} were asked for");
            return Err(HubError::bad_answer(what, why));
        }
        let mut reader = response.body_mut().with_config().limit(expected + 1).reader();
        let started = Instant::now();
        let mut got = 0;
        while got < buffer.len() {
            self.keep_pace(what, started, got)?;
            match reader.read(&mut buffer[got..]) {
                Ok(0) => {
                    return Err(HubError::Truncated { what: what.to_owned(), got: got as u64, expected });
                }
                Ok(read) => got += read,
                Err(error) => return Err(broken(what, error, got as u64, expected)),
            }
        }
        Ok(())
    }

    /// Reads a body of at most `limit` bytes to its end.
    fn whole(&self, what: &str, response: &mut Response<Body>, limit: u64) -> Result<Vec<u8>, HubError> {
        check_plain(what, response.headers())?;
        let too_large = || HubError::TooLarge { what: what.to_owned(), limit };
        let announced = content_length(response.headers());
        if announced.is_some_and(|bytes| bytes > limit) {
            return Err(too_large());
        }
        let mut reader = response.body_mut().with_config().limit(u64::MAX).reader();
        let started = Instant::now();
        let mut bytes = Vec::new();
        let mut piece = [0; PIECE_BYTES];
        while bytes.len() as u64 <= limit {
            self.keep_pace(what, started, bytes.len())?;
            match reader.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => bytes.extend_from_slice(&piece[..read]),
                Err(error) => {
                    return Err(broken(what, error, bytes.len() as u64, announced.unwrap_or(limit)));
                }
            }
        }
        match announced {
            _ if bytes.len() as u64 > limit => Err(too_large()),
            Some(expected) if expected != bytes.len() as u64 => {
                Err(HubError::Truncated { what: what.to_owned(), got: bytes.len() as u64, expected })
            }
            _ => Ok(bytes),
        }
    }

    /// Gives up on a body that drips.
    fn keep_pace(&self, what: &str, started: Instant, got: usize) -> Result<(), HubError> {
        let allowed = self.settings.timeout.as_secs_f64() + got as f64 / SLOWEST_BYTES_PER_S;
        match started.elapsed().as_secs_f64() > allowed {
            true => Err(HubError::TooSlow { what: what.to_owned() }),
            false => Ok(()),
        }
    }

    /// Tries again what may pass.
    fn patiently<T>(&self, mut request: impl FnMut() -> Result<T, HubError>) -> Result<T, HubError> {
        for pause in PAUSES {
            match request() {
                Err(error) if error.is_passing() => std::thread::sleep(pause),
                done => return done,
            }
        }
        request()
    }

    /// One request and the hops that it leads to. The answer's status is 200, or 206 where a range was asked for.
    fn get(&self, target: &Target, range: Option<(u64, u64)>) -> Result<Response<Body>, HubError> {
        let endpoint = &self.settings.endpoint;
        let mut uri = target.uri.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.agent.get(&uri);
            if let Some((first, last)) = range {
                request = request.header("range", format!("bytes={first}-{last}"));
            }
            let token = self.settings.token.as_ref().filter(|_| endpoint.may_see_token(&uri));
            if let Some(token) = token {
                request = request.header("authorization", token.header());
            }
            let response = request.call().map_err(|error| self.unreachable(&target.what, &error))?;
            match response.status().as_u16() {
                301 | 302 | 303 | 307 | 308 => uri = self.next_hop(&target.what, &uri, response.headers())?,
                200 => return Ok(response),
                206 if range.is_some() => return Ok(response),
                status => return Err(self.refused(target, status, response.headers())),
            }
        }
        Err(HubError::TooManyRedirects { what: target.what.clone(), limit: MAX_REDIRECTS })
    }

    fn next_hop(&self, what: &str, from: &Uri, headers: &HeaderMap) -> Result<Uri, HubError> {
        let nowhere = || HubError::bad_answer(what, "it sends us on, but to no address");
        let location = text(headers, "location").ok_or_else(nowhere)?;
        let authority = from.authority().map_or("", |authority| authority.as_str());
        let absolute = match location.starts_with('/') && !location.starts_with("//") {
            true => format!("{}://{authority}{location}", from.scheme_str().unwrap_or_default()),
            false => location.to_owned(),
        };
        let uri: Uri = absolute.parse().map_err(|_no_uri| nowhere())?;
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else { return Err(nowhere()) };
        let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
        match self.settings.endpoint.may_redirect_to(&uri) {
            true => Ok(uri),
            // No more is told: the rest of such an address is often signed.
            false => {
                Err(HubError::Redirected { what: what.to_owned(), to: format!("{scheme}://{host}{port}") })
            }
        }
    }

    /// An error status in words. The Hub tells in `x-error-code` what a 401 or 404 is about.
    fn refused(&self, target: &Target, status: u16, headers: &HeaderMap) -> HubError {
        let Target { repo, revision, what, .. } = target;
        let (repo, what) = (repo.clone(), what.clone());
        let with_token = self.settings.token.is_some() && self.settings.endpoint.may_see_token(&target.uri);
        let gated = |repo: String| HubError::Gated {
            page: format!("{}/{repo}", self.settings.endpoint),
            repo,
            with_token,
        };
        match (status, text(headers, "x-error-code").unwrap_or_default()) {
            (401 | 403, "GatedRepo") => gated(repo),
            (401, _) if !with_token => HubError::NoRepository { repo, with_token },
            (401 | 404, "RepoNotFound") => HubError::NoRepository { repo, with_token },
            (401, _) => HubError::TokenRefused { repo },
            (403, _) => gated(repo),
            (404, "RevisionNotFound") => HubError::NoRevision { repo, revision: revision.clone() },
            (404, "EntryNotFound") => HubError::NoFile { source_name: format!("hf:{repo}"), file: what },
            (404, _) => HubError::NoRepository { repo, with_token },
            (416, _) => HubError::bad_answer(&what, "the file is shorter than the Hub's list says"),
            (429, _) => HubError::RateLimited {
                what,
                retry_after: text(headers, "retry-after").and_then(|seconds| seconds.trim().parse().ok()),
            },
            _ => HubError::Unavailable { what, status },
        }
    }

    fn unreachable(&self, what: &str, error: &ureq::Error) -> HubError {
        match error {
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                self.no_connection(what, "no connection in time")
            }
            ureq::Error::Timeout(_) => HubError::TooSlow { what: what.to_owned() },
            ureq::Error::Protocol(_) | ureq::Error::Http(_) | ureq::Error::LargeResponseHeader(..) => {
                HubError::bad_answer(what, format!("it is no proper HTTP: {error}"))
            }
            ureq::Error::HostNotFound => self.no_connection(what, "no such host"),
            other => self.no_connection(what, &other.to_string()),
        }
    }

    fn no_connection(&self, what: &str, why: &str) -> HubError {
        HubError::Unreachable {
            what: what.to_owned(),
            endpoint: self.settings.endpoint.to_string(),
            why: why.to_owned(),
        }
    }
}

fn broken(what: &str, error: io::Error, got: u64, expected: u64) -> HubError {
    let is_slow = error.kind() == io::ErrorKind::TimedOut
        || matches!(ureq::Error::from(error), ureq::Error::Timeout(_));
    match is_slow {
        true => HubError::TooSlow { what: what.to_owned() },
        false => HubError::Truncated { what: what.to_owned(), got, expected },
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    text(headers, "content-length")?.parse().ok()
}

fn is_html(headers: &HeaderMap) -> bool {
    text(headers, "content-type").is_some_and(|kind| kind.trim_start().starts_with("text/html"))
}

/// A web page under another type; only a card may begin like one.
fn looks_like_html(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii_start();
    let starts = |tag: &[u8]| text.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
    starts(b"<!doctype") || starts(b"<html")
}

fn web_page(what: &str) -> HubError {
    HubError::bad_answer(
        what,
        "it is a web page, as of a proxy or a login; check HF_ENDPOINT and the network",
    )
}

/// No encoding was asked for.
fn check_plain(what: &str, headers: &HeaderMap) -> Result<(), HubError> {
    match text(headers, "content-encoding") {
        None | Some("identity") => Ok(()),
        Some(_) => Err(HubError::bad_answer(what, "it is compressed, which was not asked for")),
    }
}
