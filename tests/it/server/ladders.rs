//! Ladders that the server runs: to their end, through its own, and after it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::loads::{NOISE, PROMISED};
use crate::support::http::Server;
use crate::support::model_dir::ModelDir;
use crate::support::program::{children, has_ended};
use crate::support::tests_dir;

fn tiny() -> String {
    tests_dir().join("../public/tiny").canonicalize().expect("the tiny model").display().to_string()
}

fn start(server: &Server, body: &Value) -> u64 {
    let answer = server.post("/api/ladders", body);
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["ladder_id"].as_u64().expect("an id")
}

/// Waits until a ladder is as wanted.
fn until(server: &Server, id: u64, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let ladder = server.get(&format!("/api/ladders/{id}")).json();
        if wanted(&ladder) {
            return ladder;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "still {ladder}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn ended(server: &Server, id: u64) -> Value {
    until(server, id, |ladder| !["queued", "running"].contains(&ladder["state"].as_str().expect("a state")))
}

/// `1 passed`, …
fn states(ladder: &Value) -> Vec<String> {
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    let rungs = ladder["rungs"].as_array().expect("rungs");
    rungs.iter().map(|rung| format!("{} {}", word(&rung["step"]), word(&rung["state"]))).collect()
}

/// Two loads that differ by one change; the run on the second takes its time.
fn slow_profile(tokens: u32) -> String {
    format!(
        "name = \"slow\"\n\
         [[steps]]\nid = \"look\"\naction = \"inspect\"\n\
         [[steps]]\nid = \"load\"\naction = \"load\"\ndevice = \"cpu\"\noverrides = {{ dtype = \"float32\" }}\n\
         [[steps]]\nid = \"half\"\naction = \"infer\"\noverrides = {{ dtype = \"bfloat16\" }}\nmax_new_tokens = {tokens}\n\
         [[steps]]\nid = \"end\"\naction = \"unload\"\n"
    )
}

/// Of a ladder and a DELETE of its model at the same time one is refused.
#[test]
fn a_model_does_not_go_while_a_ladder_begins() {
    let folder = ModelDir::of_case("gqa_plain");
    let root = folder.path().parent().expect("a folder").to_owned();
    let name = folder.path().file_name().expect("a name").to_str().expect("UTF-8").to_owned();
    let server = Server::start(&["--model-root", root.to_str().expect("UTF-8")]);
    for _ in 0..8 {
        let registered = server.post("/api/models", &json!({ "source": { "path": name }, "id": "here" }));
        assert_eq!(registered.status, 201, "{registered:?}");
        let body = json!({ "model": "here", "toml": slow_profile(4) });
        let (begun, gone) = std::thread::scope(|scope| {
            let begun = scope.spawn(|| server.post("/api/ladders", &body));
            let gone = scope.spawn(|| server.ask("DELETE", "/api/models/here", &[], "").status);
            (begun.join().expect("answered"), gone.join().expect("answered"))
        });
        assert!([(202, 409), (404, 204)].contains(&(begun.status, gone)), "{begun:?} {gone}");
        if begun.status == 202 {
            let ladder = ended(&server, begun.json()["ladder_id"].as_u64().expect("an id"));
            assert_eq!(ladder["state"], "passed", "{ladder}");
            assert_eq!(server.ask("DELETE", "/api/models/here", &[], "").status, 204);
        }
    }
}

fn is_running(step: usize) -> impl Fn(&Value) -> bool {
    move |ladder| ladder["rungs"][step]["state"] == "running"
}

#[test]
fn the_default_ladder_ends_in_a_committed_config() {
    let server = Server::start(&["--default-model", &tiny()]);
    let events = server.events(&[]);
    let id = start(&server, &json!({ "model": "default", "note": "before the release" }));
    let ladder = ended(&server, id);
    assert_eq!(ladder["state"], "passed", "{ladder}");
    let expected = [
        "1 passed",
        "2 passed",
        "3 skipped",
        "4 skipped",
        "5a skipped",
        "5b skipped",
        "6 passed",
        "7 passed",
    ];
    assert_eq!(states(&ladder), expected, "{ladder}");
    assert_eq!((&ladder["profile"], &ladder["note"]), (&json!("default"), &json!("before the release")));
    let third = &ladder["rungs"][2];
    assert!(third["reason"].as_str().is_some_and(|reason| reason.starts_with("no GPU here")), "{third}");
    assert_eq!(third["attempts"], json!([]));
    assert!(third["predicted"]["total_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{third}");
    // What nothing called for has no load config that could be sized.
    assert_eq!(ladder["rungs"][3]["predicted"], Value::Null);

    // Its rungs are attempts like all others: in the ledger, each with its parent.
    let attempt = |rung: usize| {
        let id = ladder["rungs"][rung]["attempts"][0].as_u64().expect("an attempt");
        server.get(&format!("/api/attempts/{id}")).json()
    };
    let (dry, validated) = (attempt(1), attempt(6));
    assert_eq!((&dry["state"], &dry["kind"]), (&json!("stopped"), &json!("validate")));
    assert_eq!(dry["note"], "ladder 1, rung 2: dry run on the CPU in f32: weights deserialize, one forward");
    assert_eq!((&dry["parent"], &validated["parent"]), (&Value::Null, &dry["id"]));
    assert_eq!(dry["report"]["generated_tokens"].as_array().map(Vec::len), Some(1));
    assert_eq!(validated["report"]["probes"].as_array().map(Vec::len), Some(2));
    for rung in [1, 6] {
        let rung = &ladder["rungs"][rung];
        assert_eq!(rung["predicted"]["weights_bytes"], rung["measured"]["weights_bytes"], "{rung}");
        assert!(rung["predicted"]["weights_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    }
    let good = server.get("/api/models/default/known-good").json();
    assert_eq!((&good["attempt"], &ladder["known_good"]), (&validated["id"], &validated["id"]));

    let told: Vec<Value> = events
        .filter(|event| event["type"] == "ladder")
        .map(|event| event["ladder"].clone())
        .take_while(|ladder| ladder["state"] != "passed")
        .collect();
    assert_eq!((&told[0]["state"], &told[0]["position"]), (&json!("queued"), &json!(0)));
    assert!(told.iter().any(is_running(1)), "a rung is told when it begins");
    assert_eq!(server.get("/api/ladders").json(), json!([ladder]));
    assert!(children(server.pid()).is_empty(), "nothing stays loaded");
    // With the load config that it committed, it goes the same way again.
    let again = ended(&server, start(&server, &json!({ "model": "default" })));
    assert_eq!((&again["id"], states(&again)), (&json!(2), states(&ladder)), "{again}");
}

/// Killed with a rung half done, it goes on there, and what was done is not done again.
#[test]
fn a_ladder_outlives_its_server() {
    let model = ModelDir::slow();
    let data = tempfile::tempdir().expect("a temporary directory");
    let args = ["--default-model", model.arg(), "--data-dir", data.path().to_str().expect("UTF-8")];
    let mut server = Server::start(&args);
    let id = start(&server, &json!({ "model": "default", "toml": slow_profile(500) }));
    let waiting = start(&server, &json!({ "model": "default" }));
    let running = until(&server, id, |ladder| ladder["rungs"][2]["attempts"] != json!([]));
    let loaded = running["rungs"][1]["attempts"].clone();
    let hit = running["rungs"][2]["attempts"][0].as_u64().expect("an attempt");
    server.until(hit, |attempt| attempt["state"] == "validating");
    let workers = children(server.pid());
    // Dropping it is `kill -9`.
    drop(server);
    server = Server::start(&args);
    let killed = server.get(&format!("/api/ladders/{id}")).json();
    assert_eq!(killed["state"], "interrupted", "{killed}");
    assert!(killed["reason"].as_str().is_some_and(|reason| reason.contains("resumed")), "{killed}");
    assert_eq!(states(&killed), ["look passed", "load passed", "half waiting", "end waiting"]);
    let waiting = server.get(&format!("/api/ladders/{waiting}")).json();
    assert_eq!(waiting["state"], "interrupted");
    assert_eq!(waiting["reason"], "the server died while it waited; it can be resumed");
    assert_eq!(server.get(&format!("/api/attempts/{hit}")).json()["state"], "lost");
    assert!(workers.iter().all(|pid| has_ended(*pid)), "{workers:?}");
    // It waits until somebody asks for it.
    std::thread::sleep(Duration::from_millis(100));
    assert!(children(server.pid()).is_empty());

    let path = format!("/api/ladders/{id}/resume");
    assert_eq!(server.post(&path, &json!({})).status, 202);
    let again = server.post(&path, &json!({}));
    assert_eq!((again.status, again.error_code().as_str()), (409, "ladder_going_on"));
    until(&server, id, is_running(2));
    // Ended in order, it can be resumed all the same.
    assert_eq!(server.stop(), Some(0));
    server = Server::start(&args);
    let stopped = server.get(&format!("/api/ladders/{id}")).json();
    assert_eq!(stopped["state"], "interrupted", "{stopped}");
    assert_eq!(server.post(&path, &json!({})).status, 202);
    let done = ended(&server, id);
    assert_eq!(done["state"], "passed", "{done}");
    assert_eq!(done["rungs"][1]["attempts"], loaded, "what was done is not done again");
    assert_eq!(done["rungs"][2]["changes"][0]["path"], "dtype");
    let attempts = done["rungs"][2]["attempts"].as_array().expect("attempts");
    assert!(attempts.len() >= 2 && attempts[0] == hit, "{done}");
    let last = server.get(&format!("/api/attempts/{}", attempts[attempts.len() - 1])).json();
    assert_eq!((&last["state"], &last["parent"]), (&json!("stopped"), &loaded[0]), "{last}");
}

#[test]
fn one_climbs_and_the_rest_wait() {
    let model = ModelDir::slow();
    let server = Server::start(&["--default-model", model.arg()]);
    let body = |tokens: u32| json!({ "model": "default", "toml": slow_profile(tokens) });
    let first = start(&server, &body(4000));
    assert_eq!(start(&server, &body(4000)), first, "the same ladder goes on already");
    let second = start(&server, &body(2));
    let third = start(&server, &body(3));
    until(&server, first, is_running(2));
    // A model is not forgotten under a ladder's feet.
    let in_use = server.ask("DELETE", "/api/models/default", &[], "");
    assert_eq!((in_use.status, in_use.error_code().as_str()), (409, "model_in_use"), "{in_use:?}");
    let position = |id: u64| server.get(&format!("/api/ladders/{id}")).json()["position"].clone();
    assert_eq!((position(first), position(second), position(third)), (Value::Null, json!(1), json!(2)));
    let cancel = |id: u64| server.post(&format!("/api/ladders/{id}/cancel"), &json!({}));
    assert_eq!(cancel(second).json()["state"], "cancelled");
    assert_eq!(position(third), json!(1));
    // The one that runs ends with the attempt that runs for it, and the next has its turn.
    let begun = Instant::now();
    assert_eq!(cancel(first).status, 200);
    let ladder = ended(&server, first);
    assert!(begun.elapsed() < PROMISED * NOISE, "{:?}", begun.elapsed());
    assert_eq!((&ladder["state"], &ladder["reason"]), (&json!("cancelled"), &json!("cancelled on request")));
    assert_eq!(states(&ladder)[2], "half waiting");
    let hit = ladder["rungs"][2]["attempts"][0].as_u64().expect("an attempt");
    let hit = server.get(&format!("/api/attempts/{hit}")).json();
    // It may have waited still.
    let by = hit["error"]["message"].as_str().expect("words");
    assert!(by.starts_with(&format!("cancelled by ladder {first}")), "{hit}");
    assert_eq!(ended(&server, third)["state"], "passed");
    // What was cancelled while it waited begins where it stood: at the first rung.
    assert_eq!(server.post(&format!("/api/ladders/{second}/resume"), &json!({})).status, 202);
    assert_eq!(ended(&server, second)["state"], "passed");
    // To cancel the attempt is to cancel the ladder.
    let fourth = start(&server, &body(4000));
    let running = until(&server, fourth, |ladder| ladder["rungs"][2]["attempts"] != json!([]));
    let attempt = running["rungs"][2]["attempts"][0].as_u64().expect("an attempt");
    assert_eq!(server.post(&format!("/api/attempts/{attempt}/cancel"), &json!({})).status, 200);
    let ladder = ended(&server, fourth);
    assert_eq!(ladder["reason"], format!("attempt {attempt} was cancelled"), "{ladder}");
    assert_eq!(server.ask("DELETE", &format!("/api/ladders/{fourth}"), &[], "").json(), ladder);
}

/// A context that the model does not have is skipped, unrun; a ladder whose model is gone waits for it.
#[test]
fn what_cannot_be_begun_is_left_as_it_is() {
    let model = ModelDir::slow();
    let root = model.path().parent().expect("a folder").to_owned();
    let name = model.path().file_name().expect("a name").to_str().expect("UTF-8").to_owned();
    let server = Server::start(&["--model-root", root.to_str().expect("UTF-8")]);
    let register = || {
        let body = json!({ "source": { "path": name }, "id": "there" });
        assert_eq!(server.post("/api/models", &body).status, 201);
    };
    register();
    let toml = "name = 'far'\ncontext = 100000000\n[[steps]]\nid = 'far'\naction = 'load'\ndevice = 'cpu'\n";
    let far = ended(&server, start(&server, &json!({ "model": "there", "toml": toml })));
    let rung = &far["rungs"][0];
    assert_eq!((&rung["state"], &rung["class"]), (&json!("skipped"), &json!("context_too_long")), "{far}");
    let id = start(&server, &json!({ "model": "there", "toml": slow_profile(4000) }));
    until(&server, id, is_running(2));
    server.ask("DELETE", &format!("/api/ladders/{id}"), &[], "");
    ended(&server, id);
    assert_eq!(server.ask("DELETE", "/api/models/there", &[], "").status, 204);
    let resume = || server.post(&format!("/api/ladders/{id}/resume"), &json!({}));
    assert_eq!((resume().status, resume().error_code().as_str()), (404, "no_such_model"));
    register();
    assert_eq!(resume().status, 202);
}

/// What failed for certain is not tried again, in this ladder or the next.
#[test]
fn a_certain_failure_is_known_to_the_next_ladder() {
    let model = ModelDir::of_case("mha_plain");
    let weights = model.file("model.safetensors");
    let mut bytes = std::fs::read(&weights).expect("weights");
    let end = bytes.len();
    // The last tensor's last values: quiet NaN in every format of two or four bytes.
    bytes[end - 64..].fill(0xff);
    std::fs::write(&weights, bytes).expect("written");
    let server = Server::start(&["--default-model", model.arg()]);
    let first = ended(&server, start(&server, &json!({ "model": "default" })));
    assert_eq!((&first["state"], &first["known_good"]), (&json!("failed"), &Value::Null), "{first}");
    let dry = &first["rungs"][1];
    assert_eq!((&dry["state"], &dry["class"]), (&json!("failed"), &json!("nan_inf")), "{dry}");
    let attempt = dry["attempts"][0].as_u64().expect("an attempt");
    let second = ended(&server, start(&server, &json!({ "model": "default" })));
    let dry = &second["rungs"][1];
    assert_eq!((&dry["state"], &dry["attempts"]), (&json!("skipped"), &json!([])), "{dry}");
    assert_eq!(dry["reason"], format!("attempt {attempt} ended in nan_inf with the same load config"));
    let broken = ModelDir::of_case("gqa_plain");
    broken.write("config.json", "{");
    let server = Server::start(&["--default-model", broken.arg()]);
    let ladder = ended(&server, start(&server, &json!({ "model": "default" })));
    assert_eq!(ladder["state"], "failed", "{ladder}");
    assert!(!ladder["reason"].to_string().contains(broken.arg()), "no path of this machine: {ladder}");
}

#[test]
fn profiles_are_kept_by_name() {
    let model = ModelDir::of_case("mha_plain");
    let data = tempfile::tempdir().expect("a temporary directory");
    let args = ["--default-model", model.arg(), "--data-dir", data.path().to_str().expect("UTF-8")];
    let server = Server::start(&args);
    let toml = |name: &str, action: &str| {
        format!("name = \"{name}\"\ndescription = \"one\"\n[[steps]]\nid = \"a\"\naction = \"{action}\"\n")
    };
    let save =
        |name: &str, action: &str| server.post("/api/profiles", &json!({ "toml": toml(name, action) }));
    assert_eq!(save("two formats", "inspect").status, 201);
    assert_eq!(save("two formats", "load").status, 200);
    assert_eq!(save("default", "load").error_code(), "profile_built_in");
    let bad = save("bad", "laod");
    assert_eq!((bad.status, bad.error_code().as_str()), (422, "profile_invalid"));
    assert!(bad.body.contains("line 5") && bad.json()["error"]["path"] == "toml", "{bad:?}");
    for name in ["", "a/b", "line\\nbreak"] {
        assert_eq!(save(name, "load").error_code(), "profile_invalid", "{name}");
    }
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(&args);
    let listed = server.get("/api/profiles").json();
    let brief = |entry: &Value| (entry["name"].clone(), entry["built_in"].clone());
    let all: Vec<_> = listed.as_array().expect("a list").iter().map(brief).collect();
    assert_eq!(all, [(json!("default"), json!(true)), (json!("two formats"), json!(false))]);
    assert_eq!(listed[0]["steps"].as_array().map(Vec::len), Some(8));
    let one = server.get("/api/profiles/two%20formats").json();
    assert_eq!(
        (&one["toml"], &one["steps"][0]["action"]),
        (&json!(toml("two formats", "load")), &json!("load"))
    );

    let id = start(&server, &json!({ "model": "default", "profile": "two formats" }));
    assert_eq!(states(&ended(&server, id)), ["a passed"]);
    assert_eq!(server.ask("DELETE", "/api/profiles/two%20formats", &[], "").status, 204);
    assert_eq!(server.ask("DELETE", "/api/profiles/two%20formats", &[], "").error_code(), "no_such_profile");
    assert_eq!(server.get(&format!("/api/ladders/{id}")).json()["profile"], "two formats");
    for (body, status, code) in [
        (json!({ "model": "default", "profile": "two formats" }), 404, "no_such_profile"),
        (json!({ "model": "nobody" }), 404, "no_such_model"),
        (json!({ "model": "default", "profile": "default", "toml": "" }), 422, "invalid_request"),
        (json!({ "model": "default", "toml": "steps = 1" }), 422, "profile_invalid"),
        (json!({}), 422, "invalid_request"),
    ] {
        let answer = server.post("/api/ladders", &body);
        assert_eq!((answer.status, answer.error_code().as_str()), (status, code), "{body}");
    }
    for path in ["/api/ladders/99", "/api/ladders/x"] {
        assert_eq!(server.get(path).error_code(), "no_such_ladder", "{path}");
    }
}
