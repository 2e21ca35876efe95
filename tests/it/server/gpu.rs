//! A GPU as its driver's library tells it, and a worker that pretends to compute on it: what the server makes of memory
//! that others took, of a driver that fails, and of a GPU that falls off the bus.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::faults::faulty;
use crate::support::http::Server;
use crate::support::inject::Inject;
use crate::support::model_dir::ModelDir;
use crate::support::program::{children, preflight, program};

/// The GPU, or `None` with the reason printed.
macro_rules! gpu {
    () => {
        match Inject::gpu() {
            Ok(gpu) => gpu,
            Err(reason) => {
                crate::support::left_out(reason);
                return;
            }
        }
    };
}

fn serve(gpu: &Inject, model: &ModelDir, worker: &std::path::Path) -> Server {
    serve_with(gpu, &["--default-model", model.arg()], worker)
}

fn serve_with(gpu: &Inject, args: &[&str], worker: &std::path::Path) -> Server {
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(program("preflight"));
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(args)
        .arg("--data-dir")
        .arg(data.path())
        .env("PREFLIGHT_WORKER", worker)
        .env("RUST_LOG", "off");
    gpu.show_gpu(&mut command);
    Server::spawn(command, Some(data))
}

fn load(server: &Server, body: &Value) -> u64 {
    let answer = server.post("/api/models/default/load", body);
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["attempt_id"].as_u64().expect("an id")
}

fn the_gpu(server: &Server) -> Value {
    let devices = server.get("/api/devices").json()["devices"].clone();
    let gpu = devices.as_array().expect("a list").iter().find(|device| device["device"] == "cuda:0").cloned();
    gpu.unwrap_or_else(|| panic!("{devices}"))
}

fn log(server: &Server, id: u64) -> String {
    server.get(&format!("/api/attempts/{id}/log")).body
}

