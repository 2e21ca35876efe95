//! What the machine does to a server: files that change, a full disk, no GPU, a clock that jumps.

use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::inject::Inject;
use crate::support::model_dir::ModelDir;
use crate::support::program::preflight;

fn start(server: &Server, path: &str, body: &Value) -> u64 {
    let answer = server.post(&format!("/api/models/default/{path}"), body);
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["attempt_id"].as_u64().expect("an id")
}

/// Each read takes its time, so that the fault comes between two of them.
#[test]
fn a_file_that_shrinks_while_it_is_loaded_ends_the_attempt_alone() {
    let inject = match Inject::new() {
        Ok(inject) => inject,
        Err(reason) => {
            crate::support::left_out(reason);
            return;
        }
    };
    let model = ModelDir::slow();
    let server = Server::with_worker(&["--default-model", model.arg()], &inject.before_worker());
    let weights = model.file("model.safetensors");
    let whole = std::fs::read(&weights).expect("read");
    for (fault, codes) in [
        ("cut", &["weights_corrupt", "io_error"][..]),
        ("unreadable", &["io_error"]),
        // What is open stays readable, whatever its name leads to by now.
        ("removed", &[]),
        ("replaced", &[]),
    ] {
        std::fs::write(&weights, &whole).expect("written");
        inject.on("slow", "20");
        let load = json!({ "load_config": { "torch_dtype": "bfloat16" }, "force": true });
        let id = start(&server, "load", &load);
        server.until(id, |attempt| attempt["progress"]["done_bytes"].as_u64() > Some(0));
        match fault {
            "cut" => {
                let file = std::fs::File::options().write(true).open(&weights);
                file.and_then(|file| file.set_len(4096)).expect("cut");
            }
            "unreadable" => inject.on("broken", ""),
            "removed" => std::fs::remove_file(&weights).expect("removed"),
            _ => {
                let other = model.file("other");
                std::fs::write(&other, "no weights").expect("written");
                std::fs::rename(other, &weights).expect("replaced");
            }
        }
        inject.off("slow");
        let attempt =
            server.until(id, |attempt| attempt["state"] == "ready" || attempt["finished_ms"].is_u64());
        assert_eq!(attempt["state"], if codes.is_empty() { "ready" } else { "failed" }, "{fault}: {attempt}");
        if codes.is_empty() {
            server.post("/api/models/default/unload", &json!({}));
            server.ended(id);
        } else {
            let message = attempt["error"]["message"].as_str().expect("words");
            assert!(codes.iter().any(|code| attempt["error"]["code"] == *code), "{fault}: {attempt}");
            assert!(message.contains("model.safetensors") && !message.contains('\n'), "{fault}: {message}");
        }
        if fault == "unreadable" {
            inject.off("broken");
        }
        assert_eq!(server.get("/health").status, 200);
    }
}

#[test]
fn what_does_not_fit_is_refused_with_numbers_unless_forced() {
    let model = ModelDir::of_case("mha_plain");
    let config =
        json!({ "max_position_embeddings": 134_217_728, "original_max_position_embeddings": 134_217_728 });
    model.set_config(&config);
    let server = Server::start(&["--default-model", model.arg()]);
    let id = start(&server, "load", &json!({ "context": 134_000_000, "device": "cpu" }));
    let attempt = server.ended(id);
    assert_eq!(
        (&attempt["state"], &attempt["error"]["code"]),
        (&json!("failed"), &json!("does_not_fit")),
        "{attempt}"
    );
    let message = attempt["error"]["message"].as_str().expect("words");
    assert!(message.contains("needs") && message.contains("free on this machine"), "{message}");
    assert_eq!(attempt["outcome"], "oom_load_host");
    assert!(
        attempt["predicted"]["kv_cache_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 35),
        "{attempt}"
    );
    // Forced, it is tried. A system may grant more than it has; whatever comes of it, the server goes on.
    let forced = start(&server, "load", &json!({ "context": 134_000_000, "device": "cpu", "force": true }));
    let attempt =
        server.until(forced, |attempt| attempt["state"] == "ready" || attempt["finished_ms"].is_u64());
    assert_ne!(attempt["error"]["code"], "does_not_fit");
    assert_ne!(attempt["timings"]["starting_ms"], Value::Null, "a worker was started: {attempt}");
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn a_device_that_is_not_there_is_told_in_words() {
    let model = ModelDir::of_case("mha_plain");
    let server = Server::start(&["--default-model", model.arg()]);
    let attempt = server.ended(start(&server, "load", &json!({ "device": "cuda:7" })));
    assert_eq!(
        (&attempt["state"], &attempt["error"]["code"]),
        (&json!("failed"), &json!("device_absent")),
        "{attempt}"
    );
    assert_eq!(attempt["outcome"], "device_absent");
    let says = |value: &Value, words: &str| value.as_str().is_some_and(|text| text.contains(words));
    assert!(says(&attempt["error"]["message"], "it computes on cpu"), "{attempt}");
    assert!(says(&attempt["advice"], "a device that is there"), "{attempt}");
    let unknown = server.post("/api/models/default/load", &json!({ "device": "toaster" }));
    assert_eq!((unknown.status, &unknown.json()["error"]["path"]), (422, &json!("device")));
}

#[test]
fn what_nobody_tells_is_unknown_and_loads_still_work() {
    let model = ModelDir::of_case("mha_plain");
    let server = Server::start(&["--default-model", model.arg()]);
    let devices = server.get("/api/devices").json();
    let host = devices["devices"].as_array().and_then(|list| list.last()).expect("the host").clone();
    assert_eq!(host["device"], "cpu");
    assert!(host["free_bytes"].as_u64() <= host["total_bytes"].as_u64(), "{host}");
    let own = |host: &Value, name: &str| {
        let holders = host["holders"].as_array().expect("a list");
        holders.iter().find(|holder| holder["name"] == name).cloned()
    };
    let server_itself = own(&host, "preflight").expect("the server holds memory");
    assert_eq!(server_itself["pid"], server.pid());
    assert!(server_itself["bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{host}");
    for device in devices["devices"].as_array().expect("a list") {
        assert!(device.get("free_bytes").is_some() && device.get("driver").is_some(), "{device}");
    }
    let id = start(&server, "load", &json!({ "device": "cpu" }));
    server.until(id, |attempt| attempt["state"] == "ready");
    let devices = server.get("/api/devices").json();
    let host = devices["devices"].as_array().and_then(|list| list.last()).expect("the host").clone();
    assert!(own(&host, "preflight-worker").is_some_and(|worker| worker["bytes"].is_u64()), "{host}");
    let doctor = preflight(&["doctor", "--data-dir", model.arg(), "--json"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
    let checks = doctor.json()["checks"].as_array().expect("checks").clone();
    assert!(checks.iter().any(|check| check["name"] == "worker" && check["health"] == "good"), "{checks:?}");
}

/// What is measured does not hang on the time of day: stages add up to what the wall clock saw here.
#[test]
fn durations_come_from_a_clock_that_does_not_jump() {
    let model = ModelDir::of_case("mha_plain");
    let server = Server::start(&["--default-model", model.arg()]);
    let begun = std::time::Instant::now();
    let attempt = server.ended(start(&server, "validate", &json!({})));
    let here_ms = begun.elapsed().as_secs_f64() * 1e3;
    let timings = attempt["timings"].as_object().expect("timings");
    let sum: f64 = timings.values().filter_map(Value::as_f64).sum();
    assert!(timings["validating_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{attempt}");
    assert!(sum > 0.0 && sum <= here_ms, "{sum} of {here_ms}: {timings:?}");
}
