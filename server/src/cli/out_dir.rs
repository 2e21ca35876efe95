//! A folder that appears only when it is complete.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use phi3::api::ErrorObject;
use phi3::units::format_bytes;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::CliError;

/// Bytes between two lines of progress.
const PROGRESS_STEP: u64 = 16 << 20;

/// Whether a signal has come: what fails from then on fails of it.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// A folder being written beside its place.
#[derive(Debug)]
pub(super) struct OutDir {
    target: PathBuf,
    part: PathBuf,
}

impl OutDir {
    /// Makes a temporary folder beside `target`, which must be absent or an empty folder.
    ///
    /// # Errors
    /// Something is there, or the folder cannot be made.
    pub(super) fn create(target: &Path) -> Result<Self, CliError> {
        let refuse = |what: String| {
            let path = target.display().to_string();
            CliError::from(ErrorObject::new("output_not_writable", format!("{path}: {what}")).at(path))
        };
        match target.read_dir().map(|mut entries| entries.next().is_some()) {
            Ok(true) => return Err(refuse("is not empty; give a new folder".to_owned())),
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refuse(error.to_string())),
        }
        let name = target.file_name().ok_or_else(|| refuse("is no folder's name".to_owned()))?;
        let mut part = name.to_owned();
        part.push(format!(".part-{}", std::process::id()));
        let part = target.with_file_name(part);
        // Before there is anything to remove: whoever sees the folder may send the signal.
        removed_on_signal(part.clone())?;
        // A path to a folder that is not there yet is made as a whole.
        std::fs::create_dir_all(&part).map_err(|error| refuse(error.to_string()))?;
        Ok(Self { target: target.to_owned(), part })
    }

    /// Tells before the first byte is written that the disk does not take so many. Where nobody knows, writing will tell.
    ///
    /// # Errors
    /// `storage_full`
    pub(super) fn has_room(&self, bytes: u64) -> Result<(), CliError> {
        match preflight_files::free_bytes(&self.part) {
            Some(free) if free < bytes => {
                let path = self.target.display().to_string();
                let message = format!(
                    "{path}: {} are to be written, {} are free there: make room, or choose another disk",
                    format_bytes(bytes),
                    format_bytes(free)
                );
                Err(ErrorObject::new("storage_full", message).at(path).into())
            }
            _ => Ok(()),
        }
    }

    /// Opens a file in it; progress goes to stderr if that is a terminal.
    pub(super) fn file(&self, name: &str) -> io::Result<OutFile> {
        let file = File::create_new(self.part.join(name))?;
        let shown = io::stderr().is_terminal().then(|| name.to_owned());
        Ok(OutFile { file: BufWriter::with_capacity(1 << 20, file), shown, bytes: 0, told: 0 })
    }

    /// Puts the folder in its place.
    ///
    /// # Errors
    /// The place has been taken meanwhile.
    pub(super) fn finish(self) -> Result<(), CliError> {
        std::fs::rename(&self.part, &self.target).map_err(|error| {
            let path = self.target.display().to_string();
            ErrorObject::new("output_not_writable", format!("{path}: {error}")).at(path).into()
        })
    }
}

/// Watches for Ctrl-C and for being told to end: neither leaves half a checkpoint behind.
fn removed_on_signal(part: PathBuf) -> Result<(), CliError> {
    let internal = |error: io::Error| CliError::internal(format!("signals cannot be watched: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(internal)?;
    // Within the runtime, but here: a signal that comes before the thread runs is not missed.
    let watched = runtime.block_on(async {
        let watch = |kind| signal(kind);
        Ok::<_, io::Error>((
            watch(SignalKind::interrupt())?,
            watch(SignalKind::terminate())?,
            watch(SignalKind::hangup())?,
        ))
    });
    let (mut interrupt, mut terminate, mut hangup) = watched.map_err(internal)?;
    let watch = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        INTERRUPTED.store(true, Ordering::Relaxed);
        // Whoever writes may make one more file while the folder is cleared.
        for _ in 0..10 {
            match std::fs::remove_dir_all(&part) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {}
                _ => break,
            }
        }
        let message = format!("interrupted; {} is removed", part.display());
        let error = CliError::from(ErrorObject::new("cancelled", message));
        super::output::failure(&error, false);
        std::process::exit(error.exit as i32);
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop).map_err(internal)
}

impl Drop for OutDir {
    fn drop(&mut self) {
        // The folder is being taken away, and whatever failed failed of that: the other thread has the last word.
        while INTERRUPTED.load(Ordering::Relaxed) {
            std::thread::park();
        }
        // After `finish` it is no longer there.
        std::fs::remove_dir_all(&self.part).ok();
    }
}

/// A file in an [`OutDir`]; flushing it brings it to the disk.
#[derive(Debug)]
pub(super) struct OutFile {
    file: BufWriter<File>,
    shown: Option<String>,
    bytes: u64,
    told: u64,
}

impl Write for OutFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        if let Some(name) = self.shown.as_deref().filter(|_| self.bytes - self.told >= PROGRESS_STEP) {
            self.told = self.bytes;
            write!(io::stderr(), "\r{name}  {}", format_bytes(self.bytes)).ok();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()?;
        if self.told > 0 {
            write!(io::stderr(), "\r\x1b[K").ok();
        }
        self.file.get_ref().sync_all()
    }
}
