//! What is written: nothing unfinished, nothing of one machine, no name that does not exist.

use std::collections::HashSet;

use super::{File, assert_none, repository, root};

/// Words that must not be in any file. Written in halves, so that this file passes its own rule.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "unfinished: do it or open an issue"),
    (concat!("FIX", "ME"), "unfinished: do it or open an issue"),
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/ro", "ot/"), "a path of one machine"),
    (concat!("/home", "/"), "a path of one machine"),
    (concat!("bash", "_jobs"), "a path of one machine"),
    (concat!("sub", "agent"), "how it was written is not part of it"),
    (concat!("registry", ".npmjs"), "a registry's address: packages come by name"),
    (concat!("files.", "pythonhosted"), "a registry's address: packages come by name"),
    (concat!("static.", "crates.io"), "a registry's address: packages come by name"),
    (concat!("static.", "rust-lang"), "a registry's address: packages come by name"),
    (concat!("deb.", "debian.org"), "a registry's address: packages come by name"),
    (concat!("../shared", "/reference"), "a folder that a clone does not have"),
    (concat!("../shared", "/design"), "a folder that a clone does not have"),
    (concat!("../shared", "/configs"), "a folder that a clone does not have"),
    (concat!("../shared", "/tools"), "a folder that a clone does not have"),
];
/// CI may take prebuilt tools from beside the clone; nothing needs them.
const EXCEPTIONS: [(&str, &str); 1] = [(".ci/run", concat!("../shared", "/tools"))];

fn forbidden_words(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    // What a model or a vocabulary holds is not ours to word.
    let ours = |file: &&File| !file.path.starts_with("tests/goldens/") || file.path.ends_with(".py");
    for file in files.iter().filter(ours) {
        for (number, line) in file.text.lines().enumerate() {
            for (word, reason) in FORBIDDEN {
                let excepted = EXCEPTIONS.contains(&(file.path.as_str(), *word));
                if line.contains(word) && !excepted {
                    complaints.push(format!("{}:{}: `{word}`: {reason}", file.path, number + 1));
                }
            }
        }
    }
    complaints
}

/// Every word that stands in code: what a document may name.
fn vocabulary(files: &[File]) -> HashSet<String> {
    let code = files.iter().filter(|file| !file.path.ends_with(".md"));
    code.flat_map(|file| {
        split_words(&file.text).chain(split_words(&file.path)).map(str::to_owned).collect::<Vec<_>>()
    })
    .collect()
}

fn split_words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| word.len() > 2)
}

/// Names in backticks that exist nowhere: as a path if they look like one, else word for word in the code.
fn missing_names(document: &File, files: &[File]) -> Vec<String> {
    let known = vocabulary(files);
    let path_exists = |path: &str| {
        let path = path.trim_start_matches("./").trim_end_matches('/');
        files.iter().any(|file| file.path == path || file.path.starts_with(&format!("{path}/")))
    };
    let mut complaints = Vec::new();
    for (number, line) in document.text.lines().enumerate() {
        for name in line.split('`').skip(1).step_by(2) {
            let is_path =
                name.contains('/') && !name.contains([' ', '*', '{', ':']) && !name.starts_with('/');
            let missing = if is_path {
                !path_exists(name) && !is_generated(name)
            } else {
                split_words(name).any(|word| !known.contains(word) && word.parse::<f64>().is_err())
            };
            if missing {
                complaints.push(format!("{}:{}: `{name}` does not exist", document.path, number + 1));
            }
        }
    }
    complaints
}

/// What git ignores is made, not tracked.
fn is_generated(path: &str) -> bool {
    ["dist", "models", "target", "artifacts"].contains(&path.split('/').next().unwrap_or_default())
}

#[test]
fn no_file_is_unfinished_or_of_one_machine() {
    assert_none(&forbidden_words(&repository()));
}

#[test]
fn names_in_the_architecture_exist() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    assert_none(&missing_names(&File::new("ARCHITECTURE.md", &text), &repository()));
}

#[test]
fn a_forbidden_word_is_found() {
    for (word, _) in FORBIDDEN {
        assert_eq!(forbidden_words(&[File::new("a.md", &format!("x\n{word}x"))]).len(), 1, "{word}");
    }
    assert_none(&forbidden_words(&[File::new(".ci/run", concat!("tar ../shared", "/tools/x"))]));
}

#[test]
fn a_name_that_is_gone_is_found() {
    let files = [File::new("shared/src/rope.rs", "fn tables() {}")];
    let missing = |text: &str| missing_names(&File::new("ARCHITECTURE.md", text), &files).len();
    assert_eq!(missing("`rope` has `tables` in `shared/src/rope.rs` and `shared/src/`"), 0);
    assert_eq!(missing("`rope::gone`, `shared/src/gone.rs`"), 2);
}
