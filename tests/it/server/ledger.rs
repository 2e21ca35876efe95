//! What is kept of attempts: one change at a time, no identical retries, notes, pages, comparison, export.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::http::{Answer, Server};
use crate::support::model_dir::ModelDir;
use crate::support::program::{preflight, program};

fn served() -> (ModelDir, Server) {
    let model = ModelDir::of_case("mha_plain");
    let server = Server::start(&["--default-model", model.arg()]);
    (model, server)
}

fn load(server: &Server, body: &Value) -> Answer {
    server.post("/api/models/default/load", body)
}

/// Loads, unloads, and gives the attempt.
fn tried(server: &Server, body: &Value) -> Value {
    let answer = load(server, body);
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.json()["attempt_id"].as_u64().expect("an id");
    let attempt = server.until(id, |attempt| attempt["state"] == "ready" || attempt["finished_ms"].is_u64());
    if attempt["state"] == "ready" {
        assert_eq!(server.post("/api/models/default/unload", &json!({})).status, 202);
    }
    server.ended(id)
}

#[test]
fn an_attempt_changes_one_thing_of_its_parent() {
    let (_model, server) = served();
    let root = tried(&server, &json!({}));
    assert_eq!((&root["parent"], &root["changes"]), (&Value::Null, &json!([])));
    let one = json!({ "parent": root["id"], "load_config": { "torch_dtype": "float16" } });
    let child = tried(&server, &one);
    assert_eq!(child["parent"], root["id"]);
    assert_eq!(child["changes"][0]["path"], "dtype");
    assert_eq!(
        child["resolved"]
            .as_array()
            .and_then(|values| values.iter().find(|leaf| leaf["path"] == "dtype"))
            .map(|leaf| leaf["origin"].clone()),
        Some(json!("attempt"))
    );

    let two = json!({ "torch_dtype": "float32", "low_cpu_mem_usage": false });
    let refused = load(&server, &json!({ "parent": child["id"], "load_config": two }));
    assert_eq!((refused.status, refused.error_code().as_str()), (409, "too_many_changes"));
    let refused = refused.json();
    let changed: Vec<_> =
        refused["changes"].as_array().expect("the difference").iter().map(|c| &c["path"]).collect();
    assert_eq!(changed, ["dtype", "low_cpu_mem_usage"]);
    assert_eq!(refused["parent"], child["id"]);
    let branch = tried(&server, &json!({ "parent": child["id"], "load_config": two, "branch": true }));
    assert_eq!((&branch["parent"], &branch["branch"]), (&child["id"], &json!(true)));
    assert_eq!(branch["changes"].as_array().map(Vec::len), Some(2));
    // The device is one of the things that change.
    let moved = tried(&server, &json!({ "parent": root["id"], "device": "cpu" }));
    assert_eq!(moved["changes"][0]["path"], "device_map", "{moved}");
    // And so is the context.
    let [from, to] = [root["context"].as_u64().expect("tokens"), 32];
    let shorter = tried(&server, &json!({ "parent": root["id"], "context": to }));
    assert_eq!(shorter["changes"], json!([{ "path": "context", "from": from, "to": to }]), "{shorter}");
    let both = json!({ "parent": root["id"], "context": to, "load_config": { "torch_dtype": "float16" } });
    assert_eq!(load(&server, &both).error_code(), "too_many_changes");
    // Without a parent it goes on from the newest, where that is one change, or a branch.
    let far = json!({ "context": 48, "load_config": two });
    assert_eq!(tried(&server, &far)["parent"], Value::Null);
    let newest = tried(&server, &json!({ "load_config": { "torch_dtype": "float16" } }))["id"].clone();
    let branch = tried(&server, &json!({ "load_config": two, "branch": true }));
    assert_eq!((&branch["parent"], branch["changes"].as_array().map(Vec::len)), (&newest, Some(2)));
    let unknown = load(&server, &json!({ "parent": 99 }));
    assert_eq!((unknown.status, &unknown.json()["error"]["path"]), (422, &json!("parent")));
}

