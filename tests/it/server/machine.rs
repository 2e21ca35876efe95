//! Faults of the machine under a running server: a disk without room, a disk of another machine, a clock that jumps.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::inject::Inject;
use crate::support::model_dir::ModelDir;
use crate::support::program::{Ran, program, run};

/// The faults, or `None` with the reason printed.
macro_rules! injected {
    () => {
        match Inject::new() {
            Ok(inject) => inject,
            Err(reason) => {
                crate::support::left_out(reason);
                return;
            }
        }
    };
}

fn serve(inject: &Inject, args: &[&str]) -> Command {
    let mut command = Command::new(program("preflight"));
    command.args(["serve", "--listen", "127.0.0.1:0"]).args(args);
    command.env("PREFLIGHT_WORKER", program("preflight-worker")).env("RUST_LOG", "off");
    inject.put_before(&mut command);
    command
}

fn start(server: &Server, path: &str, body: &Value) -> u64 {
    let answer = server.post(&format!("/api/models/default/{path}"), body);
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["attempt_id"].as_u64().expect("an id")
}

/// Who removes the database under a server is told before work is lost.
#[test]
fn a_database_that_is_removed_is_told() {
    let model = ModelDir::of_case("mha_plain");
    let data = tempfile::tempdir().expect("a temporary directory");
    let server =
        Server::start(&["--default-model", model.arg(), "--data-dir", data.path().to_str().expect("UTF-8")]);
    assert_eq!(server.get("/ready").status, 200);
    std::fs::rename(data.path().join("preflight.db"), data.path().join("away")).expect("renamed");
    let refused = server.get("/ready");
    assert_eq!((refused.status, refused.error_code().as_str()), (500, "database"), "{refused:?}");
    let message = refused.json()["error"]["message"].as_str().expect("words").to_owned();
    assert!(message.starts_with("preflight.db: the database was removed"), "{message}");
    // Nothing is taken that could not be kept.
    let profile = "name = \"p\"\n[[steps]]\nid = \"a\"\naction = \"load\"\n";
    for (path, body) in [("models/default/validate", json!({})), ("profiles", json!({ "toml": profile }))] {
        let refused = server.post(&format!("/api/{path}"), &body);
        assert_eq!((refused.status, refused.error_code().as_str()), (500, "database"), "{path}: {refused:?}");
    }
    std::fs::rename(data.path().join("away"), data.path().join("preflight.db")).expect("renamed");
    assert_eq!(server.get("/ready").status, 200);
}

/// What is asked for is refused, what goes on is not lost, and with room all goes on as before.
#[test]
fn a_full_disk_is_told_and_outlived() {
    let (inject, model) = (injected!(), ModelDir::of_case("mha_plain"));
    let data = tempfile::tempdir().expect("a temporary directory");
    let args = ["--default-model", model.arg(), "--data-dir", data.path().to_str().expect("UTF-8")];
    let server = Server::spawn(serve(&inject, &args), None);
    let loaded = start(&server, "load", &json!({}));
    server.until(loaded, |attempt| attempt["state"] == "ready");
    inject.on("full", "");
    for (path, body) in [
        ("/api/models/default/validate", json!({})),
        ("/api/ladders", json!({ "model": "default" })),
        ("/api/profiles", json!({ "toml": "name = \"x\"\n[[steps]]\nid = \"a\"\naction = \"inspect\"\n" })),
    ] {
        let refused = server.post(path, &body);
        assert_eq!((refused.status, refused.error_code().as_str()), (507, "storage_full"), "{path}");
        let message = refused.json()["error"]["message"].as_str().expect("words").to_owned();
        assert!(message.starts_with("preflight.db: the disk is full"), "{message}");
    }
    assert_eq!(server.get("/health").status, 200);
    let ready = server.get("/ready");
    assert_eq!((ready.status, ready.error_code().as_str()), (507, "storage_full"), "{ready:?}");
    assert_eq!(server.get("/api/attempts").json().as_array().map(Vec::len), Some(1), "no half row");
    // The end of what goes on waits for room, the model is gone all the same.
    server.post("/api/models/default/unload", &json!({}));
    std::thread::sleep(Duration::from_millis(300));
    inject.off("full");
    assert_eq!(server.get("/ready").status, 200);
    let ended = server.ended(loaded);
    assert!(["stopped", "failed"].iter().any(|state| ended["state"] == *state), "{ended}");
    assert_eq!(server.ended(start(&server, "validate", &json!({})))["state"], "stopped");
    assert_eq!(server.stop(), Some(0));
    let checked = run(serve_doctor(&args));
    assert_eq!(checked.code, 0, "{checked:?}");
}

