//! What can go wrong with the Hub, each with what to do about it. No message holds a token or a query.

use std::path::PathBuf;

use thiserror::Error;

use super::name::shown;

/// A failure to read from the Hub or from its cache.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HubError {
    /// A text that names no repository.
    #[error("{given}: {why}")]
    Name {
        /// The text, without what may be secret.
        given: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// `HF_ENDPOINT` is no address.
    #[error("HF_ENDPOINT: {given} is no http or https address; unset it, or give https://HOST")]
    Endpoint {
        /// The text, without what may be secret.
        given: String,
    },
    /// A token that cannot be sent.
    #[error(
        "{origin}: holds a token with a space or an unprintable character; copy it again from the Hub's settings"
    )]
    BadToken {
        /// The variable or file.
        origin: String,
    },
    /// Nothing may be fetched, and the cache does not have it.
    #[error("{source_name}: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set and {} holds no whole snapshot of it; unset it, or run `hf download` where there is a network", cache.display())]
    Offline {
        /// The source.
        source_name: String,
        /// The cache that was looked into.
        cache: PathBuf,
    },
    /// A command that needs the files on this machine.
    #[error(
        "{source_name}: its files are not on this machine; run `{command}`, then give the directory that it prints"
    )]
    NotDownloaded {
        /// The source.
        source_name: String,
        /// The command that fetches them.
        command: String,
    },
    /// Terms have to be accepted first.
    #[error("{repo}: access is gated; accept its terms at {page}, then {}", if *with_token { "wait until its owners let your account in" } else { "set HF_TOKEN to a token of that account" })]
    Gated {
        /// The repository.
        repo: String,
        /// Where terms are accepted.
        page: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The Hub says "not you", which it also says of what does not exist.
    #[error("{repo}: the Hub has no such repository, or it is private; {}", if *with_token { "check the name, and that HF_TOKEN is valid and may read it" } else { "check the name, or set HF_TOKEN to a token that may read it" })]
    NoRepository {
        /// The repository.
        repo: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// A token that is not taken.
    #[error(
        "{repo}: the Hub refuses this token; set HF_TOKEN to a valid one, or unset it for public repositories"
    )]
    TokenRefused {
        /// The repository.
        repo: String,
    },
    /// A revision that is not there.
    #[error("{repo}: has no revision {revision}; give a branch, a tag, a commit or refs/pr/N after `@`")]
    NoRevision {
        /// The repository.
        repo: String,
        /// The revision.
        revision: String,
    },
    /// A file that is not there.
    #[error("{source_name}: has no {file}")]
    NoFile {
        /// The source.
        source_name: String,
        /// The file or folder.
        file: String,
    },
    /// Nothing in it says which file is meant.
    #[error("{source_name}: holds {} GGUF models; name one: {}", files.len(), files.join(", "))]
    Ambiguous {
        /// The source.
        source_name: String,
        /// Each, as it may be given.
        files: Vec<String>,
    },
    /// Too many requests.
    #[error("{what}: the Hub limits the rate of requests; try again {}, or set HF_TOKEN for a higher limit", retry_after.as_ref().map_or("in some minutes".to_owned(), |seconds| format!("in {seconds} s")))]
    RateLimited {
        /// What was asked for.
        what: String,
        /// Seconds to wait, as the Hub says.
        retry_after: Option<u32>,
    },
    /// A fault on the other side.
    #[error("{what}: the Hub answers with status {status}; try again later")]
    Unavailable {
        /// What was asked for.
        what: String,
        /// HTTP status.
        status: u16,
    },
    /// No connection, or one that broke.
    #[error(
        "{what}: {endpoint} cannot be reached: {why}; check the network and HF_ENDPOINT, or work from the cache with HF_HUB_OFFLINE=1"
    )]
    Unreachable {
        /// What was asked for.
        what: String,
        /// The endpoint.
        endpoint: String,
        /// The client's message.
        why: String,
    },
    /// Nothing came for too long.
    #[error("{what}: the answer is too slow; try again, or raise HF_HUB_DOWNLOAD_TIMEOUT (seconds)")]
    TooSlow {
        /// What was asked for.
        what: String,
    },
    /// The answer ended early.
    #[error("{what}: the answer was cut after {got} of {expected} bytes; try again")]
    Truncated {
        /// What was asked for.
        what: String,
        /// Bytes that came.
        got: u64,
        /// Bytes that were announced.
        expected: u64,
    },
    /// Sent somewhere that is not trusted.
    #[error(
        "{what}: the Hub sends us on to {to}, which is none of its own hosts; nothing is fetched from there"
    )]
    Redirected {
        /// What was asked for.
        what: String,
        /// Scheme, host and port.
        to: String,
    },
    /// Sent on without end.
    #[error("{what}: the Hub sends us on more than {limit} times; try again later")]
    TooManyRedirects {
        /// What was asked for.
        what: String,
        /// Most that are followed.
        limit: usize,
    },
    /// A server that sends whole files only.
    #[error(
        "{what}: the server ignores ranges and would send all {bytes} bytes; download the files and give their directory"
    )]
    RangeIgnored {
        /// What was asked for.
        what: String,
        /// Length of the whole file.
        bytes: u64,
    },
    /// A small file that is large.
    #[error("{what}: has more than the {limit} bytes that are read")]
    TooLarge {
        /// What was asked for.
        what: String,
        /// Largest size read.
        limit: u64,
    },
    /// An answer that makes no sense; what and why.
    #[error("{what}: the Hub's answer cannot be used: {why}")]
    BadAnswer {
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Other bytes than those of the list.
    #[error(
        "{what}: what came is not what the Hub lists: its hash is {found} instead of {expected}; what came was thrown away, try again"
    )]
    WrongBytes {
        /// The file.
        what: String,
        /// The hash that the list tells.
        expected: String,
        /// The hash of what came.
        found: String,
    },
    /// The cache cannot be written.
    #[error("{}: {}: {why}; {}", path.display(), if *is_full { "the disk is full" } else { "the cache cannot be written" }, if *is_full { "make room, then try again: what has come is kept" } else { "check HF_HUB_CACHE and its owner" })]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// The system's message.
        why: String,
        /// Whether it lacks room.
        is_full: bool,
    },
    /// Somebody asked for the end of a download.
    #[error("cancelled; what has come is kept for the next try")]
    Cancelled,
    /// A link of the cache that leads out of it.
    #[error("{}: leads out of the cache {}; delete the snapshot and download it again", path.display(), cache.display())]
    OutsideCache {
        /// The link.
        path: PathBuf,
        /// The cache.
        cache: PathBuf,
    },
}

