//! Models that a browser keeps in the file system that it gives to a page: what the page and its engines agree on.
//!
//! Each has a directory of its own, with its files under their own names and a [`Kept`] that is written last: a
//! directory without one is half a copy.

use serde::{Deserialize, Serialize};

/// The directory that holds theirs, and nothing of anybody else's: an origin may serve other pages too.
pub const KEPT_FOLDER: &str = "preflight-models";
/// Name of a [`Kept`] in its directory.
pub const KEPT_MANIFEST: &str = "preflight-kept.json";

/// What is known of a model that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Name for people: that of the folder it came from.
    pub name: String,
    /// Its files.
    pub files: Vec<KeptFile>,
}

/// A file as it was when it was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// Its plain name.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, in lower-case hex.
    pub sha256: String,
}

impl Kept {
    /// Bytes of all its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).fold(0, u64::saturating_add)
    }
}

/// What the page asks of its engines about models that are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum KeptTask {
    /// Copies the files posted beside it.
    Keep {
        /// Name of its directory; there is none yet.
        id: String,
        /// Name for people.
        name: String,
    },
    /// Reads every file and holds it against its [`Kept`].
    Verify {
        /// Name of its directory.
        id: String,
    },
}
