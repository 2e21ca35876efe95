//! The routes that answer at once, and the dashboard's files.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::config_json;
use crate::support::http::Server;
use crate::support::model_dir::ModelDir;
use crate::support::program::{preflight, program};

#[test]
fn health_and_readiness() {
    let server = Server::start(&[]);
    assert_eq!((server.get("/health").status, server.get("/ready").status), (200, 200));
    let without_worker = Server::with_worker(&[], std::path::Path::new("/no/such/worker"));
    assert_eq!(without_worker.get("/health").status, 200);
    let ready = without_worker.get("/ready");
    assert_eq!((ready.status, ready.error_code().as_str()), (503, "worker_not_started"));
    // A state that a client can change is no fault of the server.
    let model = ModelDir::of_case("mha_plain");
    let served = Server::start(&["--default-model", model.arg()]);
    for (asked, expected) in [("default", (409, "not_loaded")), ("nobody", (404, "no_such_model"))] {
        let ready = served.get(&format!("/ready?model={asked}"));
        assert_eq!((ready.status, ready.error_code().as_str()), expected, "{asked}");
    }
}

#[test]
fn http_answers_what_the_cli_answers() {
    let server = Server::start(&[]);
    let preset = "phi-3-mini-128k-instruct";
    let source = json!({ "preset": preset });
    let cli = |args: &[&str]| preflight(&[args, &["--json"]].concat()).json();
    let named = format!("preset:{preset}");

    let inspected = server.post("/api/inspect", &json!({ "source": source }));
    assert_eq!((inspected.status, inspected.json()), (200, cli(&["inspect", &named])));

    let options = json!({ "context": 8192, "dtype": "q8_0", "device_memory": "8GiB", "kv_policy": "window" });
    let estimated = server.post("/api/estimate", &json!({ "source": source, "options": options }));
    let flags = ["--context", "8192", "--dtype", "q8_0", "--device-memory", "8GiB", "--kv-policy", "window"];
    assert_eq!(estimated.json(), cli(&[&["estimate", &named], &flags[..]].concat()));

    let config: serde_json::Value =
        serde_json::from_slice(&config_json("microsoft__Phi-4-mini-instruct")).expect("JSON");
    let pasted = server.post("/api/estimate", &json!({ "source": { "config": config } }));
    assert_eq!(
        pasted.json()["params_total"],
        cli(&["estimate", "preset:phi-4-mini-instruct"])["params_total"]
    );
}

