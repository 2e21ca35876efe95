//! What is kept of attempts: rows that are added and brought to their end, and never changed after it.

mod compare;
mod export;
mod overhead;

pub use compare::compare;
pub use export::{Format, export};

use std::sync::Arc;

use phi3::api::{
    Attempt, AttemptKind, AttemptRecord, AttemptState, Environment, ErrorObject, Evidence, ModelSource,
};
use phi3::load_config::OutcomeClass;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::store::{Store, StoreError};

/// Rows of attempts as [`Ledger::record`] reads them.
macro_rules! attempts {
    ($which:literal) => {
        concat!(
            "SELECT id, model, kind, parent, created_ms, state, outcome, record, note, worker_pid, worker_started \
             FROM attempts ",
            $which
        )
    };
}

/// Attempts on disk.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Arc<Store>,
}

/// A worker process that cannot be mistaken for another: a process id is used again, with another start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerMark {
    /// Its process id.
    pub pid: u32,
    /// When it started, in the system's ticks since it booted.
    pub started: u64,
}

/// Which attempts to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this model.
    pub model: Option<String>,
    /// Of this kind.
    pub kind: Option<AttemptKind>,
    /// In this state.
    pub state: Option<AttemptState>,
    /// That ended this way.
    pub outcome: Option<OutcomeClass>,
    /// Older than this one: where the page before ended.
    pub before: Option<u64>,
    /// At most so many; all where it is not said.
    pub limit: Option<u32>,
}

/// An attempt that a server left open when it died.
#[derive(Debug)]
pub struct Open {
    /// What was kept of it.
    pub record: AttemptRecord,
    /// Its worker, where one had been started.
    pub worker: Option<WorkerMark>,
}

impl Ledger {
    /// The ledger in a database.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// The database.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Adds an attempt and gives its id; the one in `record` does not count.
    ///
    /// # Errors
    /// It could not be written: it must not be run then.
    pub async fn add(&self, record: &AttemptRecord, fingerprint: &str) -> Result<u64, StoreError> {
        let attempt = &record.attempt;
        let mut writer = self.store.writer().await?;
        let added = sqlx::query(
            "INSERT INTO attempts (model, kind, parent, fingerprint, created_ms, state, record, note) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&attempt.model)
        .bind(attempt.kind.name())
        .bind(attempt.parent.map(as_i64))
        .bind(fingerprint)
        .bind(as_i64(attempt.created_ms))
        .bind(attempt.state.name())
        .bind(self.json(record)?)
        .bind(&attempt.note)
        .execute(&mut *writer)
        .await
        .map_err(|error| self.store.fail(error))?;
        Ok(u64::try_from(added.last_insert_rowid()).unwrap_or_default())
    }

    /// Writes where an attempt stands now, with its log and its worker.
    ///
    /// # Errors
    /// It could not be written: what it announces must not be done.
    pub async fn write(
        &self,
        record: &AttemptRecord,
        log: &[String],
        worker: Option<WorkerMark>,
    ) -> Result<(), StoreError> {
        let attempt = &record.attempt;
        let mut writer = self.store.writer().await?;
        sqlx::query(
            "UPDATE attempts SET state = ?, outcome = ?, record = ?, log = ?, worker_pid = ?, worker_started = ? \
             WHERE id = ?",
        )
        .bind(attempt.state.name())
        .bind(attempt.outcome.map(OutcomeClass::name))
        .bind(self.json(record)?)
        .bind(log.join("\n"))
        .bind(worker.map(|mark| i64::from(mark.pid)))
        .bind(worker.map(|mark| as_i64(mark.started)))
        .bind(as_i64(attempt.id))
        .execute(&mut *writer)
        .await
        .map_err(|error| self.store.fail(error))?;
        Ok(())
    }

    /// Replaces the note of an attempt; tells whether there is such an attempt.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn note(&self, id: u64, note: &str) -> Result<bool, StoreError> {
        let mut writer = self.store.writer().await?;
        let changed = sqlx::query("UPDATE attempts SET note = ? WHERE id = ?")
            .bind(note)
            .bind(as_i64(id))
            .execute(&mut *writer)
            .await
            .map_err(|error| self.store.fail(error))?;
        Ok(changed.rows_affected() == 1)
    }

