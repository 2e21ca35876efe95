//! Import of the rows that teams keep load configs in: `load_config_json` as JSON, CSV or a SQLite table.
//!
//! Every row comes out: understood and in one spelling, or as an error with its number and its text.

mod json;
mod csv;
mod sqlite;

use std::path::Path;

use phi3::api::ErrorObject;
use phi3::config::{ConfigError, Fields};
use phi3::load_config::{LoadConfig, LoadConfigError};
use phi3::weights::WeightSource as _;
use preflight_files::{FileSource, FilesError, read_small};
use serde::Serialize;
use serde_json::{Map, Value};

/// Column and key that a load config stands in.
const COLUMN: &str = "load_config_json";

/// Largest text file that is read.
const MAX_BYTES: u64 = 64 << 20;

/// First bytes of a SQLite database.
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

/// A row that was understood.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its number in the file, from 1; headers do not count.
    pub row: u64,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Its notes, where it has some.
    pub notes: Option<String>,
    /// The load config in one spelling.
    pub load_config: Map<String, Value>,
    /// Its other columns, as they stand.
    pub other: Map<String, Value>,
}

/// A row that was not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowError {
    /// Its number in the file, from 1; headers do not count.
    pub row: u64,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Everything that is wrong with it.
    pub errors: Vec<ErrorObject>,
    /// Its text, as it stands.
    pub text: String,
}

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Imported {
    /// The rows that were understood.
    pub rows: Vec<Row>,
    /// Those that were not.
    pub errors: Vec<RowError>,
}

/// Reads every row of a file; of `table`, where the file is a database with several.
///
/// # Errors
/// A file that cannot be read as a whole: absent, too large, without a column `load_config_json`.
pub fn import(path: &Path, table: Option<&str>) -> Result<Imported, ErrorObject> {
    let source = FileSource::open(path)?;
    let mut head = [0; SQLITE_MAGIC.len()];
    let is_sqlite = source.len() >= head.len() as u64 && {
        let read = pollster::block_on(source.read_into(0, &mut head));
        read.map_err(|error| FilesError::io(path, error))?;
        head == SQLITE_MAGIC
    };
    if is_sqlite {
        return sqlite::read(path, table);
    }
    if table.is_some() {
        return Err(unreadable(path, "is no SQLite database: --table has no meaning"));
    }
    let bytes = read_small(path, MAX_BYTES)?;
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(unreadable(path, "is UTF-16 text: save it as UTF-8"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    match (extension.as_deref(), first) {
        (Some("csv"), _) => csv::read(path, bytes),
        (Some("json" | "jsonl" | "ndjson"), _) | (_, Some(b'{' | b'[')) => json::read(path, bytes),
        _ => csv::read(path, bytes),
    }
}

fn unreadable(path: &Path, what: impl std::fmt::Display) -> ErrorObject {
    ErrorObject::new("import_unreadable", format!("{}: {what}", path.display()))
        .at(path.display().to_string())
}

impl Imported {
    /// Takes in a row whose load config is a text.
    fn add_text(&mut self, row: u64, columns: Map<String, Value>, text: &str) {
        // An empty cell, and what databases write for none, is a row without overrides.
        let fields = match text.trim() {
            "" | "null" | "NULL" => Ok(Map::new()),
            json => Fields::parse(json.as_bytes()).map(|fields| fields.map().clone()),
        };
        match fields {
            Ok(map) => self.add_map(row, columns, &map, text),
            Err(error) => self.add_error(row, &columns, vec![not_json(error, text)], text),
        }
    }

    /// Takes in a row whose load config is an object. `text` is how it stands.
    fn add_map(&mut self, row: u64, mut columns: Map<String, Value>, map: &Map<String, Value>, text: &str) {
        match LoadConfig::from_map_all(map) {
            Ok(config) => {
                let name = take_text(&mut columns, "name");
                let notes = take_text(&mut columns, "notes");
                self.rows.push(Row { row, name, notes, load_config: config.to_map(), other: columns });
            }
            Err(errors) => {
                let errors = errors.iter().map(ErrorObject::from).collect();
                self.add_error(row, &columns, errors, text);
            }
        }
    }

    fn add_error(&mut self, row: u64, columns: &Map<String, Value>, errors: Vec<ErrorObject>, text: &str) {
        let name = columns.get("name").and_then(Value::as_str).map(str::to_owned);
        self.errors.push(RowError { row, name, errors, text: text.to_owned() });
    }
}

/// Takes a column that is a text; another kind of value stays where it is.
fn take_text(columns: &mut Map<String, Value>, key: &str) -> Option<String> {
    match columns.get(key) {
        Some(Value::String(_)) => match columns.shift_remove(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// Says of a text that is no JSON why not, and names the commonest reason.
fn not_json(error: ConfigError, text: &str) -> ErrorObject {
    let is_text_error = matches!(error, ConfigError::NotJson(_));
    if is_text_error && looks_like_python(text) {
        let message = format!(
            "this is a Python dict, not JSON (single quotes, True, False or None): write it with json.dumps ({error})"
        );
        return ErrorObject::new("python_repr", message);
    }
    ErrorObject::from(&LoadConfigError::Json(error))
}

/// Whether a text is what Python's `repr` makes of a dict: quotes in single quotes, or Python's words for
/// JSON's outside of strings.
fn looks_like_python(text: &str) -> bool {
    let text = text.trim_start();
    if !text.starts_with(['{', '[']) {
        return false;
    }
    let mut quote: Option<char> = None;
    let mut escaped = false;
    let mut word = String::new();
    for c in text.chars().chain([' ']) {
        if let Some(open) = quote {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == open => quote = None,
                _ => {}
            }
            continue;
        }
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        if ["True", "False", "None"].contains(&word.as_str()) {
            return true;
        }
        word.clear();
        match c {
            '\'' => return true,
            '"' => quote = Some('"'),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests;
