//! Readers of `/api/events` that are slow, many, strange or late: each is served or told, and nobody waits for them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::model_dir::ModelDir;

/// A server with an attempt that has ended: every note on it is an event.
fn noted() -> (ModelDir, Server, u64) {
    let model = ModelDir::of_case("mha_plain");
    let server = Server::start(&["--default-model", model.arg()]);
    let answer = server.post("/api/models/default/load", &json!({ "device": "cuda:9" }));
    let id = answer.json()["attempt_id"].as_u64().expect("an id");
    assert_eq!(server.ended(id)["state"], "failed");
    (model, server, id)
}

fn note(server: &Server, id: u64, note: &str) {
    let body = json!({ "note": note }).to_string();
    let answer =
        server.ask("PATCH", &format!("/api/attempts/{id}"), &["content-type: application/json"], &body);
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// The number that the note of an event begins with.
fn number(event: &Value) -> Option<usize> {
    event["attempt"]["note"].as_str()?.split(' ').next()?.parse().ok()
}

/// What is sent to it goes as far as the sockets hold, then as far as events are kept; the rest it asks for.
#[test]
fn a_reader_that_never_reads_is_told_and_dropped() {
    const NOTES: usize = 300;
    let (_model, server, id) = noted();
    let mut slow = server.events(&[]);
    let quick = server.events(&[]);
    let quick = std::thread::spawn(move || {
        let numbers = quick.filter_map(|event| number(&event));
        numbers.take_while(|number| number + 1 < NOTES).collect::<Vec<_>>()
    });
    // Twice what is kept, and what sockets take up.
    let text = "x".repeat(60_000);
    for number in 0..NOTES {
        note(&server, id, &format!("{number} {text}"));
    }
    assert_eq!(quick.join().expect("no panic"), (0..NOTES - 1).collect::<Vec<_>>());
    let told: Vec<Value> = slow.by_ref().collect();
    let (last, before) = told.split_last().expect("something was on its way");
    assert_eq!(last["type"], "reset");
    let numbers: Vec<usize> = before.iter().filter_map(number).collect();
    assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>());
    assert!(numbers.len() < NOTES, "it was not slow enough: {}", numbers.len());
    // It goes on from there, and misses nothing more.
    let mut back = server.events(&[&format!("last-event-id: {}", last["id"])]);
    note(&server, id, "1000");
    let next = back.next().expect("an event");
    assert_eq!((&next["type"], number(&next)), (&json!("attempt"), Some(1000)));
}

/// One more is turned away for now, and whoever leaves makes room.
#[test]
fn five_hundred_readers_hear_everything() {
    let (_model, server, id) = noted();
    let mut readers: Vec<_> = (0..512).map(|_| server.events(&[])).collect();
    let refused = server.get("/api/events");
    assert_eq!((refused.status, refused.error_code().as_str()), (429, "queue_full"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    for number in 0..20 {
        note(&server, id, &number.to_string());
    }
    for reader in &mut readers {
        let heard: Vec<usize> = reader.filter_map(|event| number(&event)).take(20).collect();
        assert_eq!(heard, (0..20).collect::<Vec<_>>());
    }
    drop(readers);
    let begun = Instant::now();
    while !server.get("/metrics").body.lines().any(|line| line == "preflight_sse_subscribers 0") {
        assert!(begun.elapsed() < Duration::from_secs(10), "nobody saw them leave");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(server.events(&[]));
}

#[test]
fn an_id_that_is_none_is_that_of_a_fresh_reader() {
    let (_model, server, id) = noted();
    for (at, header) in
        ["last-event-id: abc", "last-event-id: -1", "last-event-id: 1e3", "last-event-id:", "x: 1"]
            .into_iter()
            .enumerate()
    {
        let mut reader = server.events(&[header]);
        note(&server, id, &at.to_string());
        loop {
            let event = reader.next().expect("an event");
            assert_ne!(event["type"], "reset", "{header}");
            if number(&event) == Some(at) {
                break;
            }
        }
    }
}

/// A reset, and at once what goes on: who comes too late knows as much as who was there.
#[test]
fn a_reset_brings_what_goes_on() {
    let model = ModelDir::of_case("mha_plain");
    let server = Server::start(&["--default-model", model.arg()]);
    let answer = server.post("/api/models/default/load", &json!({}));
    let id = answer.json()["attempt_id"].as_u64().expect("an id");
    server.until(id, |attempt| attempt["state"] == "ready");
    let told: Vec<Value> = server.events(&["last-event-id: 7"]).take(2).collect();
    assert_eq!((&told[0]["type"], &told[1]["type"]), (&json!("reset"), &json!("attempt")));
    assert_eq!(told[0]["id"], told[1]["id"]);
    assert_eq!((&told[1]["attempt"]["id"], &told[1]["attempt"]["state"]), (&json!(id), &json!("ready")));
}
