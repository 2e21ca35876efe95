//! `preflight ladder`, with a worker that has the CPU alone.

use serde_json::{Value, json};

use crate::support::model_dir::ModelDir;
use crate::support::program::{Ran, preflight};
use crate::support::tests_dir;

fn tiny() -> String {
    tests_dir().join("../public/tiny").display().to_string()
}

fn climb(model: &str, profile: &str) -> Ran {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("profile.toml");
    std::fs::write(&file, profile).expect("written");
    preflight(&["ladder", model, "--profile", file.to_str().expect("UTF-8"), "--json"])
}

/// `1 passed`, …
fn statuses(report: &Value) -> Vec<String> {
    let rungs = report["rungs"].as_array().expect("rungs");
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    rungs.iter().map(|rung| format!("{} {}", word(&rung["step"]), word(&rung["status"]))).collect()
}

#[test]
fn the_default_ladder_ends_in_a_known_good_config() {
    let ran = preflight(&["ladder", &tiny(), "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    let expected = [
        "1 passed",
        "2 passed",
        "3 skipped",
        "4 skipped",
        "5a skipped",
        "5b skipped",
        "6 passed",
        "7 passed",
    ];
    assert_eq!(statuses(&report), expected, "{report}");
    let rung = |index: usize| &report["rungs"][index];
    assert!(
        rung(2)["reason"].as_str().is_some_and(|reason| reason.starts_with("no GPU here")),
        "{}",
        rung(2)
    );
    for index in [1, 6] {
        let bytes = |side: &str| rung(index)[side]["weights_bytes"].as_u64().expect("bytes");
        assert_eq!(bytes("predicted"), bytes("measured"), "{}", rung(index));
    }
    // Probes of window and long factors need a longer sequence than the dry run was loaded for.
    assert_eq!(rung(6)["reports"][0]["probes"].as_array().map(Vec::len), Some(2));
    let known = &report["known_good"];
    assert_eq!((&known["load_config"], &known["device"]), (&json!({"dtype": "float32"}), &json!("cpu")));
    assert_eq!(known["evidence"]["verdict"], "pass");

    let text = preflight(&["ladder", &tiny()]);
    assert_eq!(text.code, 0, "{text:?}");
    assert!(
        text.stdout.contains("predicted ") && text.stdout.contains("passed: step 6 passed"),
        "{}",
        text.stdout
    );
}

#[test]
fn a_profile_says_what_is_run_and_expected() {
    let profile = |least: f64| {
        format!(
            r#"
            name = "two formats"
            context = 64
            [[prompts]]
            name = "who"
            chat = "Who are you?"
            max_new_tokens = 5
            [expectations]
            fits = true
            no_nan = true
            [[steps]]
            id = "load"
            action = "load"
            [[steps]]
            id = "ask"
            action = "infer"
            prompts = ["who"]
            expectations = {{ min_decode_tokens_per_s = {least:?} }}
            [[steps]]
            id = "half"
            action = "load"
            overrides = {{ dtype = "float16" }}
            [[steps]]
            id = "check"
            action = "validate"
            [[steps]]
            id = "end"
            action = "unload"
            "#
        )
    };
    let ran = climb(&tiny(), &profile(0.001));
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    assert_eq!(statuses(&report), ["load passed", "ask passed", "half passed", "check passed", "end passed"]);
    assert_eq!(report["rungs"][1]["reports"][0]["generated_tokens"].as_array().map(Vec::len), Some(5));
    assert_eq!(report["rungs"][2]["changes"][0]["path"], "dtype");
    assert_eq!(report["rungs"][3]["reports"][0]["dtype"], "f16");
    assert_eq!(report["known_good"], Value::Null);

    let slow = climb(&tiny(), &profile(1e9));
    assert_eq!(slow.code, 1, "{slow:?}");
    let reason = slow.json()["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.contains("step ask failed") && reason.contains("expected at least"), "{reason}");
}

#[test]
fn a_ladder_of_nan_fails_where_it_is_seen() {
    let model = ModelDir::of_case("mha_plain");
    let weights = model.file("model.safetensors");
    let mut bytes = std::fs::read(&weights).expect("weights");
    let end = bytes.len();
    // The last tensor's last values: quiet NaN in every format of two or four bytes.
    bytes[end - 64..].fill(0xff);
    std::fs::write(&weights, bytes).expect("written");
    let ran = preflight(&["ladder", model.arg(), "--json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let report = ran.json();
    assert_eq!((&report["passed"], &report["known_good"]), (&json!(false), &Value::Null));
    let dry = &report["rungs"][1];
    assert_eq!((&dry["status"], &dry["class"]), (&json!("failed"), &json!("nan_inf")), "{dry}");
}

#[test]
fn mistakes_in_a_profile_are_bad_input() {
    let ran = climb(&tiny(), "name = \"x\"\n[[steps]]\nid = \"a\"\naction = \"laod\"\n");
    assert_eq!((ran.code, ran.error_code().as_str()), (2, "profile_invalid"));
    let message = ran.json()["error"]["message"].as_str().expect("a message").to_owned();
    assert!(message.contains("line 4") && message.contains("laod"), "{message}");
    let absent = preflight(&["ladder", &tiny(), "--profile", "/no/such/profile.toml", "--json"]);
    assert_eq!(absent.code, 2, "{absent:?}");
}
