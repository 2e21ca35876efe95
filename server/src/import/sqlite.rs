//! A table of a SQLite database, opened for reading only.

use std::path::Path;

use base64::Engine as _;
use phi3::api::ErrorObject;
use serde_json::{Map, Value};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Row as _, SqliteConnection, TypeInfo as _, ValueRef as _,
};
use tokio_stream::StreamExt as _;

use super::{COLUMN, Imported, unreadable};

/// Rows that are read. What a team noted by hand has some hundred; views, which can go on for ever, are not read.
const MOST_ROWS: u64 = 100_000;

pub(super) fn read(path: &Path, table: Option<&str>) -> Result<Imported, ErrorObject> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ErrorObject::new("internal", error.to_string()))?;
    runtime.block_on(async {
        let fail =
            |error: sqlx::Error| unreadable(path, format_args!("cannot be read as a database: {error}"));
        let options = SqliteConnectOptions::new().filename(path).read_only(true).disable_statement_logging();
        // Beside a database whose log is empty or gone, reading makes no files of its own.
        let log = std::fs::metadata(format!("{}-wal", path.display()));
        let options = options.immutable(log.map_or(true, |log| log.len() == 0));
        let mut connection = options.connect().await.map_err(fail)?;
        // SQLite reads what is left of a file that was cut off, as if its last rows were empty.
        let sound: String =
            (sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut connection)).await.map_err(fail)?;
        if sound != "ok" {
            return Err(unreadable(path, format_args!("is damaged: {}", sound.replace('\n', " "))));
        }
        let table = choose(path, &mut connection, table).await?;
        let query = format!("SELECT * FROM {}", identifier(&table));
        let mut imported = Imported::default();
        {
            let mut rows = sqlx::query(AssertSqlSafe(query)).fetch(&mut connection);
            let mut number = 0;
            while let Some(row) = rows.next().await {
                number += 1;
                if number > MOST_ROWS {
                    return Err(unreadable(path, format_args!("has more than {MOST_ROWS} rows in {table}")));
                }
                add(&mut imported, number, &row.map_err(fail)?);
            }
        }
        Ok(imported)
    })
}

/// The table asked for, or the only one with the column.
async fn choose(
    path: &Path,
    connection: &mut SqliteConnection,
    asked: Option<&str>,
) -> Result<String, ErrorObject> {
    let fail = |error: sqlx::Error| unreadable(path, format_args!("cannot be read as a database: {error}"));
    let with_column: Vec<String> = sqlx::query_scalar(
        "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c \
         WHERE m.type = 'table' AND lower(c.name) = ? ORDER BY m.name",
    )
    .bind(COLUMN)
    .fetch_all(connection)
    .await
    .map_err(fail)?;
    match (asked, with_column.as_slice()) {
        (Some(asked), tables) => {
            let found = tables.iter().find(|table| table.eq_ignore_ascii_case(asked)).cloned();
            found.ok_or_else(|| {
                let there = if tables.is_empty() { "none has".to_owned() } else { tables.join(", ") };
                unreadable(
                    path,
                    format_args!("has no table {asked} with a column {COLUMN}; with one: {there}"),
                )
            })
        }
        (None, [table]) => Ok(table.clone()),
        (None, []) => Err(unreadable(path, format_args!("has no table with a column {COLUMN}"))),
        (None, tables) => Err(unreadable(
            path,
            format_args!(
                "has several tables with a column {COLUMN}: choose with --table: {}",
                tables.join(", ")
            ),
        )),
    }
}

/// A name in SQL, whatever it holds.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn add(imported: &mut Imported, number: u64, row: &SqliteRow) {
    let mut columns = Map::new();
    let mut load_config = Value::Null;
    for column in row.columns() {
        let value = value(row, column.ordinal());
        if column.name().eq_ignore_ascii_case(COLUMN) {
            load_config = value;
        } else {
            columns.insert(column.name().to_owned(), value);
        }
    }
    match load_config {
        Value::Null => imported.add_text(number, columns, ""),
        Value::String(text) => imported.add_text(number, columns, &text),
        other => {
            let message = format!("`{COLUMN}` is {other}, expected the text of a JSON object");
            let error = ErrorObject::new("load_config_invalid", message).at(COLUMN);
            imported.add_error(number, &columns, vec![error], &other.to_string());
        }
    }
}

/// A cell as JSON. Bytes that are text come as text, others in base64, named as such.
fn value(row: &SqliteRow, index: usize) -> Value {
    let kind = match row.try_get_raw(index) {
        Ok(raw) if raw.is_null() => return Value::Null,
        Ok(raw) => raw.type_info().name().to_owned(),
        Err(_) => return Value::Null,
    };
    match kind.as_str() {
        "INTEGER" | "BOOLEAN" => row.try_get_unchecked::<i64, _>(index).map_or(Value::Null, Value::from),
        "REAL" => row.try_get_unchecked::<f64, _>(index).map_or(Value::Null, Value::from),
        _ => {
            let bytes = row.try_get_unchecked::<Vec<u8>, _>(index).unwrap_or_default();
            match String::from_utf8(bytes) {
                Ok(text) => text.into(),
                Err(error) => {
                    let bytes = base64::engine::general_purpose::STANDARD.encode(error.as_bytes());
                    format!("base64:{bytes}").into()
                }
            }
        }
    }
}