    /// One attempt, without its log.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn get(&self, id: u64) -> Result<Option<AttemptRecord>, StoreError> {
        let row = sqlx::query(attempts!("WHERE id = ?"))
            .bind(as_i64(id))
            .fetch_optional(self.store.readers())
            .await
            .map_err(|error| self.store.fail(error))?;
        row.map(|row| self.record(&row)).transpose()
    }

    /// The log of an attempt, oldest line first.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn log(&self, id: u64) -> Result<Option<Vec<String>>, StoreError> {
        let log: Option<String> = sqlx::query_scalar("SELECT log FROM attempts WHERE id = ?")
            .bind(as_i64(id))
            .fetch_optional(self.store.readers())
            .await
            .map_err(|error| self.store.fail(error))?;
        Ok(log.map(|log| log.lines().map(str::to_owned).collect()))
    }

    /// Attempts, newest first, without their logs.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<AttemptRecord>, StoreError> {
        let rows = sqlx::query(attempts!(
            "WHERE (?1 IS NULL OR model = ?1) AND (?2 IS NULL OR kind = ?2) AND (?3 IS NULL OR state = ?3) \
             AND (?4 IS NULL OR outcome = ?4) AND (?5 IS NULL OR id < ?5) ORDER BY id DESC LIMIT ?6"
        ))
        .bind(filter.model.as_deref())
        .bind(filter.kind.map(AttemptKind::name))
        .bind(filter.state.map(AttemptState::name))
        .bind(filter.outcome.map(OutcomeClass::name))
        .bind(filter.before.map(as_i64))
        .bind(filter.limit.map_or(-1, i64::from))
        .fetch_all(self.store.readers())
        .await
        .map_err(|error| self.store.fail(error))?;
        rows.iter().map(|row| self.record(row)).collect()
    }

    /// The newest attempt alike, if it ended in a way that it would end in again.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn failed_alike(&self, fingerprint: &str) -> Result<Option<AttemptRecord>, StoreError> {
        let row = sqlx::query(attempts!(
            "WHERE fingerprint = ? AND state IN ('failed', 'stopped') ORDER BY id DESC LIMIT 1"
        ))
        .bind(fingerprint)
        .fetch_optional(self.store.readers())
        .await
        .map_err(|error| self.store.fail(error))?;
        let record = row.map(|row| self.record(&row)).transpose()?;
        Ok(record.filter(|record| {
            let again = record.attempt.outcome.is_some_and(OutcomeClass::is_deterministic);
            // The fingerprint is of this machine: what it lacks it still lacks. A device that is ill may get well.
            let lacks = record.attempt.error.as_ref().is_some_and(|error| error.code == "device_absent");
            (again || lacks) && record.attempt.state == AttemptState::Failed
        }))
    }

    /// The attempts that are not at their end: after a start, those of a server that died.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn open_ones(&self) -> Result<Vec<Open>, StoreError> {
        let rows = sqlx::query(attempts!(
            "WHERE state NOT IN ('stopped', 'failed', 'cancelled', 'lost') ORDER BY id"
        ))
        .fetch_all(self.store.readers())
        .await
        .map_err(|error| self.store.fail(error))?;
        let open = |row: &SqliteRow| {
            let number = |name: &str| row.try_get::<Option<i64>, _>(name).ok().flatten();
            let pid = number("worker_pid").and_then(|pid| u32::try_from(pid).ok());
            let started = number("worker_started").and_then(|started| u64::try_from(started).ok());
            let worker = pid.zip(started).map(|(pid, started)| WorkerMark { pid, started });
            Ok(Open { record: self.record(row)?, worker })
        };
        rows.iter().map(open).collect()
    }

    /// Ends an attempt whose record cannot be read, and leaves that record as it is.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn lose(&self, id: u64) -> Result<(), StoreError> {
        let mut writer = self.store.writer().await?;
        sqlx::query("UPDATE attempts SET state = 'lost' WHERE id = ?")
            .bind(as_i64(id))
            .execute(&mut *writer)
            .await
            .map_err(|error| self.store.fail(error))?;
        Ok(())
    }

    fn json(&self, record: &AttemptRecord) -> Result<String, StoreError> {
        let what = || format!("attempt {}", record.attempt.id);
        serde_json::to_string(record).map_err(|error| self.store.unreadable(what(), error))
    }

    /// A row; what stands in columns of its own counts.
    fn record(&self, row: &SqliteRow) -> Result<AttemptRecord, StoreError> {
        let fail = |error| self.store.fail(error);
        let id = u64::try_from(row.try_get::<i64, _>("id").map_err(fail)?).unwrap_or_default();
        // As bytes: a disk that spoils them asks for no UTF-8.
        let json: Vec<u8> = row.try_get_unchecked("record").map_err(fail)?;
        let mut record: AttemptRecord = match serde_json::from_slice(&json) {
            Ok(record) => record,
            Err(error) => self.damaged(row, id, error)?,
        };
        record.attempt.id = id;
        record.attempt.note = row.try_get("note").map_err(fail)?;
        Ok(record)
    }

    /// What the columns tell of an attempt whose record cannot be read: it hides no other, and it is named.
    fn damaged(
        &self,
        row: &SqliteRow,
        id: u64,
        error: serde_json::Error,
    ) -> Result<AttemptRecord, StoreError> {
        let fail = |error| self.store.fail(error);
        let text = |name: &str| row.try_get::<Option<String>, _>(name).map_err(fail);
        let (kind, state, outcome) = (text("kind")?, text("state")?, text("outcome")?);
        let named = |name: &Option<String>, known: &str| name.as_deref() == Some(known);
        let kind = AttemptKind::ALL.into_iter().find(|known| named(&kind, known.name()));
        let state = AttemptState::ALL.into_iter().find(|known| named(&state, known.name()));
        let message = self.store.unreadable(format!("attempt {id}"), error).to_string();
        let created_ms: i64 = row.try_get("created_ms").map_err(fail)?;
        let parent: Option<i64> = row.try_get("parent").map_err(fail)?;
        let attempt = Attempt {
            state: state.unwrap_or(AttemptState::Lost),
            outcome: OutcomeClass::ALL.into_iter().find(|known| named(&outcome, known.name())),
            parent: parent.and_then(|id| u64::try_from(id).ok()),
            error: Some(ErrorObject::new("attempt_unreadable", message)),
            ..Attempt::queued(
                text("model")?.unwrap_or_default(),
                kind.unwrap_or(AttemptKind::Load),
                "",
                u64::try_from(created_ms).unwrap_or_default(),
            )
        };
        let evidence = Evidence::new(ModelSource::Path(String::new()), Environment::default());
        Ok(AttemptRecord { attempt, evidence })
    }
}

/// Whether all that was kept of an attempt could be read.
#[must_use]
pub fn is_readable(record: &AttemptRecord) -> bool {
    record.attempt.error.as_ref().is_none_or(|error| error.code != "attempt_unreadable")
}

/// The error of an attempt that a dead server left open.
#[must_use]
pub fn lost(state: AttemptState) -> ErrorObject {
    let message =
        format!("the server died while the attempt was {}; it can be tried again as it is", state.name());
    ErrorObject::new("lost", message)
}

fn as_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