fn serve_doctor(args: &[&str]) -> Command {
    let mut command = Command::new(program("preflight"));
    command
        .args(["doctor", "--json", "--data-dir", args[3]])
        .env("PREFLIGHT_WORKER", program("preflight-worker"));
    command
}

/// A ledger on a disk that is read-only, a copy or a backup, is read all the same, and no file is made beside it.
#[test]
fn a_ledger_on_a_read_only_disk_is_read() {
    let (inject, model) = (injected!(), ModelDir::of_case("mha_plain"));
    let data = tempfile::tempdir().expect("a temporary directory");
    let folder = data.path().to_str().expect("UTF-8");
    let server = Server::spawn(serve(&inject, &["--default-model", model.arg(), "--data-dir", folder]), None);
    server.ended(start(&server, "validate", &json!({ "max_new_tokens": 1 })));
    assert_eq!(server.stop(), Some(0));
    let read = || {
        let mut command = Command::new(program("preflight"));
        command.args(["attempts", "--json", "--data-dir", folder]);
        inject.put_before(&mut command);
        run(command)
    };
    let files = || {
        let names =
            data.path().read_dir().expect("a folder").map(|entry| entry.expect("readable").file_name());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    let before = files();
    inject.on("readonly", folder);
    let read_only = read();
    assert_eq!(read_only.code, 0, "{read_only:?}");
    assert_eq!(read_only.json()["attempts"][0]["state"], "stopped");
    assert_eq!(files(), before);
    // What stands in a log that was not written back would be missing.
    std::fs::write(data.path().join("preflight.db-wal"), "a log").expect("written");
    let torn = read();
    assert!(torn.code == 2 && torn.stdout.contains("read-only"), "{torn:?}");
}

/// What the disk does says nothing of a rung: what was computed counts as soon as it can be kept.
#[test]
fn a_full_disk_holds_up_a_ladder() {
    let (inject, model) = (injected!(), ModelDir::slow());
    let data = tempfile::tempdir().expect("a temporary directory");
    let args = ["--default-model", model.arg(), "--data-dir", data.path().to_str().expect("UTF-8")];
    let server = Server::spawn(serve(&inject, &args), None);
    let started = server.post("/api/ladders", &json!({ "model": "default", "toml": ONE_STEP }));
    assert_eq!(started.status, 202, "{started:?}");
    server.until(1, |attempt| attempt["state"] == "validating");
    // It is seen a moment before it is written; a state that cannot be written ends the attempt.
    std::thread::sleep(Duration::from_millis(200));
    inject.on("full", "");
    let begun = Instant::now();
    while server.get("/api/attempts/1").json()["state"] != "stopping" {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", server.get("/api/attempts/1").body);
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    // Its attempt is over when its end cannot be written.
    let refused = server.post("/api/ladders/1/resume", &json!({}));
    assert_eq!(refused.error_code(), "ladder_going_on", "{refused:?}");
    inject.off("full");
    assert_eq!(ladder(&server, "passed")["rungs"][0]["attempts"], json!([1]));
    let attempt = server.get("/api/attempts/1").json();
    assert_eq!((&attempt["state"], &attempt["outcome"]), (&json!("stopped"), &json!("passed")), "{attempt}");
}

/// A state that cannot be written is not entered: the ladder waits for whoever resumes it.
#[test]
fn a_full_disk_interrupts_a_ladder() {
    let (inject, model) = (injected!(), ModelDir::slow());
    let data = tempfile::tempdir().expect("a temporary directory");
    let args = ["--default-model", model.arg(), "--data-dir", data.path().to_str().expect("UTF-8")];
    let late = data.path().join("late-worker");
    let script = format!("#!/bin/sh\nsleep 1\nexec '{}' \"$@\"\n", program("preflight-worker").display());
    std::fs::write(&late, script).expect("written");
    std::fs::set_permissions(&late, std::fs::Permissions::from_mode(0o755)).expect("made runnable");
    let mut command = serve(&inject, &args);
    command.env("PREFLIGHT_WORKER", &late);
    let server = Server::spawn(command, None);
    let started = server.post("/api/ladders", &json!({ "model": "default", "toml": ONE_STEP }));
    assert_eq!(started.status, 202, "{started:?}");
    server.until(1, |attempt| attempt["state"] == "starting");
    inject.on("full", "");
    std::thread::sleep(Duration::from_millis(1500));
    inject.off("full");
    let interrupted = ladder(&server, "interrupted");
    let reason = interrupted["reason"].as_str().expect("words").to_owned();
    assert!(
        reason.starts_with("preflight.db: the disk is full") && reason.ends_with("it can be resumed"),
        "{reason}"
    );
    assert!(!interrupted.to_string().contains(args[3]), "no path of this machine: {interrupted}");
    let attempt = server.get("/api/attempts/1").json();
    assert_eq!(
        (&attempt["state"], &attempt["outcome"]),
        (&json!("failed"), &json!("system_error")),
        "{attempt}"
    );
    assert_eq!(server.post("/api/ladders/1/resume", &json!({})).status, 202);
    assert_eq!(ladder(&server, "passed")["rungs"][0]["attempts"], json!([1, 2]));
}

/// A ladder of one step that takes a while.
const ONE_STEP: &str = "name = \"slow\"\n[[steps]]\nid = \"a\"\naction = \"infer\"\nmax_new_tokens = 300\n";

/// The first ladder, once it is in that state.
fn ladder(server: &Server, wanted: &str) -> Value {
    let begun = Instant::now();
    loop {
        let ladder = server.get("/api/ladders/1").json();
        if ladder["state"] == wanted {
            return ladder;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "not {wanted}: {ladder}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A day on and two days back while something runs: how long it took is told right, and events keep their order.
#[test]
fn a_clock_that_jumps_changes_no_duration() {
    let (inject, model) = (injected!(), ModelDir::slow());
    let data = tempfile::tempdir().expect("a temporary directory");
    let args = ["--default-model", model.arg(), "--data-dir", data.path().to_str().expect("UTF-8")];
    let server = Server::spawn(serve(&inject, &args), None);
    let mut events = server.events(&[]);
    let begun = Instant::now();
    let mut created = Vec::new();
    for (tokens, day) in [(150, "86400"), (151, "-86400")] {
        let id = start(&server, "validate", &json!({ "max_new_tokens": tokens }));
        server.until(id, |attempt| attempt["state"] == "validating");
        inject.on("clock", day);
        let attempt = server.ended(id);
        assert_eq!(attempt["state"], "stopped", "{attempt}");
        created.push(attempt["created_ms"].as_u64().expect("a time"));
        let timings = attempt["timings"].as_object().expect("timings");
        let sum: f64 = timings.values().filter_map(Value::as_f64).sum();
        assert!(sum > 0.0 && sum <= begun.elapsed().as_secs_f64() * 1e3, "{sum}: {timings:?}");
        let shift_ms = attempt["finished_ms"].as_f64().expect("a time")
            - attempt["created_ms"].as_f64().expect("a time");
        // The fault is there: the wall clock saw a day or two.
        assert!(shift_ms.abs() > 80_000_000.0, "{shift_ms}");
    }
    assert_eq!(server.get("/api/attempts").json()[0]["id"], 2, "newest first, whatever the clock says");
    let mut last = 0;
    for event in events.by_ref() {
        let id = event["id"].as_u64().expect("an id");
        assert!(id > last, "{event}");
        last = id;
        if event["type"] == "attempt" && event["attempt"]["id"] == 2 && event["attempt"]["state"] == "stopped"
        {
            break;
        }
    }
}

/// Folders and databases that cannot be used: one sentence, and exit code 2.
#[test]
fn a_disk_that_cannot_hold_the_database_is_refused() {
    let inject = injected!();
    let data = tempfile::tempdir().expect("a temporary directory");
    let dir = data.path().to_str().expect("UTF-8");
    let refused = |ran: Ran, says: &str| {
        assert_eq!((ran.code, ran.stderr.lines().count()), (2, 1), "{says}: {ran:?}");
        assert!(ran.stderr.contains(says), "{says}: {ran:?}");
    };
    inject.on("network", "");
    refused(run(serve(&inject, &["--data-dir", dir])), "it lies on NFS");
    assert!(!data.path().join("preflight.db").exists());
    inject.off("network");
    assert_eq!(Server::spawn(serve(&inject, &["--data-dir", dir]), None).stop(), Some(0));
    inject.on("readonly", dir);
    refused(run(serve(&inject, &["--data-dir", dir])), "the disk is read-only");
    // The database alone: found at the start, not by the first attempt that cannot be kept.
    inject.on("readonly", data.path().join("preflight.db").to_str().expect("UTF-8"));
    refused(run(serve(&inject, &["--data-dir", dir])), "the database cannot be written");
    inject.off("readonly");
    assert_eq!(Server::spawn(serve(&inject, &["--data-dir", dir]), None).stop(), Some(0));
    inject.on("full", "");
    let other = tempfile::tempdir().expect("a temporary directory");
    refused(run(serve(&inject, &["--data-dir", other.path().to_str().expect("UTF-8")])), "No space left");
}

#[test]
fn a_database_that_another_process_holds_is_refused() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let dir = data.path().to_str().expect("UTF-8");
    assert_eq!(Server::start(&["--data-dir", dir]).stop(), Some(0));
    let holds = "import sqlite3, sys\nd = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                 d.execute('PRAGMA locking_mode = EXCLUSIVE')\nd.execute('BEGIN EXCLUSIVE')\nprint('held', flush=True)\n\
                 sys.stdin.read()";
    let holder = Command::new("python3")
        .args(["-c", holds])
        .arg(data.path().join("preflight.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut holder) = holder else {
        crate::support::left_out("there is no python3");
        return;
    };
    let mut line = String::new();
    BufReader::new(holder.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    assert_eq!(line, "held\n");
    let mut command = Command::new(program("preflight"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir", dir]);
    let ran = run(command);
    drop(holder.stdin.take());
    holder.wait().expect("a child");
    assert_eq!((ran.code, ran.stderr.lines().count()), (2, 1), "{ran:?}");
    assert!(ran.stderr.contains("another program keeps the database locked"), "{ran:?}");
    assert_eq!(Server::start(&["--data-dir", dir]).stop(), Some(0));
}

/// A disk whose bytes cannot be read any more.
#[test]
fn a_read_that_fails_names_the_file() {
    let (inject, model) = (injected!(), ModelDir::of_case("mha_plain"));
    inject.on("broken", "");
    for name in ["inspect", "estimate"] {
        let mut command = Command::new(program("preflight"));
        command.args([name, model.arg(), "--json"]);
        inject.put_before(&mut command);
        let ran = run(command);
        assert_eq!(ran.code, 2, "{ran:?}");
        let error = ran.json()["error"].clone();
        let message = error["message"].as_str().expect("words");
        assert!(message.contains("Input/output error") && message.contains(model.arg()), "{error}");
    }
}
