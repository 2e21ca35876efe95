//! `hf:ORG/NAME[@REV]` and the Hub's addresses, as data. What is named here is checked text: no request ever goes
//! to an address that somebody typed, only to the endpoint that is configured.

use std::fmt;

use super::{Endpoint, HubError};

/// Hosts of the public Hub, under whose addresses its repositories are known everywhere.
const HUB_HOSTS: [&str; 4] = ["huggingface.co", "www.huggingface.co", "hf.co", "www.hf.co"];

/// First parts of the Hub's addresses that are no owner of models.
const NO_OWNERS: [&str; 22] = [
    "api",
    "blog",
    "chat",
    "collections",
    "datasets",
    "docs",
    "enterprise",
    "join",
    "kernels",
    "learn",
    "login",
    "models",
    "new",
    "organizations",
    "papers",
    "posts",
    "pricing",
    "search",
    "settings",
    "spaces",
    "tasks",
    "buckets",
];

/// Longest owner or name.
const MAX_NAME: usize = 96;
/// Longest revision; branches have a few dozen characters.
const MAX_REVISION: usize = 200;
/// Longest path of a file in a repository.
const MAX_PATH: usize = 1000;
/// Longest part of a refused text that is told.
const MAX_SHOWN: usize = 120;

/// A repository of models at a revision, or one file or folder in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubRef {
    repo: String,
    revision: Option<String>,
    path: Option<String>,
}