#[test]
fn a_gpu_that_falls_off_the_bus_is_told_and_not_tried_again() {
    let (gpu, model) = (gpu!(), ModelDir::of_case("mha_plain"));
    let (_dir, worker) = faulty("good");
    let server = serve(&gpu, &model, &worker);
    let told = the_gpu(&server);
    assert_eq!(
        (&told["name"], &told["driver"]),
        (&json!("NVIDIA of a test"), &json!("NVIDIA 999.1, CUDA 13.0"))
    );
    assert_eq!((&told["free_bytes"], &told["fault"]), (&json!(23_u64 << 30), &Value::Null));
    let used = "preflight_gpu_memory_used_bytes{gpu=\"cuda:0\"} 1073741824";
    assert!(server.get("/metrics").body.lines().any(|line| line == used));

    // `auto` is this GPU. What its driver says stands in the log while the model is still loaded.
    let loaded = load(&server, &json!({}));
    server.until(loaded, |attempt| attempt["state"] == "ready");
    gpu.on("xid", "31");
    let begun = Instant::now();
    while !log(&server, loaded).contains("driver: cuda:0: Xid 31: GPU memory page fault") {
        assert!(begun.elapsed() < Duration::from_secs(5), "{}", log(&server, loaded));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(the_gpu(&server)["fault"], Value::Null, "one program's fault");
    // Its worker dies, and the reason comes a moment later.
    let worker = children(server.pid())[0];
    Command::new("kill").args(["-9", &worker.to_string()]).status().expect("kill runs");
    gpu.on("xid", "79");
    let failed = server.ended(loaded);
    assert_eq!((&failed["state"], &failed["error"]["code"]), (&json!("failed"), &json!("worker_killed")));
    let lines = failed["log"].as_array().expect("lines").clone();
    assert!(lines.contains(&json!("driver: cuda:0: Xid 79: GPU has fallen off the bus")), "{lines:?}");
    let fault = the_gpu(&server)["fault"].as_str().expect("it is marked").to_owned();
    assert!(fault.contains("Xid 79") && fault.contains("reset the GPU"), "{fault}");

    // Nothing loads by itself, and nothing is loaded there unless somebody insists.
    for path in ["load", "validate"] {
        let id =
            server.post(&format!("/api/models/default/{path}"), &json!({})).json()["attempt_id"].as_u64();
        let refused = server.ended(id.expect("an id"));
        assert_eq!(
            (&refused["error"]["code"], &refused["outcome"]),
            (&json!("device_unhealthy"), &json!("device_absent"))
        );
        assert!(
            refused["error"]["message"].as_str().is_some_and(|text| text.contains("Xid 79")),
            "{refused}"
        );
        assert_eq!(refused["timings"]["starting_ms"], Value::Null, "no worker was started");
    }
    assert_eq!(server.get("/api/attempts").json().as_array().map(Vec::len), Some(3));
    let cpu = load(&server, &json!({ "device": "cpu" }));
    server.until(cpu, |attempt| attempt["state"] == "ready");
    let forced = load(&server, &json!({ "force": true }));
    server.until(forced, |attempt| attempt["state"] == "ready");
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn a_driver_that_tells_nothing_any_more_hides_nothing() {
    let (gpu, model) = (gpu!(), ModelDir::of_case("mha_plain"));
    let (_dir, worker) = faulty("good");
    let server = serve(&gpu, &model, &worker);
    gpu.on("failing", "");
    let told = the_gpu(&server);
    for unknown in ["total_bytes", "free_bytes", "used_bytes", "fault"] {
        assert_eq!(told[unknown], Value::Null, "{told}");
    }
    let loaded = load(&server, &json!({ "device": "cuda:0" }));
    server.until(loaded, |attempt| attempt["state"] == "ready");
    assert_eq!(server.post("/api/models/default/unload", &json!({})).status, 202);
    server.ended(loaded);
    gpu.off("failing");
    assert_eq!(the_gpu(&server)["total_bytes"], json!(24_u64 << 30));
    // One that is gone keeps its place in the list, so that others keep theirs.
    gpu.on("lost", "");
    let lost = the_gpu(&server);
    assert!(lost["fault"].as_str().is_some_and(|text| text.contains("has lost this GPU")), "{lost}");
    let refused = server.ended(load(&server, &json!({ "device": "cuda:0" })));
    assert_eq!(refused["error"]["code"], "device_unhealthy", "{refused}");
    let mut command = Command::new(program("preflight"));
    command
        .args(["doctor", "--json", "--data-dir", model.arg()])
        .env("PREFLIGHT_WORKER", program("preflight-worker"));
    gpu.show_gpu(&mut command);
    let doctor = crate::support::program::run(command);
    assert_eq!(doctor.code, 1, "{doctor:?}");
    assert!(doctor.stdout.contains("has lost this GPU"), "{doctor:?}");
    assert_eq!(preflight(&["doctor", "--json", "--data-dir", model.arg()]).code, 0);
}

/// Both before a load is tried and after it has failed.
#[test]
fn out_of_memory_on_a_gpu_names_who_holds_it() {
    let (gpu, model) = (gpu!(), ModelDir::of_case("mha_plain"));
    let (_dir, worker) = faulty("full");
    let server = serve(&gpu, &model, &worker);
    let holder = std::process::id();
    // Its memory goes between the look at it and the load.
    gpu.on("holder", &format!("{holder} {}", 20_u64 << 30));
    let failed = server.ended(load(&server, &json!({})));
    assert_eq!(
        (&failed["error"]["code"], &failed["outcome"]),
        (&json!("oom"), &json!("oom_device_weights")),
        "{failed}"
    );
    let message = failed["error"]["message"].as_str().expect("words");
    let named = format!("(process {holder})");
    assert!(message.contains("1 GiB free, others hold 20") && message.ends_with(&named), "{message}");
    assert_eq!(the_gpu(&server)["holders"][0]["pid"], holder);
    gpu.on("memory", &format!("{} {}", 24_u64 << 30, (24_u64 << 30) - 4096));
    let refused = server.ended(load(&server, &json!({ "load_config": { "torch_dtype": "float16" } })));
    assert_eq!(
        (&refused["error"]["code"], &refused["outcome"]),
        (&json!("does_not_fit"), &json!("oom_device_weights"))
    );
    let message = refused["error"]["message"].as_str().expect("words");
    assert!(message.contains("free on cuda:0, others hold 20") && message.contains(&named), "{message}");
    assert_eq!(server.get("/health").status, 200);
}

/// A load that takes the place of another has its memory: it is not refused for what is about to be free.
#[test]
fn what_gives_way_counts_as_free() {
    let (gpu, model) = (gpu!(), ModelDir::of_case("mha_plain"));
    let (_dir, worker) = faulty("large");
    let server = serve(&gpu, &model, &worker);
    let first = load(&server, &json!({}));
    server.until(first, |attempt| attempt["state"] == "ready");
    gpu.on("memory", &format!("{} {}", 24_u64 << 30, (24_u64 << 30) - 4096));
    // A validation of something else leaves it where it is.
    let half = json!({ "load_config": { "torch_dtype": "float16" } });
    let beside = server.post("/api/models/default/validate", &half).json()["attempt_id"].as_u64();
    let beside = server.ended(beside.expect("an id"));
    assert_eq!(beside["error"]["code"], "does_not_fit", "{beside}");
    let second = load(&server, &half);
    let second =
        server.until(second, |attempt| attempt["state"] == "ready" || attempt["finished_ms"].is_u64());
    assert_eq!(second["state"], "ready", "{second}");
    assert_eq!(server.ended(first)["state"], "stopped");
}

/// Of a model that is split, each device is asked for what goes there.
#[test]
fn a_split_fits_where_its_parts_fit() {
    let (gpu, model) = (gpu!(), ModelDir::hollow());
    let (_dir, worker) = faulty("good");
    let server = serve(&gpu, &model, &worker);
    // 1.5 GiB are free, and the model has 2 GiB of weights.
    gpu.on("memory", &format!("{} {}", 24_u64 << 30, (24_u64 << 30) - (1536 << 20)));
    let split = |budget: &str| {
        let body = json!({ "load_config": { "max_memory": { "0": budget, "cpu": "16GiB" } } });
        server.until(load(&server, &body), |attempt| {
            attempt["state"] == "ready" || attempt["finished_ms"].is_u64()
        })
    };
    let refused = split("3GiB");
    assert_eq!(refused["error"]["code"], "does_not_fit", "{refused}");
    let message = refused["error"]["message"].as_str().expect("words");
    assert!(message.contains("1.50 GiB free on cuda:0"), "{message}");
    assert_eq!(split("1GiB")["state"], "ready");
}

/// A device loads one model at a time, in the order that they were asked for; another device waits for none of them.
#[test]
fn each_device_has_a_queue_of_its_own() {
    let (gpu, model) = (gpu!(), ModelDir::of_case("mha_plain"));
    let (_dir, worker) = faulty("idle");
    let root = tempfile::tempdir().expect("a temporary directory");
    let other = ModelDir::of_case("mha_plain");
    std::fs::rename(other.path(), root.path().join("other")).expect("moved");
    let root = root.path().to_str().expect("UTF-8");
    let server = serve_with(&gpu, &["--default-model", model.arg(), "--model-root", root], &worker);
    let loading = |id: u64| server.until(id, |attempt| attempt["state"] == "loading");
    let first = load(&server, &json!({ "device": "cuda:0" }));
    loading(first);
    let formats = ["float16", "bfloat16"]
        .map(|dtype| load(&server, &json!({ "device": "cuda:0", "load_config": { "torch_dtype": dtype } })));
    let beside =
        server.post("/api/models/other/load", &json!({ "device": "cpu" })).json()["attempt_id"].as_u64();
    let beside = beside.expect("an id");
    loading(beside);
    assert_eq!(children(server.pid()).len(), 2);
    let told = |id: u64| {
        let attempt = server.get(&format!("/api/attempts/{id}")).json();
        (attempt["state"].clone(), attempt["position"].clone())
    };
    assert_eq!(told(formats[0]), (json!("queued"), json!(1)));
    assert_eq!(told(formats[1]), (json!("queued"), json!(2)));
    // What is for both waits for all that came before it on either, and what comes after it waits for it.
    let split = load(&server, &json!({ "load_config": { "max_memory": { "0": "9GiB", "cpu": "9GiB" } } }));
    assert_eq!(told(split), (json!("queued"), json!(4)));
    let last = load(&server, &json!({ "device": "cpu", "load_config": { "torch_dtype": "float32" } }));
    assert_eq!(told(last), (json!("queued"), json!(2)));
    server.ask("DELETE", &format!("/api/attempts/{first}"), &[], "");
    loading(formats[0]);
    assert_eq!(told(formats[1]), (json!("queued"), json!(1)));
    assert_eq!(told(beside).0, json!("loading"));
}
