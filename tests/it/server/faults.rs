//! Workers that hang, die, lie and shout: each ends with its name, none takes anything along.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use phi3::api::ErrorObject;
use phi3::api::worker::{Load, Message, Request};
use preflight::launcher::Local;
use preflight::log_ring::LogRing;
use preflight::worker_client::{Limits, Worker, WorkerError};
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::http::Server;
use crate::support::model_dir::ModelDir;

const LIMITS: Limits = Limits {
    silence: Duration::from_millis(600),
    stall: Duration::from_millis(1500),
    grace: Duration::from_millis(300),
};

/// A program that is the fake worker with a fault.
pub(super) fn faulty(fault: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("worker");
    let script = format!("#!/bin/sh\nexec '{}' {fault}\n", env!("CARGO_BIN_EXE_fake-worker"));
    std::fs::write(&path, script).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    (dir, path)
}

/// Loads with a faulty worker; how it failed, and its log.
async fn load(fault: &str, cancel: CancellationToken) -> (ErrorObject, Vec<String>) {
    let (_dir, program) = faulty(fault);
    let log = Arc::new(LogRing::default());
    let result = async {
        let mut worker = Worker::start(&Local { program }, LIMITS, Arc::clone(&log), cancel).await?;
        let request = Request::Load(Load::default());
        worker.call("loading", &request, |message| matches!(message, Message::Loaded(_)).then_some(())).await
    };
    let error: WorkerError = result.await.expect_err("a faulty worker loads nothing");
    (error.into(), log.lines())
}

#[tokio::test]
async fn every_fault_has_its_name() {
    for (fault, code, says) in [
        ("mute", "worker_stalled", "while starting: no sign of life for 0.6 s"),
        ("stranger", "protocol_error", "while starting: "),
        ("future", "protocol_error", "rebuild preflight-worker"),
        ("hang", "worker_stalled", "while loading: no sign of life for 0.6 s"),
        ("idle", "worker_stalled", "while loading: no progress for 1.5 s"),
        (
            "exit",
            "worker_killed",
            "died while loading: exit status 7; its last words: cannot go on: no such device",
        ),
        ("abort", "worker_killed", "SIGABRT"),
        ("malformed", "protocol_error", "no message"),
        ("unknown", "protocol_error", "gossip"),
        ("oversized", "protocol_error", "4294967295 bytes"),
        ("cut", "worker_killed", "exit status 0"),
    ] {
        let start = Instant::now();
        let (error, _) = load(fault, CancellationToken::new()).await;
        assert_eq!(error.code, code, "{fault}: {error}");
        assert!(error.message.contains(says), "{fault}: {error}");
        assert!(!error.message.contains('\n'), "{fault}: {error}");
        assert!(start.elapsed() < Duration::from_secs(4), "{fault}: {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_flood_of_log_is_cut_and_cleaned() {
    let (error, log) = load("flood", CancellationToken::new()).await;
    assert!(error.message.ends_with("exit status 3; its last words: the last words"), "{error}");
    assert!(log.len() <= 200 && log.iter().all(|line| line.len() <= 1024), "{} lines", log.len());
    assert!(log.iter().all(|line| !line.contains(char::is_control)));
}

#[tokio::test]
async fn cancel_ends_what_does_not_listen() {
    let cancel = CancellationToken::new();
    let later = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        later.cancel();
    });
    let start = Instant::now();
    let (error, _) = load("idle", cancel).await;
    assert_eq!(error.code, "cancelled");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_worker_that_is_not_there() {
    let launcher = Local { program: PathBuf::from("/no/such/worker") };
    let started = Worker::start(&launcher, LIMITS, Arc::default(), CancellationToken::new()).await;
    let error: ErrorObject = started.err().expect("nothing to start").into();
    assert_eq!(error.code, "worker_not_started");
    assert!(error.message.contains("/no/such/worker"), "{error}");
}

#[test]
fn the_server_outlives_its_workers() {
    let model = ModelDir::of_case("mha_plain");
    for (fault, code) in
        [("exit", "worker_killed"), ("oversized", "protocol_error"), ("flood", "worker_killed")]
    {
        let (_dir, worker) = faulty(fault);
        let server = Server::with_worker(&["--default-model", model.arg()], &worker);
        let id = server.post("/api/models/default/validate", &json!({})).json()["attempt_id"].as_u64();
        let attempt = server.ended(id.expect("an id"));
        assert_eq!(
            (&attempt["state"], &attempt["error"]["code"]),
            (&json!("failed"), &json!(code)),
            "{fault}"
        );
        assert_eq!(server.get("/health").status, 200);
    }
}

/// Memory that runs out in the middle of an answer ends that answer with a word; the model stays, and so does the server.
#[test]
fn out_of_memory_at_a_token_ends_its_stream_alone() {
    let model = ModelDir::of_case("mha_plain");
    let (_dir, worker) = faulty("starved");
    let server = Server::with_worker(&["--default-model", model.arg()], &worker);
    let id =
        server.post("/api/models/default/load", &json!({})).json()["attempt_id"].as_u64().expect("an id");
    server.until(id, |attempt| attempt["state"] == "ready");
    let ask = |stream: bool| {
        let body = json!({ "model": "default", "prompt": [1], "max_tokens": 8, "stream": stream });
        server.post("/v1/completions", &body)
    };
    let whole = ask(false);
    assert_eq!((whole.status >= 400, whole.error_code().as_str()), (true, "oom"), "{whole:?}");
    let pieces = ask(true);
    let said: Vec<&str> = pieces.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let said: Vec<&str> = said.into_iter().filter(|data| *data != "[DONE]").collect();
    let last: serde_json::Value =
        serde_json::from_str(said[said.len() - 1]).expect("the last word is the error");
    assert_eq!(last["error"]["code"], "oom", "{said:?}");
    assert!(said.len() > 3, "the tokens before it came: {said:?}");
    assert_eq!(server.get(&format!("/api/attempts/{id}")).json()["state"], "ready");
    assert_eq!(server.get("/health").status, 200);
}
