//! The load config as TOML.

use serde_json::Value;

use super::quote;
use super::stated::Stated;

pub(super) fn write(stated: &mut Stated) -> String {
    let (mut flat, mut tables) = (String::new(), String::new());
    for (key, value) in stated.take_all() {
        match &value {
            Value::Object(map) => {
                tables += &format!("\n[{key}]\n");
                for (name, entry) in map {
                    match literal(entry) {
                        Some(text) => tables += &format!("{} = {text}\n", bare_or_quoted(name)),
                        None => no_null(stated, format!("{key}.{name}"), entry.clone()),
                    }
                }
            }
            _ => match literal(&value) {
                Some(text) => flat += &format!("{key} = {text}\n"),
                None => no_null(stated, key, value),
            },
        }
    }
    let text = flat + &tables;
    text.trim_start().to_owned()
}

fn no_null(stated: &mut Stated, path: String, value: Value) {
    stated.dropped(path, value, "TOML has no null; keep this value in JSON");
}

fn bare_or_quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if bare { key.to_owned() } else { quote::toml_text(key) }
}

/// A value; `None` where there is a null in it.
fn literal(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::String(text) => quote::toml_text(text),
        Value::Array(list) => {
            format!("[{}]", list.iter().map(literal).collect::<Option<Vec<_>>>()?.join(", "))
        }
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| {
                Some(format!("{} = {}", bare_or_quoted(key), literal(value)?))
            };
            format!("{{ {} }}", map.iter().map(entry).collect::<Option<Vec<_>>>()?.join(", "))
        }
        // TOML's whole numbers have 63 bits; a size may be a text.
        Value::Number(number) if number.as_u64().is_some_and(|n| i64::try_from(n).is_err()) => {
            format!("\"{number}\"")
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    })
}
