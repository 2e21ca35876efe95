//! What must not leave a machine: local paths, and what looks like a secret.

use serde_json::Value;

use super::secrets::{self, words};

/// What a value looks like that must not be shared, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    path: Vec<Step>,
    /// In words for a message.
    pub(super) what: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Found {
    /// The JSON path; a key that is private itself is left out.
    pub(super) fn json_path(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                Step::Index(index) => text += &format!("[{index}]"),
                Step::Key(key) => {
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.push_str(if private(key).is_some() { "…" } else { key });
                }
            }
        }
        text
    }
}

/// The first private text in a value, keys included.
pub(super) fn find(value: &Value) -> Option<Found> {
    find_at(value, &mut Vec::new())
}

/// Takes out of a state what a config says of where it came from, if that is a path: it is published so, with the paths
/// of who made it, and nothing reads it.
pub(super) fn drop_origin(state: &mut Value) {
    let Some(config) = state.pointer_mut("/model/config").and_then(Value::as_object_mut) else { return };
    for key in ["_name_or_path", "name_or_path"] {
        if config.get(key).and_then(Value::as_str).is_some_and(|text| private(text).is_some()) {
            config.shift_remove(key);
        }
    }
}

/// Takes every private text out of a value and tells where they stood.
pub(super) fn strip(value: &mut Value) -> Vec<String> {
    let mut gone = Vec::new();
    while let Some(found) = find(value) {
        gone.push(found.json_path());
        remove(value, &found.path);
    }
    gone
}

fn remove(value: &mut Value, path: &[Step]) {
    match (value, path) {
        (Value::Object(map), [Step::Key(key)]) => {
            map.shift_remove(key);
        }
        (Value::Array(list), [Step::Index(index)]) => {
            list.remove(*index);
        }
        (Value::Object(map), [Step::Key(key), rest @ ..]) => {
            if let Some(value) = map.get_mut(key) {
                remove(value, rest);
            }
        }
        (Value::Array(list), [Step::Index(index), rest @ ..]) => remove(&mut list[*index], rest),
        // A text alone.
        (value, _) => *value = Value::Null,
    }
}

fn find_at(value: &Value, path: &mut Vec<Step>) -> Option<Found> {
    let found = |path: &[Step], what| Some(Found { path: path.to_vec(), what });
    match value {
        Value::String(text) => found(path, private(text)?),
        Value::Array(list) => list.iter().enumerate().find_map(|(index, item)| {
            path.push(Step::Index(index));
            let found = find_at(item, path);
            path.pop();
            found
        }),
        Value::Object(map) => map.iter().find_map(|(key, item)| {
            path.push(Step::Key(key.clone()));
            let is_secret = item.as_str().is_some_and(|text| !text.is_empty()) && secrets::is_secret_key(key);
            let what = if is_secret { Some("a secret") } else { private(key) };
            let found = match what {
                Some(what) => found(path, what),
                None => find_at(item, path),
            };
            path.pop();
            found
        }),
        _ => None,
    }
}

/// What a text holds that must not be shared, if anything.
fn private(text: &str) -> Option<&'static str> {
    const PATH: &str = "a path of this machine";
    let whole = text.trim();
    if whole == "~" || (whole.starts_with('/') && whole.bytes().any(|b| b.is_ascii_alphanumeric())) {
        return Some(PATH);
    }
    if let Some((_, what)) = secrets::find(text) {
        return Some(what);
    }
    (words(text).any(|(_, word)| is_local_path(word)) || is_below_variable(text)).then_some(PATH)
}

/// A path below what a variable of the environment names: `$HOME/x`, `${HF_HOME}/x`, `%USERPROFILE%\x`, `$env:TEMP\x`.
fn is_below_variable(text: &str) -> bool {
    let behind_name = |rest: &str| -> Option<usize> {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        // Shells and services name theirs in capitals; a template's own begin otherwise.
        rest[..end].starts_with(|c: char| c.is_ascii_uppercase()).then_some(end)
    };
    let is_path = |rest: &str| rest.starts_with(['/', '\\']);
    let is_unix = |(at, _): (usize, &str)| {
        let rest = &text[at + 1..];
        let bare = rest.strip_prefix("env:").unwrap_or(rest);
        match rest.strip_prefix('{') {
            Some(rest) => {
                behind_name(rest).and_then(|end| rest[end..].strip_prefix('}')).is_some_and(is_path)
            }
            None => behind_name(bare).is_some_and(|end| is_path(&bare[end..])),
        }
    };
    let is_windows = |(at, _): (usize, &str)| {
        let rest = &text[at + 1..];
        behind_name(rest).and_then(|end| rest[end..].strip_prefix('%')).is_some_and(is_path)
    };
    text.match_indices('$').any(is_unix) || text.match_indices('%').any(is_windows)
}

