//! Why the database cannot be used.

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
    /// No room to write.
    #[error("{}: the disk is full: {error}", path.display())]
    Full {
        /// The database.
        path: PathBuf,
        /// SQLite's words.
        error: sqlx::Error,
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
    #[error("{}: {what} cannot be read: {error}", path.display())]
    Row {
        /// The database.
        path: PathBuf,
        /// Which row.
        what: String,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// All else that SQLite says.
    #[error("{}: {error}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// Its words.
        error: sqlx::Error,
    },
}

/// SQLite's primary code for a full disk.
const SQLITE_FULL: &str = "13";

impl StoreError {
    pub(super) fn of(path: &Path, error: sqlx::Error) -> Self {
        let path = path.to_owned();
        let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
        match code.as_deref() {
            Some(SQLITE_FULL) => Self::Full { path, error },
            _ => Self::Sqlite { path, error },
        }
    }

    /// The stable name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Absent { .. } => "no_database",
            Self::Full { .. } => "storage_full",
            Self::Folder { .. } => "data_dir",
            Self::Newer { .. } | Self::Damaged { .. } | Self::Row { .. } | Self::Sqlite { .. } => "database",
        }
    }
}

impl From<StoreError> for ErrorObject {
    fn from(error: StoreError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
