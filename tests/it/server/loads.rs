//! Loaded models: they stay, they are used, they go, and their memory comes back.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::faults::faulty;
use crate::support::http::Server;
use crate::support::model_dir::ModelDir;
use crate::support::program::{children, has_ended};

/// What the product promises of a cancel and an unload, on a machine that does nothing else.
pub(super) const PROMISED: Duration = Duration::from_secs(2);
/// A shared machine may be this much slower.
pub(super) const NOISE: u32 = 3;

fn served(model: &ModelDir) -> Server {
    Server::start(&["--default-model", model.arg()])
}

fn start(server: &Server, path: &str, body: &Value) -> u64 {
    let answer = server.post(&format!("/api/models/default/{path}"), body);
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["attempt_id"].as_u64().expect("an id")
}

fn ready(server: &Server, id: u64) -> Value {
    let attempt = server.until(id, |attempt| attempt["state"] == "ready" || attempt["finished_ms"].is_u64());
    assert_eq!(attempt["state"], "ready", "{attempt}");
    attempt
}

/// A stranger's template may take more stack than there is; whoever looks at it is not the worker, and nobody loses a model.
#[test]
fn a_chat_template_that_does_not_compile_costs_nobody_a_model() {
    let model = ModelDir::of_case("mha_plain");
    let server = served(&model);
    ready(&server, start(&server, "load", &json!({})));
    let deep = format!("{{{{ {} 1 }}}}", "not ".repeat(30_000));
    for (template, says) in
        [("{{ x", "chat template"), (&deep, "chat template"), ("{{ messages | nofilter }}", "nofilter")]
    {
        let body = json!({ "branch": true, "load_config": { "chat_template": template } });
        let attempt = server.ended(start(&server, "load", &body));
        let error = &attempt["error"];
        assert_eq!(
            (&attempt["outcome"], &error["code"], &error["path"]),
            (&json!("config_invalid"), &json!("load_config_invalid"), &json!("chat_template")),
            "{attempt}"
        );
        assert!(error["message"].as_str().is_some_and(|message| message.contains(says)), "{error}");
        // Nor is it kept for loads to come.
        let kept = json!({ "load_config": { "chat_template": template } }).to_string();
        let kept = server.ask("PATCH", "/api/models/default", &["content-type: application/json"], &kept);
        assert_eq!((kept.status, kept.error_code().as_str()), (422, "load_config_invalid"), "{kept:?}");
        assert_eq!(kept.json()["error"]["path"], "load_config.chat_template", "{kept:?}");
    }
    assert!(
        server.get("/api/models/default").json()["loaded_by"].is_u64(),
        "the model before it is still there"
    );
    let fine = json!({ "branch": true, "load_config": { "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}" } });
    ready(&server, start(&server, "load", &fine));
}

#[test]
fn a_loaded_model_stays_until_it_is_unloaded() {
    let model = ModelDir::of_case("mha_plain");
    let server = served(&model);
    let not = server.post("/api/models/default/unload", &json!({}));
    assert_eq!((not.status, not.error_code().as_str()), (409, "not_loaded"));
    let id = start(&server, "load", &json!({}));
    ready(&server, id);
    let workers = children(server.pid());
    assert_eq!(workers.len(), 1);
    assert_eq!(server.get("/api/models/default").json()["loaded_by"], json!(id));
    // The same again is the same attempt.
    assert_eq!(start(&server, "load", &json!({})), id);

    // A validation of what is loaded needs no other worker, and goes on from it.
    let validation = start(&server, "validate", &json!({}));
    let attempt = server.ended(validation);
    assert_eq!((&attempt["parent"], &attempt["changes"]), (&json!(id), &json!([])));
    assert_eq!(
        (&attempt["state"], &attempt["timings"]["loading_ms"]),
        (&json!("stopped"), &Value::Null),
        "{attempt}"
    );
    assert!(attempt["report"]["generated_tokens"].as_array().is_some_and(|tokens| !tokens.is_empty()));
    assert_eq!(children(server.pid()), workers);
    // Another load config does.
    let other = start(&server, "validate", &json!({ "load_config": { "torch_dtype": "float16" } }));
    assert!(server.ended(other)["timings"]["loading_ms"].is_f64());
    ready(&server, id);
    assert_eq!(server.ask("DELETE", "/api/models/default", &[], "").error_code(), "model_loaded");

    assert_eq!(start(&server, "unload", &json!({})), id);
    let attempt = server.ended(id);
    assert_eq!((&attempt["state"], &attempt["outcome"]), (&json!("stopped"), &json!("passed")));
    assert!(workers.iter().all(|pid| has_ended(*pid)), "unload ends the process");
    assert_eq!(server.get("/api/models/default").json()["loaded_by"], Value::Null);
}

