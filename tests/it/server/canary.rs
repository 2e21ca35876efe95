//! Secrets of the environment and of requests: not in the database, the log, the API, the exports.

use std::process::{Command, Stdio};

use crate::support::http::Server;
use crate::support::model_dir::ModelDir;
use crate::support::program::{children, program};

const CANARY: &str = "hf_CanaryCanaryCanaryCanaryCanary01";
const NOTED: &str = "CanaryOfANote0123456789";
const TOKEN: &str = "token-of-the-server-0123456789";

#[test]
fn no_secret_is_kept_or_told() {
    let model = ModelDir::of_case("mha_plain");
    let data = tempfile::tempdir().expect("a temporary directory");
    let folder = data.path().to_str().expect("UTF-8");
    let mut command = Command::new(program("preflight"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--default-model", model.arg(), "--data-dir", folder])
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
    let started = ask("POST", "/api/models/default/validate", "{}");
    assert_eq!(started.status, 202, "{started:?}");
    let mut told = Vec::new();
    let mut environments = Vec::new();
    for _ in 0..500 {
        let workers = children(server.pid());
        environments
            .extend(workers.iter().filter_map(|pid| std::fs::read(format!("/proc/{pid}/environ")).ok()));
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
    let noted = ask("PATCH", "/api/attempts/1", &serde_json::json!({ "note": note }).to_string());
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
    for path in [
        "/api/models",
        "/api/models/default",
        "/api/models/default/known-good",
        "/api/attempts",
        "/api/attempts/1",
        "/api/attempts/1/log",
        "/api/attempts/export?format=jsonl",
        "/api/attempts/export?format=csv",
        "/api/devices",
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
        for secret in [CANARY, TOKEN] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{place} holds a secret");
        }
    }
}
