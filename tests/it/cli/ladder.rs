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

/// A model whose last values are quiet NaN, in every format of two or four bytes.
fn of_nan() -> ModelDir {
    let model = ModelDir::of_case("mha_plain");
    let mut bytes = std::fs::read(model.file("model.safetensors")).expect("weights");
    let end = bytes.len();
    bytes[end - 64..].fill(0xff);
    model.write("model.safetensors", bytes);
    model
}

/// `1 passed`, …
fn states(report: &Value) -> Vec<String> {
    let rungs = report["rungs"].as_array().expect("rungs");
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    rungs.iter().map(|rung| format!("{} {}", word(&rung["step"]), word(&rung["state"]))).collect()
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
    assert_eq!(states(&report), expected, "{report}");
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
    assert_eq!((&report["state"], &rung(6)["parent"]), (&json!("passed"), &json!("2")), "{report}");

    let text = preflight(&["ladder", &tiny()]);
    assert_eq!(text.code, 0, "{text:?}");
    assert!(
        text.stdout.contains("predicted ") && text.stdout.contains("passed: step 6 passed"),
        "{}",
        text.stdout
    );
}

#[test]
fn what_a_ladder_ends_with_is_verified_and_exported() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("known-good.json");
    let file = file.to_str().expect("UTF-8");
    let ran = preflight(&["ladder", &tiny(), "--out", file, "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let written: Value =
        serde_json::from_slice(&std::fs::read(file).expect("the certificate")).expect("JSON");
    let report = ran.json();
    assert_eq!(written, report["known_good"]);
    assert_eq!(written["load_config"], json!({ "device_map": "cpu", "dtype": "float32" }));
    assert_eq!(written["report"], report["rungs"][6]["reports"][0]);
    assert_eq!(written["note"], "ladder default, step 6: validate");
    assert_eq!(written["environment"]["worker_build"], env!("CARGO_PKG_VERSION"));
    let verified = preflight(&["verify", file, "--json"]);
    assert_eq!((verified.code, &verified.json()["verified"]), (0, &json!(true)), "{verified:?}");
    let told = preflight(&["verify", file]);
    assert!(told.stdout.starts_with("tiny, ladder default, step 6: validate\n"), "{told:?}");
    // Whatever takes a load config takes that of the certificate.
    let exported = preflight(&["export", &tiny(), "--to", "from_pretrained", "--load-config", file]);
    assert!(exported.code == 0 && exported.stdout.contains("torch.float32"), "{exported:?}");
}

#[test]
fn a_certificate_has_its_place_before_the_first_step() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let place = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    std::fs::write(place("file"), "kept").expect("written");
    for (out, says) in [
        (place(""), "is no regular file"),
        (place("no/such.json"), "its folder is not there"),
        (place("file/x.json"), "lies below a file"),
    ] {
        let ran = preflight(&["ladder", &tiny(), "--out", &out]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
        assert!(ran.stderr.contains(says) && ran.stderr.contains(&out), "{ran:?}");
    }
    let without = place("profile.toml");
    std::fs::write(&without, "name = \"x\"\n[[steps]]\nid = \"a\"\naction = \"inspect\"\n").expect("written");
    let ran = preflight(&["ladder", &tiny(), "--profile", &without, "--out", &place("file")]);
    assert!(ran.code == 2 && ran.stderr.contains("no step of the profile is `document`"), "{ran:?}");
    // A ladder that fails leaves what was there.
    let model = of_nan();
    let ran = preflight(&["ladder", model.arg(), "--out", &place("file")]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(std::fs::read_to_string(place("file")).expect("kept"), "kept");
    assert_eq!(dir.path().read_dir().expect("a folder").count(), 2, "nothing half written stays");
}

#[test]
fn a_prompt_with_a_secret_is_not_certified() {
    let secret = format!("hf_{}", "aB3".repeat(12));
    let profile = format!(
        r#"
        name = "secret"
        context = 64
        [[prompts]]
        name = "who"
        text = "my token is {secret}"
        max_new_tokens = 2
        [[steps]]
        id = "check"
        action = "validate"
        prompts = ["who"]
        [[steps]]
        id = "end"
        action = "document"
        "#
    );
    let ran = climb(&tiny(), &profile);
    assert_eq!(
        (ran.code, states(&ran.json())),
        (1, vec!["check passed".into(), "end failed".into()]),
        "{ran:?}"
    );
    assert_eq!(ran.json()["known_good"], Value::Null);
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
    assert_eq!(states(&report), ["load passed", "ask passed", "half passed", "check passed", "end passed"]);
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
    let model = of_nan();
    let ran = preflight(&["ladder", model.arg(), "--json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let report = ran.json();
    assert_eq!((&report["state"], &report["known_good"]), (&json!("failed"), &Value::Null));
    let dry = &report["rungs"][1];
    assert_eq!((&dry["state"], &dry["class"]), (&json!("failed"), &json!("nan_inf")), "{dry}");
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
