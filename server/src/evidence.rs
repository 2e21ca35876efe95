//! What makes an attempt repeatable: the files by their hashes.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use phi3::api::FileFact;
use phi3::units::format_count;
use preflight_files::READ_BESIDE;
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
            let of = stamp.clone();
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
    let fact =
        |stamp: Stamp| Ok(FileFact { sha256: Some(hash(&stamp)?), name: stamp.name, bytes: stamp.bytes });
    stamps(path).into_iter().map(fact).collect()
}

/// How files differ from those of an earlier time; those that no run reads may come and go.
pub(crate) fn differing(then: &[FileFact], now: &[FileFact]) -> Vec<String> {
    let of_then = then.iter().filter_map(|file| {
        let Some(here) = now.iter().find(|here| here.name == file.name) else {
            return Some(format!("{} is not here", file.name));
        };
        if here.bytes != file.bytes {
            let [then, now] = [file.bytes, here.bytes].map(format_count);
            return Some(format!("{} has {now} bytes, certified are {then}", file.name));
        }
        (here.sha256 != file.sha256).then(|| format!("{} has another SHA-256", file.name))
    });
    let is_new = |here: &&FileFact| is_read(&here.name) && then.iter().all(|file| file.name != here.name);
    let new = now.iter().filter(is_new).map(|file| format!("{} is here and was not certified", file.name));
    of_then.chain(new).collect()
}

/// Whether every run reads a file of this name.
fn is_read(name: &str) -> bool {
    let is_weights = [".safetensors", ".gguf"].iter().any(|end| name.ends_with(end));
    is_weights || READ_BESIDE.contains(&name)
}

/// What tells a model's files apart from others without reading them: names, lengths, times of change.
pub(crate) fn identity(path: &Path) -> String {
    let lines = stamps(path).into_iter().map(|stamp| {
        // The place counts too: two folders of the same names and lengths may hold other bytes.
        format!("{}\t{}\t{}\n", stamp.path.display(), stamp.bytes, stamp.modified_ns)
    });
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    lines.chain(READ_BESIDE.iter().filter_map(|name| no_file(&folder.join(name)))).collect()
}

/// What stands in the place of a file and is none: a load fails for it, until it is gone.
fn no_file(path: &Path) -> Option<String> {
    let metadata = path.symlink_metadata().ok().filter(|_| !path.is_file())?;
    Some(format!("{}\t{:o}\t{:?}\n", path.display(), metadata.mode(), path.read_link().ok()))
}

fn stamps(path: &Path) -> Vec<Stamp> {
    // An index is not what is loaded: its shards lie beside it.
    let is_index = path.to_str().is_some_and(|path| path.ends_with(".index.json"));
    let beside = || match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = if is_index { Some(beside()) } else { Some(path).filter(|path| path.is_dir()) };
    let files: Vec<PathBuf> = if let Some(folder) = folder {
        let entries = folder.read_dir().into_iter().flatten().flatten().take(MOST);
        entries.map(|entry| entry.path()).collect()
    } else {
        // A file stands for itself, with what every run reads beside it; a GGUF holds all of that, in one part or several.
        let is_gguf = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"));
        let beside = match is_gguf {
            true => preflight_files::other_parts(path),
            false => READ_BESIDE.iter().map(|name| path.with_file_name(name)).collect(),
        };
        [path.to_owned()].into_iter().chain(beside).collect()
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
    Some(Stamp { name, path, bytes: metadata.len(), modified_ns: modified_ns(&metadata)? })
}

fn modified_ns(metadata: &std::fs::Metadata) -> Option<u64> {
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(u64::try_from(modified.as_nanos()).unwrap_or_default())
}

/// The hash of a file that is still what it was stamped as when all of it has been read.
fn hash(stamp: &Stamp) -> io::Result<String> {
    let mut file = File::open(&stamp.path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            read => hasher.update(&chunk[..read]),
        }
    }
    let now = file.metadata()?;
    if (now.len(), modified_ns(&now)) != (stamp.bytes, Some(stamp.modified_ns)) {
        return Err(io::Error::other("it was changed meanwhile"));
    }
    Ok(hex(&hasher.finalize()))
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
    let Ok(mut writer) = store.writer().await else { return };
    sqlx::query("INSERT OR REPLACE INTO file_hashes (path, bytes, modified_ns, sha256) VALUES (?, ?, ?, ?)")
        .bind(stamp.path.display().to_string())
        .bind(bytes)
        .bind(modified_ns)
        .bind(hash)
        .execute(&mut *writer)
        .await
        .ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_stands_for_its_shards_too() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let names = ["config.json", "m-00001-of-00001.safetensors", "model.safetensors.index.json"];
        for name in names {
            std::fs::write(dir.path().join(name), name).expect("written");
        }
        let facts = hashed(&dir.path().join(names[2])).expect("read");
        assert_eq!(facts.iter().map(|fact| fact.name.as_str()).collect::<Vec<_>>(), names);
    }

    /// A hash is remembered for what the file was: one that has changed since has none.
    #[test]
    fn a_file_that_changes_while_it_is_read_has_no_hash() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("a.json");
        std::fs::write(&path, "abc").expect("written");
        let before = stamp(path.clone()).expect("a file");
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash(&before).expect("read"), abc);
        std::fs::write(&path, "abcd").expect("written");
        assert!(hash(&before).is_err());
        let file = File::options().write(true).open(&path).expect("there");
        std::fs::write(&path, "abc").expect("written");
        file.set_modified(UNIX_EPOCH + std::time::Duration::from_secs(1)).expect("set");
        assert!(hash(&before).is_err());
        assert_eq!(hash(&stamp(path).expect("a file")).expect("read"), abc);
    }
}