/// Built-in, for all models, for this model, for this attempt: what is nearer counts, and each value tells whence it comes.
#[test]
fn layers_of_a_load_config_have_an_order() {
    let model = ModelDir::of_case("mha_plain");
    let data = tempfile::tempdir().expect("a temporary directory");
    let file = data.path().join("preflight.toml");
    let global = "[load_config]\ntorch_dtype = \"float16\"\nlow_cpu_mem_usage = false\nattn_implementation = \"eager\"\n";
    std::fs::write(&file, global).expect("written");
    let mut command = Command::new(program("preflight"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--default-model", model.arg(), "--config"]).arg(&file);
    command.arg("--data-dir").arg(data.path()).env("RUST_LOG", "off");
    command.env("PREFLIGHT_WORKER", program("preflight-worker"));
    let server = Server::spawn(command, None);
    let layered = |body: Value| {
        let attempt = tried(&server, &body);
        let of = |path: &str| {
            let values = attempt["resolved"].as_array().expect("values");
            let leaf = values
                .iter()
                .find(|leaf| leaf["path"] == path)
                .unwrap_or_else(|| panic!("{path}: {attempt}"));
            (leaf["value"].clone(), leaf["origin"].clone())
        };
        (["dtype", "low_cpu_mem_usage", "attn_implementation"].map(of), attempt["engine"]["dtype"].clone())
    };
    let from = |value: Value, origin: &str| (value, json!(origin));
    let eager = from(json!("eager"), "global");
    let (all, dtype) = layered(json!({}));
    assert_eq!(all, [from(json!("float16"), "global"), from(json!(false), "global"), eager.clone()]);
    assert_eq!(dtype, "f16");
    let own = json!({ "load_config": { "torch_dtype": "bfloat16", "low_cpu_mem_usage": true } }).to_string();
    let patched = server.ask("PATCH", "/api/models/default", &["content-type: application/json"], &own);
    assert_eq!(patched.status, 200, "{patched:?}");
    let (all, dtype) = layered(json!({ "branch": true }));
    assert_eq!(all, [from(json!("bfloat16"), "model"), from(json!(true), "model"), eager.clone()]);
    assert_eq!(dtype, "bf16");
    let (all, dtype) = layered(json!({ "load_config": { "dtype": "float32" } }));
    assert_eq!(all, [from(json!("float32"), "attempt"), from(json!(true), "model"), eager]);
    assert_eq!(dtype, "f32");
}

#[test]
fn the_same_failure_is_not_tried_twice() {
    let (model, server) = served();
    let body = json!({ "load_config": { "torch_dtype": "float32" } });
    let good = std::fs::read(model.file("config.json")).expect("read");
    model.set_config(&json!({ "num_key_value_heads": 2 }));
    let failed = tried(&server, &body);
    assert_eq!(
        (&failed["state"], &failed["outcome"]),
        (&json!("failed"), &json!("config_invalid")),
        "{failed}"
    );
    assert_eq!(failed["error"]["code"], "config_invalid");
    assert!(failed["advice"].is_string(), "{failed}");
    assert!(!failed.to_string().contains(model.arg()), "no path of this machine: {failed}");
    assert_eq!(failed["timings"]["starting_ms"], Value::Null, "no worker was started");
    let refused = load(&server, &body);
    assert_eq!((refused.status, refused.error_code().as_str()), (409, "identical_retry"));
    assert_eq!(refused.json()["attempt_id"], failed["id"]);
    // Another load config is another attempt, and so are other files.
    assert_eq!(load(&server, &json!({})).status, 202);
    server.ended(failed["id"].as_u64().expect("an id") + 1);
    std::fs::write(model.file("config.json"), &good).expect("written");
    let mended = tried(&server, &body);
    assert_eq!(mended["state"], "stopped", "{mended}");
    // What worked may be tried again.
    assert_eq!(tried(&server, &body)["state"], "stopped");
    // Which attempt it goes on from makes it no other.
    model.set_config(&json!({ "num_key_value_heads": 2 }));
    let failed = tried(&server, &body);
    let named = json!({ "load_config": { "torch_dtype": "float32" }, "parent": mended["id"] });
    let refused = load(&server, &named);
    assert_eq!((refused.status, refused.error_code().as_str()), (409, "identical_retry"), "{refused:?}");
    assert_eq!(refused.json()["attempt_id"], failed["id"]);
    // Nor does a default that is written out.
    let written_out =
        json!({ "load_config": { "torch_dtype": "float32", "low_cpu_mem_usage": true }, "branch": true });
    assert_eq!(load(&server, &written_out).error_code(), "identical_retry");
    // Nor what has no effect.
    let without_effect = json!({ "load_config": { "dtype": "float32", "trust_remote_code": true, "revision": "main" }, "branch": true });
    assert_eq!(load(&server, &without_effect).error_code(), "identical_retry");
    std::fs::write(model.file("config.json"), &good).expect("written");
    // A device that this machine lacks it still lacks; whoever knows better says so.
    let absent = json!({ "device": "cuda:77" });
    let failed = tried(&server, &absent);
    assert_eq!(failed["outcome"], "device_absent", "{failed}");
    let refused = load(&server, &absent);
    assert_eq!((refused.status, refused.error_code().as_str()), (409, "identical_retry"));
    assert_eq!(refused.json()["attempt_id"], failed["id"]);
    assert_eq!(load(&server, &json!({ "device": "cuda:77", "force": true })).status, 202);
}

#[test]
fn what_a_model_is_anyway_makes_no_other_attempt() {
    let (model, server) = served();
    let tokenizer = model.file("tokenizer.json");
    std::fs::write(&tokenizer, "[]").expect("written");
    let failed = tried(&server, &json!({}));
    assert_eq!(failed["outcome"], "download_corrupt", "{failed}");
    let config: Value =
        serde_json::from_slice(&std::fs::read(model.file("config.json")).expect("read")).expect("JSON");
    let window = &config["sliding_window"];
    let positions = config["max_position_embeddings"].as_u64().expect("a number");
    for same in [
        json!({ "load_config": { "dtype": "bfloat16" } }),
        json!({ "device": "cpu" }),
        json!({ "load_config": { "sliding_window": window } }),
        json!({ "context": positions.min(4096) }),
    ] {
        let refused = load(&server, &same);
        assert_eq!(refused.status, 409, "{same}: {refused:?}");
        assert_eq!(refused.error_code(), "identical_retry", "{same}: {refused:?}");
    }
    for other in [
        json!({ "load_config": { "dtype": "float32" } }),
        json!({ "load_config": { "sliding_window": 3 } }),
        json!({ "context": positions.min(4096) - 1 }),
    ] {
        let mut other = other;
        other["branch"] = json!(true);
        let failed = tried(&server, &other);
        assert_eq!(failed["outcome"], "download_corrupt", "{other}: {failed}");
    }
}

/// A map that leads to the one device that is chosen anyway may be wrong all the same.
#[test]
fn a_wrong_map_forbids_no_load_without_it() {
    let (_model, server) = served();
    let wrong = json!({ "load_config": { "device_map": { "model.layers": "cpu" } } });
    let failed = tried(&server, &wrong);
    assert_eq!(
        (&failed["state"], &failed["outcome"]),
        (&json!("failed"), &json!("config_invalid")),
        "{failed}"
    );
    assert_eq!(load(&server, &wrong).status, 409);
    let mended =
        json!({ "load_config": { "device_map": { "model": "cpu", "lm_head": "cpu" } }, "branch": true });
    for other in [json!({ "branch": true }), mended] {
        assert_eq!(tried(&server, &other)["state"], "stopped", "{other}");
    }
}

#[test]
fn attempts_are_kept_with_all_that_makes_them_repeatable() {
    let model = ModelDir::of_case("mha_plain");
    let data = tempfile::tempdir().expect("a temporary directory");
    let args = ["--default-model", model.arg(), "--data-dir", data.path().to_str().expect("UTF-8")];
    let server = Server::start(&args);
    let attempt = tried(&server, &json!({ "note": "=cmd()|<script>" }));
    for path in [
        "/predicted/total_bytes",
        "/memory/measured/total_bytes",
        "/engine/engine",
        "/environment/build",
        "/environment/kernel",
        "/environment/worker_build",
        "/environment/cpu",
        "/context",
        "/timings/loading_ms",
        "/timings/ready_ms",
        "/unload/worker_resident_bytes",
        "/unload/host_available_after_bytes",
        "/source/path",
        "/files/0/name",
    ] {
        assert!(attempt.pointer(path).is_some_and(|value| !value.is_null()), "{path}: {attempt}");
    }
    let id = attempt["id"].as_u64().expect("an id");
    let path = format!("/api/attempts/{id}");
    let noted = server.ask("PATCH", &path, &["content-type: application/json"], r#"{"note":"=SUM(A1)"}"#);
    assert_eq!((noted.status, &noted.json()["note"]), (200, &json!("=SUM(A1)")));
    assert_eq!(
        server.ask("PATCH", &path, &["content-type: application/json"], r#"{"state":"ready"}"#).status,
        422
    );
    for (place, note) in [("load", "a\u{0}b".to_owned()), ("validate", "x".repeat((64 << 10) + 1))] {
        let refused = server.post(&format!("/api/models/default/{place}"), &json!({ "note": note }));
        assert_eq!((refused.status, &refused.json()["error"]["path"]), (422, &json!("note")), "{place}");
        let refused = server.post("/api/ladders", &json!({ "model": "default", "note": note }));
        assert_eq!((refused.status, &refused.json()["error"]["path"]), (422, &json!("note")), "{place}");
    }
    let before = server.get(&path).json();
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(&args);
    assert_eq!(server.get(&path).json(), before);
    assert_eq!(server.get(&format!("{path}/log")).status, 200);
    assert!(!before.to_string().contains(model.arg()), "no path of this machine: {before}");

    let csv = server.get("/api/attempts/export?format=csv");
    assert!(csv.body.contains("'=SUM(A1)"), "{csv:?}");
    let lines = server.get("/api/attempts/export?format=jsonl");
    let line: Value = serde_json::from_str(lines.body.trim()).expect("one line of JSON");
    assert_eq!((&line["id"], &line["note"]), (&before["id"], &before["note"]));
    let table = server.get("/api/attempts/export?format=markdown");
    assert_eq!(table.body.lines().count(), 3, "{table:?}");
    assert_eq!(server.get("/api/attempts/export?format=xml").status, 422);
}

#[test]
fn lists_come_in_pages_and_comparisons_show_differences() {
    let (_model, server) = served();
    tried(&server, &json!({}));
    tried(&server, &json!({ "load_config": { "torch_dtype": "float16" } }));
    tried(&server, &json!({ "load_config": { "torch_dtype": "bfloat16" } }));
    let ids = |answer: &Answer| -> Vec<u64> {
        answer.json().as_array().expect("a list").iter().filter_map(|a| a["id"].as_u64()).collect()
    };
    let first = server.get("/api/attempts?limit=2&state=stopped");
    assert_eq!(ids(&first), [3, 2]);
    let next =
        first.header("link").and_then(|link| link.split(['<', '>']).nth(1)).expect("another page").to_owned();
    let second = server.get(&next);
    assert_eq!((ids(&second), second.header("link")), (vec![1], None));
    assert_eq!(ids(&server.get("/api/attempts?outcome=passed&kind=load&model=default")), [3, 2, 1]);
    assert!(ids(&server.get("/api/attempts?model=other")).is_empty());
    for query in ["limit=0", "limit=100000", "state=unknown", "colour=red", "cursor=-1"] {
        assert_eq!(server.get(&format!("/api/attempts?{query}")).status, 422, "{query}");
    }

    let compared = server.get("/api/attempts/compare?ids=1,2,3").json();
    let rows = compared["differences"].as_array().expect("rows");
    let row = |path: &str| rows.iter().find(|row| row["path"] == path);
    assert_eq!(row("load_config.dtype").expect("differs")["values"], json!([null, "float16", "bfloat16"]));
    assert!(row("model").is_none() && row("environment.cpu").is_none(), "{compared}");
    assert_eq!(server.get("/api/attempts/compare?ids=1").status, 422);
    assert_eq!(server.get("/api/attempts/compare?ids=1,99").status, 404);
}

/// What the first load measured corrects the next estimate of any model, here and on the command line beside.
#[test]
fn a_measured_load_calibrates_the_overhead_that_is_estimated() {
    let model = ModelDir::of_case("mha_plain");
    let data = tempfile::tempdir().expect("a temporary directory");
    let folder = data.path().to_str().expect("UTF-8");
    let server = Server::start(&["--default-model", model.arg(), "--data-dir", folder]);
    let preset = "phi-3-mini-4k-instruct";
    let estimate = || {
        let answer = server.post("/api/estimate", &json!({ "source": { "preset": preset } }));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let overhead = |report: &Value| {
        let terms = report["terms"].as_array().expect("terms");
        terms.iter().find(|term| term["name"] == "overhead").expect("a term").clone()
    };
    let assumed = estimate();
    assert_eq!(overhead(&assumed)["badge"], "formula");
    let loaded = tried(&server, &json!({ "device": "cpu" }));
    let [measured, predicted] = ["measured", "predicted"]
        .map(|side| loaded["memory"][side]["overhead_bytes"].as_i64().expect("bytes"));
    let calibrated = estimate();
    let term = overhead(&calibrated);
    assert_eq!(
        (&term["badge"], &term["formula"]),
        (&json!("calibrated"), &json!("assumed, corrected by one measured load"))
    );
    // Another vocabulary: what was assumed too much or too little is corrected, not the whole replaced.
    let bytes = |report: &Value| report["overhead_bytes"].as_i64().expect("bytes");
    assert_eq!(bytes(&calibrated) - bytes(&assumed), measured - predicted);
    assert_eq!(calibrated["assumed_overhead_bytes"], assumed["overhead_bytes"]);

    // The next load is predicted so, and is one more that is measured.
    let again = tried(&server, &json!({ "force": true }));
    assert_eq!(again["memory"]["predicted"]["overhead_bytes"].as_i64(), Some(measured), "{again}");
    let formula = overhead(&estimate())["formula"].clone();
    assert!(
        formula
            .as_str()
            .is_some_and(|text| text.starts_with("assumed, corrected by the median of 2 measured loads")),
        "{formula}"
    );
    let path = format!("preset:{preset}");
    let beside = preflight(&["estimate", &path, "--data-dir", folder, "--json"]);
    assert_eq!(beside.json()["overhead_bytes"], estimate()["overhead_bytes"], "{beside:?}");
    let nowhere = preflight(&["estimate", &path, "--data-dir", model.arg(), "--json"]);
    assert_eq!(nowhere.code, 2, "{nowhere:?}");
}