impl HubRef {
    /// Reads what follows `hf:`: `ORG/NAME[@REV]`, or the `//ORG/NAME[@REV][/PATH]` of Hugging Face's file system.
    ///
    /// # Errors
    /// [`HubError::Name`], saying which rule is broken.
    pub fn parse_id(text: &str) -> Result<Self, HubError> {
        if let Some(path) = text.strip_prefix("//") {
            // Names of files may hold spaces, which an address writes as `%20`.
            check_text(text, |c| c == ' ')?;
            return Self::parse_file_system(text, path);
        }
        check_text(text, |_| false)?;
        let (repo, revision) = match text.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision)),
            None => (text, None),
        };
        // `user@host/path` is somebody's address elsewhere, not branch `host/path` of an old repository without owner.
        if !repo.contains('/')
            && revision.is_some_and(|name| name.contains('/') && !name.starts_with("refs/"))
        {
            return Err(HubError::name(text, "is no ORG/NAME[@REV]"));
        }
        Self::new(text, repo, revision, None)
    }

    /// Reads an address of the Hub: of a repository, a revision of it, or a file in it.
    ///
    /// # Errors
    /// [`HubError::Name`]: another host, a page that is no repository of models, a broken rule.
    pub fn parse_url(text: &str, endpoint: &Endpoint) -> Result<Self, HubError> {
        let refuse = |why| HubError::name(text, why);
        check_text(text, |_| false)?;
        let address = text.split(['?', '#']).next().unwrap_or_default();
        let Some((scheme, rest)) = address.split_once("://") else {
            return Err(refuse("has no scheme; write https://huggingface.co/ORG/NAME or hf:ORG/NAME"));
        };
        if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(refuse("is no http or https address"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(refuse("holds a user name or password; set HF_TOKEN instead"));
        }
        let authority = authority.to_ascii_lowercase();
        let path = match endpoint.strip_prefix(&authority, path) {
            Some(path) => path,
            None if HUB_HOSTS.contains(&authority.as_str()) => path,
            None => {
                return Err(refuse(
                    "is no address of the Hub: only huggingface.co, hf.co and the host of HF_ENDPOINT are",
                ));
            }
        };
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments = path.split('/').map(|segment| decode(text, segment)).collect::<Result<Vec<_>, _>>()?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        Self::of_segments(text, &segments)
    }

    /// Either form, as a request over HTTP gives it.
    ///
    /// # Errors
    /// As [`HubRef::parse_id`] and [`HubRef::parse_url`].
    pub fn parse(text: &str, endpoint: &Endpoint) -> Result<Self, HubError> {
        match text.strip_prefix("hf:") {
            Some(id) => Self::parse_id(id),
            None if text.contains("://") => Self::parse_url(text, endpoint),
            None => Self::parse_id(text),
        }
    }

    /// `ORG/NAME`, or the bare name of an old repository.
    #[must_use]
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// Its name without the owner.
    #[must_use]
    pub fn name(&self) -> &str {
        self.repo.rsplit('/').next().unwrap_or_default()
    }

    /// The branch, tag, commit or `refs/pr/N` that was asked for; `main` if none was.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.named_revision().unwrap_or("main")
    }

    /// The revision that was asked for by name; `None` leaves it to the default branch.
    #[must_use]
    pub fn named_revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// The file or folder that was asked for, with `/` between its parts.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// Whether the revision is a commit: nothing can move it.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        is_commit(self.revision())
    }

    /// A file of the same repository, below the folder that was asked for.
    #[must_use]
    pub(crate) fn file(&self, name: &str) -> Self {
        let path = self.path.as_ref().map_or(name.to_owned(), |folder| format!("{folder}/{name}"));
        Self { path: Some(path), ..self.clone() }
    }

    /// The model that is meant: a file that lies beside weights stands for the folder that it lies in.
    #[must_use]
    pub(crate) fn of_model(self) -> Self {
        const BESIDE: [&str; 5] = [".json", ".md", ".jinja", ".txt", ".model"];
        let is_beside = |path: &str| {
            let path = path.to_ascii_lowercase();
            !path.ends_with(".safetensors.index.json") && BESIDE.iter().any(|ending| path.ends_with(ending))
        };
        let path = match self.path {
            Some(path) if is_beside(&path) => path.rsplit_once('/').map(|(folder, _)| folder.to_owned()),
            path => path,
        };
        Self { path, ..self }
    }

    /// The same at a commit, without the scheme: `ORG/NAME@COMMIT`, or `//ORG/NAME@COMMIT/PATH`.
    #[must_use]
    pub fn pinned_id(&self, commit: &str) -> String {
        self.at(commit).to_string().trim_start_matches("hf:").to_owned()
    }

    /// The same repository at a revision that was named apart from it.
    ///
    /// # Errors
    /// No name of a revision, or another than the source names.
    pub fn at_revision(&self, revision: &str) -> Result<Self, HubError> {
        let there = self.moved_to(revision)?;
        match self.named_revision() {
            Some(named) if named != revision => {
                Err(HubError::name(&self.to_string(), "the load config names another revision; keep one"))
            }
            _ => Ok(there),
        }
    }

    /// The same at a revision that somebody named, whichever it was at.
    ///
    /// # Errors
    /// No name of a revision.
    pub fn moved_to(&self, revision: &str) -> Result<Self, HubError> {
        check_revision(revision).map_err(|why| HubError::name(revision, why))?;
        Ok(self.at(revision))
    }

    /// The same repository at another revision.
    #[must_use]
    pub(crate) fn at(&self, revision: &str) -> Self {
        Self { revision: Some(revision.to_owned()), ..self.clone() }
    }

    fn new(text: &str, repo: &str, revision: Option<&str>, path: Option<String>) -> Result<Self, HubError> {
        let refuse = |why| HubError::name(text, why);
        check_repo(repo).map_err(refuse)?;
        if let Some(revision) = revision {
            check_revision(revision).map_err(refuse)?;
        }
        if let Some(path) = &path {
            check_path(path).map_err(refuse)?;
        }
        Ok(Self { repo: repo.to_owned(), revision: revision.map(str::to_owned), path })
    }

    fn parse_file_system(text: &str, path: &str) -> Result<Self, HubError> {
        let (repo, rest) = match path.split_once('@') {
            Some((repo, rest)) => {
                let (revision, path) = split_revision(rest.split('/').collect::<Vec<_>>().as_slice());
                return Self::new(text, repo, Some(&revision), path);
            }
            None => match path.match_indices('/').nth(1) {
                Some((at, _)) => (&path[..at], Some(path[at + 1..].to_owned())),
                None => (path, None),
            },
        };
        Self::new(text, repo, None, rest)
    }

    fn of_segments(text: &str, segments: &[&str]) -> Result<Self, HubError> {
        let refuse = |why| HubError::name(text, why);
        let segments = match segments {
            ["api", "models", rest @ ..] => rest,
            [first, ..] if NO_OWNERS.contains(first) => {
                return Err(refuse("is no repository of a model"));
            }
            all => all,
        };
        let is_page = |name: &str| {
            ["tree", "blob", "resolve", "raw", "commit", "commits", "revision", "discussions"].contains(&name)
        };
        let (repo, rest) = match segments {
            [] | [""] => return Err(refuse("names no repository")),
            [name] => ((*name).to_owned(), &[][..]),
            // Old repositories have no owner.
            [name, page, ..] if is_page(page) => ((*name).to_owned(), &segments[1..]),
            [owner, name, rest @ ..] => (format!("{owner}/{name}"), rest),
        };
        // The address that `git clone` takes.
        let repo = repo.strip_suffix(".git").unwrap_or(&repo);
        match rest {
            [] => Self::new(text, repo, None, None),
            ["tree" | "blob" | "resolve" | "raw", rest @ ..] if !rest.is_empty() => {
                let (revision, path) = split_revision(rest);
                Self::new(text, repo, Some(&revision), path)
            }
            ["commit" | "commits" | "revision", rest @ ..] if !rest.is_empty() => {
                Self::new(text, repo, Some(&rest.join("/")), None)
            }
            _ => Err(refuse(
                "leads to a page of a repository, not to its files; give https://huggingface.co/ORG/NAME",
            )),
        }
    }
}

