//! Downloads into Hugging Face's cache, laid out as its own tools do it: `blobs` by their hash, `.incomplete` while they
//! come, a lock for each, `snapshots` of links, `refs`. What came before a break is kept, and checked with the rest.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use phi3::weights::gguf::part_names;

use super::client::PAUSES;
use super::name::{check_revision, is_commit};
use super::remote::BlobId;
use super::{HubError, RemoteEntry, RemoteRepo, Snapshot};
use crate::free_bytes;
use crate::model::{gguf_models, is_pickled};

/// Read at once of what came before.
const CHUNK_BYTES: usize = 1 << 20;

/// How often a lock that another process holds is looked at.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// How often somebody is told how far it is, at most.
const TOLD: Duration = Duration::from_millis(100);

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownloadProgress {
    /// Bytes that are here, those of an earlier try included.
    pub done_bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
}

/// Somebody who is told, and who may end it.
type Watch<'a> = dyn FnMut(DownloadProgress) -> ControlFlow<()> + 'a;

impl RemoteRepo {
    /// Files that make a snapshot of what was asked for: description, tokenizer, card, and weights that are read here.
    /// Never code, never pickled weights.
    ///
    /// # Errors
    /// Nothing in the list that could be loaded.
    pub fn needed(&self) -> Result<Vec<&RemoteEntry>, HubError> {
        let folder = match self.asked().path() {
            Some(path) if self.find(path).is_some() => {
                path.rfind('/').map_or("", |at| &path[..=at]).to_owned()
            }
            Some(path) => format!("{path}/"),
            None => String::new(),
        };
        let named = self.asked().path().filter(|path| self.find(path).is_some());
        let is_gguf = |name: &str| name.to_ascii_lowercase().ends_with(".gguf");
        let here = self.files.iter().filter_map(|entry| {
            let name = entry.path.strip_prefix(folder.as_str()).filter(|name| !name.contains('/'))?;
            Some((name, entry))
        });
        let all: Vec<(&str, &RemoteEntry)> = here.collect();
        let has = |wanted: &str| all.iter().any(|(name, _)| *name == wanted);
        let single = has("model.safetensors");
        let has_shards = has("model.safetensors.index.json");
        let parts = named.and_then(|path| part_names(&path[folder.len()..])).unwrap_or_default();
        let wanted = |name: &str, entry: &RemoteEntry| match named {
            // A GGUF file is a model by itself, or with the other parts of it.
            Some(path) if is_gguf(path) => entry.path == path || parts.iter().any(|part| part == name),
            _ if named == Some(entry.path.as_str()) => true,
            _ if is_gguf(name) => !single && !has_shards && !has("config.json"),
            _ if name.ends_with(".safetensors") => match (single, has_shards) {
                (true, _) => name == "model.safetensors",
                // Which of them are shards stands in the index, which is not here yet.
                (false, shards) => shards && name.starts_with("model-"),
            },
            _ if name.ends_with(".json") => true,
            _ => [".jinja", ".model", ".txt", ".md"].iter().any(|ending| name.ends_with(ending)),
        };
        let needed: Vec<&RemoteEntry> =
            all.iter().filter(|(name, entry)| wanted(name, entry)).map(|(_, entry)| *entry).collect();
        let files: Vec<String> = (needed.iter().map(|entry| entry.path[folder.len()..].to_owned()))
            .filter(|name| is_gguf(name))
            .collect();
        let models = gguf_models(&files);
        let parts = models.first().and_then(|name| part_names(name)).unwrap_or_default();
        if models.len() > 1 {
            // Nobody can guess which is meant.
            let files = models.iter().map(|name| self.asked().file(name).to_string()).collect();
            return Err(HubError::Ambiguous { source_name: self.asked().to_string(), files });
        }
        // A model of which a part is missing cannot be loaded.
        if let Some(part) = parts.iter().find(|part| !files.contains(part)) {
            let file = format!("{folder}{part}");
            return Err(HubError::NoFile { source_name: self.asked().to_string(), file });
        }
        let holds_weights =
            needed.iter().any(|entry| entry.path.ends_with(".safetensors") || is_gguf(&entry.path));
        if holds_weights {
            return Ok(needed);
        }
        let pickled = all.iter().map(|(name, _)| *name).find(|name| is_pickled(&name.to_ascii_lowercase()));
        let pickled = pickled.map_or_else(String::new, |name| {
            format!("; {name} is pickled, which is never read, since it can run code")
        });
        let file = format!("{folder}model.safetensors, no shards of it and no GGUF file{pickled}");
        Err(HubError::NoFile { source_name: self.asked().to_string(), file })
    }

