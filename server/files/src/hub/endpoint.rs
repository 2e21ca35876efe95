//! The one place that is asked, and the hosts that it may send us on to.

use std::fmt;

use ureq::http::Uri;
use ureq::http::uri::Scheme;

use super::HubError;
use super::name::shown;

const PUBLIC_HOST: &str = "huggingface.co";

/// Domains of the public Hub's own storage.
const PUBLIC_STORAGE: [&str; 2] = [".huggingface.co", ".hf.co"];

/// Base of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    /// Host in lower case, with its port if one is given.
    authority: String,
    /// Nothing, or `/` and what stands before every path.
    prefix: String,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self { scheme: Scheme::HTTPS, authority: PUBLIC_HOST.to_owned(), prefix: String::new() }
    }
}

impl Endpoint {
    /// `HF_ENDPOINT` of this process, else the public Hub.
    ///
    /// # Errors
    /// As [`Endpoint::parse`].
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_var(std::env::var("HF_ENDPOINT").ok().as_deref())
    }

    /// The endpoint of a variable; an empty one counts as none.
    pub(super) fn from_var(value: Option<&str>) -> Result<Self, HubError> {
        match value.map(str::trim).filter(|value| !value.is_empty()) {
            Some(text) => Self::parse(text),
            None => Ok(Self::default()),
        }
    }

    /// Reads an address.
    ///
    /// # Errors
    /// No http or https address, or one with a user name, a query or a fragment.
    pub fn parse(text: &str) -> Result<Self, HubError> {
        let refuse = || HubError::Endpoint { given: shown(text) };
        let uri: Uri = text.trim_end_matches('/').parse().map_err(|_no_uri| refuse())?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else { return Err(refuse()) };
        let is_web = *scheme == Scheme::HTTPS || *scheme == Scheme::HTTP;
        if !is_web || authority.as_str().contains('@') || uri.query().is_some() || text.contains('#') {
            return Err(refuse());
        }
        Ok(Self {
            scheme: scheme.clone(),
            authority: authority.as_str().to_ascii_lowercase(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The address of a path below the endpoint; `path` begins with `/` and is encoded.
    pub(super) fn at(&self, path: &str) -> Result<Uri, HubError> {
        let text = format!("{self}{path}");
        text.parse().map_err(|_no_uri| HubError::Endpoint { given: shown(&text) })
    }

    /// What follows the endpoint in an address with this host and path; `None` if it is another place's.
    pub(super) fn strip_prefix<'a>(&self, authority: &str, path: &'a str) -> Option<&'a str> {
        if authority != self.authority {
            return None;
        }
        match self.prefix.strip_prefix('/') {
            None => Some(path),
            Some(prefix) => path.strip_prefix(prefix)?.strip_prefix('/'),
        }
    }

    /// Whether an address is the endpoint's own: it alone gets the token, and only where nobody can listen.
    pub(super) fn may_see_token(&self, uri: &Uri) -> bool {
        self.is_own(uri) && (self.scheme == Scheme::HTTPS || self.is_loopback())
    }

    /// Whether the endpoint may send us to an address, without the token: to itself, and to the public Hub's storage, where
    /// mirrors leave the files too.
    pub(super) fn may_redirect_to(&self, uri: &Uri) -> bool {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else { return false };
        if authority.as_str().contains('@') {
            return false;
        }
        let host = authority.host().to_ascii_lowercase();
        let is_public = *scheme == Scheme::HTTPS
            && authority.port_u16().is_none_or(|port| port == 443)
            && (["huggingface.co", "hf.co"].contains(&host.as_str())
                || PUBLIC_STORAGE.iter().any(|domain| host.ends_with(domain)));
        is_public || self.is_own(uri)
    }

    /// Whether it is this machine: never asked through a proxy.
    pub(super) fn is_loopback(&self) -> bool {
        let host = self.authority.rsplit_once(':').map_or(self.authority.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    fn is_own(&self, uri: &Uri) -> bool {
        let authority = uri.authority().map(|authority| authority.as_str().to_ascii_lowercase());
        uri.scheme() == Some(&self.scheme) && authority.as_deref() == Some(self.authority.as_str())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().expect("an address")
    }

    #[test]
    fn the_public_hub_goes_no_further_than_its_own_storage() {
        let hub = Endpoint::default();
        for good in [
            "https://huggingface.co/api/models/a/b",
            "https://cdn-lfs-us-1.hf.co/repos/x?Signature=1",
            "https://cas-bridge.xethub.hf.co/x",
            "https://cdn-lfs.huggingface.co/x",
            "https://CDN-LFS.HuggingFace.co:443/x",
        ] {
            assert!(hub.may_redirect_to(&uri(good)), "{good}");
        }
        for bad in [
            "http://huggingface.co/x",
            "http://cdn-lfs.huggingface.co/x",
            "https://evilhuggingface.co/x",
            "https://huggingface.co.evil.com/x",
            "https://hf.co.evil.com/x",
            "https://evil.com/huggingface.co",
            "https://user@cdn-lfs.hf.co/x",
            "https://huggingface.co@evil.com/x",
            "https://cdn-lfs.hf.co:8443/x",
            "https://127.0.0.1/x",
            "http://169.254.169.254/x",
            "https://[::1]/x",
            "/x",
        ] {
            assert!(!hub.may_redirect_to(&uri(bad)), "{bad}");
        }
        assert!(hub.may_see_token(&uri("https://huggingface.co/x")));
        assert!(!hub.may_see_token(&uri("https://cdn-lfs.huggingface.co/x")));
    }

    #[test]
    fn a_custom_endpoint_goes_no_further_than_the_public_storage() {
        let own = Endpoint::parse("http://127.0.0.1:9000/hf/").expect("an endpoint");
        assert_eq!(own.to_string(), "http://127.0.0.1:9000/hf");
        assert_eq!(own.at("/api").expect("an address"), "http://127.0.0.1:9000/hf/api");
        assert!(own.may_redirect_to(&uri("http://127.0.0.1:9000/elsewhere")));
        assert!(own.may_see_token(&uri("http://127.0.0.1:9000/elsewhere")));
        for bad in [
            "http://127.0.0.1:9001/x",
            "https://127.0.0.1:9000/x",
            "http://10.0.0.1/x",
            "http://cdn-lfs.hf.co/x",
            "https://evil.com/x",
        ] {
            assert!(!own.may_redirect_to(&uri(bad)), "{bad}");
        }
        let storage = uri("https://cas-bridge.xethub.hf.co/x");
        assert!(own.may_redirect_to(&storage) && !own.may_see_token(&storage));
        let mirror = Endpoint::parse("https://hub.example.org").expect("an endpoint");
        for bad in ["http://127.0.0.1/x", "https://10.0.0.1/x", "https://hub.example.org:8443/x"] {
            assert!(!mirror.may_redirect_to(&uri(bad)), "{bad}");
        }
        assert!(mirror.may_redirect_to(&uri("https://cdn-lfs.huggingface.co/x")));
        let open = Endpoint::parse("http://hub.example.org").expect("an endpoint");
        assert!(!open.may_see_token(&uri("http://hub.example.org/x")), "anybody can listen");
    }

    #[test]
    fn what_is_no_endpoint_is_refused_without_its_secrets() {
        for text in [
            "huggingface.co",
            "ftp://huggingface.co",
            "https://user:canary@huggingface.co",
            "https://huggingface.co?canary",
            "https://huggingface.co/#canary",
            "https://",
            "https://a b",
        ] {
            let error = Endpoint::parse(text).expect_err(text);
            assert!(!format!("{error}{error:?}").contains("canary"), "{error:?}");
        }
        assert!(Endpoint::parse("http://[::1]:80").expect("an endpoint").is_loopback());
        assert!(Endpoint::parse("http://localhost:80").expect("an endpoint").is_loopback());
        assert!(!Endpoint::parse("http://localhost.evil.com").expect("an endpoint").is_loopback());
    }
}
