//! One object, a list of rows, or one row a line.

use std::path::Path;

use phi3::api::ErrorObject;
use phi3::config::ConfigError;
use serde_json::{Map, Value};

use super::{COLUMN, Imported, not_json, unreadable};

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Imported, ErrorObject> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| unreadable(path, format_args!("is not UTF-8 text ({error})")))?;
    let mut imported = Imported::default();
    match serde_json::from_str(text) {
        Ok(Value::Array(rows)) => {
            for (index, value) in rows.into_iter().enumerate() {
                add(&mut imported, index as u64 + 1, value);
            }
        }
        Ok(value) => add(&mut imported, 1, value),
        Err(error) => {
            let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
            let is_row = |line: &str| matches!(serde_json::from_str(line), Ok(Value::Object(_)));
            if !lines.clone().any(|(line, _)| is_row(line)) {
                let object = not_json(ConfigError::NotJson(error.to_string()), text);
                return Err(ErrorObject {
                    message: format!("{}: {}", path.display(), object.message),
                    ..object.at(path.display().to_string())
                });
            }
            for (line, number) in lines {
                match serde_json::from_str(line) {
                    Ok(value) => add(&mut imported, number, value),
                    Err(error) => {
                        let error = not_json(ConfigError::NotJson(error.to_string()), line);
                        imported.add_error(number, &Map::new(), vec![error], line);
                    }
                }
            }
        }
    }
    Ok(imported)
}

/// A row is an object with a load config in it, or the load config itself.
fn add(imported: &mut Imported, row: u64, value: Value) {
    let text = value.to_string();
    let Value::Object(mut columns) = value else {
        let error = ErrorObject::new("load_config_invalid", "a row must be a JSON object");
        imported.add_error(row, &Map::new(), vec![error], &text);
        return;
    };
    let key = [COLUMN, "load_config"].into_iter().find(|key| columns.contains_key(*key));
    match key.and_then(|key| columns.shift_remove(key)) {
        None => imported.add_map(row, Map::new(), &columns, &text),
        Some(Value::String(json)) => imported.add_text(row, columns, &json),
        Some(Value::Object(map)) => imported.add_map(row, columns, &map, &text),
        Some(Value::Null) => imported.add_map(row, columns, &Map::new(), &text),
        Some(other) => {
            let message = format!("`{}` is {other}, expected an object or its text", key.unwrap_or(COLUMN));
            let error = ErrorObject::new("load_config_invalid", message).at(key.unwrap_or(COLUMN));
            imported.add_error(row, &columns, vec![error], &text);
        }
    }
}