    /// Brings files into the cache; `watch` is told how far it is, and ends it by breaking off. What is there is not
    /// fetched again, and what came of a file before it broke off is kept for the next try.
    ///
    /// # Errors
    /// No access, no network, bytes that are not those of the list, a disk that is full or cannot be written,
    /// [`HubError::Cancelled`].
    pub fn download(&self, files: &[&RemoteEntry], watch: &mut Watch<'_>) -> Result<Snapshot, HubError> {
        let folder = self.settings().repo_folder(&self.repo);
        let mut sizes = Vec::new();
        for entry in files {
            let asked = || self.client().length(&self.target(&entry.path)?);
            sizes.push(entry.bytes.map_or_else(asked, Ok)?);
        }
        let progress = DownloadProgress { done_bytes: 0, total_bytes: sizes.iter().sum() };
        let mut told = Told { watch, progress, last: None };
        let blobs = folder.join("blobs");
        make_folder(&blobs)?;
        let mut here = Vec::new();
        for (entry, bytes) in files.iter().zip(sizes) {
            let missing = || {
                HubError::bad_answer(&self.name_of(&entry.path), "the list of files does not tell its hash")
            };
            let blob = entry.blob.as_ref().ok_or_else(missing)?;
            let _lock = self.lock(blob, &mut told)?;
            self.bring(entry, blob, bytes, &blobs, &mut told)?;
            here.push((entry.path.as_str(), blob));
        }
        told.now()?;
        // Links come last: a snapshot that is begun and not complete could be taken for one that is.
        let directory = folder.join("snapshots").join(&self.commit);
        for (path, blob) in here {
            link(&directory, path, blob)?;
        }
        self.refer(self.asked().revision())?;
        Ok(Snapshot { directory, commit: self.commit.clone() })
    }

    /// Keeps in the cache that a branch or tag means this commit, as Hugging Face's tools do: offline, its snapshot is
    /// then found by that name too.
    ///
    /// # Errors
    /// A revision that is no name, or a disk that is full or cannot be written.
    pub fn refer(&self, revision: &str) -> Result<(), HubError> {
        if is_commit(revision) {
            return Ok(());
        }
        check_revision(revision).map_err(|rule| HubError::name(revision, rule))?;
        let file = self.settings().repo_folder(&self.repo).join("refs").join(revision);
        make_folder(file.parent().unwrap_or(&file))?;
        std::fs::write(&file, &self.commit).map_err(|error| disk(&file, error))
    }

