//! A repository on the Hub at one commit: its list of files, and the files themselves.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::client::{Client, Target};
use super::name::{check_path, is_commit};
use super::{HubError, HubFile, HubRef, HubSettings};

/// Largest answer about a repository that is read: some ten thousand files.
const MAX_INFO_BYTES: u64 = 32 << 20;

/// A repository whose revision is settled: every file is of one commit.
#[derive(Debug)]
pub struct RemoteRepo {
    client: Arc<Client>,
    asked: HubRef,
    /// `ORG/NAME` as the Hub calls it now; a renamed repository answers to its old name.
    pub repo: String,
    /// The commit that the revision meant when it was asked.
    pub commit: String,
    /// Whether its terms must be accepted: `auto` or `manual`.
    pub gated: Option<String>,
    /// What the Hub takes it to be for.
    pub pipeline_tag: Option<String>,
    /// Files in the order of their paths.
    pub files: Vec<RemoteEntry>,
}

/// A file of the Hub's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteEntry {
    /// Path in the repository.
    pub path: String,
    /// Length, where the list tells it.
    pub bytes: Option<u64>,
    /// What it is called in the cache, where the list tells it.
    pub blob: Option<BlobId>,
}

/// A file's name in the cache: the hash by which the Hub knows its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobId {
    /// Of a large file: SHA-256 of its bytes.
    Sha256(String),
    /// Of any other: git's SHA-1 of its length and bytes.
    Git(String),
}

impl BlobId {
    /// The hash, in hexadecimal digits.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Sha256(hash) | Self::Git(hash) => hash,
        }
    }

    /// Computes the hash of a file of so many bytes.
    pub(super) fn hasher(&self, bytes: u64) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher(bytes, Kind::Sha256(Sha256::new())),
            Self::Git(_) => Hasher(bytes, Kind::Git(Sha1::new_with_prefix(format!("blob {bytes}\0")))),
        }
    }
}

/// The hash of a file as it comes in, and its length when it is all there.
pub(super) struct Hasher(u64, Kind);

enum Kind {
    Sha256(Sha256),
    Git(Sha1),
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match &mut self.1 {
            Kind::Sha256(hash) => hash.update(bytes),
            Kind::Git(hash) => hash.update(bytes),
        }
    }

    pub(super) fn expected(&self) -> u64 {
        self.0
    }

    /// In hexadecimal digits.
    pub(super) fn finish(self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self.1 {
            Kind::Sha256(hash) => hex(&hash.finalize()),
            Kind::Git(hash) => hex(&hash.finalize()),
        }
    }
}

