//! The database: one SQLite file in the data folder, one writer, readers beside it.
//!
//! A commit is on disk before the call returns (`synchronous = FULL`): what the server does next was written first.

mod error;
mod folder;
mod migrate;

pub use error::StoreError;
pub use folder::{DataDir, LOCK_FILE, default_path};

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{Mutex, MutexGuard};

/// The database's name in the data folder.
pub const FILE: &str = "preflight.db";

/// The first version without the fault that a reset of the write-ahead log could corrupt a database.
const SQLITE_AT_LEAST: [u32; 3] = [3, 51, 3];

/// Readers at once; the writer is one more.
const READERS: u32 = 4;

/// How long a reader waits for a lock of another process, such as the command line's.
const BUSY: Duration = Duration::from_secs(5);

/// Refuses what stands in the database's place and is no file: a pipe would be waited for.
fn check_file(path: &Path) -> Result<(), StoreError> {
    match path.metadata() {
        Ok(found) if !found.is_file() => Err(StoreError::unreachable(path, &"it is no file")),
        _ => Ok(()),
    }
}

/// An open database.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// What it is called in errors: clients of a server are not told where its folder lies.
    shown: PathBuf,
    writer: Mutex<SqliteConnection>,
    readers: SqlitePool,
}

impl Store {
    /// Opens the database of a data folder; makes it where there is none, and brings an older one up to date.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be written, is none, is of a newer build, or is damaged.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(FILE);
        let fail = |error| StoreError::of(&path, error);
        check_file(&path)?;
        let options = options(&path).create_if_missing(true);
        let mut writer = options.clone().connect().await.map_err(fail)?;
        check_version(&mut writer).await.map_err(fail)?;
        check_soundness(&mut writer, &path).await?;
        migrate::migrate(&mut writer, &path).await?;
        let readers = readers(options.read_only(true)).await.map_err(fail)?;
        let store = Self { path, shown: FILE.into(), writer: Mutex::new(writer), readers };
        // Now, not at the first attempt that cannot be kept.
        let written = migrate::rewrite_version(&mut *store.writer().await?).await;
        written.map_err(|error| StoreError::of(&store.path, error))?;
        Ok(store)
    }

    /// Opens the database of a data folder for reading, beside a server that may run on it.
    ///
    /// # Errors
    /// [`StoreError`]; there is none.
    pub async fn read(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(FILE);
        let fail = |error| StoreError::of(&path, error);
        if folder.is_file() {
            let reason = "is a file, and the server's folder is needed".to_owned();
            return Err(StoreError::Folder { path: folder.to_owned(), reason });
        }
        match path.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(StoreError::Absent { path }),
            Err(error) => return Err(StoreError::unreachable(&path, &error)),
            Ok(_) => check_file(&path)?,
        }
        let mut options = options(&path).read_only(true);
        // Readers of a write-ahead log share memory through a file beside it, which nobody can make on a disk that is
        // read-only. Where the log is empty the database alone is all there is.
        let log_is_empty = || path.with_extension("db-wal").metadata().map_or(true, |log| log.len() == 0);
        let mut opened = connect(&options).await;
        let is_read_only = opened.as_ref().is_err_and(error::is_read_only);
        if is_read_only && log_is_empty() {
            options = options.immutable(true);
            opened = connect(&options).await;
        }
        let mut writer = opened.map_err(|error| match fail(error) {
            StoreError::Unusable { path, .. } if is_read_only && !log_is_empty() => {
                let reason = "a log lies beside it, which nobody can read in a folder that is read-only: copy both to one that is not".to_owned();
                StoreError::Unusable { path, reason }
            }
            error => error,
        })?;
        check_version(&mut writer).await.map_err(fail)?;
        if migrate::check(&mut writer, &path).await? == 0 {
            return Err(StoreError::Absent { path });
        }
        let readers = readers(options).await.map_err(fail)?;
        Ok(Self { shown: path.clone(), path, writer: Mutex::new(writer), readers })
    }

    /// The one connection that writes. Whoever holds it keeps every other writer waiting.
    ///
    /// # Errors
    /// [`StoreError::Removed`]: an open file goes on without its name, SQLite does not mind, and what was written is
    /// lost with the process.
    pub async fn writer(&self) -> Result<MutexGuard<'_, SqliteConnection>, StoreError> {
        if self.path.is_file() {
            Ok(self.writer.lock().await)
        } else {
            Err(StoreError::Removed { path: self.shown.clone() })
        }
    }

    /// Connections that read.
    #[must_use]
    pub fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// The database's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The error of a row whose content is none that this build wrote; what is wrong with it goes to the log.
    pub(crate) fn unreadable(&self, what: String, error: serde_json::Error) -> StoreError {
        tracing::warn!(path = %self.path.display(), what, %error, "a row cannot be read");
        StoreError::Row { path: self.shown.clone(), what }
    }

    /// An error of this database, with its name.
    pub(crate) fn fail(&self, error: sqlx::Error) -> StoreError {
        StoreError::of(&self.shown, error)
    }

    /// Writes what stands there already, as far as the disk: nothing less tells that it is full or read-only.
    ///
    /// # Errors
    /// The database cannot be written, or its file is gone.
    pub async fn check(&self) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        migrate::rewrite_version(&mut writer).await.map_err(|error| self.fail(error))
    }

    /// Every page read and compared: `ok`, or what is wrong.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn integrity(&self) -> Result<String, StoreError> {
        let found: String = sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_one(&self.readers)
            .await
            .map_err(|error| self.fail(error))?;
        Ok(found)
    }

    /// Writes what is in the log into the database and closes it.
    pub async fn close(&self) {
        self.readers.close().await;
        let mut writer = self.writer.lock().await;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut *writer).await.ok();
        // One that is only dropped is closed by its own thread, and the process may end before: its files would stay.
        if let Ok(nothing) = SqliteConnectOptions::new().in_memory(true).connect().await {
            std::mem::replace(&mut *writer, nothing).close().await.ok();
        }
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // Else a row could be replaced past the trigger that keeps it.
        .pragma("recursive_triggers", "ON")
        .busy_timeout(BUSY)
        .disable_statement_logging()
}