/// An answer is found in the log by the name it bears, and an attempt by its number.
#[test]
fn requests_and_attempts_have_names_in_the_log() {
    let model = ModelDir::of_case("mha_plain");
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(program("preflight"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--default-model", model.arg(), "--data-dir"])
        .arg(data.path())
        .env("PREFLIGHT_WORKER", program("preflight-worker"))
        .env("RUST_LOG", "preflight=debug")
        .env("NO_COLOR", "1")
        .stderr(Stdio::piped());
    let server = Server::spawn(command, Some(data));
    let absent = server.get("/api/attempts/99?secret=query");
    let id = absent.header("x-request-id").expect("a name").to_owned();
    assert_ne!(server.get("/health").header("x-request-id"), Some(id.as_str()));
    let started = server.post("/api/models/default/load", &json!({ "device": "cuda:9" }));
    let attempt = started.json()["attempt_id"].as_u64().expect("an id");
    assert_eq!(server.ended(attempt)["state"], "failed");
    let log = String::from_utf8(server.kill_and_read_log()).expect("text");
    let line = log.lines().find(|line| line.contains(&id)).unwrap_or_else(|| panic!("{id}: {log}"));
    assert!(line.contains("/api/attempts/99") && line.contains("404"), "{line}");
    assert!(
        log.lines()
            .any(|line| line.contains(&format!("attempt{{id={attempt}}}")) && line.contains("device_absent")),
        "{log}"
    );
    assert!(!log.contains("secret=query"), "{log}");
}

#[test]
fn an_unknown_architecture_is_inspected() {
    let server = Server::start(&[]);
    let source = json!({ "source": { "config": { "model_type": "mamba9" } } });
    let inspected = server.post("/api/inspect", &source);
    assert_eq!((inspected.status, &inspected.json()["support"]), (200, &json!("unknown")));
    assert_eq!(server.post("/api/estimate", &source).error_code(), "unknown_architecture");
}

/// Of a long list a report tells the ends; whoever computes with the config asks for all of it.
#[test]
fn a_config_is_told_whole_where_it_is_asked_for() {
    let server = Server::start(&[]);
    let factors: Vec<u32> = (1..=48).collect();
    let config = json!({ "model_type": "phi3", "rope_scaling": { "type": "longrope", "short_factor": factors, "long_factor": factors } });
    let ask = |options: serde_json::Value| {
        let asked = json!({ "source": { "config": config }, "options": options });
        server.post("/api/inspect", &asked).json()
    };
    let whole = ask(json!({ "config": true }));
    assert_eq!(whole["config"], config);
    assert_eq!(ask(json!({})).get("config"), None);
    assert_eq!(whole["fields"], ask(json!({}))["fields"]);
}

/// The whole report, as on the command line, under the status of what is wrong; paths begin below the root.
#[test]
fn weights_that_differ_from_their_config_are_inspected() {
    let model = ModelDir::of_case("mha_plain");
    model.set_config(&json!({ "intermediate_size": 8 }));
    let server = Server::start(&["--model-root", model.arg()]);
    let request = json!({ "source": { "path": model.arg() } });
    let inspected = server.post("/api/inspect", &request);
    assert_eq!((inspected.status, inspected.error_code().as_str()), (422, "weights_mismatch"));
    let told =
        preflight(&["inspect", model.arg(), "--json"]).stdout.replace(&format!("{}/", model.arg()), "");
    assert_eq!(inspected.json(), serde_json::from_str::<serde_json::Value>(&told).expect("JSON"));
    let estimated = server.post("/api/estimate", &request);
    assert_eq!((estimated.status, estimated.error_code().as_str()), (422, "weights_mismatch"));
    assert_eq!(estimated.json().as_object().map(serde_json::Map::len), Some(1));
}

#[test]
fn paths_stay_under_the_roots() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let outside = ModelDir::of_case("gqa_plain");
    let inside = root.path().join("model");
    std::fs::create_dir(&inside).expect("made");
    std::fs::copy(outside.file("config.json"), inside.join("config.json")).expect("copied");
    std::os::unix::fs::symlink(outside.path(), root.path().join("link")).expect("linked");
    let server = Server::start(&["--model-root", root.path().to_str().expect("UTF-8")]);
    let of = |path: &str| server.post("/api/inspect", &json!({ "source": { "path": path } }));
    assert_eq!(of("model").status, 200);
    assert_eq!(of("model/config.json").status, 200);
    for path in [
        "link",
        "../model",
        "/etc/passwd",
        "model/../../x",
        outside.arg(),
        "..%2f",
        "link/config.json",
        "preset:phi-4",
    ] {
        let answer = of(path);
        assert!([403, 404].contains(&answer.status), "{path}: {answer:?}");
        assert!(["path_outside_roots", "not_found"].contains(&answer.error_code().as_str()), "{path}");
    }
    let models = server.get("/api/models").json();
    assert_eq!(models.as_array().map(Vec::len), Some(1), "{models}");
    assert_eq!((&models[0]["id"], &models[0]["path"]), (&json!("model"), &json!("model")));
}

#[test]
fn without_a_default_model_validation_is_refused() {
    let server = Server::start(&[]);
    let answer = server.post("/api/models/default/validate", &json!({}));
    assert_eq!((answer.status, answer.error_code().as_str()), (404, "no_such_model"));
    assert!(answer.body.contains("--default-model"), "{answer:?}");
}

#[test]
fn unknown_routes_and_methods() {
    let server = Server::start(&[]);
    assert_eq!(server.get("/api/nothing").error_code(), "no_such_route");
    assert_eq!(server.get("/api/inspect").status, 405);
    assert_eq!(server.get("/api/attempts/99").error_code(), "no_such_attempt");
    assert_eq!(server.get("/api/attempts/x").error_code(), "no_such_attempt");
    assert_eq!(server.get("/").error_code(), "dashboard_not_built");
}

/// The build of the dashboard leaves programs compressed: nobody waits for that to be done anew.
#[test]
fn what_lies_compressed_is_sent_as_it_lies() {
    let dist = tempfile::tempdir().expect("a temporary directory");
    let packed = "stands for what brotli makes of it";
    for (name, text) in [
        ("index.html", "<!doctype html>"),
        ("late_bg.wasm", &"\0asm ".repeat(2000)),
        ("late_bg.wasm.br", packed),
        ("late.js", &"start()".repeat(2000)),
        ("late.js.br", packed),
    ] {
        std::fs::write(dist.path().join(name), text).expect("written");
    }
    let server = Server::start(&["--dashboard", dist.path().to_str().expect("UTF-8")]);
    for (path, kind) in [("/late_bg.wasm", "application/wasm"), ("/late.js", "text/javascript")] {
        let answer = server.ask("GET", path, &["accept-encoding: gzip, br"], "");
        assert_eq!((answer.status, answer.body.as_str()), (200, packed), "{path}");
        assert_eq!(answer.header("content-encoding"), Some("br"), "{path}");
        assert_eq!(answer.header("content-length"), Some(packed.len().to_string().as_str()), "{path}");
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
        let plain = server.get(path);
        assert_eq!((plain.header("content-encoding"), plain.body == packed), (None, false), "{path}");
    }
}

#[test]
fn the_dashboard_is_served_with_its_headers() {
    let dist = tempfile::tempdir().expect("a temporary directory");
    let page = "<!doctype html><script type=\"module\">start()</script>";
    for (name, text) in [
        ("index.html", page),
        ("app-0123456789abcdef.js", "start()"),
        ("app-0123456789abcdef_bg.wasm", "\0asm"),
        ("favicon.svg", "<svg/>"),
    ] {
        std::fs::write(dist.path().join(name), text).expect("written");
    }
    let server = Server::start(&["--dashboard", dist.path().to_str().expect("UTF-8")]);
    for path in ["/", "/index.html", "/estimate", "/models/7"] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.body.as_str()), (200, page), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(
            policy.contains("'wasm-unsafe-eval' 'sha256-") && !policy.contains("script-src *"),
            "{policy}"
        );
    }
    // A browser that keeps a script takes over the policy of the answer that it is unchanged.
    let script = server.get("/app-0123456789abcdef.js");
    let since = format!("if-modified-since: {}", script.header("last-modified").expect("a date"));
    let unchanged = server.ask("GET", "/app-0123456789abcdef.js", &[&since], "");
    let policy = script.header("content-security-policy").expect("a policy");
    assert!(policy.contains("'self'"), "{policy}");
    assert_eq!((unchanged.status, unchanged.header("content-security-policy")), (304, Some(policy)));
    let wasm = server.get("/app-0123456789abcdef_bg.wasm");
    assert_eq!(wasm.header("content-type"), Some("application/wasm"));
    assert_eq!(wasm.header("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(server.get("/favicon.svg").header("cache-control"), Some("no-cache"));
    assert_eq!(server.get("/absent.js").status, 404);
    assert_eq!(server.get("/../Cargo.toml").status, 404);
    for path in ["/", "/favicon.svg", "/health", "/api/nothing", "/absent.js"] {
        let answer = server.get(path);
        for (name, value) in [
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-embedder-policy", "require-corp"),
            ("cross-origin-resource-policy", "same-origin"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
    }
}
