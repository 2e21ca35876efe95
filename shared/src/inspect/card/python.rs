//! The literals of `generation_args = {…}` in a card's Python. Nothing is run: what is no literal is passed over.

use serde_json::{Map, Number, Value};

use super::markdown::Part;
use super::one_line;

/// Names under which cards keep what they pass to `pipeline` or `generate`.
const NAMES: [&str; 4] = ["generation_args", "generation_kwargs", "generate_kwargs", "gen_kwargs"];

/// Most entries that are taken over.
const MAX_ENTRIES: usize = 32;

/// The first such dictionary of a card; empty if there is none.
pub(super) fn generation_args(parts: &[Part]) -> Map<String, Value> {
    let blocks = parts.iter().filter_map(|part| if let Part::Code(code) = part { Some(code) } else { None });
    blocks.filter_map(|code| dictionary(code)).next().unwrap_or_default()
}

fn dictionary(code: &str) -> Option<Map<String, Value>> {
    let mut start = 0;
    for line in code.split_inclusive('\n') {
        let assigned = NAMES.iter().find_map(|name| line.trim_start().strip_prefix(name));
        let value = assigned.and_then(|rest| rest.trim_start().strip_prefix('=')).map(str::trim_start);
        if let Some(value) = value.filter(|value| value.starts_with('{')) {
            let at = start + line.len() - value.len();
            return entries(&code[at + 1..]);
        }
        start += line.len();
    }
    None
}

/// The entries up to the closing brace; `None` if it never comes.
fn entries(text: &str) -> Option<Map<String, Value>> {
    let mut map = Map::new();
    let mut depth = 0_usize;
    let mut quote = None;
    let mut comment = false;
    let mut entry = String::new();
    for c in text.chars() {
        match (quote, c) {
            _ if comment => {
                comment = c != '\n';
                continue;
            }
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '#') => {
                comment = true;
                continue;
            }
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') if depth > 0 => depth -= 1,
            (None, '}' | ',') if depth == 0 => {
                if let Some((key, value)) = literal_entry(&entry)
                    && map.len() < MAX_ENTRIES
                {
                    map.insert(key, value);
                }
                if c == '}' {
                    return Some(map);
                }
                entry.clear();
                continue;
            }
            _ => {}
        }
        entry.push(c);
    }
    None
}

fn literal_entry(entry: &str) -> Option<(String, Value)> {
    let (key, value) = entry.trim().split_once(':')?;
    let is_key = |key: &&str| key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let key = unquoted(key.trim()).filter(is_key)?;
    let value = value.trim();
    let value = match value {
        "True" => Value::Bool(true),
        "False" => Value::Bool(false),
        "None" => Value::Null,
        _ => match (unquoted(value), value.replace('_', "")) {
            (Some(text), _) => Value::String(one_line(text)),
            (None, number) => match number.parse::<i64>() {
                Ok(whole) => whole.into(),
                Err(_) => Value::Number(number.parse().ok().and_then(Number::from_f64)?),
            },
        },
    };
    Some((key.to_owned(), value))
}

/// A text in quotes that holds no quote and no escape of its own.
fn unquoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| ['"', '\''].contains(c))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inner.contains([quote, '\\'])).then_some(inner)
}
