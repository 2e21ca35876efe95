//! Names of files that come from requests, from files and from links: whatever they are, nothing outside the model roots is
//! opened, by the server or by its worker. Both are watched while they open files.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::inject::Inject;
use crate::support::model_dir::ModelDir;
use crate::support::program::program;
use crate::support::tests_dir;

/// How others were led out of their folders, each with the project that it happened to.
const TRICKS: [&str; 16] = [
    // MLflow, four rounds: plain, backslash, fragment, encoded twice.
    "../outside",
    "good/../../outside",
    "..\\outside",
    "good#/../../outside",
    "..%2foutside",
    "%2e%2e/outside",
    "%2e%2e%2foutside",
    "%252e%252e%252foutside",
    // Gradio on Windows.
    "C:\\outside",
    "\\\\?\\C:\\outside",
    "/outside",
    // A scheme, a NUL, a folder that is a link, and a file beside a model that is one.
    "file:///outside",
    "good\0/../../outside",
    "linked",
    "linked/model.safetensors",
    "companion",
];

#[test]
fn nothing_outside_the_roots_is_opened() {
    let watch = match Inject::new() {
        Ok(watch) => watch,
        Err(reason) => {
            crate::support::left_out(reason);
            return;
        }
    };
    let base = tempfile::tempdir().expect("a temporary directory");
    let (root, outside) = (base.path().join("root"), base.path().join("outside"));
    let source = ModelDir::of_case("mha_plain");
    let copy = |to: &std::path::Path| {
        std::fs::create_dir_all(to).expect("made");
        for name in ["config.json", "model.safetensors"] {
            std::fs::copy(source.file(name), to.join(name)).expect("copied");
        }
    };
    copy(&outside);
    for name in ["good", "companion", "indexed"] {
        copy(&root.join(name));
    }
    let link =
        |to: &std::path::Path, from: &str| std::os::unix::fs::symlink(to, root.join(from)).expect("linked");
    link(&outside, "linked");
    link(&outside.join("config.json"), "companion/tokenizer.json");
    // An index that names files elsewhere.
    let sharded = tests_dir().join("goldens/checkpoints/sharded/model.safetensors.index.json");
    let index: Value = serde_json::from_slice(&std::fs::read(sharded).expect("an index")).expect("JSON");
    let tensor = index["weight_map"].as_object().expect("a map").keys().next().expect("a tensor").clone();
    std::fs::remove_file(root.join("indexed/model.safetensors")).expect("removed");

    let worker = watch.before_worker();
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(program("preflight"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--model-root"])
        .arg(&root)
        .arg("--data-dir")
        .arg(data.path());
    command.env("PREFLIGHT_WORKER", &worker).env("RUST_LOG", "off").env("HF_HUB_OFFLINE", "1");
    watch.put_before(&mut command);
    let server = Server::spawn(command, Some(data));
    watch.on("watch", "");

    let absolute = outside.display().to_string();
    for path in TRICKS.into_iter().chain([absolute.as_str()]) {
        for place in ["/api/inspect", "/api/estimate", "/api/models", "/api/models/offline"] {
            let answer = server.post(place, &json!({ "source": { "path": path } }));
            assert!((400..500).contains(&answer.status), "{place} {path}: {answer:?}");
        }
        let encoded: String = path.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for id in [encoded.as_str(), "companion", "linked"] {
            let answer = server.post(&format!("/api/models/{id}/load"), &json!({}));
            assert!((400..500).contains(&answer.status), "{id} for {path}: {answer:?}");
            server.get(&format!("/api/models/{id}"));
        }
    }
    for name in [
        "../../outside/model.safetensors",
        "../outside/model.safetensors",
        &format!("{absolute}/model.safetensors"),
        "a/../../../outside/model.safetensors",
    ] {
        let mut index = index.clone();
        index["weight_map"][&tensor] = json!(name);
        std::fs::write(root.join("indexed/model.safetensors.index.json"), index.to_string())
            .expect("written");
        let inspected = server.post("/api/inspect", &json!({ "source": { "path": "indexed" } }));
        assert_eq!((inspected.status, inspected.error_code().as_str()), (422, "unsafe_path"), "{name}");
        let load = server.post("/api/models/indexed/load", &json!({ "force": true }));
        if load.status == 202 {
            let attempt = server.ended(load.json()["attempt_id"].as_u64().expect("an id"));
            assert_eq!(attempt["error"]["code"], "unsafe_path", "{name}: {attempt}");
        }
    }
    // A good one beside them loads, and the watch has seen both programs open it.
    let load = server.post("/api/models/good/validate", &json!({}));
    let attempt = server.ended(load.json()["attempt_id"].as_u64().expect("an id"));
    assert_eq!(attempt["state"], "stopped", "{attempt}");

    let opened = std::fs::read_to_string(watch.file("opened")).expect("something was opened");
    let weights = root.canonicalize().expect("there").join("good/model.safetensors").display().to_string();
    let seen = opened.lines().filter(|line| *line == weights).count();
    assert!(seen >= 2, "the watch sees what is opened: {opened}");
    let out: Vec<&str> =
        opened.lines().filter(|line| line.contains("outside") || line.contains("linked")).collect();
    assert!(out.is_empty(), "{out:?}");
    let through: Vec<&str> =
        opened.lines().filter(|line| line.ends_with("companion/tokenizer.json")).collect();
    assert!(through.is_empty(), "{through:?}");
}
