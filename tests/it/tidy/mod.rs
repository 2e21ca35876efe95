//! The house rules as tests: each invariant that ARCHITECTURE.md states as an absence is looked for here.
//!
//! A rule is a function from files to complaints, so each is first shown a small text that breaks it.

mod dependencies;
mod documents;
mod floors;
mod nouns;
mod places;
mod sizes;
mod text;

use std::path::{Path, PathBuf};
use std::process::Command;

/// A tracked file: its path from the root, and its text, empty where it is binary.
struct File {
    path: String,
    text: String,
    bytes: u64,
}

impl File {
    /// A made-up file, to show a rule.
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into(), bytes: text.len() as u64 }
    }

    /// Rust that is not a file of unit tests.
    fn is_code(&self) -> bool {
        self.path.ends_with(".rs") && !self.path.ends_with("tests.rs")
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file that git tracks, as it lies in the work tree.
fn repository() -> Vec<File> {
    let listing =
        Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().expect("git is installed");
    assert!(listing.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listing.stderr));
    let listing = String::from_utf8(listing.stdout).expect("our paths are UTF-8");
    let files: Vec<File> = listing
        .split_terminator('\0')
        .filter_map(|path| {
            let bytes = std::fs::read(root().join(path)).ok()?;
            let text = String::from_utf8(bytes.clone()).unwrap_or_default();
            Some(File { path: path.into(), text, bytes: bytes.len() as u64 })
        })
        .collect();
    assert!(files.len() > 50, "only {} tracked files: is this the repository?", files.len());
    files
}

/// Fails with all complaints, one a line.
#[track_caller]
fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
