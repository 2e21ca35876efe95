//! How a server ends: killed, it leaves no worker behind; asked to, it tells everyone and goes.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::v1::{data, loaded, long, open};
use crate::support::http::Server;
use crate::support::model_dir::ModelDir;
use crate::support::program::{children, has_ended, program};

/// A server with a validation that goes on for several seconds.
fn busy(model: &ModelDir) -> (Server, u64) {
    let server = Server::start(&["--default-model", model.arg()]);
    let answer = server.post("/api/models/default/validate", &json!({ "max_new_tokens": 4000 }));
    let id = answer.json()["attempt_id"].as_u64().expect("an id");
    (server, id)
}

fn within(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

fn signal(name: &str, pid: u32) {
    let sent = std::process::Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

/// Whatever the worker does, and even if it is stopped and cannot listen, it ends with its server.
#[test]
fn no_worker_outlives_its_server() {
    let model = ModelDir::slow();
    for by in ["-KILL", "-TERM"] {
        for (state, is_stopped) in [("starting", false), ("validating", false), ("validating", true)] {
            let case = format!("{by} while {state}, stopped: {is_stopped}");
            let (server, id) = busy(&model);
            if state == "validating" {
                server.until(id, |attempt| attempt["state"] == "validating");
            }
            let mut workers = Vec::new();
            assert!(
                within(Duration::from_secs(20), || {
                    workers = children(server.pid());
                    !workers.is_empty()
                }),
                "{case}: a worker is started"
            );
            if is_stopped {
                signal("-STOP", workers[0]);
            }
            signal(by, server.pid());
            // In order, a worker has two seconds to end by itself.
            let limit = Duration::from_secs(if by == "-TERM" && is_stopped { 4 } else { 2 });
            assert!(
                within(limit, || workers.iter().all(|pid| has_ended(*pid))),
                "{case}: {workers:?} still run"
            );
        }
    }
}

#[test]
fn the_server_ends_in_order() {
    let model = ModelDir::slow();
    let (server, id) = busy(&model);
    let mut events = server.events(&[]);
    let mut idle = Vec::new();
    for request in
        ["", "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n", "GET /health HTTP/1.1\r\nhost: loc"]
    {
        let mut stream = TcpStream::connect(server.address()).expect("the server listens");
        stream.write_all(request.as_bytes()).expect("sent");
        if request.ends_with("\r\n\r\n") {
            assert_ne!(stream.read(&mut [0; 4096]).expect("an answer"), 0);
        }
        idle.push(stream);
    }
    events.find(|event| event["type"] == "token").expect("tokens come");
    let workers = children(server.pid());
    assert_eq!(workers.len(), 1);

    let asked = Instant::now();
    let reader = std::thread::spawn(move || events.collect::<Vec<_>>());
    assert_eq!(server.stop(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(7), "{:?}", asked.elapsed());
    let told = reader.join().expect("the stream ends");
    let last: Vec<_> = told.iter().rev().take(2).rev().collect();
    assert_eq!((&last[0]["attempt"]["id"], &last[0]["attempt"]["state"]), (&json!(id), &json!("cancelled")));
    assert_eq!(last[1]["type"], "shutdown");
    assert!(workers.iter().all(|pid| has_ended(*pid)));
}

/// What is asked while it ends is refused for that reason, and who listens to an answer gets a last word.
#[test]
fn new_work_is_refused_while_the_server_ends() {
    let model = ModelDir::slow();
    let server = loaded(model.arg());
    let mut answer = open(&server, "/v1/completions", &long());
    data(&mut answer).expect("a token");
    // Its handler runs, and waits for its body.
    let mut late = TcpStream::connect(server.address()).expect("the server listens");
    late.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let head = "POST /api/models/default/validate HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                content-type: application/json\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n";
    late.write_all(head.as_bytes()).expect("sent");
    let mut go_on = [0; 25];
    late.read_exact(&mut go_on).expect("it is waited for");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    signal("-TERM", server.pid());
    // Who comes now, over a connection of its own, is told so.
    // A connection that was made just before is closed without a word, as idle ones are.
    let is_ready = || {
        let mut stream = TcpStream::connect(server.address()).expect("the server listens");
        stream.write_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok();
        !answer.starts_with("HTTP/1.1 503")
    };
    assert!(within(Duration::from_secs(5), || !is_ready()), "it is not ready");
    let new = server.post("/api/models/default/validate", &json!({}));
    assert_eq!((new.status, new.error_code().as_str()), (503, "shutting_down"), "{new:?}");
    let source = json!({ "source": { "path": "tiny" } });
    for (method, path) in [
        ("POST", "/v1/completions"),
        ("POST", "/api/models/offline"),
        ("PATCH", "/api/models/default"),
        ("DELETE", "/api/models/default"),
        ("POST", "/api/ladders"),
    ] {
        let new = server.ask(method, path, &["content-type: application/json"], &source.to_string());
        assert_eq!(
            (new.status, new.error_code().as_str()),
            (503, "shutting_down"),
            "{method} {path}: {new:?}"
        );
    }
    assert_eq!(server.get("/api/attempts").status, 200, "what is there is still told");
    late.write_all(b"{}").expect("sent");
    let mut refused = String::new();
    late.read_to_string(&mut refused).expect("an answer");
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("\"shutting_down\""), "{refused}");
    let mut last = String::new();
    while let Some(event) = data(&mut answer).filter(|event| event != "[DONE]") {
        last = event;
    }
    assert!(
        last.contains("\"model_unloaded\"") && last.contains("with the server, which was shut down"),
        "{last}"
    );
    assert_eq!(server.stop(), Some(0));
}

/// Without anything that must be waited for, nothing is.
#[test]
fn an_idle_server_ends_at_once() {
    let server = Server::start(&[]);
    let mut events = server.events(&[]);
    let _idle = TcpStream::connect(server.address()).expect("the server listens");
    assert_eq!(server.get("/health").status, 200);
    let asked = Instant::now();
    assert_eq!(server.stop(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(events.next().expect("the last word")["type"], "shutdown");
    assert_eq!(events.next(), None);
}

/// A log that cannot be written ends nothing, and keeps nothing from ending.
#[test]
fn a_log_that_cannot_be_written_keeps_no_server_from_ending() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(program("preflight"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.path()).env("RUST_LOG", "debug");
    command.stderr(File::options().write(true).open("/dev/full").expect("a disk that is full"));
    let server = Server::spawn(command, Some(dir));
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.stop(), Some(0));
}