impl HubError {
    pub(super) fn name(given: &str, why: &'static str) -> Self {
        Self::Name { given: shown(given), why }
    }

    pub(super) fn bad_answer(what: &str, why: impl Into<String>) -> Self {
        Self::BadAnswer { what: what.to_owned(), why: why.into() }
    }

    /// A stable name for programs: the `code` of an error object.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } => "hub_name_invalid",
            Self::Endpoint { .. } => "hub_endpoint_invalid",
            Self::BadToken { .. } | Self::TokenRefused { .. } => "hub_token_refused",
            Self::Offline { .. } => "hub_offline",
            Self::NotDownloaded { .. } => "not_downloaded",
            Self::Gated { .. } => "hub_gated",
            Self::NoRepository { .. } | Self::NoRevision { .. } | Self::NoFile { .. } => "hub_not_found",
            Self::Ambiguous { .. } => "hub_ambiguous",
            Self::RateLimited { .. } => "hub_rate_limited",
            Self::Unavailable { .. } | Self::Unreachable { .. } => "hub_unavailable",
            Self::TooSlow { .. } => "hub_timeout",
            Self::Truncated { .. } => "hub_truncated",
            Self::Redirected { .. } | Self::TooManyRedirects { .. } => "hub_redirect_refused",
            Self::RangeIgnored { .. } => "hub_range_ignored",
            Self::TooLarge { .. } => "too_large",
            Self::BadAnswer { .. } => "hub_bad_answer",
            Self::WrongBytes { .. } => "hub_wrong_bytes",
            Self::Disk { is_full: true, .. } => "storage_full",
            Self::Disk { .. } => "cache_not_writable",
            Self::Cancelled => "cancelled",
            Self::OutsideCache { .. } => "unsafe_path",
        }
    }

    /// What it is about: a repository, a file, a variable.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Name { given, .. } => given.clone(),
            Self::Endpoint { .. } => "HF_ENDPOINT".to_owned(),
            Self::BadToken { origin } => origin.clone(),
            Self::Offline { source_name, .. }
            | Self::NotDownloaded { source_name, .. }
            | Self::NoFile { source_name, .. }
            | Self::Ambiguous { source_name, .. } => source_name.clone(),
            Self::Gated { repo, .. }
            | Self::NoRepository { repo, .. }
            | Self::TokenRefused { repo }
            | Self::NoRevision { repo, .. } => repo.clone(),
            Self::RateLimited { what, .. }
            | Self::Unavailable { what, .. }
            | Self::Unreachable { what, .. }
            | Self::TooSlow { what }
            | Self::Truncated { what, .. }
            | Self::Redirected { what, .. }
            | Self::TooManyRedirects { what, .. }
            | Self::RangeIgnored { what, .. }
            | Self::TooLarge { what, .. }
            | Self::WrongBytes { what, .. }
            | Self::BadAnswer { what, .. } => what.clone(),
            Self::Cancelled => String::new(),
            Self::Disk { path, .. } | Self::OutsideCache { path, .. } => path.display().to_string(),
        }
    }

    /// Whether a second try may do better.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unavailable { status, .. } => *status >= 500,
            Self::Unreachable { .. } | Self::Truncated { .. } => true,
            _ => false,
        }
    }
}
