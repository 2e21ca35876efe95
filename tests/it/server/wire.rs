//! What goes over the wires, held in a snapshot: the fields of every answer, event, frame and error as they are really
//! said. Types stand in the description of the routes; here it is shown that what is said has the fields that it had.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use phi3::api::worker::{self, Load, Message, PromptSource, Request, Validate};
use phi3::api::{Generate, PromptInput, Turn};
use phi3::engine::Sampling;
use phi3::validate::ProbeSet;
use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::model_dir::ModelDir;
use crate::support::program::program;
use crate::support::tests_dir;

/// Fields by what says them.
#[derive(Default)]
struct Wire(BTreeMap<String, BTreeSet<String>>);

/// What a word of these keys says is a part of the contract.
const TAGS: [&str; 2] = ["type", "kind"];

/// What differs from machine to machine, or has tokens for keys.
const LEFT_OUT: [&str; 5] = ["holders", "gpus", "notes", "findings", "top_logprobs"];

impl Wire {
    fn say(&mut self, who: &str, value: &Value) {
        fields(value, "", self.0.entry(who.to_owned()).or_default());
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (who, fields) in &self.0 {
            text += &format!("{who}\n");
            for field in fields {
                text += &format!("  {field}\n");
            }
        }
        text
    }
}

fn fields(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                match value {
                    Value::String(word) if TAGS.contains(&key.as_str()) => {
                        found.insert(format!("{at} = {word}"));
                    }
                    _ if LEFT_OUT.contains(&key.as_str()) => {
                        found.insert(at);
                    }
                    value => fields(value, &at, found),
                }
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items.iter().for_each(|item| fields(item, &format!("{at}[]"), found));
        }
        _ => {
            found.insert(at.to_owned());
        }
    }
}

