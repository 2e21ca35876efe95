//! What makes an attempt repeatable: the files by their hashes.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use phi3::api::FileFact;
use sha2::{Digest as _, Sha256};

use crate::store::Store;

/// Files of a model, by how their names end.
const ENDINGS: [&str; 6] = [".json", ".safetensors", ".gguf", ".model", ".txt", ".jinja"];

/// Most files of a model.
const MOST: usize = 1000;

/// Read at once.
const CHUNK: usize = 1 << 20;

/// A file, by what tells without reading it that it is still the same.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    name: String,
    path: PathBuf,
    bytes: u64,
    modified_ns: u64,
}

/// The files of a model with their hashes. Hashes of files that have not changed are remembered; others are computed
/// where `compute` says so, and are left out where not.
pub(crate) async fn facts(store: &Store, path: &Path, compute: bool) -> Vec<FileFact> {
    let path = path.to_owned();
    let stamps = tokio::task::spawn_blocking(move || stamps(&path)).await.unwrap_or_default();
    let mut facts = Vec::new();
    for stamp in stamps {
        let mut sha256 = remembered(store, &stamp).await;
        if sha256.is_none() && compute {
            let of = stamp.path.clone();
            let hashed = tokio::task::spawn_blocking(move || hash(&of)).await;
            match hashed.map_err(io::Error::other).and_then(|hash| hash) {
                Ok(hash) => {
                    remember(store, &stamp, &hash).await;
                    sha256 = Some(hash);
                }
                Err(error) => tracing::warn!(file = ?stamp.name, %error, "a file cannot be hashed"),
            }
        }
        facts.push(FileFact { name: stamp.name, bytes: stamp.bytes, sha256 });
    }
    facts
}

/// The files of a model with their hashes, all computed.
pub(crate) fn hashed(path: &Path) -> io::Result<Vec<FileFact>> {
    let fact = |stamp: Stamp| {
        Ok(FileFact { sha256: Some(hash(&stamp.path)?), name: stamp.name, bytes: stamp.bytes })
    };
    stamps(path).into_iter().map(fact).collect()
}

/// What tells a model's files apart from others without reading them: names, lengths, times of change.
pub(crate) fn identity(path: &Path) -> String {
    let lines = stamps(path).into_iter().map(|stamp| {
        // The place counts too: two folders of the same names and lengths may hold other bytes.
        format!("{}\t{}\t{}\n", stamp.path.display(), stamp.bytes, stamp.modified_ns)
    });
    lines.collect()
}

fn stamps(path: &Path) -> Vec<Stamp> {
    let files: Vec<PathBuf> = if path.is_dir() {
        let entries = path.read_dir().into_iter().flatten().flatten().take(MOST);
        entries.map(|entry| entry.path()).collect()
    } else {
        // A file stands for itself, with the config beside it.
        let beside = path.with_file_name("config.json");
        [path.to_owned(), beside].into_iter().collect()
    };
    let mut stamps: Vec<Stamp> = files.into_iter().filter_map(stamp).collect();
    stamps.sort_by(|a, b| a.name.cmp(&b.name));
    stamps.dedup();
    stamps
}

fn stamp(path: PathBuf) -> Option<Stamp> {
    let name = path.file_name()?.to_str()?.to_owned();
    if !ENDINGS.iter().any(|ending| name.to_ascii_lowercase().ends_with(ending)) {
        return None;
    }
    // Links are followed: those of a snapshot lead to the bytes.
    let path = path.canonicalize().ok()?;
    let metadata = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let modified_ns = u64::try_from(modified.as_nanos()).unwrap_or_default();
    Some(Stamp { name, path, bytes: metadata.len(), modified_ns })
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex(&hasher.finalize())),
            read => hasher.update(&chunk[..read]),
        }
    }
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn remembered(store: &Store, stamp: &Stamp) -> Option<String> {
    let found =
        sqlx::query_scalar("SELECT sha256 FROM file_hashes WHERE path = ? AND bytes = ? AND modified_ns = ?")
            .bind(stamp.path.display().to_string())
            .bind(i64::try_from(stamp.bytes).ok()?)
            .bind(i64::try_from(stamp.modified_ns).ok()?)
            .fetch_optional(store.readers())
            .await;
    found.ok().flatten()
}

/// A hash that cannot be remembered is computed again.
async fn remember(store: &Store, stamp: &Stamp, hash: &str) {
    let (Ok(bytes), Ok(modified_ns)) = (i64::try_from(stamp.bytes), i64::try_from(stamp.modified_ns)) else {
        return;
    };
    let mut writer = store.writer().await;
    sqlx::query("INSERT OR REPLACE INTO file_hashes (path, bytes, modified_ns, sha256) VALUES (?, ?, ?, ?)")
        .bind(stamp.path.display().to_string())
        .bind(bytes)
        .bind(modified_ns)
        .bind(hash)
        .execute(&mut *writer)
        .await
        .ok();
}