impl fmt::Display for HubRef {
    /// As it may be typed again: `hf:ORG/NAME@REV`, or `hf://ORG/NAME@REV/PATH`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.revision, &self.path) {
            (None, None) => write!(f, "hf:{}", self.repo),
            (Some(revision), None) => write!(f, "hf:{}@{revision}", self.repo),
            (_, Some(path)) => write!(f, "hf://{}@{}/{path}", self.repo, self.revision()),
        }
    }
}

/// Whether a revision is a commit's full name.
#[must_use]
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The rule for a path inside a repository, also where the Hub's own list names it.
pub(super) fn check_path(path: &str) -> Result<(), &'static str> {
    if path.len() > MAX_PATH || path.contains(|c: char| c.is_control() || "\\%:".contains(c)) {
        return Err("names a file with a character that no file of the Hub needs");
    }
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err("names a file with an empty part, `.` or `..`");
    }
    Ok(())
}

/// What a refused text may show of itself: one line, without user names, queries and fragments.
pub(super) fn shown(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let text = match text.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            format!("{scheme}://{}{path}", authority.rsplit('@').next().unwrap_or_default())
        }
        None => text.to_owned(),
    };
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = chars.by_ref().take(MAX_SHOWN).collect();
    if chars.next().is_some() {
        line.push('…');
    }
    line
}

fn check_text(text: &str, is_allowed: impl Fn(char) -> bool) -> Result<(), HubError> {
    match text.contains(|c: char| (c.is_control() || c.is_whitespace() || c == '\\') && !is_allowed(c)) {
        true => Err(HubError::name(text, "holds a space, a backslash or an unprintable character")),
        false => Ok(()),
    }
}

/// The Hub's rule for `ORG/NAME`.
fn check_repo(repo: &str) -> Result<(), &'static str> {
    let rule = "is no name of the Hub: ORG/NAME, each of at most 96 letters, digits, `.`, `_`, `-`, none of `--`, `..`, not beginning or ending with `.` or `-`";
    if repo.contains(['?', '#']) {
        return Err("is followed by `?` or `#`, which no name holds: leave out what begins there");
    }
    let parts: Vec<&str> = repo.split('/').collect();
    if parts.len() > 2 {
        return Err("has more than ORG/NAME; a revision follows `@`, a file is named by its address");
    }
    let is_name = |part: &&str| {
        let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let ends = part.bytes().next().zip(part.bytes().last());
        part.len() <= MAX_NAME
            && ends.is_some_and(|(first, last)| is_word(first) && is_word(last))
            && part.bytes().all(|b| is_word(b) || b == b'.' || b == b'-')
            && !part.contains("--")
            && !part.contains("..")
            && !part.ends_with(".git")
    };
    if parts.iter().all(is_name) { Ok(()) } else { Err(rule) }
}

/// Git's rule for a reference, narrowed to what the Hub's branches, tags and commits use.
pub(super) fn check_revision(revision: &str) -> Result<(), &'static str> {
    let parts_are_good = revision.split('/').all(|part| {
        !part.is_empty() && !part.starts_with(['.', '-']) && !part.ends_with('.') && !part.ends_with(".lock")
    });
    let is_good = revision.len() <= MAX_REVISION
        && revision.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+/".contains(&b))
        && !revision.contains("..")
        && parts_are_good;
    if is_good { Ok(()) } else { Err("names a revision that is no branch, tag, commit or refs/pr/N") }
}

/// The revision at the front of an address, and the path after it. `refs/pr/N` and `refs/convert/N` have slashes of
/// their own; elsewhere the Hub writes a slash in a revision as `%2F`, which is decoded by now.
fn split_revision(parts: &[&str]) -> (String, Option<String>) {
    let of_revision = match parts {
        ["refs", "pr" | "convert" | "heads" | "tags", _, ..] => 3,
        _ => parts.len().min(1),
    };
    let (revision, path) = parts.split_at(of_revision);
    (revision.join("/"), (!path.is_empty()).then(|| path.join("/")))
}

/// Decodes `%XX` once; what still holds a `%` then was encoded twice.
fn decode(text: &str, segment: &str) -> Result<String, HubError> {
    let refuse = |why| HubError::name(text, why);
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digit = |at: usize| after.get(at).and_then(|b| (*b as char).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return Err(refuse("holds a `%` that is followed by no two hexadecimal digits"));
        };
        bytes.push((high * 16 + low) as u8);
        rest = &after[2..];
    }
    let decoded = String::from_utf8(bytes).map_err(|_invalid| refuse("is no UTF-8 once decoded"))?;
    if decoded.contains('%') {
        return Err(refuse("is percent-encoded twice"));
    }
    match decoded.contains(|c: char| c.is_control() || c == '\\') {
        true => Err(refuse("holds a backslash or an unprintable character")),
        false => Ok(decoded),
    }
}

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;
