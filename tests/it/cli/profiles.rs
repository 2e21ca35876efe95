//! The page of the profile format, held against the parser: its examples, and every key of its tables.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::program::{Ran, preflight};
use crate::support::tests_dir;

fn page() -> String {
    std::fs::read_to_string(tests_dir().join("../docs/profiles.md")).expect("the page")
}

fn examples(page: &str) -> Vec<String> {
    let blocks = page.split("```toml\n").skip(1);
    blocks.map(|block| block.split("```").next().expect("a block").to_owned()).collect()
}

fn climb(profile: &str) -> Ran {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("profile.toml");
    std::fs::write(&file, profile).expect("written");
    let tiny = tests_dir().join("../public/tiny").display().to_string();
    preflight(&["ladder", &tiny, "--profile", file.to_str().expect("UTF-8"), "--json"])
}

/// Names in backticks of a text.
fn names(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The first cells of a section's first table.
fn keys(section: &str) -> BTreeSet<String> {
    let rows =
        section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| Some(row.strip_prefix("| `")?.split('`').next()?.to_owned())).collect()
}

/// What the parser says that it knows, where it meets a key or a word that it does not.
fn known(profile: &str) -> BTreeSet<String> {
    let ran = climb(profile);
    assert_eq!((ran.code, ran.error_code().as_str()), (2, "profile_invalid"), "{ran:?}");
    let message = ran.json()["error"]["message"].as_str().expect("a message").to_owned();
    let (_, expected) = message.split_once("expected").unwrap_or_else(|| panic!("{message}"));
    names(expected)
}

#[test]
fn the_examples_of_the_page_are_profiles_and_the_first_is_run() {
    let examples = examples(&page());
    assert_eq!(examples.len(), 2);
    let ran = climb(&examples[0]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let rungs = ran.json()["rungs"].as_array().expect("rungs").clone();
    assert_eq!(rungs.len(), 6);
    assert!(rungs.iter().all(|rung| rung["state"] == "passed"), "{rungs:?}");
    // Without a GPU most of the other's steps are skipped; it is a good profile all the same.
    let other = climb(&examples[1]);
    assert!(other.code != 2 && other.json()["rungs"].as_array().map(Vec::len) == Some(5), "{other:?}");
}

#[test]
fn the_tables_of_the_page_have_every_key() {
    let page = page();
    let mut sections = page.split("\n## ").skip(1);
    for (title, wrong) in [
        ("The profile", "zzz = 1\n"),
        ("A prompt", "name = \"x\"\n[[prompts]]\nzzz = 1\n"),
        ("Expectations", "name = \"x\"\n[expectations]\nzzz = 1\n"),
        ("A step", "name = \"x\"\n[[steps]]\nzzz = 1\n"),
    ] {
        let section = sections.next().expect("a section");
        assert!(section.starts_with(title), "{section:.60}");
        assert_eq!(keys(section), known(wrong), "{title}");
    }
    let step = |rest: &str| format!("name = \"x\"\n[[steps]]\nid = \"1\"\n{rest}\n");
    let (_, actions) = page.split_once("| action | what it does").expect("the table of actions");
    assert_eq!(keys(actions.split_once("|---").expect("a table").1), known(&step("action = \"zzz\"")));
    let (_, outcomes) = page.split_once("Outcomes that `after` takes:").expect("the outcomes");
    let outcomes = outcomes.split("\n\n").next().expect("a paragraph");
    assert_eq!(names(outcomes), known(&step("action = \"load\"\nafter = [\"zzz\"]")));
    let probes = known(&step("action = \"validate\"\nprobe = \"zzz\""));
    let row = page.lines().find(|line| line.starts_with("| `probe`")).expect("the row");
    assert!(probes.is_subset(&names(row)) && probes.len() == 4, "{probes:?} in {row}");
}

/// Defaults that the tables tell, as they hold.
#[test]
fn defaults_are_those_of_the_page() {
    let ran = climb("name = \"x\"\n[[steps]]\nid = \"1\"\naction = \"infer\"\n");
    assert_eq!(ran.code, 0, "{ran:?}");
    let rung = ran.json()["rungs"][0].clone();
    let report = &rung["reports"][0];
    assert_eq!(
        (&rung["state"], &rung["device"], &rung["branch"]),
        (&json!("passed"), &json!("cpu"), &json!(false))
    );
    // The default prompt, cut to ten ids, and the default number of tokens; no probe.
    let count = |key: &str| report[key].as_array().map(Vec::len);
    assert_eq!(
        (count("prompt_tokens"), count("generated_tokens"), count("probes")),
        (Some(10), Some(16), Some(0))
    );
}
