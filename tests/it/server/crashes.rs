//! Servers that are killed, models that come and go: nothing stays open, nothing grows.
//!
//! `PREFLIGHT_KILLS` and `PREFLIGHT_CYCLES` say how often: `./dev soak` takes 200 and 1,000.

use std::time::{Duration, Instant};

use phi3::api::AttemptState;
use preflight::store::Store;
use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::model_dir::ModelDir;
use crate::support::program::{children, has_ended, preflight};
use crate::support::tests_dir;

fn times(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn is_final(attempt: &Value) -> bool {
    let state = attempt["state"].as_str().expect("a state");
    let state = AttemptState::ALL.into_iter().find(|known| known.name() == state);
    state.expect("a known state").is_final()
}

/// Every moment of a load, a validation and an unload is hit sooner or later.
#[test]
fn a_killed_server_leaves_no_attempt_open_and_no_worker() {
    let model = ModelDir::of_case("mha_plain");
    let data = tempfile::tempdir().expect("a temporary directory");
    let args = ["--default-model", model.arg(), "--data-dir", data.path().to_str().expect("UTF-8")];
    let rounds = times("PREFLIGHT_KILLS", 20);
    let mut seen = 0;
    let mut lost = 0;
    for round in 0..=rounds {
        let server = Server::start(&args);
        let attempts = server.get("/api/attempts?limit=1000").json();
        let attempts = attempts.as_array().expect("a list");
        for attempt in attempts {
            assert!(is_final(attempt), "round {round}: {attempt}");
        }
        assert!(attempts.len() >= seen, "round {round}: attempts were lost");
        lost = attempts.iter().filter(|attempt| attempt["state"] == "lost").count();
        seen = attempts.len();
        if round == rounds {
            break;
        }
        let ladders = server.get("/api/ladders?limit=1000").json();
        for ladder in ladders.as_array().expect("a list") {
            let goes_on = ["queued", "running"].iter().any(|state| ladder["state"] == *state);
            assert!(!goes_on, "round {round}: {ladder}");
        }
        let post =
            |path: &str| server.post(&format!("/api/models/default/{path}"), &json!({ "force": true }));
        assert_eq!(post("load").status, 202);
        assert_eq!(post("validate").status, 202);
        match round % 3 {
            0 => drop(post("unload")),
            // A ladder meanwhile, and one that is taken up again.
            1 => assert_eq!(server.post("/api/ladders", &json!({ "model": "default" })).status, 202),
            _ => drop(server.post("/api/ladders/1/resume", &json!({}))),
        }
        // Spread over what the work takes, never twice the same.
        std::thread::sleep(Duration::from_micros((round as u64 * 7919) % 60_000));
        let workers = children(server.pid());
        // Dropping it is `kill -9`.
        drop(server);
        let killed = Instant::now();
        while !workers.iter().all(|pid| has_ended(*pid)) {
            assert!(
                killed.elapsed() < Duration::from_secs(2),
                "round {round}: {workers:?} outlive their server"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    assert!(lost > 0, "no kill hit an attempt: {seen} attempts");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let found = runtime.block_on(async {
        Store::read(data.path()).await.expect("it opens").integrity().await.expect("it is read")
    });
    assert_eq!(found, "ok");
}

/// Asked to end, a server writes how everything ended, even if nobody is connected any more.
#[test]
fn a_server_that_ends_in_order_loses_nothing() {
    let model = ModelDir::slow();
    let data = tempfile::tempdir().expect("a temporary directory");
    let args = ["--default-model", model.arg(), "--data-dir", data.path().to_str().expect("UTF-8")];
    for wanted in ["queued", "validating", "ready"] {
        let server = Server::start(&args);
        let (path, body) = match wanted {
            "ready" => ("load", json!({})),
            _ => ("validate", json!({ "max_new_tokens": 4000 })),
        };
        let post = |path: &str, body: &Value| {
            let answer = server.post(&format!("/api/models/default/{path}"), body);
            answer.json()["attempt_id"].as_u64().unwrap_or_else(|| panic!("{answer:?}"))
        };
        let mut id = post(path, &body);
        server
            .until(id, |attempt| attempt["state"] == if wanted == "ready" { "ready" } else { "validating" });
        if wanted == "queued" {
            id = post(path, &body);
        }
        assert_eq!(server.stop(), Some(0));
        let server = Server::start(&args);
        let state = server.get(&format!("/api/attempts/{id}")).json()["state"].clone();
        assert_eq!(state, if wanted == "ready" { "stopped" } else { "cancelled" }, "{wanted}");
    }
}

/// What a process holds: open files, threads, resident bytes.
fn holds(pid: u32) -> (usize, u64, u64) {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("proc").count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("proc");
    let number = |key: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    (files, number("Threads:"), number("VmRSS:") * 1024)
}

#[test]
fn loads_and_unloads_leave_nothing_behind() {
    let tiny = tests_dir().join("../public/tiny").canonicalize().expect("the tiny model");
    let server = Server::start(&["--default-model", tiny.to_str().expect("UTF-8")]);
    let cycles = times("PREFLIGHT_CYCLES", 50);
    let warm = cycles / 5;
    let mut before = (0, 0, 0);
    for cycle in 0..cycles {
        if cycle == warm {
            before = holds(server.pid());
        }
        let answer = server.post("/api/models/default/load", &json!({}));
        assert_eq!(answer.status, 202, "{answer:?}");
        let id = answer.json()["attempt_id"].as_u64().expect("an id");
        server.until(id, |attempt| attempt["state"] == "ready");
        assert_eq!(server.post("/api/models/default/unload", &json!({})).status, 202);
        assert_eq!(server.ended(id)["state"], "stopped");
    }
    assert!(children(server.pid()).is_empty());
    let after = holds(server.pid());
    assert!(after.0 <= before.0 + 2, "open files: {before:?}, then {after:?}");
    // Threads for blocking work come and go by themselves.
    assert!(after.1 <= before.1 + 4, "threads: {before:?}, then {after:?}");
    assert!(after.2 <= before.2 + (8 << 20), "resident: {before:?}, then {after:?}");
}

/// Data folders that cannot be used: one clear sentence, and nothing is written to what is there.
#[test]
fn a_database_that_cannot_be_used_is_refused() {
    let refused = |prepare: &dyn Fn(&std::path::Path), says: &str| {
        let data = tempfile::tempdir().expect("a temporary directory");
        prepare(data.path());
        let before = std::fs::read(data.path().join("preflight.db")).ok();
        let ran = preflight(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            data.path().to_str().expect("UTF-8"),
        ]);
        assert_eq!((ran.code, ran.stderr.lines().count()), (2, 1), "{says}: {ran:?}");
        assert!(ran.stderr.contains(says), "{says}: {ran:?}");
        assert_eq!(std::fs::read(data.path().join("preflight.db")).ok(), before, "{says}");
    };
    refused(
        &|dir| {
            std::fs::write(dir.join("preflight.db"), "this is no database, however long it is, ".repeat(100))
                .expect("written")
        },
        "the file is damaged, or no database",
    );
    refused(&|dir| std::fs::create_dir(dir.join("preflight.db")).expect("made"), "preflight.db");
    refused(
        &|dir| {
            let args = ["--data-dir", dir.to_str().expect("UTF-8")];
            assert_eq!(Server::start(&args).stop(), Some(0));
            // The version that an application gives its schema: four bytes at 60, as SQLite's file format says.
            let file = dir.join("preflight.db");
            let mut bytes = std::fs::read(&file).expect("read");
            assert_ne!(bytes[60..64], 0_u32.to_be_bytes());
            bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
            std::fs::write(&file, bytes).expect("written");
        },
        "of version 99",
    );
    let ran = preflight(&["serve", "--listen", "127.0.0.1:0", "--data-dir", "/proc/no/such"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--data-dir"), "{ran:?}");
}
