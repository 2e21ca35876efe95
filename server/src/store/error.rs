//! Why the database cannot be used.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use phi3::api::ErrorObject;

/// What is wrong with the data folder or its database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is none yet.
    #[error("{}: there is no database; `preflight serve --data-dir` makes one", path.display())]
    Absent {
        /// The database.
        path: PathBuf,
    },
    /// Its file went while it was open.
    #[error(
        "{}: the database was removed while the server runs, and nothing more can be kept: end the server, put the file back, start again",
        path.display()
    )]
    Removed {
        /// The database.
        path: PathBuf,
    },
    /// No room to write.
    #[error("{}: the disk is full: make room, then ask again", path.display())]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// Written by a newer build.
    #[error(
        "{}: it is of version {found}, this build knows versions up to {known}: use a newer build, or another --data-dir",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that is known here.
        known: i64,
    },
    /// Its pages contradict each other.
    #[error("{}: the database is damaged ({found}): move it away, or restore a copy", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite found.
        found: String,
    },
    /// The data folder cannot be used.
    #[error("--data-dir {}: {reason}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A row that this build did not write.
    #[error("{}: {what} cannot be read: another build wrote it, or the disk has spoilt it", path.display())]
    Row {
        /// The database.
        path: PathBuf,
        /// Which row.
        what: String,
    },
    /// All else that keeps the database from being used.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The database.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
}

// SQLite's primary result codes that say what a person can mend, from `sqlite3.h`.
const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
const SQLITE_READONLY: u32 = 8;
const SQLITE_IOERR: u32 = 10;
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_FULL: u32 = 13;
const SQLITE_CANTOPEN: u32 = 14;
const SQLITE_NOTADB: u32 = 26;

/// SQLite's primary result code: the upper bits say more than anybody can use.
fn code(error: &sqlx::Error) -> Option<u32> {
    Some(error.as_database_error()?.code()?.parse::<u32>().ok()? & 0xff)
}

/// Whether a database cannot be opened because its disk or folder cannot be written.
pub(super) fn is_read_only(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(SQLITE_READONLY | SQLITE_CANTOPEN))
}

impl StoreError {
    /// What SQLite, or the way to it, says of the database at `path`; its own words go to the
    /// log where nobody can mend it.
    pub(super) fn of(path: &Path, error: sqlx::Error) -> Self {
        let log = || tracing::warn!(path = %path.display(), %error, "the database");
        let reason = match code(&error) {
            Some(SQLITE_FULL) => return Self::Full { path: path.to_owned() },
            Some(SQLITE_BUSY | SQLITE_LOCKED) => {
                "another program keeps the database locked: end it, then try again".to_owned()
            }
            Some(SQLITE_READONLY | SQLITE_CANTOPEN) => match File::open(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Self::unreachable(path, &error);
                }
                _ => "the database cannot be written: it, its folder or its disk \
                 is read-only: change that, or give another --data-dir"
                    .to_owned(),
            },
            Some(SQLITE_IOERR) => {
                "the disk fails to read or write the database: the system's log says more".to_owned()
            }
            Some(SQLITE_CORRUPT | SQLITE_NOTADB) => {
                "the file is damaged, or no database: move it away, or restore a copy".to_owned()
            }
            // A fault of ours: what SQLite calls it helps whoever looks into it.
            Some(code) => {
                log();
                format!("SQLite refuses with its code {code}; the server's log has more")
            }
            None => match &error {
                sqlx::Error::Protocol(reason) => reason.clone(),
                sqlx::Error::PoolTimedOut => {
                    "all connections to the database are in use: try again".to_owned()
                }
                _ => {
                    log();
                    "the database does not answer; the server's log has more".to_owned()
                }
            },
        };
        Self::Unusable { path: path.to_owned(), reason }
    }

    /// A database that cannot even be opened.
    pub(super) fn unreachable(path: &Path, error: &dyn std::fmt::Display) -> Self {
        Self::Unusable { path: path.to_owned(), reason: format!("the database cannot be read: {error}") }
    }

    /// The stable name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Absent { .. } => "no_database",
            Self::Full { .. } => "storage_full",
            Self::Folder { .. } => "data_dir",
            Self::Newer { .. } | Self::Damaged { .. } | Self::Removed { .. } => "database",
            Self::Row { .. } | Self::Unusable { .. } => "database",
        }
    }
}

impl From<StoreError> for ErrorObject {
    fn from(error: StoreError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