#[test]
fn the_fields_of_answers_and_events_are_the_contract() {
    let tiny = tests_dir().join("../public/tiny").canonicalize().expect("the tiny model");
    let data = tempfile::tempdir().expect("a temporary directory");
    let args = [
        "--default-model",
        tiny.to_str().expect("UTF-8"),
        "--data-dir",
        data.path().to_str().expect("UTF-8"),
        "--model-root",
        tiny.parent().and_then(std::path::Path::to_str).expect("UTF-8"),
    ];
    let server = Server::start(&args);
    let mut wire = Wire::default();
    let reset = server.events(&["last-event-id: 0"]).next().expect("an event");
    wire.say("event reset", &reset);
    let events = server.events(&[]);

    let post = |wire: &mut Wire, path: &str, body: Value| -> Value {
        let answer = server.post(path, &body);
        let answer = answer.json();
        wire.say(&format!("POST {path}"), &answer);
        answer
    };
    let profile =
        "name = \"one\"\n[[steps]]\nid = \"a\"\naction = \"load\"\noverrides = { dtype = \"float32\" }\n";
    post(&mut wire, "/api/profiles", json!({ "toml": profile }));
    let ladder = post(&mut wire, "/api/ladders", json!({ "model": "default" }))["ladder_id"].clone();
    loop {
        let ladder = server.get(&format!("/api/ladders/{ladder}")).json();
        match ladder["state"].as_str() {
            Some("queued" | "running") => std::thread::sleep(std::time::Duration::from_millis(20)),
            Some("passed") => break,
            _ => panic!("{ladder}"),
        }
    }
    let id = post(&mut wire, "/api/models/default/load", json!({}))["attempt_id"].as_u64().expect("an id");
    server.until(id, |attempt| attempt["state"] == "ready");
    let validated = post(&mut wire, "/api/models/default/validate", json!({ "probe": "all" }));
    let validated = server.ended(validated["attempt_id"].as_u64().expect("an id"));
    let source =
        json!({ "source": { "preset": "phi-3-mini-4k-instruct" }, "options": { "device_memory": "24GiB" } });
    post(&mut wire, "/api/estimate", source.clone());
    post(&mut wire, "/api/inspect", json!({ "source": { "preset": "phi-3-mini-4k-instruct" } }));
    post(&mut wire, "/api/models/default/known-good", json!({ "attempt_id": validated["id"] }));
    let completion = json!({ "model": "default", "prompt": "The", "max_tokens": 2, "logprobs": 1 });
    post(&mut wire, "/v1/completions", completion);
    let chat = json!({
        "model": "default", "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 2, "logprobs": true,
        "top_logprobs": 1,
    });
    post(&mut wire, "/v1/chat/completions", chat.clone());
    let mut streamed = chat;
    streamed["stream"] = json!(true);
    streamed["stream_options"] = json!({ "include_usage": true });
    let streamed = server.post("/v1/chat/completions", &streamed).body;
    for chunk in
        streamed.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]")
    {
        wire.say("chunk of /v1/chat/completions", &serde_json::from_str(chunk).expect("JSON"));
    }
    let completion = json!({ "model": "default", "prompt": "The", "max_tokens": 2, "stream": true });
    let streamed = server.post("/v1/completions", &completion).body;
    for chunk in
        streamed.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]")
    {
        wire.say("chunk of /v1/completions", &serde_json::from_str(chunk).expect("JSON"));
    }
    let source = json!({ "source": { "path": "tiny" }, "id": "named" });
    post(&mut wire, "/api/models", source.clone());
    post(&mut wire, "/api/models/offline", source);
    let header = ["content-type: application/json"];
    let patched = server.ask("PATCH", "/api/models/named", &header, r#"{"notes":"seen"}"#);
    wire.say("PATCH /api/models/{id}", &patched.json());
    let noted = server.ask("PATCH", &format!("/api/attempts/{id}"), &header, r#"{"note":"seen"}"#);
    wire.say("PATCH /api/attempts/{id}", &noted.json());
    wire.say(
        "POST /api/ladders/{id}/cancel",
        &server.post(&format!("/api/ladders/{ladder}/cancel"), &json!({})).json(),
    );
    wire.say("409 ladder_ended", &server.post(&format!("/api/ladders/{ladder}/resume"), &json!({})).json());
    for path in [
        "/health",
        "/ready",
        "/api/devices",
        "/api/settings",
        "/api/models",
        "/api/models/default",
        "/api/models/default/known-good",
        "/api/attempts",
        "/api/ladders",
        "/api/profiles",
        "/api/attempts/compare?ids=1,2",
        "/v1/models",
        "/v1/models/default",
    ] {
        wire.say(&format!("GET {path}"), &server.get(path).json());
    }
    // Errors: of us, with facts beside them, and of the API that is OpenAI's.
    wire.say("an error", &server.get("/api/attempts/99").json());
    wire.say("an error of /v1", &server.get("/v1/nothing").json());
    let two =
        json!({ "parent": id, "load_config": { "torch_dtype": "float16", "low_cpu_mem_usage": false } });
    wire.say("409 too_many_changes", &server.post("/api/models/default/load", &two).json());
    let failed = json!({ "device": "cuda:9" });
    let absent =
        server.post("/api/models/default/load", &failed).json()["attempt_id"].as_u64().expect("an id");
    wire.say("GET /api/attempts/{id}, failed", &server.ended(absent));
    wire.say("409 identical_retry", &server.post("/api/models/default/load", &failed).json());
    wire.say("POST /api/models/{id}/unload", &server.post("/api/models/default/unload", &json!({})).json());
    wire.say("GET /api/attempts/{id}", &server.ended(id));
    assert_eq!(server.stop(), Some(0));
    for event in events {
        wire.say(&format!("event {}", event["type"].as_str().expect("a type")), &event);
    }
    insta::with_settings!({ snapshot_path => "../../../docs", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("wire", wire.text());
    });
}

/// What a worker is asked, and what it says: with the real one at the other end of the pipe.
#[test]
fn the_frames_of_a_worker_are_the_contract() {
    let model = ModelDir::of_case("mha_plain");
    let mut child = Command::new(program("preflight-worker"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the worker starts");
    let mut requests = child.stdin.take().expect("piped");
    let mut messages = child.stdout.take().expect("piped");
    let mut wire = Wire::default();
    let run = |probe| Validate { prompt: PromptSource::Default, max_new_tokens: 2, probe, reference: true };
    let stream = |id, prompt| Generate {
        id,
        request: id,
        prompt,
        max_new_tokens: Some(2),
        sampling: Sampling::default(),
        stop: vec!["x".to_owned()],
        logprobs: Some(1),
    };
    let load = Load {
        path: model.arg().to_owned(),
        device: Some("cpu".to_owned()),
        context: Some(64),
        batch: Some(2),
        validate: Some(run(ProbeSet::None)),
        ..Load::default()
    };
    let out = model.file("logits.safetensors").display().to_string();
    let said = [
        (Request::Load(load), "loaded"),
        (Request::Validate(run(ProbeSet::None)), "report"),
        (Request::Generate(stream(1, PromptInput::Ids(vec![1, 2]))), "finished"),
        (
            Request::Generate(stream(
                2,
                PromptInput::Chat(vec![Turn { role: "user".into(), content: "Hi".into() }]),
            )),
            "failed",
        ),
        (Request::Logits { tokens: vec![1, 2], out }, "done"),
        (Request::Logits { tokens: vec![u32::MAX], out: String::new() }, "error"),
        (Request::Stop { id: 9 }, ""),
        (Request::Cancel, ""),
        (Request::Shutdown, ""),
    ];
    for (request, last) in said {
        wire.say("request", &Value::Null);
        let json = serde_json::to_value(&request).expect("JSON");
        wire.say(&format!("request {}", json["type"].as_str().expect("a type")), &json);
        requests.write_all(&worker::encode(&request).expect("small")).expect("sent");
        while !last.is_empty() {
            let message = worker::read::<Message>(&mut messages).expect("a frame").expect("a message");
            let json = serde_json::to_value(&message).expect("JSON");
            let kind = json["type"].as_str().expect("a type").to_owned();
            wire.say(&format!("message {kind}"), &json);
            let event = json["event"]["kind"].as_str().map(str::to_owned);
            if kind == last || event.as_deref() == Some(last) {
                break;
            }
        }
    }
    drop(requests);
    assert!(child.wait().expect("a child").success());
    wire.0.remove("request");
    insta::with_settings!({ snapshot_path => "../../../docs", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("frames", wire.text());
    });
}

/// Codes of errors are names that programs hold on to: every one that stands in the sources, in one list.
#[test]
fn the_codes_of_errors_are_the_contract() {
    let mut codes = BTreeSet::new();
    let root = tests_dir().join("..");
    let listing = Command::new("git")
        .args(["ls-files", "-z", "shared/src/*.rs", "server/*.rs"])
        .current_dir(&root)
        .output()
        .expect("git");
    for path in String::from_utf8_lossy(&listing.stdout).split_terminator('\0') {
        if path.contains("tests") {
            continue;
        }
        let text = std::fs::read_to_string(root.join(path)).expect("a source");
        let text = text.split("\n#[cfg(test)]").next().unwrap_or_default();
        for made in [
            "ErrorObject::new(",
            "HttpError::new(",
            "code: Some(",
            "refused(request.uri().path(), ",
            "refused(&path, ",
        ] {
            let calls = text.split(made).skip(1);
            codes.extend(calls.filter_map(|rest| word(rest.trim_start())));
        }
        // `fn code` of an error: what its arms answer.
        for body in text.split("fn code(").skip(1) {
            let body = body.split("\n    }\n").next().unwrap_or_default();
            codes.extend(body.split("=> ").skip(1).filter_map(word));
        }
    }
    assert!(codes.len() > 60, "{codes:?}");
    // A status is given to codes that there are.
    let table = std::fs::read_to_string(root.join("server/src/http/error.rs")).expect("the table");
    let table =
        table.split("fn status(").nth(1).and_then(|rest| rest.split("\n}\n").next()).expect("a function");
    let named: Vec<&str> = table.split('"').skip(1).step_by(2).collect();
    assert!(named.len() > 30, "{named:?}");
    let absent: Vec<_> = named.iter().filter(|code| !codes.contains(**code)).collect();
    assert!(absent.is_empty(), "{absent:?}");
    let text = codes.into_iter().collect::<Vec<_>>().join("\n");
    insta::with_settings!({ snapshot_path => "../../../docs", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("codes", text);
    });
}

/// The word that a text begins with, in quotes, where it could be a code.
fn word(text: &str) -> Option<String> {
    let word = text.strip_prefix('"')?.split('"').next()?;
    let plain = |c: char| c.is_ascii_lowercase() || c == '_';
    (!word.is_empty() && word.chars().all(plain)).then(|| word.to_owned())
}