/// What was loaded for short sequences is validated all the same: by a worker of its own, for as long ones as it takes.
#[test]
fn a_short_context_holds_up_no_validation() {
    let model = ModelDir::of_case("mha_plain");
    let server = served(&model);
    let id = start(&server, "load", &json!({ "context": 16 }));
    ready(&server, id);
    let attempt = server.ended(start(&server, "validate", &json!({ "max_new_tokens": 12 })));
    assert_eq!((&attempt["state"], &attempt["parent"]), (&json!("stopped"), &json!(id)), "{attempt}");
    assert!(attempt["context"].as_u64().is_some_and(|tokens| tokens > 16), "{attempt}");
    // What is predicted is of the context that it ran with.
    let cache = &attempt["report"]["memory"]["predicted"]["kv_cache_bytes"];
    assert_eq!(&attempt["predicted"]["kv_cache_bytes"], cache, "{attempt}");
    ready(&server, id);
    // A child of a load keeps its context, unless that is what it changes.
    let child = start(&server, "load", &json!({ "parent": id, "load_config": { "torch_dtype": "float16" } }));
    assert_eq!(ready(&server, child)["context"], 16);
}

#[test]
fn another_load_config_takes_the_place_of_the_first() {
    let model = ModelDir::of_case("mha_plain");
    let server = served(&model);
    let first = start(&server, "load", &json!({}));
    ready(&server, first);
    let second = start(&server, "load", &json!({ "load_config": { "torch_dtype": "float16" } }));
    ready(&server, second);
    assert_eq!(server.ended(first)["state"], "stopped");
    assert_eq!(children(server.pid()).len(), 1);
    // One that fails its checks takes nobody's place.
    let third = start(
        &server,
        "load",
        &json!({ "load_config": { "rope_scaling": { "type": "longrope", "short_factor": [1.0], "long_factor": [1.0] } }, "branch": true }),
    );
    let third = server.ended(third);
    let place = &third["error"]["path"];
    assert_eq!((&third["state"], place), (&json!("failed"), &json!("load_config.rope_scaling.short_factor")));
    ready(&server, second);
}

/// A context beyond the model's positions is that, and no want of memory; the linear scaling that is proposed mends it.
#[test]
fn a_context_beyond_the_positions_is_told_as_such() {
    let model = ModelDir::of_case("mha_plain");
    let config: Value =
        serde_json::from_slice(&std::fs::read(model.file("config.json")).expect("a config")).expect("JSON");
    let positions = config["max_position_embeddings"].as_u64().expect("a number");
    let server = served(&model);
    let far = server.ended(start(&server, "load", &json!({ "context": 1_u64 << 30 })));
    assert_eq!((&far["state"], &far["outcome"]), (&json!("failed"), &json!("context_too_long")), "{far}");
    let shorter = far["next"].as_array().expect("a list").iter().find(|next| next["key"] == "context");
    assert_eq!(shorter.map(|next| next["value"].clone()), Some(json!(positions)), "{far}");

    let asked = json!({ "context": positions * 3 / 2 });
    let beyond = server.ended(start(&server, "load", &asked));
    assert_eq!(beyond["outcome"], "context_too_long", "{beyond}");
    let proposed = &beyond["next"][0];
    assert_eq!(proposed["key"], "rope_scaling", "{beyond}");
    let stretched = json!({
        "context": positions * 3 / 2, "parent": beyond["id"], "load_config": { "rope_scaling": proposed["value"] },
    });
    let id = start(&server, "load", &stretched);
    assert_eq!(ready(&server, id)["context"], positions * 3 / 2);
}

