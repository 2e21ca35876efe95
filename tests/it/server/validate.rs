//! Validations in worker processes: events, queue, cancel, death, the end of the server.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::model_dir::ModelDir;
use crate::support::program::{children, preflight};

fn served() -> (ModelDir, Server) {
    let model = ModelDir::slow();
    let server = Server::start(&["--default-model", model.arg()]);
    (model, server)
}

fn start(server: &Server, body: &Value) -> u64 {
    let answer = server.post("/api/models/default/validate", body);
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["attempt_id"].as_u64().expect("an id")
}

fn gone(pid: u32) -> bool {
    let start = Instant::now();
    while !children(pid).is_empty() {
        if start.elapsed() > Duration::from_secs(5) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

#[test]
fn a_validation_streams_its_tokens() {
    let (_model, server) = served();
    let mut events = server.events(&[]);
    let id = start(&server, &json!({ "max_new_tokens": 12 }));
    let mut states = Vec::new();
    let mut tokens = Vec::new();
    let mut report = None;
    let mut ids = Vec::new();
    for event in &mut events {
        ids.push(event["id"].as_u64().expect("an id"));
        match event["type"].as_str().expect("a type") {
            "attempt" => {
                states.push(event["attempt"]["state"].as_str().expect("a state").to_owned());
                if states.last().is_some_and(|state| state == "stopped") {
                    break;
                }
            }
            "token" => tokens.push(event["token"].clone()),
            "report" => report = Some(event["report"].clone()),
            _ => {}
        }
    }
    assert_eq!(states, ["queued", "checking", "starting", "loading", "validating", "stopping", "stopped"]);
    let report = report.expect("a report");
    assert_eq!(report["generated_tokens"], Value::Array(tokens));
    assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ids:?}");
    let attempt = server.ended(id);
    assert_eq!((&attempt["report"], &attempt["error"]), (&report, &Value::Null));
    assert!(gone(server.pid()), "the worker ends with its attempt");

    // A reader that comes back gets what it missed, no more and no less.
    let last = ids[ids.len() - 4];
    let again: Vec<_> = server
        .events(&[&format!("last-event-id: {last}")])
        .take(3)
        .map(|event| event["id"].clone())
        .collect();
    assert_eq!(again, ids[ids.len() - 3..].iter().map(|id| json!(id)).collect::<Vec<_>>());
    let reset = server.events(&["last-event-id: 5"]).next().expect("an event");
    assert_eq!(reset["type"], "reset");
    assert_eq!(server.get("/api/attempts").json().as_array().map(Vec::len), Some(1));
}

/// What a worker measures is its own, whoever started it: a server once passed the peak of its own memory on.
#[test]
fn memory_is_measured_as_on_the_command_line() {
    let (model, server) = served();
    // Some memory that is the server's: it must not be taken for the worker's, nor hide it.
    let body = "x".repeat(3 << 20);
    for _ in 0..4 {
        server.ask("POST", "/api/inspect", &["content-type: application/json"], &body);
    }
    let attempt = server.ended(start(&server, &json!({})));
    let there = &attempt["report"]["memory"];
    let here = &preflight(&["validate", model.arg(), "--json"]).json()["memory"];
    assert_eq!(there["predicted"], here["predicted"]);
    let overhead = |memory: &Value| memory["measured"]["overhead_bytes"].as_u64().expect("bytes");
    assert!(overhead(there) > 1 << 20, "{there}");
    assert!(overhead(there).abs_diff(overhead(here)) < 8 << 20, "{there} and {here}");
}

#[test]
fn a_prompt_that_cannot_be_run_is_told_what_would_do() {
    let model = ModelDir::of_case("mha_plain");
    let server = Server::start(&["--default-model", model.arg()]);
    let empty = server.post("/api/models/default/validate", &json!({ "prompt": "" }));
    assert_eq!((empty.status, &empty.json()["error"]["path"]), (422, &json!("prompt")), "{empty:?}");
    let long = server.ended(start(&server, &json!({ "max_new_tokens": 4096 })));
    assert_eq!(long["outcome"], "context_too_long", "{long}");
    let next = long["next"].as_array().expect("a list");
    assert_eq!(next.iter().map(|next| next["key"].clone()).collect::<Vec<_>>(), ["rope_scaling"], "{long}");
    assert!(long["advice"].as_str().is_some_and(|advice| advice.contains("shorter prompt")), "{long}");
}

#[test]
fn one_at_a_time_and_the_rest_wait() {
    let (_model, server) = served();
    let long = json!({ "max_new_tokens": 4000 });
    let running = start(&server, &long);
    let second = start(&server, &json!({ "max_new_tokens": 2 }));
    let third = start(&server, &long);
    server.until(running, |attempt| attempt["state"] == "validating");
    let position = |id: u64| server.get(&format!("/api/attempts/{id}")).json()["position"].clone();
    assert_eq!((position(second), position(third)), (json!(1), json!(2)));
    assert_eq!(children(server.pid()).len(), 1);

    // One that waits ends at once; the one that runs, within the worker's time to end.
    let cancelled = server.ask("DELETE", &format!("/api/attempts/{third}"), &[], "").json();
    assert_eq!((&cancelled["state"], &cancelled["position"]), (&json!("cancelled"), &Value::Null));
    assert_eq!(cancelled["error"]["message"], "cancelled on request while it waited");
    let asked = Instant::now();
    server.ask("POST", &format!("/api/attempts/{running}/cancel"), &[], "");
    let cancelled = server.ended(running);
    assert_eq!(
        (&cancelled["state"], &cancelled["error"]["message"]),
        (&json!("cancelled"), &json!("cancelled on request"))
    );
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(server.ended(second)["state"], "stopped");
    // What has ended stays as it is.
    let again = server.ask("DELETE", &format!("/api/attempts/{second}"), &[], "").json();
    assert_eq!(again["state"], "stopped");
}

#[test]
fn the_queue_has_an_end() {
    let (_model, server) = served();
    let long = json!({ "max_new_tokens": 4000 });
    let running = start(&server, &long);
    server.until(running, |attempt| attempt["state"] != "queued");
    for _ in 0..16 {
        start(&server, &long);
    }
    let refused = server.post("/api/models/default/validate", &long);
    assert_eq!((refused.status, refused.error_code().as_str()), (429, "queue_full"));
    assert_eq!(refused.header("retry-after"), Some("1"));
}

#[test]
fn a_client_that_leaves_cancels_nothing() {
    let (_model, server) = served();
    let events = server.events(&[]);
    let id = start(&server, &json!({ "max_new_tokens": 200 }));
    drop(events);
    assert_eq!(server.ended(id)["state"], "stopped");
}

#[test]
fn a_killed_worker_fails_its_attempt_and_nothing_else() {
    let (_model, server) = served();
    let mut events = server.events(&[]);
    let id = start(&server, &json!({ "max_new_tokens": 4000 }));
    events.find(|event| event["type"] == "token").expect("tokens come");
    let worker = children(server.pid());
    assert_eq!(worker.len(), 1);
    let killed = Instant::now();
    std::process::Command::new("kill").args(["-9", &worker[0].to_string()]).status().expect("kill runs");
    let last = events.find(|event| event["attempt"]["state"] == "failed").expect("its end is told");
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    assert_eq!(last["attempt"]["id"], json!(id));
    let attempt = server.ended(id);
    assert_eq!(attempt["error"]["code"], "worker_killed");
    let message = attempt["error"]["message"].as_str().expect("words");
    assert!(message.contains("SIGKILL") && message.contains("validating"), "{message}");
    assert!(gone(server.pid()), "no zombie is left");
    assert_eq!(server.get("/health").status, 200);
    let next = start(&server, &json!({}));
    assert_eq!(server.ended(next)["state"], "stopped");
}

#[test]
fn bad_weights_fail_the_attempt_by_name() {
    let (model, server) = served();
    model.write("model.safetensors", "version https://git-lfs.github.com/spec/v1\n");
    let attempt = server.ended(start(&server, &json!({})));
    assert_eq!(
        (&attempt["state"], &attempt["error"]["code"]),
        (&json!("failed"), &json!("not_a_weight_file"))
    );
}
