//! Attempts side by side: only what differs.

use std::collections::BTreeMap;

use phi3::api::{AttemptRecord, Comparison, Difference};
use serde_json::Value;

/// What differs between any two attempts and says nothing about why.
const NOT_COMPARED: [&str; 8] =
    ["id", "position", "progress", "created_ms", "started_ms", "finished_ms", "log", "parent"];

/// The values that are not the same in all attempts. A list of objects is taken apart by their name, any other list
/// is one value.
#[must_use]
pub fn compare(records: &[AttemptRecord]) -> Comparison {
    let mut rows: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    for (column, record) in records.iter().enumerate() {
        let Ok(Value::Object(map)) = serde_json::to_value(record) else { continue };
        for (key, value) in &map {
            if !NOT_COMPARED.contains(&key.as_str()) {
                leaves(key, value, &mut |path, value| {
                    let row = rows.entry(path.clone()).or_insert_with(|| {
                        order.push(path);
                        vec![Value::Null; records.len()]
                    });
                    row[column] = value.clone();
                });
            }
        }
    }
    let mut differences = Vec::new();
    for path in order {
        if let Some(values) = rows.remove(&path)
            && values.windows(2).any(|pair| pair[0] != pair[1])
        {
            differences.push(Difference { path, values });
        }
    }
    Comparison { ids: records.iter().map(|record| record.attempt.id).collect(), differences }
}

fn leaves(path: &str, value: &Value, found: &mut impl FnMut(String, &Value)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                leaves(&format!("{path}.{key}"), value, found);
            }
        }
        Value::Array(items) if !items.is_empty() && items.iter().all(|item| name_of(item).is_some()) => {
            for item in items {
                let name = name_of(item).unwrap_or_default();
                leaves(&format!("{path}[{name}]"), item, found);
            }
        }
        value => found(path.to_owned(), value),
    }
}

/// What tells the items of a list apart: a file by its name, a value by its path, a probe by its kind.
fn name_of(item: &Value) -> Option<&str> {
    ["name", "path", "kind", "key"].iter().find_map(|key| item.get(key)?.as_str())
}