/// An absolute path of two names or more, one from this folder, one of a home, of a Windows drive or host, or a `file:` address.
fn is_local_path(word: &str) -> bool {
    let bytes = word.as_bytes();
    let is_separator = |b: Option<&u8>| matches!(b, Some(b'/' | b'\\'));
    let name_after = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    let is_file = word.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("file:")) && bytes.len() > 5;
    let of_root = word.starts_with('/') && word.split('/').filter(|name| !name.is_empty()).count() > 1;
    let of_home = word.strip_prefix('~').is_some_and(|rest| {
        let user = rest.find(['/', '\\']).unwrap_or(rest.len());
        user < rest.len()
            && rest[..user].chars().all(|c| c.is_ascii_alphanumeric() || !c.is_ascii() || "._-".contains(c))
    });
    let of_drive = name_after(0)
        && bytes[0].is_ascii_alphabetic()
        && bytes.get(1) == Some(&b':')
        && is_separator(bytes.get(2));
    let of_host = word.starts_with("\\\\") && name_after(2);
    let of_folder = ["./", "../", ".\\", "..\\"].iter().any(|start| {
        word.strip_prefix(start).is_some_and(|rest| rest.bytes().any(|b| b.is_ascii_alphanumeric()))
    });
    is_file || of_root || of_home || of_drive || of_host || of_folder
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_and_secrets_are_found() {
        for text in [
            "/data",
            "/Users/ann/phi",
            " /etc/passwd",
            "~",
            "~/models",
            "~ann/models",
            "see /mnt/models/phi for the weights",
            "weights='/mnt/models'",
            "file:///x",
            "FILE:x",
            "C:\\models",
            "d:/models",
            "\\\\host\\share",
            "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH",
            "hf_aB3dE6gH",
            "sk-proj-0123456789abcdef",
            "key sk-abcdefghijklmnopqrstuvwx",
            "https://hub.example/x?token=hf_aB3dE6gH9jK",
            "https://ann:secret@host/x",
            "ghp_0123456789abcdefghij",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            "Authorization: Bearer abc",
            "password=abc",
            "weights in $HOME/x",
            "${HF_HOME}/hub",
            "%USERPROFILE%\\models",
            "$env:TEMP\\x",
        ] {
            assert!(private(text).is_some(), "{text}");
        }
    }

    #[test]
    fn ordinary_texts_are_not() {
        for text in [
            "",
            "/",
            "microsoft/Phi-3-mini-4k-instruct",
            "microsoft/phi--configuration_phi3.Phi3Config",
            "https://host.example/docs/a#b",
            "and/or, 1/2, ~3 GB, ≈ 7",
            "hf_device_map",
            "set $HOME, or a price of $5/month",
            "50%/50%",
            "hf_quantizer",
            "sk-learn-based",
            "{% if x %}'/no_think'{{ '</s>' }}<|end|>{% endif %}",
            "<tool_call></tool_call>",
            "12:30",
            "profile: a",
            "model.layers.0",
            "cuda:0",
            "24GiB",
            "eyJ",
        ] {
            assert_eq!(private(text), None, "{text}");
        }
    }

    #[test]
    fn the_place_is_told_and_the_text_is_not() {
        let place = |value: Value| find(&value).map(|found| found.json_path());
        assert_eq!(place(json!({"a": [1, {"b": "/x/y"}]})), Some("a[1].b".to_owned()));
        assert_eq!(place(json!({"a": {"Token": "abc"}})), Some("a.Token".to_owned()));
        assert_eq!(place(json!({"a": {"/Users/ann": 0}})), Some("a.…".to_owned()));
        assert_eq!(
            place(json!({"token": "", "bos_token": "<s>", "eos_token_id": 1, "auto_map": null})),
            None
        );
    }

    #[test]
    fn what_is_stripped_is_clean() {
        let mut value = json!({"a": ["x", "/y/z", "~/w"], "b": {"token": "t", "c": 1}, "/Users/ann": {}, "d": "hf_aB3dE6gH"});
        assert_eq!(strip(&mut value), ["a[1]", "a[1]", "b.token", "…", "d"]);
        assert_eq!(value, json!({"a": ["x"], "b": {"c": 1}}));
        assert_eq!(find(&value), None);
    }
}
