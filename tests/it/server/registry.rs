//! Models: registered, changed, forgotten, and the load config that is known to be good.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::model_dir::ModelDir;
use crate::support::program::{preflight, program};
use crate::support::tests_dir;

/// A folder of models with the tiny one in it.
pub(super) fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a temporary directory");
    let tiny = root.path().join("tiny");
    std::fs::create_dir(&tiny).expect("made");
    for entry in tests_dir().join("../public/tiny").read_dir().expect("the tiny model") {
        let entry = entry.expect("readable");
        std::fs::copy(entry.path(), tiny.join(entry.file_name())).expect("copied");
    }
    root
}

pub(super) fn arg(dir: &tempfile::TempDir) -> &str {
    dir.path().to_str().expect("UTF-8")
}

/// The default model lies under a root: it is one model, by whichever name it is asked for.
#[test]
fn the_default_models_folder_is_listed_once() {
    let root = root();
    let tiny = root.path().join("tiny");
    let server =
        Server::start(&["--model-root", arg(&root), "--default-model", tiny.to_str().expect("UTF-8")]);
    let ids = |server: &Server| -> Vec<String> {
        let models = server.get("/api/models").json();
        models
            .as_array()
            .expect("a list")
            .iter()
            .map(|m| m["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    assert_eq!(ids(&server), ["default"]);
    std::fs::create_dir(root.path().join("other")).expect("made");
    std::fs::copy(tiny.join("config.json"), root.path().join("other/config.json")).expect("copied");
    assert_eq!(ids(&server), ["default", "other"]);
    // Registered by somebody, it is an entry of its own that can have notes and a load config.
    assert_eq!(server.post("/api/models/offline", &json!({ "source": { "path": "tiny" } })).status, 201);
    assert_eq!(ids(&server), ["default", "other", "tiny"]);
}

/// One folder is one model, though its name cannot be its id.
#[test]
fn a_folder_whose_name_is_no_id_is_listed_once() {
    let root = root();
    std::fs::rename(root.path().join("tiny"), root.path().join("my tiny")).expect("renamed");
    let server = Server::start(&["--model-root", arg(&root)]);
    let answer = server.post("/api/models/offline", &json!({ "source": { "path": "my tiny" } }));
    assert_eq!((answer.status, &answer.json()["model_id"]), (201, &json!("my-tiny")), "{answer:?}");
    let listed = server.get("/api/models").json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!((&listed[0]["id"], &listed[0]["registered"]), (&json!("my-tiny"), &json!(true)));
    assert_eq!(server.get("/api/models/my%20tiny").status, 200);
}

/// In a terminal by topic, each fact once; in JSON all that differs.
#[test]
fn the_command_line_compares_attempts() {
    let (root, data) = (root(), tempfile::tempdir().expect("a temporary directory"));
    let server = Server::start(&["--model-root", arg(&root), "--data-dir", arg(&data)]);
    for dtype in ["float32", "bfloat16"] {
        let body = json!({ "load_config": { "dtype": dtype }, "max_new_tokens": 2 });
        let answer = server.post("/api/models/tiny/validate", &body);
        server.ended(answer.json()["attempt_id"].as_u64().expect("an id"));
    }
    let compare = ["attempts", "--data-dir", arg(&data), "compare", "1", "2"];
    let shown = preflight(&compare);
    let places = ["What was asked for", "resolved[dtype].value", "What came of it", "Memory", "Time"]
        .map(|words| shown.stdout.find(words).unwrap_or_else(|| panic!("{words}: {shown:?}")));
    assert!(places.is_sorted(), "{shown:?}");
    assert!(shown.stdout.contains("MiB") && !shown.stdout.contains("load_config.dtype"), "{shown:?}");
    let told = preflight(&[&compare[..], &["--json"]].concat()).json();
    let differences = told["differences"].as_array().expect("differences");
    assert!(differences.iter().any(|found| found["path"] == "load_config.dtype"), "{told}");
    let same = preflight(&["attempts", "--data-dir", arg(&data), "compare", "1", "1"]);
    assert_eq!((same.code, same.stdout.trim()), (0, "nothing differs"), "{same:?}");
    // A number alone is the attempt of that id; any other word is told what could stand there.
    let attempts = |args: &[&str]| preflight(&[&["attempts", "--data-dir", arg(&data)], args].concat());
    let shown = attempts(&["2"]);
    assert_eq!((shown.code, &shown.stdout), (0, &attempts(&["show", "2"]).stdout), "{shown:?}");
    for words in
        ["attempt 2: validate tiny", "dtype: float32 → bfloat16, of attempt 1", "\"bfloat16\"", "kv cache"]
    {
        assert!(shown.stdout.contains(words), "{words}: {}", shown.stdout);
    }
    assert_eq!(attempts(&["--json", "2"]).json()["id"], 2);
    assert!(attempts(&["7"]).stderr.contains("there is no attempt 7"));
    let word = attempts(&["second"]);
    assert!(
        word.code == 2 && word.stderr.contains("list, show, log, compare, export, or the id"),
        "{word:?}"
    );
    assert_eq!(attempts(&["2", "list"]).code, 2);
    assert!(attempts(&[]).stdout.contains("tiny"));
}

/// A model from the Hub is one commit: a load config may name that, and no other.
#[test]
fn a_revision_is_the_registered_one_or_refused() {
    let (model, home) = (ModelDir::of_case("mha_plain"), tempfile::tempdir().expect("a temporary directory"));
    model.cached(&home.path().join("hub"));
    let mut command = Command::new(program("preflight"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir", arg(&home)]);
    command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", home.path()).env("RUST_LOG", "error");
    let server = Server::spawn(command, Some(home));
    let staged =
        server.post("/api/models/offline", &json!({ "source": { "hub": "org/name@v1" }, "id": "m" }));
    assert_eq!(staged.status, 201, "{staged:?}");
    let load = |load_config: Value| server.post("/api/models/m/load", &json!({ "load_config": load_config }));
    for (load_config, at) in [
        (json!({ "revision": "v2" }), "load_config.revision"),
        (json!({ "cache_dir": "/nowhere" }), "load_config.cache_dir"),
    ] {
        let refused = load(load_config.clone());
        assert_eq!(
            (refused.status, refused.error_code().as_str()),
            (422, "load_config_invalid"),
            "{refused:?}"
        );
        assert_eq!(refused.json()["error"]["path"], at, "{load_config}");
    }
    let named = load(json!({ "revision": "v1" }));
    assert_eq!(named.status, 202, "{named:?}");
    server.until(1, |attempt| attempt["state"] == "ready");
}

#[test]
fn a_model_is_staged_without_being_loaded() {
    let root = root();
    let data = tempfile::tempdir().expect("a temporary directory");
    let args = ["--model-root", arg(&root), "--data-dir", arg(&data)];
    let server = Server::start(&args);
    let body = json!({
        "source": { "path": "tiny" }, "name": "Tiny <b>model</b> \u{202e}'; DROP TABLE models",
        "notes": "first try", "load_config": { "torch_dtype": "float32" },
    });
    let staged = server.post("/api/models/offline", &body);
    assert_eq!(staged.status, 201, "{staged:?}");
    let id = staged.json()["model_id"].as_str().expect("an id").to_owned();
    // The same files again are the same model.
    let again = server.post("/api/models/offline", &body);
    assert_eq!((again.status, again.json()["model_id"].as_str()), (200, Some(id.as_str())));
    assert_eq!(server.get("/api/attempts").json(), json!([]));

    let path = format!("/api/models/{id}");
    let detail = server.get(&path).json();
    assert_eq!(detail["name"], body["name"]);
    assert_eq!(
        (&detail["notes"], &detail["registered"], &detail["path"]),
        (&json!("first try"), &json!(true), &json!("tiny"))
    );
    assert!(
        detail["files"]
            .as_array()
            .is_some_and(|files| files.iter().any(|f| f["name"] == "model.safetensors"))
    );
    assert!(!detail.to_string().contains(arg(&root)), "no path of this machine: {detail}");

    let patch =
        |body: &Value| server.ask("PATCH", &path, &["content-type: application/json"], &body.to_string());
    let patched = patch(&json!({ "notes": "😀", "load_config": {} }));
    assert_eq!(
        (patched.status, &patched.json()["notes"], &patched.json()["load_config"]),
        (200, &json!("😀"), &json!({}))
    );
    for (body, path) in [
        (json!({ "load_config": { "torch_dtyp": "float16" } }), "load_config"),
        (json!({ "notes": "x".repeat(1 << 20) }), "notes"),
        (json!({ "notes": "a\u{0}b" }), "notes"),
        (json!({ "name": " " }), "name"),
        (json!({ "id": "other" }), "id"),
    ] {
        let refused = patch(&body);
        assert_eq!((refused.status, &refused.json()["error"]["path"]), (422, &json!(path)), "{refused:?}");
    }

    // It outlives its server.
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(&args);
    assert_eq!(server.get(&path).json()["notes"], "😀");
    assert_eq!(server.ask("DELETE", &path, &[], "").status, 204);
    assert_eq!(server.get(&path).status, 404);
    assert_eq!(server.ask("DELETE", &path, &[], "").error_code(), "no_such_model");
    // The folder itself is still found.
    assert_eq!(server.get("/api/models/tiny").json()["registered"], false);
}

#[test]
fn what_cannot_be_a_model_is_refused() {
    let root = root();
    let broken = root.path().join("broken");
    std::fs::create_dir(&broken).expect("made");
    std::fs::write(broken.join("config.json"), "{\"model_type\": \"phi3\", \"hidden_size\": -1}")
        .expect("written");
    let pipe = root.path().join("pipe");
    std::fs::create_dir(&pipe).expect("made");
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(root.path().join("tiny").join(name), pipe.join(name)).expect("copied");
    }
    let made = Command::new("mkfifo").arg(pipe.join("tokenizer.json")).status();
    assert!(made.expect("mkfifo runs").success());
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(program("preflight"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--model-root", arg(&root), "--data-dir"])
        .arg(data.path());
    command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", data.path()).env("RUST_LOG", "error");
    let server = Server::spawn(command, Some(data));
    let stage = |body: Value| server.post("/api/models/offline", &body);
    for (source, status, code) in [
        (json!({ "path": "../tiny" }), 403, "path_outside_roots"),
        (json!({ "path": "/etc" }), 403, "path_outside_roots"),
        (json!({ "path": "tiny/%2e%2e/tiny" }), 404, "not_found"),
        (json!({ "path": "broken" }), 422, "config_invalid"),
        (json!({ "path": "pipe" }), 422, "not_a_file"),
        (json!({ "hub": "microsoft/Phi-3-mini-4k-instruct" }), 422, "hub_offline"),
        (json!({ "hub": "http://169.254.169.254/latest" }), 422, "hub"),
        (json!({ "hub": "user@host/x/y" }), 422, "hub"),
        (json!({ "url": "http://localhost" }), 422, "invalid_request"),
    ] {
        let answer = stage(json!({ "source": source }));
        assert_eq!(answer.status, status, "{source}: {answer:?}");
        if code != "hub" {
            assert_eq!(answer.error_code(), code, "{source}");
        }
    }
    for id in ["../x", "a/b", "", ".hidden", "default", "offline", &"x".repeat(200)] {
        let answer = stage(json!({ "source": { "path": "tiny" }, "id": id }));
        assert!([409, 422].contains(&answer.status), "{id}: {answer:?}");
    }
    assert_eq!(server.get("/api/models").json().as_array().map(Vec::len), Some(3));
}

#[test]
fn the_known_good_load_config_is_committed_with_its_evidence() {
    let root = root();
    let server = Server::start(&["--model-root", arg(&root)]);
    let none = server.get("/api/models/tiny/known-good");
    assert_eq!((none.status, none.error_code().as_str()), (404, "no_known_good"));
    let early = server.post("/api/models/tiny/known-good", &json!({}));
    assert_eq!((early.status, early.error_code().as_str()), (409, "not_validated"));

    let body = json!({ "load_config": { "torch_dtype": "float32" }, "note": "the first that works" });
    let answer = server.post("/api/models/tiny/validate", &body);
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.json()["attempt_id"].as_u64().expect("an id");
    let attempt = server.ended(id);
    assert_eq!((&attempt["state"], &attempt["outcome"]), (&json!("stopped"), &json!("passed")), "{attempt}");

    let committed = server.post("/api/models/tiny/known-good", &json!({ "attempt_id": id }));
    assert_eq!(committed.status, 201, "{committed:?}");
    let certificate = server.get("/api/models/tiny/known-good").json();
    assert_eq!(certificate, committed.json());
    assert_eq!(certificate["load_config"], json!({ "dtype": "float32" }));
    assert_eq!(certificate["report"], attempt["report"]);
    let files = certificate["files"].as_array().expect("files");
    let weights = files.iter().find(|file| file["name"] == "model.safetensors").expect("weights");
    assert_eq!(weights["sha256"].as_str().map(str::len), Some(64), "{weights}");
    assert!(!certificate.to_string().contains(arg(&root)));
    let model = server.get("/api/models/tiny").json();
    assert_eq!((&model["known_good"], &model["load_config"]), (&json!(id), &json!({ "dtype": "float32" })));

    // With the log, which says what the worker did.
    let log = certificate["log"].as_array().expect("lines").clone();
    let says = |what: &str| log.iter().any(|line| line.as_str().is_some_and(|line| line.contains(what)));
    assert!(says("loaded on cpu in f32") && says("validated: "), "{log:?}");

    let wrong = server.post("/api/models/tiny/known-good", &json!({ "attempt_id": 99 }));
    assert_eq!(wrong.status, 404);

    // What is forgotten takes its certificate along; its attempts stay, and can be committed again.
    assert_eq!(server.ask("DELETE", "/api/models/tiny", &[], "").status, 204);
    let forgotten = server.get("/api/models/tiny/known-good");
    assert_eq!((forgotten.status, forgotten.error_code().as_str()), (404, "no_known_good"));
    assert_eq!(server.post("/api/models", &json!({ "source": { "path": "tiny" } })).status, 201);
    let model = server.get("/api/models/tiny").json();
    assert_eq!((&model["known_good"], &model["load_config"]), (&Value::Null, &json!({})));
    let again = server.post("/api/models/tiny/known-good", &json!({ "attempt_id": id }));
    assert_eq!((again.status, &again.json()["attempt"]), (201, &json!(id)));
}

/// A load config is known to be good for the files that were run.
#[test]
fn files_that_changed_since_the_attempt_are_not_committed() {
    let root = root();
    let server = Server::start(&["--model-root", arg(&root)]);
    let validate = || {
        let answer = server.post("/api/models/tiny/validate", &json!({ "max_new_tokens": 2 }));
        let id = answer.json()["attempt_id"].as_u64().expect("an id");
        assert_eq!(server.ended(id)["outcome"], "passed");
        id
    };
    let commit = |id: u64| server.post("/api/models/tiny/known-good", &json!({ "attempt_id": id }));
    let before = validate();
    let config = root.path().join("tiny/config.json");
    let text = std::fs::read_to_string(&config).expect("the config");
    // As long as before.
    std::fs::write(&config, text.replacen('\n', " ", 1)).expect("written");
    let refused = commit(before);
    assert_eq!((refused.status, refused.error_code().as_str()), (409, "not_validated"), "{refused:?}");
    let message = refused.json()["error"]["message"].as_str().expect("words").to_owned();
    assert!(message.contains("config.json has another SHA-256") && message.contains("validate"), "{message}");
    assert_eq!(server.get("/api/models/tiny/known-good").status, 404);
    assert_eq!(commit(validate()).status, 201);
}

/// What was tried of the files that an id meant before proves nothing of those that it means now.
#[test]
fn an_id_that_is_given_again_starts_anew() {
    let root = root();
    let other = root.path().join("other");
    std::fs::create_dir(&other).expect("made");
    for entry in root.path().join("tiny").read_dir().expect("the tiny model") {
        let entry = entry.expect("readable");
        std::fs::copy(entry.path(), other.join(entry.file_name())).expect("copied");
    }
    let server = Server::start(&["--model-root", arg(&root)]);
    let register = |path: &str| {
        let body = json!({ "source": { "path": path }, "id": "same" });
        assert_eq!(server.post("/api/models", &body).status, 201, "{path}");
    };
    let validate = |body: &Value| {
        let answer = server.post("/api/models/same/validate", body);
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()["attempt_id"].as_u64().expect("an id")
    };
    register("tiny");
    let first = validate(&json!({}));
    assert_eq!(server.ended(first)["outcome"], "passed");
    assert_eq!(server.ask("DELETE", "/api/models/same", &[], "").status, 204);
    register("other");
    for body in [json!({}), json!({ "attempt_id": first })] {
        let refused = server.post("/api/models/same/known-good", &body);
        assert_eq!((refused.status, refused.error_code().as_str()), (409, "not_validated"), "{refused:?}");
    }
    let parent = server.post("/api/models/same/validate", &json!({ "parent": first }));
    assert_eq!((parent.status, &parent.json()["error"]["path"]), (422, &json!("parent")), "{parent:?}");
    let second = validate(&json!({}));
    assert_eq!(server.ended(second)["parent"], Value::Null);
    assert_eq!(server.post("/api/models/same/known-good", &json!({})).json()["attempt"], json!(second));
}

/// Of a load, or a commit, and a DELETE at the same time one is refused: nothing goes on of a model that is not there.
#[test]
fn a_model_does_not_go_while_something_begins() {
    let root = root();
    let server = Server::start(&["--model-root", arg(&root)]);
    for _ in 0..8 {
        let body = json!({ "source": { "path": "tiny" }, "id": "here" });
        assert_eq!(server.post("/api/models", &body).status, 201);
        let (begun, gone) = std::thread::scope(|scope| {
            let begun = scope.spawn(|| server.post("/api/models/here/load", &json!({})));
            let gone = scope.spawn(|| server.ask("DELETE", "/api/models/here", &[], "").status);
            (begun.join().expect("answered"), gone.join().expect("answered"))
        });
        assert!([(202, 409), (404, 204)].contains(&(begun.status, gone)), "{begun:?} {gone}");
        if begun.status == 202 {
            let id = begun.json()["attempt_id"].as_u64().expect("an id");
            server.ask("DELETE", &format!("/api/attempts/{id}"), &[], "");
            server.ended(id);
            assert_eq!(server.ask("DELETE", "/api/models/here", &[], "").status, 204);
        }
    }
}

/// A commit and a DELETE at the same time leave no known-good of a model that is not there.
#[test]
fn no_known_good_outlives_its_model() {
    let root = root();
    let server = Server::start(&["--model-root", arg(&root)]);
    let register = || {
        let body = json!({ "source": { "path": "tiny" }, "id": "here" });
        assert_eq!(server.post("/api/models", &body).status, 201);
    };
    register();
    let validated = server.post("/api/models/here/validate", &json!({ "max_new_tokens": 1 }));
    let attempt = server.ended(validated.json()["attempt_id"].as_u64().expect("an id"));
    assert_eq!(attempt["outcome"], "passed", "{attempt}");
    for _ in 0..8 {
        let (committed, gone) = std::thread::scope(|scope| {
            // Without a body, as curl sends it where it is told a type and nothing else.
            let committed = scope.spawn(|| {
                let json = ["content-type: application/json"];
                server.ask("POST", "/api/models/here/known-good", &json, "").status
            });
            let gone = scope.spawn(|| server.ask("DELETE", "/api/models/here", &[], "").status);
            (committed.join().expect("answered"), gone.join().expect("answered"))
        });
        assert!([201, 404].contains(&committed) && gone == 204, "{committed} {gone}");
        register();
        let none = server.get("/api/models/here/known-good");
        assert_eq!(
            (none.status, none.error_code().as_str()),
            (404, "no_known_good"),
            "{committed}: {none:?}"
        );
    }
}

/// A model whose files went away is told as such, wherever it is asked for.
#[test]
fn files_that_are_gone_are_named() {
    let root = root();
    let server = Server::start(&["--model-root", arg(&root)]);
    assert_eq!(server.post("/api/models", &json!({ "source": { "path": "tiny" } })).status, 201);
    std::fs::rename(root.path().join("tiny"), root.path().join("away")).expect("renamed");
    let gone = server.post("/api/models/tiny/load", &json!({}));
    assert_eq!((gone.status, gone.error_code().as_str()), (404, "not_found"));
    let error = &gone.json()["error"];
    let message = error["message"].as_str().expect("a message");
    assert!(message.starts_with("the files of `tiny` are gone: tiny is under no --model-root"), "{message}");
    assert!(error.get("path").is_none_or(Value::is_null), "the request names no path: {error}");
}

/// What is registered from one of two roots is that, whatever has its name under the other.
#[test]
fn models_of_one_name_under_two_roots_are_two() {
    let (one, two) = (root(), root());
    let config = two.path().join("tiny/config.json");
    let longer = [std::fs::read(&config).expect("the tiny model"), b"\n".to_vec()].concat();
    std::fs::write(&config, &longer).expect("written");
    let server = Server::start(&["--model-root", arg(&one), "--model-root", arg(&two)]);
    let second = two.path().join("tiny");
    let body = json!({ "source": { "path": second }, "id": "second" });
    assert_eq!(server.post("/api/models/offline", &body).status, 201);
    let config_bytes = |id: &str| {
        let files = server.get(&format!("/api/models/{id}")).json()["files"].clone();
        let files = files.as_array().expect("files");
        let config = files.iter().find(|file| file["name"] == "config.json");
        config.expect("a config")["bytes"].as_u64()
    };
    let bytes = Some(longer.len() as u64);
    assert_eq!((config_bytes("second"), config_bytes("tiny")), (bytes, bytes.map(|bytes| bytes - 1)));
    let listed = server.get("/api/models").json();
    assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed}");
    let asked = server.post("/api/models/offline", &json!({ "source": { "path": "tiny" } }));
    assert_eq!((asked.status, asked.error_code().as_str()), (422, "path_ambiguous"), "{asked:?}");
    // A namesake that comes later takes nobody's place.
    std::fs::create_dir(two.path().join("only")).expect("made");
    std::fs::copy(second.join("config.json"), two.path().join("only/config.json")).expect("copied");
    let path = two.path().join("only");
    let only = server.post("/api/models", &json!({ "source": { "path": path } }));
    assert_eq!(only.status, 201, "{only:?}");
    let before = server.get("/api/models/only").json();
    std::fs::create_dir(one.path().join("only")).expect("made");
    std::fs::write(one.path().join("only/config.json"), "{}").expect("written");
    assert_eq!(server.get("/api/models/only").json()["files"], before["files"]);
}

/// What runs is listed, whatever became of its files, and goes when it is unloaded.
#[test]
fn a_loaded_model_whose_files_are_gone_is_still_listed() {
    let root = root();
    let server = Server::start(&["--model-root", arg(&root)]);
    let attempt =
        server.post("/api/models/tiny/load", &json!({})).json()["attempt_id"].as_u64().expect("an id");
    server.until(attempt, |attempt| attempt["state"] == "ready");
    std::fs::rename(root.path().join("tiny"), root.path().join(".away")).expect("renamed");
    std::fs::remove_file(root.path().join(".away/config.json")).expect("removed");
    let listed = server.get("/api/models").json();
    assert_eq!((&listed[0]["id"], &listed[0]["loaded_by"]), (&json!("tiny"), &json!(attempt)), "{listed}");
    let one = server.get("/api/models/tiny").json();
    assert!(one["error"]["message"].as_str().is_some_and(|text| text.contains("are gone")), "{one}");
    assert!(one["files"].as_array().is_some_and(|files| !files.is_empty()), "as it was loaded: {one}");
    assert_eq!(server.get("/ready?model=tiny").status, 200);
    assert_eq!(server.ask("DELETE", "/api/models/tiny", &[], "").error_code(), "model_loaded");
    assert_eq!(server.post("/api/models/tiny/unload", &json!({})).status, 202);
    server.ended(attempt);
    assert_eq!(server.get("/api/models/tiny").status, 404);
}

/// Weights without a config are counted, as `preflight inspect` counts them.
#[test]
fn weights_alone_are_inspected() {
    let root = root();
    let server = Server::start(&["--model-root", arg(&root)]);
    let inspect = |path: &str| server.post("/api/inspect", &json!({ "source": { "path": path } }));
    let whole = inspect("tiny").json();
    std::fs::remove_file(root.path().join("tiny/config.json")).expect("removed");
    for path in ["tiny", "tiny/model.safetensors"] {
        let alone = inspect(path);
        assert_eq!((alone.status, &alone.json()["support"]), (200, &json!("unknown")), "{alone:?}");
        assert_eq!(alone.json()["params"]["total"], whole["params"]["total"]);
        let file = root.path().join(path);
        let told = preflight(&["inspect", file.to_str().expect("UTF-8"), "--json"]);
        assert_eq!(alone.json(), told.json());
        let sized = server.post("/api/estimate", &json!({ "source": { "path": path } }));
        assert_eq!((sized.status, sized.error_code().as_str()), (422, "incomplete_model"), "{sized:?}");
    }
}

/// What has no weights that are read is not staged: nothing could load it.
#[test]
fn weights_are_part_of_what_is_staged() {
    let root = root();
    std::fs::remove_file(root.path().join("tiny/model.safetensors")).expect("removed");
    let server = Server::start(&["--model-root", arg(&root)]);
    let source = json!({ "source": { "path": "tiny" } });
    let none = server.post("/api/models/offline", &source);
    assert_eq!((none.status, none.error_code().as_str()), (422, "no_weights"), "{none:?}");
    std::fs::write(root.path().join("tiny/pytorch_model.bin"), b"PK").expect("written");
    let pickled = server.post("/api/models/offline", &source);
    assert_eq!((pickled.status, pickled.error_code().as_str()), (422, "pickle_not_read"), "{pickled:?}");
    let alone = server.post("/api/models/offline", &json!({ "source": { "path": "tiny/config.json" } }));
    assert_eq!((alone.status, alone.error_code().as_str()), (422, "no_weights"), "{alone:?}");
    // To be looked at and sized it needs none.
    assert_eq!(server.post("/api/models", &source).status, 201);
}

#[test]
fn ids_are_given_once() {
    let root = root();
    for folder in ["a", "b", "c", "d"] {
        let other = root.path().join(folder).join("m");
        std::fs::create_dir_all(&other).expect("made");
        for entry in root.path().join("tiny").read_dir().expect("the tiny model") {
            let entry = entry.expect("readable");
            std::fs::copy(entry.path(), other.join(entry.file_name())).expect("copied");
        }
    }
    let server = Server::start(&["--model-root", arg(&root)]);
    let register = |path: &str, id: Option<&str>| {
        server.post("/api/models", &json!({ "source": { "path": path }, "id": id }))
    };
    let mut ids: Vec<String> = std::thread::scope(|scope| {
        let asked = ["a/m", "b/m", "c/m", "d/m"].map(|path| scope.spawn(move || register(path, None)));
        let id = |answer: crate::support::http::Answer| {
            answer.json()["model_id"].as_str().expect("an id").to_owned()
        };
        asked.map(|asked| id(asked.join().expect("no panic"))).to_vec()
    });
    ids.sort();
    assert_eq!(ids, ["m", "m-2", "m-3", "m-4"]);
    // A folder's id is that folder's.
    assert_eq!(register("a/m", Some("tiny")).error_code(), "model_exists");
    assert_eq!(register("tiny", Some("tiny")).status, 201);
}

/// What a link of a stranger's folder leads to is not told, however the model is named.
#[test]
fn links_out_of_the_root_are_not_followed() {
    let root = root();
    let outside = tempfile::tempdir().expect("a temporary directory");
    let secret = outside.path().join("secret.json");
    std::fs::write(&secret, r#"{"eos_token_id": "canary"}"#).expect("written");
    let link = root.path().join("tiny/generation_config.json");
    std::fs::remove_file(&link).ok();
    std::os::unix::fs::symlink(&secret, &link).expect("linked");
    let server = Server::start(&["--model-root", arg(&root)]);
    let refused = server.post("/api/models/tiny/load", &json!({}));
    assert_eq!((refused.status, refused.error_code().as_str()), (403, "path_outside_roots"));
    let asked = server.post("/api/inspect", &json!({ "source": { "path": "tiny" } }));
    let error = &asked.json()["error"];
    let says =
        "tiny/generation_config.json is a link that leads out of the model roots: put the file itself there";
    assert_eq!((asked.status, &error["message"], &error["path"]), (403, &json!(says), &json!("source.path")));
    let model = server.get("/api/models/tiny");
    assert!(!model.json()["files"].to_string().contains("generation_config"), "{model:?}");
    assert!(!model.body.contains("canary"));
    assert!(!server.get("/api/attempts").body.contains("canary"));
}
