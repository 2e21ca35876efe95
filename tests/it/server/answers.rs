//! What each field of a request to `/v1` does, and what is told where an answer cannot be given to its end.

use std::io::Read as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::loads::NOISE;
use super::v1::{chat, data, loaded, long, open, tiny};
use crate::support::http::Server;
use crate::support::model_dir::ModelDir;
use crate::support::program::children;

/// A completion: greedy, unless something else is said.
fn complete(server: &Server, changes: &Value) -> Value {
    let mut body =
        json!({"model": "default", "prompt": "Once upon a time", "max_tokens": 12, "temperature": 0});
    body.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
    let answer = server.post("/v1/completions", &body);
    assert_eq!(answer.status, 200, "{body}: {answer:?}");
    answer.json()
}

fn texts(answer: &Value) -> Vec<String> {
    let choices = answer["choices"].as_array().expect("choices");
    choices.iter().map(|choice| choice["text"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn what_narrows_a_draw_leaves_the_likeliest() {
    let server = loaded(&tiny());
    let greedy = texts(&complete(&server, &json!({})))[0].clone();
    let drawn = |changes: Value| {
        let mut wild = json!({"temperature": 2, "n": 8, "seed": 3});
        wild.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        texts(&complete(&server, &wild))
    };
    let free = drawn(json!({}));
    assert!(free.iter().filter(|text| **text != greedy).count() > 5, "{free:?}");
    for narrow in [json!({"top_k": 1}), json!({"top_p": 1e-9}), json!({"min_p": 0.9999})] {
        assert_eq!(drawn(narrow.clone()), vec![greedy.clone(); 8], "{narrow}");
    }
    // What narrows nothing changes nothing.
    assert_eq!(drawn(json!({"top_k": 0, "top_p": 1, "min_p": 0})), free);
}

#[test]
fn penalties_keep_from_saying_the_same() {
    let server = loaded(&tiny());
    let different = |changes: Value| {
        let mut asked = json!({"max_tokens": 64, "logprobs": 0});
        asked.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        let answer = complete(&server, &asked);
        let tokens = answer["choices"][0]["logprobs"]["tokens"].as_array().expect("tokens").clone();
        let all: std::collections::BTreeSet<String> = tokens.iter().map(Value::to_string).collect();
        (all.len() as f64 / tokens.len() as f64, texts(&answer)[0].clone())
    };
    let (plain, text) = different(json!({}));
    for penalty in ["repetition_penalty", "frequency_penalty", "presence_penalty"] {
        let (penalised, _) = different(json!({ penalty: 2 }));
        assert!(penalised > plain, "{penalty}: {penalised} of {plain}");
    }
    let none = json!({"repetition_penalty": 1, "frequency_penalty": 0, "presence_penalty": 0});
    assert_eq!(different(none).1, text);
}

#[test]
fn a_stop_ends_the_text_before_it() {
    let server = loaded(&tiny());
    let whole = complete(&server, &json!({"max_tokens": 24}));
    let text = texts(&whole)[0].clone();
    let [from, to] = [6, 9].map(|at| text.char_indices().nth(at).expect("a longer text").0);
    let stop = &text[from..to];
    let expected = &text[..text.find(stop).expect("it is in there")];
    for stops in [json!(stop), json!([stop]), json!(["never said \u{1}", stop])] {
        let stopped = complete(&server, &json!({"max_tokens": 24, "stop": stops}));
        assert_eq!(
            (texts(&stopped)[0].as_str(), &stopped["choices"][0]["finish_reason"]),
            (expected, &json!("stop"))
        );
        assert!(
            stopped["usage"]["completion_tokens"].as_u64() < whole["usage"]["completion_tokens"].as_u64()
        );
        let body = json!({
            "model": "default", "prompt": "Once upon a time", "max_tokens": 24, "temperature": 0, "stop": stops, "stream": true,
        });
        let streamed = server.post("/v1/completions", &body).body;
        let pieces = streamed
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
        let pieces: Vec<Value> = pieces.collect();
        let told: String = pieces.iter().filter_map(|piece| piece["choices"][0]["text"].as_str()).collect();
        assert_eq!(told, expected);
        assert_eq!(pieces[pieces.len() - 1]["choices"][0]["finish_reason"], "stop");
    }
}

/// Choices are counted from 0, a prompt is counted once for all of its choices, and the logarithms are those of the text.
#[test]
fn choices_and_logarithms_add_up() {
    let server = loaded(&tiny());
    let one = complete(&server, &json!({"logprobs": 3}));
    let several = complete(&server, &json!({"n": 3, "prompt": ["Once upon a time", "The"]}));
    let indices: Vec<u64> = several["choices"]
        .as_array()
        .expect("choices")
        .iter()
        .map(|choice| choice["index"].as_u64().expect("a number"))
        .collect();
    assert_eq!(indices, [0, 1, 2, 3, 4, 5]);
    let tokens = |answer: &Value, key: &str| answer["usage"][key].as_u64().expect("a count");
    let other = complete(&server, &json!({"prompt": "The"}));
    assert_eq!(
        tokens(&several, "prompt_tokens"),
        tokens(&one, "prompt_tokens") + tokens(&other, "prompt_tokens")
    );
    assert_eq!(
        tokens(&several, "completion_tokens"),
        3 * (tokens(&one, "completion_tokens") + tokens(&other, "completion_tokens"))
    );

    let logprobs = &one["choices"][0]["logprobs"];
    let list = |key: &str| logprobs[key].as_array().expect(key).clone();
    let count = tokens(&one, "completion_tokens") as usize;
    for key in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(list(key).len(), count, "{key}");
    }
    let mut offset = 0;
    for (at, token) in list("tokens").iter().map(|token| token.as_str().expect("text")).enumerate() {
        assert_eq!(list("text_offset")[at], json!(offset), "characters before it");
        offset += token.chars().count();
        let logprob = list("token_logprobs")[at].as_f64().expect("a number");
        let top = list("top_logprobs")[at].as_object().expect("by token").clone();
        assert!((1..=3).contains(&top.len()) && logprob <= 0.0);
        // Greedy: nothing is likelier than what was taken.
        assert!(top.values().all(|other| other.as_f64() <= Some(logprob)), "{logprob} and {top:?}");
    }
    // In pieces the same.
    let body = json!({
        "model": "default", "prompt": "Once upon a time", "max_tokens": 12, "temperature": 0, "logprobs": 3, "stream": true,
    });
    let streamed = server.post("/v1/completions", &body).body;
    let pieces =
        streamed.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let offsets: Vec<Value> =
        pieces.filter_map(|piece| piece["choices"][0]["logprobs"]["text_offset"].get(0).cloned()).collect();
    assert_eq!(offsets, list("text_offset"));
}

/// A part of a character is no text: its bytes are told where they are known, and never made up.
#[test]
fn bytes_of_a_token_are_its_own() {
    let server = loaded(&tiny());
    let asked =
        json!({"max_tokens": 24, "temperature": 2, "seed": 1, "n": 4, "logprobs": true, "top_logprobs": 20});
    let answer = chat(&server, &asked).json();
    let mut told = 0;
    for choice in answer["choices"].as_array().expect("choices") {
        for token in choice["logprobs"]["content"].as_array().expect("tokens") {
            for one in token["top_logprobs"].as_array().expect("a list").iter().chain([token]) {
                let text = one["token"].as_str().expect("text");
                let expected = if text.contains('\u{fffd}') { Value::Null } else { json!(text.as_bytes()) };
                assert_eq!(one["bytes"], expected, "{one}");
                told += 1;
            }
        }
    }
    assert!(told > 500, "{told}");
}

/// Clients send the answer that they got back as a turn, with all that was in it.
#[test]
fn an_answer_can_be_a_turn_of_the_next_request() {
    let server = loaded(&tiny());
    let first = chat(&server, &json!({})).json();
    let own = first["choices"][0]["message"].clone();
    assert!(own.get("refusal").is_some_and(Value::is_null), "{own}");
    let user = json!({"role": "user", "content": "Who are you?"});
    let next = chat(&server, &json!({"messages": [user, own, user]}));
    assert_eq!(next.status, 200, "{next:?}");
    assert!(next.json()["usage"]["prompt_tokens"].as_u64() > first["usage"]["prompt_tokens"].as_u64());
    // What says something that is not read here is named.
    let mut calls = own.clone();
    calls["tool_calls"] = json!([{"id": "1"}]);
    let refused = chat(&server, &json!({"messages": [user, calls, user]}));
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("messages[1].tool_calls")));
}

