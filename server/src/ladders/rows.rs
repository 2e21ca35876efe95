//! Rows of the table of ladders.

use std::sync::Arc;

use phi3::api::{Ladder, LadderState};
use phi3::ladder::Profile;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::store::{Store, StoreError};

/// Ladders on disk.
#[derive(Debug)]
pub(super) struct Rows(pub(super) Arc<Store>);

impl Rows {
    /// Adds a ladder and gives its id.
    pub(super) async fn add(&self, ladder: &Ladder, profile: &Profile) -> Result<u64, StoreError> {
        let mut writer = self.0.writer().await?;
        let added = sqlx::query(
            "INSERT INTO ladders (model, state, profile, ladder, created_ms) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&ladder.model)
        .bind(ladder.state.name())
        .bind(self.json(ladder.id, profile)?)
        .bind(self.json(ladder.id, ladder)?)
        .bind(i64::try_from(ladder.created_ms).unwrap_or(i64::MAX))
        .execute(&mut *writer)
        .await
        .map_err(|error| self.0.fail(error))?;
        Ok(u64::try_from(added.last_insert_rowid()).unwrap_or_default())
    }

    /// Writes how far a ladder is.
    pub(super) async fn write(&self, ladder: &Ladder) -> Result<(), StoreError> {
        let mut writer = self.0.writer().await?;
        sqlx::query("UPDATE ladders SET state = ?, ladder = ? WHERE id = ?")
            .bind(ladder.state.name())
            .bind(self.json(ladder.id, ladder)?)
            .bind(i64::try_from(ladder.id).unwrap_or(i64::MAX))
            .execute(&mut *writer)
            .await
            .map_err(|error| self.0.fail(error))?;
        Ok(())
    }

    /// One ladder.
    pub(super) async fn get(&self, id: u64) -> Result<Option<Ladder>, StoreError> {
        let row = sqlx::query("SELECT id, ladder FROM ladders WHERE id = ?")
            .bind(i64::try_from(id).unwrap_or(i64::MAX))
            .fetch_optional(self.0.readers())
            .await
            .map_err(|error| self.0.fail(error))?;
        row.map(|row| self.ladder(&row)).transpose()
    }

    /// The profile that a ladder was started with.
    pub(super) async fn profile(&self, id: u64) -> Result<Option<Profile>, StoreError> {
        let json: Option<String> = sqlx::query_scalar("SELECT profile FROM ladders WHERE id = ?")
            .bind(i64::try_from(id).unwrap_or(i64::MAX))
            .fetch_optional(self.0.readers())
            .await
            .map_err(|error| self.0.fail(error))?;
        json.map(|json| serde_json::from_str(&json))
            .transpose()
            .map_err(|error| self.0.unreadable(format!("ladder {id}"), error))
    }

    /// Ladders, newest first, at most `limit`: of one model, and older than one, where that is said.
    pub(super) async fn list(
        &self,
        model: Option<&str>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Ladder>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, ladder FROM ladders WHERE (?1 IS NULL OR model = ?1) AND (?2 IS NULL OR id < ?2) \
             ORDER BY id DESC LIMIT ?3",
        )
        .bind(model)
        .bind(before.map(|id| i64::try_from(id).unwrap_or(i64::MAX)))
        .bind(limit)
        .fetch_all(self.0.readers())
        .await
        .map_err(|error| self.0.fail(error))?;
        self.readable(&rows)
    }

    /// Those that wait or run: after a start, those of a server that died.
    pub(super) async fn open_ones(&self) -> Result<Vec<Ladder>, StoreError> {
        let rows = sqlx::query("SELECT id, ladder FROM ladders WHERE state IN (?, ?) ORDER BY id")
            .bind(LadderState::Queued.name())
            .bind(LadderState::Running.name())
            .fetch_all(self.0.readers())
            .await
            .map_err(|error| self.0.fail(error))?;
        self.readable(&rows)
    }

    /// One that cannot be read hides no other: the log names it, and so does asking for it.
    fn readable(&self, rows: &[SqliteRow]) -> Result<Vec<Ladder>, StoreError> {
        let read = rows.iter().map(|row| self.ladder(row));
        read.filter(|ladder| !matches!(ladder, Err(StoreError::Row { .. }))).collect()
    }

    fn json<T: serde::Serialize>(&self, id: u64, value: &T) -> Result<String, StoreError> {
        serde_json::to_string(value).map_err(|error| self.0.unreadable(format!("ladder {id}"), error))
    }

    fn ladder(&self, row: &SqliteRow) -> Result<Ladder, StoreError> {
        let fail = |error| self.0.fail(error);
        let id = u64::try_from(row.try_get::<i64, _>("id").map_err(fail)?).unwrap_or_default();
        let json: String = row.try_get("ladder").map_err(fail)?;
        let ladder: Ladder =
            serde_json::from_str(&json).map_err(|error| self.0.unreadable(format!("ladder {id}"), error))?;
        Ok(Ladder { id, ..ladder })
    }
}
