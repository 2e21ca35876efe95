//! The load config as a page for people.

use serde_json::Value;

use super::stated::Stated;
use super::{Subject, quote};
use crate::load_config::{Knob, leaves};
use crate::units::format_bytes;

pub(super) fn write(subject: &Subject<'_>, stated: &mut Stated) -> String {
    let mut text = format!("# Load config of {}\n\n", quote::markdown(subject.model.name()));
    let overrides = stated.take_all();
    let mut rows = Vec::new();
    for (key, value) in &overrides {
        let meaning = Knob::find(key).map_or("", |knob| knob.meaning);
        for (path, value) in leaves(key, value) {
            let shown = match (&value, value.as_u64()) {
                (_, Some(bytes)) if path.starts_with("max_memory.") => {
                    format!("{} ({bytes})", format_bytes(bytes))
                }
                (Value::String(text), _) => quote::markdown(text),
                _ => quote::markdown(&value.to_string()),
            };
            rows.push((quote::markdown(&path), shown, meaning));
        }
    }
    let context = stated.take_context().map(|tokens| tokens.to_string());
    let kv_dtype = stated.take_kv_dtype().map(|dtype| dtype.name().to_owned());
    rows.extend(context.map(|tokens| ("context".to_owned(), tokens, "Longest sequence")));
    rows.extend(
        kv_dtype.map(|name| ("kv\\_dtype".to_owned(), quote::markdown(&name), "Format of the KV cache")),
    );
    if rows.is_empty() {
        return text + "Nothing is overridden: every value is the default.\n";
    }
    text += "| value | set to | meaning |\n|---|---|---|\n";
    for (path, value, meaning) in rows {
        text += &format!("| {path} | {value} | {meaning} |\n");
    }
    // A fence longer than any run of backticks inside cannot be closed by it.
    let json = format!("{:#}", Value::Object(overrides));
    let longest = json.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    text + &format!("\nAs a file for `--load-config`:\n\n{fence}json\n{json}\n{fence}\n")
}