/// Whether a text is a hash of so many digits, and so a plain file name.
fn is_hash(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[derive(Deserialize)]
struct RawInfo {
    id: Option<String>,
    sha: Option<String>,
    #[serde(default)]
    gated: Value,
    #[serde(default)]
    disabled: bool,
    pipeline_tag: Option<String>,
    #[serde(default)]
    siblings: Vec<RawFile>,
}

#[derive(Deserialize)]
struct RawFile {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<RawLfs>,
}

#[derive(Deserialize)]
struct RawLfs {
    size: Option<u64>,
    sha256: Option<String>,
}

impl RemoteRepo {
    /// Asks the Hub what `asked` is.
    ///
    /// # Errors
    /// No such repository or revision, no access, no network, an answer that makes no sense.
    pub fn ask(settings: &HubSettings, asked: &HubRef) -> Result<Self, HubError> {
        if settings.offline {
            return Err(HubError::Offline { source_name: asked.to_string(), cache: settings.cache.clone() });
        }
        let client = Client::new(settings);
        let what = asked.to_string();
        let path =
            format!("/api/models/{}/revision/{}?blobs=true", asked.repo(), encode(asked.revision(), false));
        let target = Target {
            repo: asked.repo().to_owned(),
            revision: asked.revision().to_owned(),
            what: what.clone(),
            uri: settings.endpoint.at(&path)?,
        };
        let json = client.small(&target, MAX_INFO_BYTES, None)?;
        let info: RawInfo = serde_json::from_slice(&json).map_err(|error| {
            HubError::bad_answer(&what, format!("it is no JSON about a repository: {error}"))
        })?;
        if info.disabled {
            return Err(HubError::bad_answer(&what, "the Hub has disabled this repository"));
        }
        let commit = info.sha.filter(|sha| is_commit(sha));
        let commit = commit.ok_or_else(|| HubError::bad_answer(&what, "it names no commit"))?;
        if is_commit(asked.revision()) && asked.revision() != commit {
            let why = format!("it is about commit {commit}, another one was asked for");
            return Err(HubError::bad_answer(&what, why));
        }
        let repo = match info.id {
            Some(id) => HubRef::parse_id(&id)
                .map_err(|_no_name| HubError::bad_answer(&what, "it is about no repository's name"))?
                .repo()
                .to_owned(),
            None => asked.repo().to_owned(),
        };
        // Names that no file could have here are not listed, so that nothing is ever asked or written by them.
        let mut files: Vec<_> = info.siblings.into_iter().filter_map(RawFile::entry).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let gated = info.gated.as_str().map(str::to_owned);
        Ok(Self { client, asked: asked.clone(), repo, commit, gated, pipeline_tag: info.pipeline_tag, files })
    }

    /// What was asked for, at its commit.
    #[must_use]
    pub fn pinned(&self) -> HubRef {
        self.asked.at(&self.commit)
    }

    /// What was asked for.
    #[must_use]
    pub fn asked(&self) -> &HubRef {
        &self.asked
    }

    /// A file of the list.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&RemoteEntry> {
        self.files.iter().find(|entry| entry.path == path)
    }

    /// A whole file of at most `limit` bytes; `None` if the list does not have it.
    ///
    /// # Errors
    /// Too large, no access, any failure of the network.
    pub fn small_file(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, HubError> {
        let Some(entry) = self.find(path) else { return Ok(None) };
        self.client.small(&self.target(path)?, limit, entry.bytes).map(Some)
    }

    /// A file to be read at positions.
    ///
    /// # Errors
    /// Not in the list, or neither the list nor the Hub's answer tells its length.
    pub fn open(&self, path: &str) -> Result<HubFile, HubError> {
        let missing = || HubError::NoFile { source_name: self.asked.to_string(), file: path.to_owned() };
        let entry = self.find(path).ok_or_else(missing)?;
        let target = self.target(path)?;
        let bytes = entry.bytes.map_or_else(|| self.client.length(&target), Ok)?;
        Ok(HubFile::new(Arc::clone(&self.client), target, bytes))
    }

    /// A file's name in messages.
    #[must_use]
    pub fn name_of(&self, path: &str) -> String {
        format!("hf:{}/{path}", self.asked.repo())
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn settings(&self) -> &HubSettings {
        &self.client.settings
    }

    pub(super) fn target(&self, path: &str) -> Result<Target, HubError> {
        let address = format!("/{}/resolve/{}/{}", self.asked.repo(), self.commit, encode(path, true));
        Ok(Target {
            repo: self.asked.repo().to_owned(),
            revision: self.asked.revision().to_owned(),
            what: self.name_of(path),
            uri: self.client.settings.endpoint.at(&address)?,
        })
    }
}

impl RawFile {
    fn entry(self) -> Option<RemoteEntry> {
        check_path(&self.rfilename).ok()?;
        // The size of a large file, not that of the pointer to it.
        let bytes = self.lfs.as_ref().and_then(|lfs| lfs.size).or(self.size);
        let blob = match self.lfs {
            Some(lfs) => lfs.sha256.filter(|hash| is_hash(hash, 64)).map(BlobId::Sha256),
            None => self.blob_id.filter(|hash| is_hash(hash, 40)).map(BlobId::Git),
        };
        Some(RemoteEntry { path: self.rfilename, bytes, blob })
    }
}

/// Percent-encodes all but what stands for itself anywhere; slashes stay where they part a path.
fn encode(text: &str, keep_slashes: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'/' if keep_slashes => encoded.push('/'),
            _ if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => encoded.push(byte as char),
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_encoded_once() {
        assert_eq!(encode("refs/pr/1", false), "refs%2Fpr%2F1");
        assert_eq!(encode("a b/ü+.json", true), "a%20b/%C3%BC%2B.json");
    }

    #[test]
    fn files_with_names_that_lead_elsewhere_are_not_listed() {
        let entry = |path: &str| {
            let json = serde_json::json!({"rfilename": path, "size": 3});
            serde_json::from_value::<RawFile>(json).expect("a file").entry()
        };
        for path in ["../x", "/x", "a/../x", "a//x", "x\\y", "C:x", "", ".", "x%2e", "x\n"] {
            assert_eq!(entry(path), None, "{path}");
        }
        let good = entry("d/x y.json").expect("a file");
        assert_eq!(good.bytes, Some(3));
    }
}
