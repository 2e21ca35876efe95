//! Loads, unloads, validations and cancels in any order, with a worker that only pretends: each request is answered as
//! it is promised, there is never more than one worker of a load, and everything comes to its end.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::faults::faulty;
use super::loads::{NOISE, PROMISED};
use crate::support::http::Server;
use crate::support::model_dir::ModelDir;
use crate::support::program::children;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Loads, in one of two ways.
    Load(bool),
    Unload,
    Validate(bool),
    /// Cancels the attempt so many before the newest.
    Cancel(u64),
    /// Kills a worker from outside.
    Kill,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any::<bool>().prop_map(Step::Load),
        2 => Just(Step::Unload),
        2 => any::<bool>().prop_map(Step::Validate),
        2 => (0..4_u64).prop_map(Step::Cancel),
        1 => Just(Step::Kill),
        2 => (0..15_u64).prop_map(Step::Wait),
    ]
}

fn body(other: bool) -> Value {
    if other {
        json!({ "load_config": { "torch_dtype": "float16" }, "force": true })
    } else {
        json!({ "force": true })
    }
}

fn take(server: &Server, step: Step) -> Result<(), TestCaseError> {
    let post = |path: &str, body: &Value| server.post(&format!("/api/models/default/{path}"), body);
    let allowed = |answer: &crate::support::http::Answer, allowed: &[u16]| {
        prop_assert!(allowed.contains(&answer.status), "{step:?}: {answer:?}");
        Ok(())
    };
    match step {
        Step::Load(other) => allowed(&post("load", &body(other)), &[202, 429]),
        Step::Validate(other) => allowed(&post("validate", &body(other)), &[202, 429]),
        Step::Unload => allowed(&post("unload", &json!({})), &[202, 409]),
        Step::Cancel(back) => {
            let newest = server.get("/api/attempts?limit=1").json();
            let Some(id) = newest[0]["id"].as_u64().and_then(|id| id.checked_sub(back)) else {
                return Ok(());
            };
            allowed(&server.ask("DELETE", &format!("/api/attempts/{id}"), &[], ""), &[200, 404])
        }
        Step::Kill => {
            if let Some(pid) = children(server.pid()).first() {
                std::process::Command::new("kill")
                    .args(["-9", &pid.to_string()])
                    .status()
                    .expect("kill runs");
            }
            Ok(())
        }
        Step::Wait(ms) => {
            std::thread::sleep(Duration::from_millis(ms));
            Ok(())
        }
    }
}

/// Loads that are past their start and not at their end.
fn busy(server: &Server) -> usize {
    let attempts = server.get("/api/attempts?limit=50").json();
    let runs = ["checking", "starting", "loading", "validating", "stopping"];
    let list = attempts.as_array().expect("a list");
    list.iter().filter(|attempt| runs.iter().any(|state| attempt["state"] == *state)).count()
}

fn load_until_ready(server: &Server) -> u64 {
    let answer = server.post("/api/models/default/load", &json!({}));
    let id = answer.json()["attempt_id"].as_u64().expect("an id");
    server.until(id, |attempt| attempt["state"] == "ready");
    id
}

#[test]
fn every_order_of_requests_comes_to_its_end() {
    let model = ModelDir::of_case("mha_plain");
    let (_dir, worker) = faulty("good");
    let server = Server::with_worker(&["--default-model", model.arg()], &worker);
    // Where the pretender is not believed, nothing below means anything.
    load_until_ready(&server);
    let config = ProptestConfig {
        cases: 24,
        max_shrink_iters: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(steps in proptest::collection::vec(step(), 1..14))| {
        for step in steps {
            take(&server, step)?;
            // One device: one attempt at work, beside the validation that a loaded model answers.
            prop_assert!(busy(&server) <= 2, "{}", server.get("/api/attempts?limit=5").body);
        }
        // Everything that was begun can be ended, and within its time.
        let begun = Instant::now();
        loop {
            let open: Vec<Value> = server.get("/api/attempts?limit=50").json().as_array().expect("a list").iter()
                .filter(|attempt| attempt["finished_ms"].is_null()).cloned().collect();
            if open.is_empty() {
                break;
            }
            for attempt in &open {
                server.ask("DELETE", &format!("/api/attempts/{}", attempt["id"]), &[], "");
            }
            prop_assert!(begun.elapsed() < 2 * PROMISED * NOISE, "still {open:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        prop_assert!(server.get("/api/models/default").json()["loaded_by"].is_null());
        prop_assert!(children(server.pid()).is_empty());
        prop_assert_eq!(server.get("/health").status, 200);
    });
}

/// A worker that loads and then hears nothing more is ended all the same.
#[test]
fn a_deaf_worker_is_unloaded_in_time() {
    let model = ModelDir::of_case("mha_plain");
    let (_dir, worker) = faulty("deaf");
    let server = Server::with_worker(&["--default-model", model.arg()], &worker);
    let id = load_until_ready(&server);
    let asked = Instant::now();
    assert_eq!(server.post("/api/models/default/unload", &json!({})).status, 202);
    assert_eq!(server.ended(id)["state"], "stopped");
    assert!(asked.elapsed() < PROMISED * NOISE, "{:?}", asked.elapsed());
    assert!(children(server.pid()).is_empty());
}