/// A connection that has read something: opening one does not look into the file yet.
async fn connect(options: &SqliteConnectOptions) -> Result<SqliteConnection, sqlx::Error> {
    let mut connection = options.connect().await?;
    migrate::version(&mut connection).await?;
    Ok(connection)
}

async fn readers(options: SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    SqlitePoolOptions::new().max_connections(READERS).min_connections(0).connect_with(options).await
}

async fn check_version(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(connection).await?;
    if !is_sound(&version) {
        let [a, b, c] = SQLITE_AT_LEAST;
        let message =
            format!("this build has SQLite {version}, which may corrupt its log: {a}.{b}.{c} is needed");
        return Err(sqlx::Error::Protocol(message));
    }
    Ok(())
}

fn is_sound(version: &str) -> bool {
    let parts: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    parts.as_slice() >= SQLITE_AT_LEAST.as_slice()
}

/// A quick look at the structure: a damaged database is refused before anything is written to it.
async fn check_soundness(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(connection)
        .await
        .map_err(|error| StoreError::of(path, error))?;
    if found == "ok" { Ok(()) } else { Err(StoreError::Damaged { path: path.to_owned(), found }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_may_corrupt_their_log_are_known() {
        for old in ["3.51.2", "3.50.9", "3.6.0", "3.51", "2.99.99", ""] {
            assert!(!is_sound(old), "{old}");
        }
        for good in ["3.51.3", "3.51.10", "3.53.0", "4.0.0"] {
            assert!(is_sound(good), "{good}");
        }
    }

    /// What a commit promises hangs on these; readers cannot write.
    #[tokio::test]
    async fn connections_are_as_they_are_promised() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(dir.path()).await.expect("made");
        let mut writer = store.writer().await.expect("open");
        for (pragma, expected) in
            [("synchronous", 2_i64), ("foreign_keys", 1), ("recursive_triggers", 1), ("busy_timeout", 5000)]
        {
            let query = sqlx::AssertSqlSafe(format!("PRAGMA {pragma}"));
            let found: i64 = sqlx::query_scalar(query).fetch_one(&mut *writer).await.expect("told");
            assert_eq!(found, expected, "{pragma}");
        }
        let mode: String =
            sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *writer).await.expect("told");
        assert_eq!(mode, "wal");
        let written = sqlx::query("DELETE FROM models").execute(store.readers()).await;
        assert!(written.is_err());
    }
}
