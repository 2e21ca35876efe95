//! Secrets of the environment and of requests: not in the database, the log, the API, the exports.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::http::Server;
use crate::support::program::{children, program};
use crate::support::tests_dir;

const CANARY: &str = "hf_CanaryCanaryCanaryCanaryCanary01";
const NOTED: &str = "CanaryOfANote0123456789";
const TOKEN: &str = "token-of-the-server-0123456789";
/// What people ask a model is nobody's business but theirs: nothing of `/v1` is kept.
const ASKED: &str = "CanaryOfAConversation0123456789";

#[test]
fn no_secret_is_kept_or_told() {
    let tiny = tests_dir().join("../public/tiny").canonicalize().expect("the tiny model");
    let worker = program("preflight-worker").canonicalize().expect("the worker's program");
    let data = tempfile::tempdir().expect("a temporary directory");
    let folder = data.path().to_str().expect("UTF-8");
    let mut command = Command::new(program("preflight"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--default-model"])
        .arg(&tiny)
        .args(["--data-dir", folder])
        .env("PREFLIGHT_WORKER", program("preflight-worker"))
        .env("HF_TOKEN", CANARY)
        .env("PREFLIGHT_TOKEN", TOKEN)
        .env("RUST_LOG", "trace")
        .stderr(Stdio::piped());
    let server = Server::spawn(command, None);
    let bearer = format!("authorization: Bearer {TOKEN}");
    let ask = |method: &str, path: &str, body: &str| {
        server.ask(method, path, &[&bearer, "content-type: application/json"], body)
    };
    let mut events = server.events(&[&bearer]);
    let started = ask("POST", "/api/models/default/validate", "{}");
    assert_eq!(started.status, 202, "{started:?}");
    let mut told = Vec::new();
    let mut environments = Vec::new();
    for _ in 0..3000 {
        let workers = children(server.pid());
        // Between its birth and the start of its program, a child is a copy of the server, environment and all.
        let started = workers
            .iter()
            .filter(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == worker));
        environments.extend(started.filter_map(|pid| std::fs::read(format!("/proc/{pid}/environ")).ok()));
        let attempt = ask("GET", "/api/attempts/1", "");
        if attempt.json()["finished_ms"].is_u64() {
            assert_eq!(attempt.json()["state"], "stopped", "{attempt:?}");
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // What somebody notes is kept as it is, and leaves this machine without what looks like a secret.
    let note =
        format!("try 3 with Authorization: Bearer {NOTED} and password={NOTED}, on https://a:{NOTED}@host/x");
    let noted = ask("PATCH", "/api/attempts/1", &json!({ "note": note }).to_string());
    assert_eq!((noted.status, noted.json()["note"].as_str()), (200, Some(note.as_str())));
    let committed = ask("POST", "/api/models/default/known-good", "{}");
    assert_eq!(committed.status, 201);
    for path in [
        "/api/models/default/known-good",
        "/api/attempts/export?format=jsonl",
        "/api/attempts/export?format=csv",
        "/api/attempts/export?format=markdown",
    ] {
        let answer = ask("GET", path, "");
        assert!(!answer.body.contains(NOTED), "{path} holds a secret of a note: {}", answer.body);
        assert!(answer.body.contains("try 3 with"), "{path}: {}", answer.body);
    }
    let loaded = ask("POST", "/api/models/default/load", "{}").json()["attempt_id"].as_u64().expect("an id");
    while ask("GET", &format!("/api/attempts/{loaded}"), "").json()["state"] != "ready" {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let chat = json!({
        "model": "default", "messages": [{ "role": "user", "content": ASKED }], "max_tokens": 4, "user": ASKED,
        "logprobs": true,
    });
    for stream in [false, true] {
        let mut chat = chat.clone();
        chat["stream"] = json!(stream);
        let answer = ask("POST", "/v1/chat/completions", &chat.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let completion = json!({ "model": "default", "prompt": ASKED, "max_tokens": 4, "stop": [ASKED] });
    assert_eq!(ask("POST", "/v1/completions", &completion.to_string()).status, 200);
    // One that is refused is told to whoever asked, and to nobody else.
    let refused = json!({ "model": "default", "prompt": ASKED, "temperature": ASKED });
    assert_eq!(ask("POST", "/v1/completions", &refused.to_string()).status, 400);
    assert_eq!(ask("POST", "/api/ladders", r#"{"model":"default"}"#).status, 202);
    let mut heard = String::new();
    assert_eq!(ask("PATCH", "/api/attempts/1", r#"{"note":"the last that is heard"}"#).status, 200);
    while !heard.contains("the last that is heard") {
        heard += &events.text().expect("the stream goes on");
    }
    told.push(("the stream of events".to_owned(), heard.into_bytes()));
    for path in [
        "/api/models",
        "/api/models/default",
        "/api/models/default/known-good",
        "/api/attempts",
        "/api/attempts/1",
        "/api/attempts/1/log",
        "/api/attempts/export?format=jsonl",
        "/api/attempts/export?format=csv",
        "/api/attempts/export?format=markdown",
        "/api/attempts/compare?ids=1,2",
        "/api/attempts/2",
        "/api/attempts/2/log",
        "/api/ladders",
        "/api/ladders/1",
        "/api/profiles",
        "/api/settings",
        "/api/devices",
        "/v1/models",
        "/metrics",
        "/health",
        "/ready",
    ] {
        let answer = ask("GET", path, "");
        assert_eq!(answer.status, 200, "{path}");
        told.push((path.to_owned(), answer.body.into_bytes()));
    }
    assert!(!environments.is_empty(), "no worker was seen");
    told.extend(environments.into_iter().map(|bytes| ("the worker's environment".to_owned(), bytes)));
    let log = server.kill_and_read_log();
    told.push(("the log".to_owned(), log));
    for entry in std::fs::read_dir(data.path()).expect("a folder").map(|entry| entry.expect("readable")) {
        told.push((entry.path().display().to_string(), std::fs::read(entry.path()).expect("read")));
    }
    for (place, bytes) in told {
        for secret in [CANARY, TOKEN, ASKED] {
            assert!(!String::from_utf8_lossy(&bytes).contains(secret), "{place} holds a secret");
        }
    }
}
