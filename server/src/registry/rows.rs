//! Rows of the table of models.

use phi3::api::{ErrorObject, ModelSource};
use phi3::inspect::card::Card;
use serde::Serialize;
use serde::de::Error as _;
use serde_json::{Map, Value};
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection as _, Row as _};

use super::Registry;
use crate::attempts::now_ms;
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
    /// What of it cannot be read, where that is so: all else is as it stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorObject>,
}

impl Row {
    /// One that is made now, with nothing said of it.
    pub(super) fn new(id: String, name: String, source: ModelSource, card: Option<Card>) -> Self {
        let now = now_ms();
        let (notes, load_config) = (String::new(), Map::new());
        Self { id, name, source, notes, load_config, card, created_ms: now, updated_ms: now, error: None }
    }

    /// The row, for whoever acts on what it says.
    ///
    /// # Errors
    /// `model_unreadable`: what it says is not all there.
    pub(super) fn readable(self) -> Result<Self, ErrorObject> {
        match self.error {
            None => Ok(self),
            Some(error) => Err(error),
        }
    }
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
        let mut writer = self.store.writer().await?;
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

    /// Takes a row away with what was committed to it: a model that is registered under this id later is another.
    pub(super) async fn delete(&self, id: &str) -> Result<bool, StoreError> {
        let fail = |error| self.store.fail(error);
        let mut writer = self.store.writer().await?;
        let mut transaction = writer.begin().await.map_err(fail)?;
        let committed = sqlx::query("DELETE FROM known_good WHERE model = ?").bind(id);
        committed.execute(&mut *transaction).await.map_err(fail)?;
        let deleted = sqlx::query("DELETE FROM models WHERE id = ?").bind(id);
        let deleted = deleted.execute(&mut *transaction).await.map_err(fail)?.rows_affected();
        transaction.commit().await.map_err(fail)?;
        Ok(deleted == 1)
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

/// A row; one whose content is none that this build wrote hides no other, and is named.
fn parse(store: &Store, row: &SqliteRow) -> Result<Row, StoreError> {
    let fail = |error| store.fail(error);
    // As bytes: a disk that spoils them asks for no UTF-8.
    let bytes = |name: &str| row.try_get_unchecked::<Option<Vec<u8>>, _>(name).map_err(fail);
    let number = |name: &str| {
        row.try_get::<i64, _>(name).map(|number| u64::try_from(number).unwrap_or_default()).map_err(fail)
    };
    let mut wrong = None;
    let text = |bytes: Option<Vec<u8>>, wrong: &mut Option<serde_json::Error>| {
        String::from_utf8(bytes.unwrap_or_default()).unwrap_or_else(|error| {
            *wrong = Some(serde_json::Error::custom("bytes that are no text"));
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        })
    };
    let id = text(bytes("id")?, &mut wrong);
    let name = text(bytes("name")?, &mut wrong);
    let notes = text(bytes("notes")?, &mut wrong);
    let source = bytes("source")?.unwrap_or_default();
    let source = serde_json::from_slice(&source).unwrap_or_else(|error| {
        wrong = Some(error);
        ModelSource::Path(String::new())
    });
    let load_config = bytes("load_config")?.unwrap_or_default();
    let load_config = serde_json::from_slice(&load_config).unwrap_or_else(|error| {
        wrong = Some(error);
        Map::new()
    });
    let card = bytes("card")?.and_then(|card| match serde_json::from_slice(&card) {
        Ok(card) => Some(card),
        Err(error) => {
            wrong = Some(error);
            None
        }
    });
    let error = wrong.map(|error| {
        let told = store.unreadable(format!("model `{id}`"), error);
        let message = format!("{told}; DELETE /api/models/{id} forgets what is left of it");
        ErrorObject::new("model_unreadable", message)
    });
    Ok(Row {
        id,
        name,
        source,
        notes,
        load_config,
        card,
        created_ms: number("created_ms")?,
        updated_ms: number("updated_ms")?,
        error,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::registry::{Folders, Patch, Registration};

    async fn spoil(store: &Store, change: &'static str) {
        sqlx::query(change).execute(&mut *store.writer().await.expect("open")).await.expect("written");
    }

    #[tokio::test]
    async fn a_model_that_cannot_be_read_hides_no_other() {
        let (data, root) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
        for name in ["found", "other"] {
            std::fs::create_dir(root.path().join(name)).expect("made");
            let config = include_str!("../../../public/tiny/config.json");
            std::fs::write(root.path().join(name).join("config.json"), config).expect("written");
        }
        let store = Arc::new(Store::open(data.path()).await.expect("opened"));
        let folders = Folders::new(&[root.path().to_owned()], None).expect("it exists");
        let registry = Registry::new(folders, Arc::clone(&store), Map::new());
        for id in ["card", "config", "found", "good", "name", "source"] {
            let row = Row {
                id: id.to_owned(),
                name: format!("the {id}"),
                source: ModelSource::Path(id.to_owned()),
                notes: "noted".to_owned(),
                load_config: Map::new(),
                card: None,
                created_ms: 1,
                updated_ms: 1,
                error: None,
            };
            registry.write(&row).await.expect("written");
        }
        spoil(&store, "UPDATE models SET card = '{\"repo\": 5' WHERE id = 'card'").await;
        spoil(&store, "UPDATE models SET load_config = '[]' WHERE id IN ('config', 'found')").await;
        spoil(&store, "UPDATE models SET name = CAST(x'ff41' AS TEXT) WHERE id = 'name'").await;
        spoil(&store, "UPDATE models SET source = '{\"elsewhere\": \"x\"}' WHERE id = 'source'").await;

        let listed = registry.list().await.expect("the others are told");
        let told = |id: &str| listed.iter().find(|entry| entry.id == id).expect(id).clone();
        assert_eq!(listed.len(), 7, "{listed:?}");
        for id in ["good", "other"] {
            assert_eq!(told(id).error, None, "{id}");
        }
        for id in ["card", "config", "found", "name", "source"] {
            let error = told(id).error.expect(id);
            assert_eq!(error.code, "model_unreadable");
            assert!(error.message.contains(&format!("model `{id}` cannot be read")), "{error}");
            // What is not there is not made up: nobody loads it, and nobody writes over it.
            let located = registry.locate(id).await.expect_err(id);
            let patched = registry.patch(id, Patch { notes: Some("x".to_owned()), ..Patch::default() }).await;
            assert_eq!((&located, &patched.expect_err(id)), (&error, &error));
            assert_eq!(registry.detail(id).await.expect("told").entry.error, Some(error));
        }
        assert_eq!((told("config").notes.as_str(), told("config").name.as_str()), ("noted", "the config"));
        let source = ModelSource::Path("other".to_owned());
        let asked =
            Registration { id: Some("card".to_owned()), may_ask_hub: true, ..Registration::default() };
        let taken = registry.register(source, asked).await.expect_err("its id is still its own");
        assert_eq!(taken.code, "model_exists");
        // It can be forgotten; what lies under a root is found again.
        registry.remove("found", || None).await.expect("it has a row");
        let again = registry.list().await.expect("read");
        assert!(again.iter().any(|entry| entry.id == "found" && !entry.registered && entry.error.is_none()));
    }
}
