//! The data folder: where it is, who holds it, what it lies on.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::StoreError;

/// The lock file's name in the data folder; it holds the process id of the server that has it.
pub const LOCK_FILE: &str = "preflight.lock";

/// Servers without `--data-dir` that may run side by side.
const MOST_DEFAULTS: u32 = 64;

/// How often, and after which pause, a folder that is held is tried again before it is refused.
const LOCK_TRIES: usize = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// A data folder that this process holds.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    // Held as long as this value lives: the lock file, and the folder itself where the system lets a folder be locked.
    // Who takes the file away by hand lets nobody in.
    _locks: (File, Option<File>),
}

impl DataDir {
    /// Takes a folder; makes it where there is none.
    ///
    /// # Errors
    /// Another server holds it, it cannot be written, or it lies on a file system without the locks that SQLite needs.
    pub fn take(path: &Path) -> Result<Self, StoreError> {
        let refuse = |reason: &dyn std::fmt::Display| StoreError::Folder {
            path: path.to_owned(),
            reason: reason.to_string(),
        };
        std::fs::create_dir_all(path).map_err(|error| refuse(&not_made(path, &error)))?;
        if let Some(kind) = network_file_system(path) {
            return Err(refuse(&format!(
                "it lies on {kind}, where SQLite's write-ahead log is not safe; choose a folder on a local disk"
            )));
        }
        let lock_file = path.join(LOCK_FILE);
        if lock_file.metadata().is_ok_and(|found| !found.is_file()) {
            return Err(refuse(&format!("{LOCK_FILE} in it is no file: move it away")));
        }
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(lock_file)
            .map_err(|error| refuse(&not_made(path, &error)))?;
        let folder = if cfg!(unix) { Some(File::open(path).map_err(|error| refuse(&error))?) } else { None };
        match lock(&file).and_then(|()| folder.as_ref().map_or(Ok(()), lock)) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).ok();
                let holder =
                    holder.trim().parse::<u32>().map_or(String::new(), |pid| format!(" (process {pid})"));
                return Err(refuse(&format!("another preflight serve{holder} holds it")));
            }
            Err(TryLockError::Error(error)) => return Err(refuse(&error)),
        }
        // For people who look; the lock itself is what counts.
        let noted = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        noted.map_err(|error| refuse(&error))?;
        Ok(Self { path: path.to_owned(), _locks: (file, folder) })
    }

    /// Takes the user's own folder; where another server holds it, one beside it, so that no attempt is lost.
    ///
    /// # Errors
    /// No home to put it in, or as [`DataDir::take`].
    pub fn take_default() -> Result<Self, StoreError> {
        let base = default_path().ok_or_else(|| StoreError::Folder {
            path: PathBuf::new(),
            reason: "neither XDG_DATA_HOME nor HOME says where; give a folder".to_owned(),
        })?;
        let mut number = 1;
        loop {
            let path = match number {
                1 => base.clone(),
                _ => base.with_file_name(format!("preflight-{number}")),
            };
            match Self::take(&path) {
                Err(StoreError::Folder { reason, .. })
                    if reason.starts_with("another") && number < MOST_DEFAULTS =>
                {
                    number += 1;
                }
                taken => return taken,
            }
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A server that was killed while it started a worker may hold a lock through that process for a moment more.
fn lock(file: &File) -> Result<(), TryLockError> {
    for _try in 0..LOCK_TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            locked => return locked,
        }
    }
    file.try_lock()
}

/// Why a folder, or a file in it, cannot be made, and what to do.
fn not_made(path: &Path, error: &io::Error) -> String {
    // Also what is neither: a device, a pipe.
    let is_file = |path: &Path| path.exists() && !path.is_dir();
    if is_file(path) {
        return "is a file, and a folder is needed: name another, or move the file away".to_owned();
    }
    if let Some(file) = path.ancestors().find(|above| is_file(above)) {
        return format!("{} is a file, and no folder can be made below it: name another", file.display());
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "this user may not write there: name a folder of your own, or change its rights".to_owned()
        }
        io::ErrorKind::NotFound => "no folder can be made there: name another".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the disk is read-only: name a folder on another".to_owned(),
        io::ErrorKind::StorageFull => "the disk is full: make room, or name a folder on another".to_owned(),
        _ => error.to_string(),
    }
}

/// `$XDG_DATA_HOME/preflight`, else `~/.local/share/preflight`.
#[must_use]
pub fn default_path() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    data.map(|data| data.join("preflight"))
}

/// The name of the network file system that a folder lies on; `None` for local ones.
#[cfg(target_os = "linux")]
fn network_file_system(path: &Path) -> Option<&'static str> {
    use nix::sys::statfs::{FsType, statfs};
    // From `linux/magic.h` and the file systems' own headers.
    const NAMES: [(FsType, &str); 8] = [
        (FsType(0x6969), "NFS"),
        (FsType(0xff53_4d42), "CIFS"),
        (FsType(0xfe53_4d42), "SMB2"),
        (FsType(0x517b), "SMB"),
        (FsType(0x5346_414f), "AFS"),
        (FsType(0x00c3_6400), "Ceph"),
        (FsType(0x0bd0_0bd0), "Lustre"),
        (FsType(0x0102_1997), "9P"),
    ];
    let found = statfs(path).ok()?.filesystem_type();
    NAMES.iter().find(|(kind, _)| *kind == found).map(|(_, name)| *name)
}

#[cfg(not(target_os = "linux"))]
fn network_file_system(_path: &Path) -> Option<&'static str> {
    None
}
