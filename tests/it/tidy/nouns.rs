//! Counts with their nouns: `1 attempt`, `2 attempts`. A noun that follows a number is written by `format_counted`.

use super::text::literals;
use super::{File, assert_none, repository};

/// Nouns that are counted in what this server and its workers say.
const NOUNS: [&str; 24] = [
    "attempts",
    "cells",
    "changes",
    "devices",
    "fields",
    "files",
    "ids",
    "keys",
    "ladders",
    "layers",
    "lines",
    "messages",
    "models",
    "modules",
    "prompts",
    "requests",
    "rows",
    "rungs",
    "shards",
    "steps",
    "tensors",
    "tokens",
    "values",
    "variables",
];

fn ours(file: &File) -> bool {
    file.is_code() && file.path.starts_with("server/") && !file.path.contains("/tests/")
}

/// Placeholders with a plural behind them. One in capitals is a constant, whose number is known where it is written.
fn counted_by_hand(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| ours(file)) {
        for (line, text) in literals(&file.text) {
            for (before, after) in text.match_indices("} ").map(|(at, _)| text.split_at(at)) {
                let name = before.rsplit('{').next().unwrap_or_default();
                let word =
                    after[2..].split(|c: char| !c.is_alphanumeric() && c != '/').next().unwrap_or_default();
                if NOUNS.contains(&word) && !name.starts_with(|c: char| c.is_ascii_uppercase()) {
                    complaints.push(format!(
                        "{}:{line}: `{word}` follows a number: use `format_counted`",
                        file.path
                    ));
                }
            }
        }
    }
    complaints
}

#[test]
fn counts_agree_with_their_nouns() {
    assert_none(&counted_by_hand(&repository()));
}

#[test]
fn a_noun_that_may_be_wrong_is_found() {
    let found = |text: &str| counted_by_hand(&[File::new("server/src/a.rs", text)]).len();
    assert_eq!(found("fn f() { g(format!(\"names {} attempts\", n)) }"), 1);
    assert_eq!(found("#[error(\"{limit} tokens, then {0} rows\")] struct E;"), 2);
    assert_eq!(
        found("fn f() { g(format!(\"{QUEUE} attempts wait, {speed:.1} tokens/s, {n} of them\")) }"),
        0
    );
}
