//! Staging: what a load could not read is refused, and what is said of a model is kept.

use serde_json::{Value, json};

use super::registry::{arg, root};
use crate::support::http::Server;

/// What is said with a source that is registered already is kept; its other ids are models of their own.
#[test]
fn a_model_that_is_staged_again_takes_what_is_said_anew() {
    let root = root();
    let server = Server::start(&["--model-root", arg(&root)]);
    let stage = |id: Option<&str>, more: Value| {
        let mut body = json!({ "source": { "path": "tiny" } });
        let fields = body.as_object_mut().expect("an object");
        fields.extend(id.map(|id| ("id".to_owned(), json!(id))));
        fields.extend(more.as_object().expect("an object").clone());
        let answer = server.post("/api/models/offline", &body);
        (answer.status, answer.json()["model_id"].as_str().map(ToOwned::to_owned))
    };
    let told = |id: &str| {
        let model = server.get(&format!("/api/models/{id}")).json();
        json!([model["name"], model["notes"], model["load_config"]])
    };
    let is = |id: &str| Some(id.to_owned());
    assert_eq!(stage(Some("b"), json!({ "notes": "the first" })), (201, is("b")));
    assert_eq!(stage(Some("a"), json!({})), (201, is("a")));
    for id in ["a", "b"] {
        assert_eq!(stage(Some(id), json!({})), (200, is(id)));
    }
    assert_eq!((told("a"), told("b")), (json!(["tiny", "", {}]), json!(["tiny", "the first", {}])));
    let said = json!({ "name": "Tiny", "load_config": { "dtype": "float32" } });
    assert_eq!(stage(Some("b"), said), (200, is("b")));
    assert_eq!(told("b"), json!(["Tiny", "the first", { "dtype": "float32" }]));
    assert_eq!(told("a"), json!(["tiny", "", {}]));
    // Which is meant where none is named: the one that was there first.
    assert_eq!(stage(None, json!({ "notes": "again" })), (200, is("b")));
    assert_eq!(told("b")[1], "again");
    let refused = server.post(
        "/api/models/offline",
        &json!({ "source": { "path": "tiny" }, "id": "b", "load_config": { "dtyp": "float32" } }),
    );
    assert_eq!((refused.status, refused.error_code().as_str()), (422, "load_config_invalid"), "{refused:?}");
    assert_eq!(told("b")[2], json!({ "dtype": "float32" }));
    // Its command lines would take it for an option.
    assert_eq!(stage(Some("-x"), json!({})).0, 422);
}

/// Staged is what a load can read: the files beside the weights too.
#[test]
fn what_no_load_could_read_is_not_staged() {
    let root = root();
    let tiny = root.path().join("tiny");
    let server = Server::start(&["--model-root", arg(&root)]);
    let mut tokenizer: Value =
        serde_json::from_slice(&std::fs::read(tiny.join("tokenizer.json")).expect("there")).expect("JSON");
    let more = json!({ "id": 9999, "content": "<x>", "special": true });
    tokenizer["added_tokens"].as_array_mut().expect("tokens").push(more);
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    for (file, text, code, says) in [
        ("tokenizer.json", "<html>", "tokenizer_invalid", "tokenizer.json: it is an HTML"),
        ("tokenizer.json", pointer, "tokenizer_invalid", "tokenizer.json: it is a Git-LFS pointer"),
        ("tokenizer.json", &tokenizer.to_string(), "tokenizer_invalid", "10,000 ids"),
        ("tokenizer_config.json", "[]", "tokenizer_invalid", "tokenizer_config.json: no JSON object"),
        ("tokenizer_config.json", "", "tokenizer_invalid", "tokenizer_config.json: it is empty"),
        ("generation_config.json", "{", "config_invalid", "generation_config.json: not valid JSON"),
    ] {
        let path = tiny.join(file);
        let before = std::fs::read(&path).ok();
        std::fs::write(&path, text).expect("written");
        let refused = server.post("/api/models/offline", &json!({ "source": { "path": "tiny" } }));
        assert_eq!((refused.status, refused.error_code().as_str()), (422, code), "{file}: {refused:?}");
        let message = refused.json()["error"]["message"].as_str().expect("words").to_owned();
        assert!(message.contains(says), "{file}: {message}");
        // Nor does a load go on, and what it says mends no load config: the files are at fault.
        let answer = server.post("/api/models/tiny/load", &json!({ "branch": true }));
        if answer.status == 202 {
            let attempt = server.ended(answer.json()["attempt_id"].as_u64().expect("an id"));
            assert_eq!(
                (&attempt["state"], &attempt["error"]["code"]),
                (&json!("failed"), &json!(code)),
                "{file}: {attempt}"
            );
        }
        match before {
            Some(bytes) => std::fs::write(&path, bytes).expect("written"),
            None => std::fs::remove_file(&path).expect("removed"),
        }
    }
    assert_eq!(server.post("/api/models/offline", &json!({ "source": { "path": "tiny" } })).status, 201);
}

/// A load that is refused for what lies beside the weights leaves the model running that ran.
#[test]
fn a_file_that_breaks_costs_no_running_model() {
    let root = root();
    let tiny = root.path().join("tiny");
    let server = Server::start(&["--model-root", arg(&root)]);
    let load = || {
        let answer = server.post("/api/models/tiny/load", &json!({ "branch": true }));
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()["attempt_id"].as_u64().expect("an id")
    };
    let running = load();
    server.until(running, |attempt| attempt["state"] == "ready");
    for (file, text, code) in [
        ("special_tokens_map.json", b"[".as_slice(), "tokenizer_invalid"),
        ("tokenizer.json", b"{}", "tokenizer_invalid"),
        ("generation_config.json", b"{", "config_invalid"),
        ("chat_template.jinja", b"\xff", "tokenizer_invalid"),
    ] {
        let path = tiny.join(file);
        let before = std::fs::read(&path).ok();
        std::fs::write(&path, text).expect("written");
        let attempt = server.ended(load());
        assert_eq!(
            (&attempt["state"], &attempt["error"]["code"]),
            (&json!("failed"), &json!(code)),
            "{attempt}"
        );
        assert_eq!(server.get(&format!("/api/attempts/{running}")).json()["state"], "ready", "{file}");
        match before {
            Some(bytes) => std::fs::write(&path, bytes).expect("written"),
            None => std::fs::remove_file(&path).expect("removed"),
        }
    } // What is no file at all: once it is gone the same load is another.
    let folder = tiny.join("chat_template.jinja");
    std::fs::create_dir(&folder).expect("made");
    let attempt = server.ended(load());
    assert_eq!(attempt["error"]["code"], "not_a_file", "{attempt}");
    assert_eq!(
        server.post("/api/models/tiny/load", &json!({ "branch": true })).error_code(),
        "identical_retry"
    );
    std::fs::remove_dir(&folder).expect("removed");
    load();
}
