//! The front matter of a card: of YAML, the part that holds texts and lists of texts at the top.

use std::collections::BTreeMap;

use serde_json::Value;

use super::one_line;

/// Longest list that is taken over.
const MAX_ITEMS: usize = 100;

/// The text between the first two lines of `---`, and what follows them.
pub(super) fn split(text: &str) -> (&str, &str) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let Some(rest) = text.strip_prefix("---").filter(|rest| rest.starts_with(['\n', '\r'])) else {
        return ("", text);
    };
    let mut end = 0;
    for line in rest.split_inclusive('\n') {
        if end > 0 && line.trim_end() == "---" {
            return (&rest[..end], &rest[end + line.len()..]);
        }
        end += line.len();
    }
    ("", text)
}

/// Keys with their texts. Maps, long texts and whatever else YAML has are passed over.
pub(super) fn fields(matter: &str) -> BTreeMap<String, Vec<String>> {
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut open: Option<String> = None;
    for line in matter.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if let Some(item) = trimmed.strip_prefix("- ") {
            // An item that is a map of its own has a key.
            if let (Some(key), Some(text)) = (&open, scalar(item)) {
                let items = fields.entry(key.clone()).or_default();
                if items.len() < MAX_ITEMS {
                    items.push(text);
                }
            }
            continue;
        }
        if line.starts_with([' ', '\t']) {
            // Inside something nested; what it belongs to is no list of texts.
            open = None;
            continue;
        }
        let Some((key, value)) = trimmed.split_once(':') else {
            open = None;
            continue;
        };
        let (key, value) = (key.trim().trim_matches(['"', '\'']).to_owned(), value.trim());
        let value = if value.starts_with('#') { "" } else { value };
        open = value.is_empty().then(|| key.clone());
        if let Some(list) = value.strip_prefix('[').and_then(|list| list.strip_suffix(']')) {
            fields.insert(key, list.split(',').filter_map(scalar).take(MAX_ITEMS).collect());
        } else if let Some(text) = scalar(value) {
            fields.insert(key, vec![text]);
        }
    }
    fields
}

/// `inference.parameters`: how the Hub's page runs the model.
pub(super) fn inference(matter: &str) -> Vec<(String, Value)> {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let lines = matter.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with('#'));
    let inside = lines.skip_while(|line| line.trim_end() != "inference:").skip(1);
    let inside = inside.take_while(|line| depth(line) > 0);
    let mut inside = inside.skip_while(|line| line.trim() != "parameters:");
    let Some(parameters) = inside.next().map(depth) else { return Vec::new() };
    inside
        .take_while(|line| depth(line) > parameters)
        .filter_map(|line| {
            let (key, value) = line.trim().split_once(':')?;
            let text = scalar(value)?;
            // YAML's numbers and truth values are JSON's.
            let value = serde_json::from_str(&text).ok().filter(|value: &Value| !value.is_object());
            Some((one_line(key), value.unwrap_or(Value::String(text))))
        })
        .take(MAX_ITEMS)
        .collect()
}

/// A text with or without quotes; `None` for nothing and for what is no text.
fn scalar(text: &str) -> Option<String> {
    let text = text.trim();
    let text = match text.chars().next()? {
        quote @ ('"' | '\'') => text[1..].split(quote).next()?,
        '|' | '>' | '&' | '*' | '!' | '{' | '[' => return None,
        _ => text.split(" #").next()?.trim_end(),
    };
    let is_map = text.contains(": ") || text.ends_with(':');
    let text = one_line(text);
    (!text.is_empty() && !is_map && text != "null" && text != "~").then_some(text)
}