/// Newer clients call the system's turn the developer's: it is no turn that the template leaves out.
#[test]
fn a_turn_of_the_developer_is_one_of_the_system() {
    let server = loaded(&tiny());
    let prompt_tokens = |role: &str| {
        let turns =
            json!([{"role": role, "content": "Be brief."}, {"role": "user", "content": "Who are you?"}]);
        let answer = chat(&server, &json!({ "messages": turns }));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["usage"]["prompt_tokens"].as_u64()
    };
    let alone = chat(&server, &json!({"messages": [{"role": "user", "content": "Who are you?"}]})).json();
    assert_eq!(prompt_tokens("developer"), prompt_tokens("system"));
    assert!(prompt_tokens("developer") > alone["usage"]["prompt_tokens"].as_u64());
}

/// Numbers that JSON has and those that it has not, a key twice, other types: each is told with its field, none is a fault.
#[test]
fn what_is_no_number_is_told() {
    let server = loaded(&tiny());
    let ask = |rest: &str| {
        let body = format!(r#"{{"model":"default","prompt":"The"{rest}}}"#);
        server.ask("POST", "/v1/completions", &[], &body)
    };
    for (field, value) in [
        ("max_tokens", "-1"),
        ("max_tokens", "0"),
        ("max_tokens", "18446744073709551616"),
        ("max_tokens", "\"5\""),
        ("max_tokens", "1.5"),
        ("temperature", "\"1\""),
        ("temperature", "[]"),
        ("top_p", "-0.1"),
        ("n", "0"),
        ("n", "16384"),
        ("seed", "\"x\""),
        ("seed", "1.5"),
        ("stop", "[1]"),
        ("stream", "1"),
        ("logprobs", "true"),
        ("logprobs", "6"),
        ("echo", "true"),
        ("suffix", "\"x\""),
        ("logit_bias", "{\"1\": 5}"),
        ("best_of", "2"),
    ] {
        let answer = ask(&format!(r#","{field}":{value}"#));
        assert_eq!(
            (answer.status, &answer.json()["error"]["param"]),
            (400, &json!(field)),
            "{value}: {answer:?}"
        );
    }
    for rest in
        [r#","temperature":NaN"#, r#","temperature":1e999"#, r#","prompt":"again""#, r#","prompt":"\ud800""#]
    {
        let answer = ask(rest);
        let message = answer.json()["error"]["message"].as_str().expect("words").to_owned();
        assert_eq!(answer.status, 400, "{rest}: {answer:?}");
        assert!(message.starts_with("The body is"), "{rest}: {message}");
    }
    assert_eq!(ask(r#","max_tokens":1"#).status, 200);
}

/// Refused before it is handed on, once for each choice: the worker goes on with what others ask.
#[test]
fn a_million_ids_do_not_reach_the_worker() {
    let server = loaded(&tiny());
    let long = json!({"model": "default", "prompt": vec![1; 900_000], "n": 16, "max_tokens": 1});
    let refused = server.post("/v1/completions", &long);
    assert_eq!((refused.status, refused.error_code().as_str()), (400, "context_length_exceeded"));
    assert_eq!(refused.json()["error"]["param"], "prompt");
    assert_eq!(
        server.post("/v1/completions", &json!({"model": "default", "prompt": vec![1; 1025]})).status,
        400
    );
    complete(&server, &json!({}));
    assert_eq!(server.get("/api/attempts/1").json()["state"], "ready");
}

/// Killed under two answers: both are told at once what happened, nothing hangs, and it can be loaded again.
#[test]
fn a_killed_worker_ends_its_answers_with_a_word() {
    let model = ModelDir::slow();
    let server = loaded(model.arg());
    let mut pieces = open(&server, "/v1/completions", &long());
    let mut at_once = long();
    at_once["stream"] = json!(false);
    let mut whole = open(&server, "/v1/completions", &at_once);
    data(&mut pieces).expect("a token");
    let running = Instant::now();
    while !server.get("/metrics").body.lines().any(|line| line == "preflight_num_requests_running 2") {
        assert!(running.elapsed() < Duration::from_secs(10), "both run");
    }
    let worker = children(server.pid());
    assert_eq!(worker.len(), 1);
    std::process::Command::new("kill").args(["-9", &worker[0].to_string()]).status().expect("kill runs");
    let killed = Instant::now();
    let mut last = String::new();
    while let Some(event) = data(&mut pieces).filter(|event| event != "[DONE]") {
        last = event;
    }
    let error: Value = serde_json::from_str(&last).expect("JSON");
    assert_eq!(error["error"]["code"], "worker_killed", "{last}");
    assert!(error["error"]["message"].as_str().is_some_and(|text| text.contains("SIGKILL")), "{last}");
    let mut answer = String::new();
    whole.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.0 500") && answer.contains("worker_killed"), "{answer}");
    assert!(killed.elapsed() < Duration::from_secs(1) * NOISE, "{:?}", killed.elapsed());
    let begun = Instant::now();
    while server.get("/v1/models").json()["data"] != json!([]) {
        assert!(begun.elapsed() < Duration::from_secs(5), "it is not loaded any more");
    }
    let counters = server.get("/metrics").body;
    assert!(counters.lines().any(|line| line == "preflight_num_requests_running 0"), "{counters}");
}

/// Every name that is promised, once something has happened; the memory of GPUs is told where there is one.
#[test]
fn every_counter_has_its_name() {
    let server = loaded(&tiny());
    complete(&server, &json!({}));
    assert_eq!(server.post("/api/models/default/unload", &json!({})).status, 202);
    server.ended(1);
    let told = server.get("/metrics");
    assert_eq!(told.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for (name, kind) in [
        ("num_requests_running", "gauge"),
        ("num_requests_waiting", "gauge"),
        ("time_to_first_token_seconds", "histogram"),
        ("inter_token_latency_seconds", "histogram"),
        ("e2e_request_latency_seconds", "histogram"),
        ("prompt_tokens_total", "counter"),
        ("generation_tokens_total", "counter"),
        ("request_success_total", "counter"),
        ("model_load_seconds", "histogram"),
        ("model_load_attempts_total", "counter"),
        ("worker_restarts_total", "counter"),
        ("sse_subscribers", "gauge"),
        ("queue_depth", "gauge"),
    ] {
        let line = format!("# TYPE preflight_{name} {kind}");
        assert!(told.body.lines().any(|found| found == line), "{line}: {}", told.body);
    }
    for sample in [
        r#"preflight_request_success_total{finished_reason=""#,
        r#"preflight_model_load_seconds_count{outcome="stopped"} 1"#,
        r#"preflight_model_load_attempts_total{outcome="stopped",reason="passed"} 1"#,
        "preflight_e2e_request_latency_seconds_count 1",
    ] {
        assert!(told.body.lines().any(|found| found.starts_with(sample)), "{sample}: {}", told.body);
    }
    // Nothing that a user wrote stands in a label.
    assert!(!told.body.contains("default"), "{}", told.body);
}