#[test]
fn many_who_ask_for_one_model_get_one_load() {
    let model = ModelDir::slow();
    let server = served(&model);
    let ids: Vec<u64> = std::thread::scope(|scope| {
        let asks: Vec<_> = (0..50).map(|_| scope.spawn(|| start(&server, "load", &json!({})))).collect();
        asks.into_iter().map(|ask| ask.join().expect("answered")).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    ready(&server, ids[0]);
    assert_eq!(children(server.pid()).len(), 1);
    let unloaded: Vec<u16> = std::thread::scope(|scope| {
        let asks: Vec<_> = (0..50)
            .map(|_| scope.spawn(|| server.post("/api/models/default/unload", &json!({})).status))
            .collect();
        asks.into_iter().map(|ask| ask.join().expect("answered")).collect()
    });
    assert!(
        unloaded.iter().all(|status| [202, 409].contains(status)) && unloaded.contains(&202),
        "{unloaded:?}"
    );
    assert_eq!(server.ended(ids[0])["state"], "stopped");
    assert_eq!(server.get("/api/attempts").json().as_array().map(Vec::len), Some(1));
}

/// Loads and unloads from many sides: never two workers of one model, whatever the worker does with its time to end.
#[test]
fn a_load_begins_when_the_unload_before_it_is_over() {
    let model = ModelDir::of_case("mha_plain");
    // Asked to end, it hears nothing, and is ended after a while.
    let (_dir, worker) = faulty("deaf");
    let server = Server::with_worker(&["--default-model", model.arg()], &worker);
    let most = |until: &dyn Fn() -> bool| {
        let (begun, mut most) = (Instant::now(), 0);
        while !until() && begun.elapsed() < Duration::from_secs(90) {
            most = most.max(children(server.pid()).len());
        }
        most
    };
    let first = start(&server, "load", &json!({}));
    ready(&server, first);
    assert_eq!(start(&server, "unload", &json!({})), first);
    let second = start(&server, "load", &json!({}));
    assert_ne!(second, first);
    let is_ready = |id: u64| server.get(&format!("/api/attempts/{id}")).json()["state"] == "ready";
    assert_eq!(most(&|| is_ready(second)), 1);
    assert_eq!(server.ended(first)["state"], "stopped");
    // The same where another load config takes its place.
    let third =
        start(&server, "load", &json!({ "load_config": { "torch_dtype": "float16" }, "force": true }));
    assert_eq!(most(&|| is_ready(third)), 1);
    assert_eq!(server.ended(second)["state"], "stopped");

    let is_over = std::sync::atomic::AtomicBool::new(false);
    let over = || is_over.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        let sides: Vec<_> = (0..8)
            .map(|side| {
                let server = &server;
                scope.spawn(move || {
                    for round in 0..2 {
                        let path = if (side + round) % 2 == 0 { "load" } else { "unload" };
                        let answer =
                            server.post(&format!("/api/models/default/{path}"), &json!({ "force": true }));
                        assert!([202, 409, 429].contains(&answer.status), "{path}: {answer:?}");
                    }
                })
            })
            .collect();
        let watched = scope.spawn(|| most(&over));
        sides.into_iter().for_each(|side| side.join().expect("answered"));
        let open = || {
            let attempts = server.get("/api/attempts?limit=100").json();
            let open = attempts
                .as_array()
                .expect("a list")
                .iter()
                .filter(|attempt| attempt["finished_ms"].is_null());
            open.map(|attempt| attempt["id"].as_u64().expect("an id")).collect::<Vec<_>>()
        };
        let begun = Instant::now();
        loop {
            let open = open();
            if open.is_empty() {
                break;
            }
            for id in open {
                server.ask("DELETE", &format!("/api/attempts/{id}"), &[], "");
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", server.get("/api/attempts").body);
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(watched.join().expect("no panic") <= 1);
    });
    assert!(children(server.pid()).is_empty());
}

/// Shares of the host are one machine: its loads wait for each other, and the newer of one model takes the place of the
/// older, whatever device that is on.
#[test]
fn a_model_is_loaded_once_wherever() {
    let model = ModelDir::of_case("mha_plain");
    let (_dir, worker) = faulty("idle");
    let server = Server::with_worker(&["--default-model", model.arg()], &worker);
    let first = start(&server, "load", &json!({ "device": "cpu" }));
    server.until(first, |attempt| attempt["state"] == "loading");
    let share = start(&server, "load", &json!({ "device": "cpu:1" }));
    let attempt = server.get(&format!("/api/attempts/{share}")).json();
    assert_eq!((&attempt["state"], &attempt["position"]), (&json!("queued"), &json!(1)));
    let elsewhere = start(&server, "load", &json!({ "device": "wgpu:0" }));
    server.until(elsewhere, |attempt| attempt["state"] == "loading");
    let first = server.ended(first);
    assert_eq!(first["state"], "cancelled");
    let anew = format!("cancelled for attempt {elsewhere}, which loads the model anew");
    assert_eq!(first["error"]["message"], anew);
    // Its turn comes when another was asked for since.
    let share = server.ended(share);
    assert_eq!(share["state"], "cancelled");
    assert_eq!(share["error"]["message"], format!("attempt {elsewhere} loads the model"));
    assert_eq!(children(server.pid()).len(), 1);
}

#[test]
fn a_cancel_ends_a_load_at_any_stage() {
    let model = ModelDir::slow();
    let server = served(&model);
    let states = ["queued", "checking", "starting", "loading", "ready"];
    for wanted in states {
        let id = start(&server, "load", &json!({}));
        let seen = server.until(id, |attempt| {
            let state = attempt["state"].as_str().expect("a state");
            states.iter().position(|s| *s == state) >= states.iter().position(|s| *s == wanted)
        });
        let asked = Instant::now();
        server.ask("DELETE", &format!("/api/attempts/{id}"), &[], "");
        let end = server.ended(id)["state"].clone();
        assert!(asked.elapsed() < PROMISED * NOISE, "{wanted}: {:?}", asked.elapsed());
        let expected: &[&str] =
            if seen["state"] == "ready" { &["stopped"] } else { &["cancelled", "stopped"] };
        assert!(expected.iter().any(|state| end == *state), "{wanted}: {end}");
        assert!(children(server.pid()).is_empty(), "{wanted}");
    }
}

/// A prompt of thousands of tokens is read in one go, and is left all the same.
#[test]
fn a_cancel_ends_a_prompt_that_is_being_read() {
    let model = ModelDir::slow();
    model.set_config(&json!({ "sliding_window": 6000 }));
    let server = served(&model);
    let id = start(&server, "validate", &json!({ "probe": "window" }));
    let reading =
        server.until(id, |attempt| attempt["state"] == "validating" || attempt["finished_ms"].is_u64());
    assert_eq!(reading["state"], "validating", "{reading}");
    // The tokens of the default prompt come first.
    std::thread::sleep(Duration::from_millis(1500));
    assert!(
        server.get(&format!("/api/attempts/{id}")).json()["finished_ms"].is_null(),
        "too fast to be cancelled"
    );
    let asked = Instant::now();
    server.ask("DELETE", &format!("/api/attempts/{id}"), &[], "");
    assert_eq!(server.ended(id)["state"], "cancelled");
    assert!(asked.elapsed() < PROMISED * NOISE, "{:?}", asked.elapsed());
    assert!(children(server.pid()).is_empty());
}

/// A worker ends with all that it started, and leaves no image of a model's memory behind when it dies.
#[test]
fn a_worker_has_a_group_of_its_own_and_no_core_files() {
    let model = ModelDir::of_case("mha_plain");
    let server = served(&model);
    let id = start(&server, "load", &json!({}));
    server.until(id, |attempt| attempt["state"] == "ready");
    let worker = children(server.pid())[0];
    let of = |file: &str| std::fs::read_to_string(format!("/proc/{worker}/{file}")).expect("it runs");
    let stat = of("stat");
    let group = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(2)).map(str::to_owned);
    assert_eq!(group, Some(worker.to_string()), "{stat}");
    let limits = of("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}

#[test]
fn a_worker_killed_at_rest_fails_its_attempt() {
    let model = ModelDir::of_case("mha_plain");
    let server = served(&model);
    let id = start(&server, "load", &json!({}));
    ready(&server, id);
    let worker = children(server.pid())[0];
    std::process::Command::new("kill").args(["-9", &worker.to_string()]).status().expect("kill runs");
    let attempt = server.ended(id);
    assert_eq!(
        (&attempt["error"]["code"], &attempt["outcome"]),
        (&json!("worker_killed"), &json!("worker_lost"))
    );
    let message = attempt["error"]["message"].as_str().expect("a message");
    assert!(message.starts_with("the worker died while holding its model: SIGKILL"), "{message}");
    assert_eq!(server.get("/api/models/default").json()["loaded_by"], Value::Null);
    // It may be tried again at once: a process that was killed says nothing about the next.
    let again = start(&server, "load", &json!({}));
    ready(&server, again);
    let counters = server.get("/metrics").body;
    for line in
        ["preflight_worker_restarts_total 1", "preflight_worker_deaths_total{reason=\"worker_lost\"} 1"]
    {
        assert!(counters.lines().any(|found| found == line), "{line}: {counters}");
    }
}

/// Two kinds of a scaling with one factor are two load configs: neither joins the other, nor forbids it.
#[test]
fn the_kind_of_a_scaling_tells_loads_apart() {
    let model = ModelDir::of_case("mha_plain");
    let server = served(&model);
    let scaled = |kind: &str| json!({ "branch": true, "load_config": { "rope_scaling": { "type": kind, "factor": 2.0 } } });
    let yarn = server.ended(start(&server, "load", &scaled("yarn")));
    assert_eq!(yarn["state"], "failed", "{yarn}");
    let linear = start(&server, "load", &scaled("linear"));
    ready(&server, linear);
    let dynamic = start(&server, "load", &scaled("dynamic"));
    assert_ne!(dynamic, linear);
    assert_eq!(server.ended(dynamic)["state"], "failed");
    assert_eq!(server.get(&format!("/api/attempts/{linear}")).json()["state"], "ready");
    assert_eq!(start(&server, "load", &scaled("linear")), linear);
}
