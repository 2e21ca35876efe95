//! Rows of the table of models.

use phi3::api::{ErrorObject, ModelSource};
use phi3::inspect::card::Card;
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::Registry;
use crate::store::{Store, StoreError};

/// A model's row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Id in URLs.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Where its files are from.
    pub source: ModelSource,
    /// Notes.
    pub notes: String,
    /// Overrides for every load.
    pub load_config: Map<String, Value>,
    /// What its card tells.
    pub card: Option<Card>,
    /// Milliseconds since 1970 when it was made.
    pub created_ms: u64,
    /// Milliseconds since 1970 when it was changed last.
    pub updated_ms: u64,
}

impl Registry {
    pub(super) async fn rows(&self) -> Result<Vec<Row>, StoreError> {
        rows(&self.store).await
    }

    pub(super) async fn row(&self, id: &str) -> Result<Option<Row>, StoreError> {
        let row = sqlx::query("SELECT * FROM models WHERE id = ?")
            .bind(id)
            .fetch_optional(self.store.readers())
            .await;
        row.map_err(|error| self.store.fail(error))?.map(|row| parse(&self.store, &row)).transpose()
    }

    pub(super) async fn write(&self, row: &Row) -> Result<(), ErrorObject> {
        let json = |value: Result<String, serde_json::Error>| {
            value.map_err(|error| ErrorObject::new("internal", error.to_string()))
        };
        let source = json(serde_json::to_string(&row.source))?;
        let load_config = json(serde_json::to_string(&row.load_config))?;
        let card = row.card.as_ref().map(serde_json::to_string).transpose();
        let card = card.map_err(|error| ErrorObject::new("internal", error.to_string()))?;
        let mut writer = self.store.writer().await;
        sqlx::query(
            "INSERT INTO models (id, name, source, notes, load_config, card, created_ms, updated_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO UPDATE SET \
             name = ?2, source = ?3, notes = ?4, load_config = ?5, card = ?6, updated_ms = ?8",
        )
        .bind(&row.id)
        .bind(&row.name)
        .bind(source)
        .bind(&row.notes)
        .bind(load_config)
        .bind(card)
        .bind(i64::try_from(row.created_ms).unwrap_or(i64::MAX))
        .bind(i64::try_from(row.updated_ms).unwrap_or(i64::MAX))
        .execute(&mut *writer)
        .await
        .map_err(|error| self.store.fail(error))?;
        Ok(())
    }

    pub(super) async fn delete(&self, id: &str) -> Result<bool, StoreError> {
        let mut writer = self.store.writer().await;
        let deleted = sqlx::query("DELETE FROM models WHERE id = ?").bind(id).execute(&mut *writer).await;
        Ok(deleted.map_err(|error| self.store.fail(error))?.rows_affected() == 1)
    }
}

/// Every row, by id.
///
/// # Errors
/// They cannot be read.
pub async fn rows(store: &Store) -> Result<Vec<Row>, StoreError> {
    let rows = sqlx::query("SELECT * FROM models ORDER BY id").fetch_all(store.readers()).await;
    rows.map_err(|error| store.fail(error))?.iter().map(|row| parse(store, row)).collect()
}

fn parse(store: &Store, row: &SqliteRow) -> Result<Row, StoreError> {
    let fail = |error| store.fail(error);
    let text = |name: &str| row.try_get::<String, _>(name).map_err(fail);
    let number = |name: &str| {
        row.try_get::<i64, _>(name).map(|number| u64::try_from(number).unwrap_or_default()).map_err(fail)
    };
    let id = text("id")?;
    let unreadable = |error| store.unreadable(format!("model `{id}`"), error);
    let card: Option<String> = row.try_get("card").map_err(fail)?;
    Ok(Row {
        name: text("name")?,
        source: serde_json::from_str(&text("source")?).map_err(unreadable)?,
        notes: text("notes")?,
        load_config: serde_json::from_str(&text("load_config")?).map_err(unreadable)?,
        card: card.map(|card| serde_json::from_str(&card)).transpose().map_err(unreadable)?,
        created_ms: number("created_ms")?,
        updated_ms: number("updated_ms")?,
        id: id.clone(),
    })
}
