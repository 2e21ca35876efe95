//! One object, a list of rows, or one row a line.

use std::path::Path;

use phi3::api::ErrorObject;
use phi3::config::{ConfigError, JsonError, JsonLimits, parse_json};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{COLUMN, Imported, not_json, unreadable};

/// A row is no longer than a file, and no deeper than any load config.
const LIMITS: JsonLimits = JsonLimits { depth: 64, values: 1 << 14, string_bytes: usize::MAX };

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Imported, ErrorObject> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| unreadable(path, format_args!("is not UTF-8 text ({error})")))?;
    let mut imported = Imported::default();
    // Each row as it stands there: read by itself, so that what is wrong with one is told of that one.
    match (serde_json::from_str::<Vec<&RawValue>>(text), serde_json::from_str::<&RawValue>(text)) {
        (Ok(rows), _) => {
            for (row, index) in rows.into_iter().zip(1..) {
                add(&mut imported, index, row.get());
            }
        }
        (Err(_), Ok(row)) => add(&mut imported, 1, row.get()),
        (Err(_), Err(error)) => {
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
                add(&mut imported, number, line);
            }
        }
    }
    Ok(imported)
}

/// A row is an object with a load config in it, or the load config itself.
fn add(imported: &mut Imported, row: u64, text: &str) {
    let read = parse_json(text.as_bytes(), LIMITS).map_err(|error| match error {
        JsonError::Syntax(why) => not_json(ConfigError::NotJson(why), text),
        error => not_json(ConfigError::Refused(error), text),
    });
    let mut columns = match read {
        Ok(Value::Object(columns)) => columns,
        Ok(_) => {
            let error = ErrorObject::new("load_config_invalid", "a row must be a JSON object");
            return imported.add_error(row, &Map::new(), vec![error], text);
        }
        Err(error) => return imported.add_error(row, &Map::new(), vec![error], text),
    };
    let keys = [COLUMN, "load_config"];
    if keys.iter().all(|key| columns.contains_key(*key)) {
        let error = ErrorObject::new(
            "row_malformed",
            format!("has `{}` and `{}`: which one is meant?", keys[0], keys[1]),
        );
        return imported.add_error(row, &columns, vec![error], text);
    }
    let key = keys.into_iter().find(|key| columns.contains_key(*key));
    match key.and_then(|key| columns.shift_remove(key)) {
        None => imported.add_map(row, Map::new(), &columns, text),
        Some(Value::String(json)) => imported.add_text(row, columns, &json),
        Some(Value::Object(map)) => imported.add_map(row, columns, &map, text),
        Some(Value::Null) => imported.add_map(row, columns, &Map::new(), text),
        Some(other) => {
            let message = format!("`{}` is {other}, expected an object or its text", key.unwrap_or(COLUMN));
            let error = ErrorObject::new("load_config_invalid", message).at(key.unwrap_or(COLUMN));
            imported.add_error(row, &columns, vec![error], text);
        }
    }
}
