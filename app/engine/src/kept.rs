//! Models that this browser keeps: files copied into its own file system, opened there, held against what was copied.

use phi3::api::{BrowserEvent, ErrorObject, KEPT_FOLDER, KEPT_MANIFEST, Kept, KeptFile, KeptTask};
use phi3::platform::Instant;
use phi3::units::format_bytes;
use sha2::{Digest as _, Sha256};
use web_sys::File;

use crate::scope::disk::{DiskError, Folder};
use crate::{scope, tell};

/// What of a file is in memory at a time.
const PIECE_BYTES: usize = 4 << 20;
/// Most bytes of a manifest: more than a thousand files have.
const MANIFEST_BYTES: u64 = 1 << 20;
/// Least time between two words on how far it is.
const PROGRESS_MS: f64 = 50.0;

/// Does what the page asks for.
pub(super) async fn run(task: &KeptTask, files: Vec<File>) -> Result<(), ErrorObject> {
    match task {
        KeptTask::Keep { id, name } => keep(id, name, &files).await,
        KeptTask::Verify { id } => verify(id).await,
    }
}

/// The files of a model that is kept. Their lengths are looked at; what is in them is [`verify`]'s to read.
pub(super) async fn open(id: &str) -> Result<Vec<File>, ErrorObject> {
    let opened = opened(id).await?;
    Ok(opened.into_iter().map(|(_, file)| file).collect())
}

async fn keep(id: &str, name: &str, files: &[File]) -> Result<(), ErrorObject> {
    let folder = Folder::open(&[KEPT_FOLDER, id], true).await.map_err(|error| refused(name, error))?;
    let mut pace = Pace::new(files.iter().map(|file| file.size() as u64).sum());
    let mut kept = Kept { name: name.to_owned(), files: Vec::new() };
    for file in files {
        let name = file.name();
        if name == KEPT_MANIFEST {
            return Err(refused(&name, DiskError::Other("this name is taken: rename the file".to_owned())));
        }
        let mut copy = folder.create(&name).await.map_err(|error| refused(&name, error))?;
        let sha256 = read_through(file, &mut pace, |piece| copy.append(piece)).await?;
        copy.finish().map_err(|error| refused(&name, error))?;
        kept.files.push(KeptFile { name, bytes: file.size() as u64, sha256 });
    }
    let json = serde_json::to_vec(&kept).unwrap_or_default();
    let mut manifest = folder.create(KEPT_MANIFEST).await.map_err(|error| refused(KEPT_MANIFEST, error))?;
    manifest.append(&json).map_err(|error| refused(KEPT_MANIFEST, error))?;
    manifest.finish().map_err(|error| refused(KEPT_MANIFEST, error))
}

async fn verify(id: &str) -> Result<(), ErrorObject> {
    let opened = opened(id).await?;
    let mut pace = Pace::new(opened.iter().map(|(kept, _)| kept.bytes).sum());
    for (kept, file) in &opened {
        let found = read_through(file, &mut pace, |_| Ok(())).await?;
        if found != kept.sha256 {
            return Err(spoilt(&kept.name, &format!("its SHA-256 is {found}, {} was kept", kept.sha256)));
        }
    }
    Ok(())
}

/// Files of a model with what was written down of each; one of another length is refused.
async fn opened(id: &str) -> Result<Vec<(KeptFile, File)>, ErrorObject> {
    let gone = || {
        let message = "the model is kept in this browser no more: it was removed, perhaps in another tab";
        ErrorObject::new("not_found", message)
    };
    let folder = match Folder::open(&[KEPT_FOLDER, id], false).await {
        Err(DiskError::Absent) => return Err(gone()),
        found => found.map_err(|error| refused(id, error))?,
    };
    let manifest = match folder.file(KEPT_MANIFEST).await {
        Err(DiskError::Absent) => return Err(gone()),
        found => found.map_err(|error| refused(KEPT_MANIFEST, error))?,
    };
    let mut json = vec![0; (manifest.size() as u64).min(MANIFEST_BYTES) as usize];
    let read = scope::slice(&manifest, 0, &mut json).await;
    read.map_err(|why| refused(KEPT_MANIFEST, DiskError::Other(why)))?;
    let kept: Kept =
        serde_json::from_slice(&json).map_err(|error| spoilt(KEPT_MANIFEST, &error.to_string()))?;
    let mut files = Vec::new();
    for entry in kept.files {
        let file = match folder.file(&entry.name).await {
            Err(DiskError::Absent) => return Err(spoilt(&entry.name, "it is gone")),
            found => found.map_err(|error| refused(&entry.name, error))?,
        };
        let found = file.size() as u64;
        if found != entry.bytes {
            return Err(spoilt(&entry.name, &format!("it has {found} bytes, {} were kept", entry.bytes)));
        }
        files.push((entry, file));
    }
    Ok(files)
}

/// Reads a file from end to end, a piece at a time; its SHA-256.
async fn read_through(
    file: &File,
    pace: &mut Pace,
    mut take: impl FnMut(&[u8]) -> Result<(), DiskError>,
) -> Result<String, ErrorObject> {
    let (name, len) = (file.name(), file.size() as u64);
    let mut piece = vec![0; len.min(PIECE_BYTES as u64) as usize];
    let mut hash = Sha256::new();
    let mut offset = 0;
    while offset < len {
        let piece = &mut piece[..(len - offset).min(PIECE_BYTES as u64) as usize];
        let read = scope::slice(file, offset, piece).await;
        read.map_err(|why| refused(&name, DiskError::Other(why)))?;
        hash.update(&*piece);
        take(piece).map_err(|error| match error {
            DiskError::Full => full(&name, pace),
            error => refused(&name, error),
        })?;
        offset += piece.len() as u64;
        pace.advance(piece.len() as u64);
    }
    Ok(format!("{:x}", hash.finalize()))
}

/// How far it is; the page is told now and then.
struct Pace {
    done_bytes: u64,
    total_bytes: u64,
    told: Option<Instant>,
}

impl Pace {
    fn new(total_bytes: u64) -> Self {
        Self { done_bytes: 0, total_bytes, told: None }
    }

    fn advance(&mut self, bytes: u64) {
        self.done_bytes += bytes;
        let is_news = self.told.as_ref().is_none_or(|told| told.elapsed_ms() >= PROGRESS_MS);
        if is_news || self.done_bytes == self.total_bytes {
            self.told = Some(Instant::now());
            let (done_bytes, total_bytes) = (self.done_bytes, self.total_bytes);
            tell(&BrowserEvent::Kept { done_bytes, total_bytes });
        }
    }
}

fn full(name: &str, pace: &Pace) -> ErrorObject {
    let (done, total) = (format_bytes(pace.done_bytes), format_bytes(pace.total_bytes));
    let message = format!("{name}: the browser granted no more room after {done} of {total}");
    ErrorObject::new("quota_exceeded", message).at(name)
}

fn spoilt(name: &str, why: &str) -> ErrorObject {
    ErrorObject::new("kept_corrupt", format!("{name} is not what was kept: {why}")).at(name)
}

fn refused(name: &str, error: DiskError) -> ErrorObject {
    match error {
        DiskError::Full => {
            ErrorObject::new("quota_exceeded", format!("{name}: the browser grants no more room"))
        }
        DiskError::Absent => ErrorObject::new("not_found", format!("{name} is not there")),
        DiskError::Other(why) => ErrorObject::new("io_error", format!("{name}: {why}")),
    }
    .at(name)
}