    /// One file into `blobs`.
    fn bring(
        &self,
        entry: &RemoteEntry,
        blob: &BlobId,
        bytes: u64,
        blobs: &Path,
        told: &mut Told<'_, '_>,
    ) -> Result<(), HubError> {
        let path = blobs.join(blob.name());
        if path.metadata().is_ok_and(|found| found.is_file() && found.len() == bytes) {
            return told.add(bytes);
        }
        let mut partial = Partial::open(blobs.join(format!("{}.incomplete", blob.name())), blob, bytes)?;
        let before = told.progress.done_bytes;
        self.has_room(blobs, bytes - partial.len)?;
        let target = self.target(&entry.path)?;
        let mut pauses = PAUSES.iter();
        while partial.len < bytes {
            let from = partial.len;
            told.progress.done_bytes = before + from;
            told.now()?;
            let mut take = |piece: &[u8]| {
                partial.write(piece)?;
                told.add(piece.len() as u64)
            };
            match self.client().stream(&target, bytes, from, &mut take) {
                Ok(()) => {}
                // From the front, then: such a server sends whole files only.
                Err(HubError::RangeIgnored { .. }) if from > 0 => partial.restart(blob)?,
                Err(error) if error.is_passing() => {
                    if partial.len > from {
                        pauses = PAUSES.iter();
                    }
                    let Some(pause) = pauses.next() else { return Err(error) };
                    let until = Instant::now() + *pause;
                    while Instant::now() < until {
                        told.now()?;
                        std::thread::sleep(TOLD);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        told.progress.done_bytes = before + bytes;
        partial.finish(&path, &self.name_of(&entry.path), blob)
    }

    /// The lock of a blob, as Hugging Face's tools take it.
    fn lock(&self, blob: &BlobId, told: &mut Told<'_, '_>) -> Result<File, HubError> {
        let cache = &self.settings().cache;
        let folder = cache.join(".locks").join(format!("models--{}", self.repo.replace('/', "--")));
        make_folder(&folder)?;
        let path = folder.join(format!("{}.lock", blob.name()));
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| disk(&path, error))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {
                    told.now()?;
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(TryLockError::Error(error)) => return Err(disk(&path, error)),
            }
        }
    }

    /// Tells before gigabytes have come that the disk does not take them. Where nobody knows, writing will tell.
    fn has_room(&self, folder: &Path, bytes: u64) -> Result<(), HubError> {
        match free_bytes(folder) {
            Some(free) if free < bytes => {
                let why = format!("{bytes} bytes are to come, {free} are free");
                Err(HubError::Disk { path: folder.to_owned(), why, is_full: true })
            }
            _ => Ok(()),
        }
    }
}

/// How far it is, and who is told.
struct Told<'a, 'b> {
    watch: &'a mut Watch<'b>,
    progress: DownloadProgress,
    last: Option<Instant>,
}

impl Told<'_, '_> {
    fn add(&mut self, bytes: u64) -> Result<(), HubError> {
        self.progress.done_bytes += bytes;
        match self.last {
            Some(last) if last.elapsed() < TOLD => Ok(()),
            _ => self.now(),
        }
    }

    fn now(&mut self) -> Result<(), HubError> {
        self.last = Some(Instant::now());
        match (self.watch)(self.progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(HubError::Cancelled),
        }
    }
}

/// A file that is not all here yet, and the hash of what is.
struct Partial {
    path: PathBuf,
    file: File,
    len: u64,
    hash: super::remote::Hasher,
}

impl Partial {
    /// What an earlier try left, or nothing.
    fn open(path: PathBuf, blob: &BlobId, bytes: u64) -> Result<Self, HubError> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let file = file.map_err(|error| disk(&path, error))?;
        let mut partial = Self { hash: blob.hasher(bytes), len: 0, path, file };
        let found = partial.file.metadata().map_err(|error| disk(&partial.path, error))?.len();
        if found > bytes {
            partial.restart_with(blob.hasher(bytes))?;
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match partial.file.read(&mut chunk).map_err(|error| disk(&partial.path, error))? {
                0 => return Ok(partial),
                read => {
                    partial.hash.update(&chunk[..read]);
                    partial.len += read as u64;
                }
            }
        }
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), HubError> {
        self.file.write_all(piece).map_err(|error| {
            // What part of it was written is not known, and not counted: the next try begins behind what is.
            self.file.set_len(self.len).ok();
            disk(&self.path, error)
        })?;
        self.hash.update(piece);
        self.len += piece.len() as u64;
        Ok(())
    }

    fn restart(&mut self, blob: &BlobId) -> Result<(), HubError> {
        self.restart_with(blob.hasher(self.hash.expected()))
    }

    fn restart_with(&mut self, hash: super::remote::Hasher) -> Result<(), HubError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(|error| disk(&self.path, error))?;
        self.len = 0;
        self.hash = hash;
        Ok(())
    }

    /// Checks what came, and gives it its name.
    fn finish(self, path: &Path, what: &str, blob: &BlobId) -> Result<(), HubError> {
        let found = self.hash.finish();
        if found != blob.name() {
            // None of it can be trusted: kept, it would spoil the next try too.
            std::fs::remove_file(&self.path).ok();
            return Err(HubError::WrongBytes {
                what: what.to_owned(),
                expected: blob.name().to_owned(),
                found,
            });
        }
        let kept = self.file.sync_all().and_then(|()| std::fs::rename(&self.path, path));
        kept.map_err(|error| disk(path, error))
    }
}

/// The link of a file in a snapshot.
fn link(directory: &Path, path: &str, blob: &BlobId) -> Result<(), HubError> {
    let place = directory.join(path);
    make_folder(place.parent().unwrap_or(directory))?;
    let up = "../".repeat(2 + path.matches('/').count());
    let target = PathBuf::from(format!("{up}blobs/{}", blob.name()));
    if place.read_link().is_ok_and(|found| found == target) {
        return Ok(());
    }
    // Made beside and moved: who reads the snapshot meanwhile sees the old link or the new one.
    let beside = place.with_file_name(format!(".{}.link", blob.name()));
    std::fs::remove_file(&beside).ok();
    make_link(&target, &beside)
        .and_then(|()| std::fs::rename(&beside, &place))
        .map_err(|error| disk(&place, error))
}

#[cfg(unix)]
fn make_link(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn make_link(target: &Path, link: &Path) -> io::Result<()> {
    // Where links need a privilege, Hugging Face's tools copy too.
    let from = link.parent().unwrap_or(Path::new("")).join(target);
    std::fs::copy(from, link).map(|_bytes| ())
}

fn make_folder(path: &Path) -> Result<(), HubError> {
    std::fs::create_dir_all(path).map_err(|error| disk(path, error))
}

fn disk(path: &Path, error: io::Error) -> HubError {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
    HubError::Disk { path: path.to_owned(), is_full: full.contains(&error.kind()), why: error.to_string() }
}
