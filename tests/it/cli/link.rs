//! `preflight link`: a state there and back, and links that are refused.

use serde_json::{Value, json};

use crate::support::config_json;
use crate::support::model_dir::ModelDir;
use crate::support::program::preflight;

#[test]
fn a_state_goes_into_a_link_and_comes_back() {
    let dir = ModelDir::of_case("mha_plain");
    let config: Value = serde_json::from_slice(&config_json("meta-llama__Llama-3.1-8B")).expect("JSON");
    let state = json!({
        "page": "estimate",
        "model": { "config": config },
        "load_config": { "torch_dtype": "float16", "max_memory": { "0": "12GiB" } },
        "device": { "bytes": "16GiB" },
        "options": { "context": 2048, "kv_dtype": "q8_0" },
        "label": "second try",
    });
    dir.write("state.json", state.to_string());
    let file = dir.file("state.json");
    let encode = || preflight(&["link", "encode", file.to_str().expect("UTF-8"), "--json"]);
    let link = encode().json()["link"].as_str().expect("a link").to_owned();
    assert!(link.starts_with("s=1.") && link.len() < 2000, "{link}");

    let decoded = preflight(&["link", "decode", &format!("https://any.host/#{link}"), "--json"]);
    assert_eq!(decoded.code, 0, "{decoded:?}");
    let mut expected = state.clone();
    expected["device"]["bytes"] = json!(16_u64 << 30);
    assert_eq!(decoded.json(), json!({ "state": expected, "unknown": [] }));
    let plain = preflight(&["link", "decode", &link]);
    assert!(plain.stdout.starts_with("second try\n") && plain.stdout.contains("max_memory.0"), "{plain:?}");

    for (change, code) in [
        (json!({ "notes": "in /mnt/models/phi" }), "link_private"),
        (json!({ "colour": "red" }), "link_invalid"),
        (json!({ "page": 1 }), "link_invalid"),
        (json!({ "model": { "preset": "phi-9" } }), "unknown_preset"),
    ] {
        let mut state = state.clone();
        for (key, value) in change.as_object().expect("an object") {
            state[key] = value.clone();
        }
        dir.write("state.json", state.to_string());
        let ran = encode();
        assert_eq!((ran.code, ran.error_code().as_str()), (2, code), "{change}");
    }
}

#[test]
fn a_state_with_other_keys_is_told_by_them() {
    let dir = ModelDir::of_case("mha_plain");
    for (state, says) in [
        (
            r#"{"model":{"path":"/x"}}"#,
            "`model` is an object of `path`, expected one of `preset` and `config`",
        ),
        (
            r#"{"model":{"preset":"phi-4","config":{}}}"#,
            "`model` is an object of `preset`, `config`, expected one",
        ),
        (r#"{"device":{}}"#, "`device` is empty, expected one of `name` and `bytes`"),
        (
            r#"{"model":{"config":{"a":1,"a":2}}}"#,
            "the page's state is not read: `model.config.a` stands twice, and readers disagree on which one counts: remove one\n",
        ),
    ] {
        dir.write("state.json", state);
        let ran = preflight(&["link", "encode", dir.file("state.json").to_str().expect("UTF-8")]);
        assert_eq!(ran.code, 2, "{state}: {ran:?}");
        assert!(ran.stderr.contains(says), "{state}: {ran:?}");
    }
}

#[test]
fn links_that_are_none_are_refused_in_one_line() {
    for (link, code) in [
        ("", "link_invalid"),
        ("https://any.host/#model=phi-4", "link_invalid"),
        ("#s=1.AAAA", "link_invalid"),
        ("s=9.AAAA", "link_version"),
    ] {
        let json = preflight(&["link", "decode", link, "--json"]);
        assert_eq!((json.code, json.error_code().as_str()), (2, code), "{link}");
        let plain = preflight(&["link", "decode", link]);
        assert_eq!((plain.code, plain.stderr.lines().count()), (2, 1), "{plain:?}");
    }
}
