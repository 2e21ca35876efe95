//! The OpenAI API as it goes over the wire.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::{Answer, Server};
use crate::support::model_dir::ModelDir;
use crate::support::program::run;
use crate::support::tests_dir;

/// A server with its default model loaded.
pub(super) fn loaded(model: &str) -> Server {
    let server = Server::start(&["--default-model", model]);
    let answer = server.post("/api/models/default/load", &json!({}));
    let id = answer.json()["attempt_id"].as_u64().expect("an id");
    let attempt = server.until(id, |attempt| attempt["state"] == "ready" || attempt["finished_ms"].is_u64());
    assert_eq!(attempt["state"], "ready", "{attempt}");
    server
}

pub(super) fn tiny() -> String {
    tests_dir().join("../public/tiny").display().to_string()
}

/// A request whose answer is not waited for.
pub(super) fn open(server: &Server, path: &str, body: &Value) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(server.address()).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let (body, host) = (body.to_string(), server.address());
    let head = format!("POST {path} HTTP/1.0\r\nhost: {host}\r\ncontent-type: application/json\r\n");
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).expect("sent");
    BufReader::new(stream)
}

/// The data of an event stream's next event; `None` at its end.
pub(super) fn data(stream: &mut BufReader<TcpStream>) -> Option<String> {
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).expect("the stream goes on") == 0 {
            return None;
        }
        if let Some(data) = line.strip_prefix("data: ") {
            return Some(data.trim_end().to_owned());
        }
    }
}

pub(super) fn chat(server: &Server, changes: &Value) -> Answer {
    let mut body = json!({
        "model": "default", "messages": [{"role": "user", "content": "Who are you?"}], "temperature": 0,
        "max_tokens": 8,
    });
    for (key, value) in changes.as_object().expect("an object") {
        body[key] = value.clone();
    }
    server.post("/v1/chat/completions", &body)
}

#[test]
fn an_answer_is_the_same_whole_and_in_pieces() {
    let server = loaded(&tiny());
    let models = server.get("/v1/models").json();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("default")));

    let whole = chat(&server, &json!({})).json();
    assert_eq!(whole["object"], "chat.completion");
    let content = whole["choices"][0]["message"]["content"].as_str().expect("text");
    let usage = &whole["usage"];
    assert_eq!(usage["completion_tokens"], 8);
    assert_eq!(
        usage["total_tokens"].as_u64(),
        usage["prompt_tokens"].as_u64().map(|prompt| prompt + 8),
        "{usage}"
    );
    assert_eq!(whole["choices"][0]["finish_reason"], "length");

    let pieces = chat(&server, &json!({"stream": true, "stream_options": {"include_usage": true}}));
    assert_eq!(pieces.header("content-type"), Some("text/event-stream"));
    let events: Vec<&str> = pieces.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let (done, chunks) = events.split_last().expect("events");
    assert_eq!(*done, "[DONE]");
    let chunks: Vec<Value> = chunks.iter().map(|chunk| serde_json::from_str(chunk).expect("JSON")).collect();
    let text: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, content);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(&chunks[chunks.len() - 1]["usage"], usage);
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["id"] == chunks[0]["id"] && chunk["object"] == "chat.completion.chunk")
    );

    // What was told has been counted, and nothing is on its way any more.
    let prompts = 2 * usage["prompt_tokens"].as_u64().expect("a count");
    let counters = server.get("/metrics").body;
    for line in [
        format!("preflight_prompt_tokens_total {prompts}"),
        "preflight_generation_tokens_total 16".to_owned(),
        "preflight_num_requests_running 0".to_owned(),
        "preflight_num_requests_waiting 0".to_owned(),
        "preflight_request_success_total{finished_reason=\"length\"} 2".to_owned(),
        "preflight_time_to_first_token_seconds_count 2".to_owned(),
        "preflight_inter_token_latency_seconds_count 14".to_owned(),
    ] {
        assert!(counters.lines().any(|found| found == line), "{line}: {counters}");
    }

    // A prompt of ids may be as long as the longest context: this model's is shorter, and that is what is told.
    let long = json!({ "model": "default", "prompt": vec![5; 300_000], "max_tokens": 1 });
    let refused = server.post("/v1/completions", &long);
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("300000") || refused.body.contains("300,000"), "{}", refused.body);

    let likely = chat(&server, &json!({"logprobs": true, "top_logprobs": 2})).json();
    let tokens = likely["choices"][0]["logprobs"]["content"].as_array().expect("tokens").clone();
    assert_eq!(tokens.len(), 8);
    for token in tokens {
        assert_eq!(
            token["top_logprobs"][0]["logprob"], token["logprob"],
            "greedy takes the likeliest: {token}"
        );
    }
    // A stop text is no part of the answer, wherever a token ends.
    let stop: String = content.chars().skip(3).take(3).collect();
    let stopped = chat(&server, &json!({"stop": stop})).json()["choices"][0].clone();
    assert_eq!(stopped["message"]["content"].as_str(), content.split(&stop).next());
    assert_eq!(stopped["finish_reason"], "stop");
}

/// The first number of the generator of a seed, in [0, 1): SplitMix64, as Steele, Lea and Flood (2014) write it.
fn first_number(seed: u64) -> f64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Every draw is the one that its seed and the temperature give. What the model says after a chat is no measure: there a
/// token of nearly all likelihood follows another, and two seeds often say the same.
#[test]
fn a_draw_is_that_of_its_seed() {
    let server = loaded(&tiny());
    let ask = |changes: Value| {
        let mut body = json!({"model": "default", "prompt": "Once", "max_tokens": 1});
        body.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        let answer = server.post("/v1/completions", &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["choices"].as_array().expect("choices").clone()
    };
    let likely = ask(json!({"temperature": 0, "logprobs": 2}))[0]["logprobs"]["top_logprobs"][0].clone();
    let mut likely: Vec<(String, f64)> = likely
        .as_object()
        .expect("by token")
        .iter()
        .map(|(token, logprob)| (token.clone(), logprob.as_f64().expect("a number")))
        .collect();
    likely.sort_by(|a, b| b.1.total_cmp(&a.1));
    let (mut first_drawn, mut second_drawn) = (0, 0);
    for temperature in [0.5, 1.0, 2.0] {
        let first = 1.0 / (1.0 + ((likely[1].1 - likely[0].1) / temperature).exp());
        for seed in [0_u64, 1000, 1 << 40] {
            let drawn = ask(json!({"temperature": temperature, "top_k": 2, "seed": seed, "n": 16}));
            assert_eq!(drawn.len(), 16);
            for choice in &drawn {
                let number = first_number(seed + choice["index"].as_u64().expect("a number"));
                let is_first = number < first;
                let text = &likely[usize::from(!is_first)].0;
                let close = (number - first).abs() < 1e-3;
                assert!(
                    close || choice["text"] == *text,
                    "{temperature}, {seed}: {choice}, {number} of {first}"
                );
                *(if is_first { &mut first_drawn } else { &mut second_drawn }) += 1;
            }
        }
    }
    assert!(first_drawn > 30 && second_drawn > 15, "{first_drawn} and {second_drawn}: {likely:?}");
    // With all candidates and over many tokens: the same seed gives the same text, another seed another.
    let texts = |seed: u64| -> Vec<Value> {
        let drawn = ask(json!({"prompt": "The", "temperature": 1, "seed": seed, "n": 2, "max_tokens": 8}));
        drawn.into_iter().map(|choice| choice["text"].clone()).collect()
    };
    let five = texts(5);
    assert_eq!(five, texts(5));
    assert_ne!(five[0], five[1]);
    assert_eq!(texts(6)[0], five[1], "choices count up from the seed");
    let drawn = |_| ask(json!({"prompt": "The", "temperature": 1, "max_tokens": 8}))[0]["text"].clone();
    let unseeded: Vec<Value> = (0..4).map(drawn).collect();
    assert!(
        unseeded.iter().any(|text| *text != unseeded[0]),
        "without a seed each draws its own: {unseeded:?}"
    );
}

#[test]
fn what_is_wrong_is_named_in_the_shape_of_openai() {
    let server = loaded(&tiny());
    for (changes, status, param, says) in [
        (
            json!({"temprature": 1}),
            400,
            json!("temprature"),
            "Unrecognized request argument supplied: temprature",
        ),
        (
            json!({"foo": 1, "temprature": 1}),
            400,
            json!("foo"),
            "Unrecognized request arguments supplied: foo, temprature",
        ),
        (json!({"temperature": -1}), 400, json!("temperature"), "0 to 2"),
        (json!({"top_p": 0}), 400, json!("top_p"), "above 0"),
        (json!({"n": 16384}), 400, json!("n"), "1 to 16"),
        (json!({"max_tokens": 1_000_000_000}), 400, json!("max_tokens"), "exceed the context"),
        (json!({"stop": vec!["x"; 10_000]}), 400, json!("stop"), "up to 16"),
        (json!({"messages": []}), 400, json!("messages"), "1 to 1024"),
        (json!({"messages": [{"role": "user"}]}), 400, json!("messages[0].content"), "Missing"),
        (
            json!({"messages": [{"role": "wizard", "content": "x"}]}),
            400,
            json!("messages[0].role"),
            "system, developer, user",
        ),
        (json!({"tools": [{"type": "function"}]}), 400, json!("tools"), "not supported"),
        (json!({"stream_options": {}}), 400, json!("stream_options"), "stream"),
        (json!({"model": "nobody"}), 404, json!("model"), "not loaded"),
    ] {
        let answer = chat(&server, &changes);
        let error = &answer.json()["error"];
        assert_eq!((answer.status, &error["param"]), (status, &param), "{changes}: {answer:?}");
        assert!(
            error["message"].as_str().is_some_and(|message| message.contains(says)),
            "{changes}: {error}"
        );
        assert_eq!(error["type"], "invalid_request_error");
    }
    let empty = server.post("/v1/completions", &json!({"model": "default", "prompt": []}));
    assert_eq!(empty.status, 400, "{empty:?}");
    let ids = server.post("/v1/completions", &json!({"model": "default", "prompt": [1, 4_000_000]}));
    assert_eq!((ids.status, ids.error_code().as_str()), (400, "token_out_of_range"));
    let long = server.post("/v1/completions", &json!({"model": "default", "prompt": "word ".repeat(5000)}));
    for answer in [&empty, &ids, &long] {
        assert_eq!(answer.json()["error"]["param"], "prompt", "{answer:?}");
    }
    let two = chat(&server, &json!({"max_tokens": 3, "max_completion_tokens": 4}));
    assert_eq!((two.status, &two.json()["error"]["param"]), (400, &json!("max_tokens")), "{two:?}");
    assert_eq!(chat(&server, &json!({"max_tokens": 3, "max_completion_tokens": 3})).status, 200);
    assert_eq!(server.get("/v1/nothing").error_code(), "unknown_url");
    assert_eq!(server.get("/health").status, 200);
}

/// Ids need no tokenizer; for a text the way out is told.
#[test]
fn a_model_without_a_tokenizer_takes_ids() {
    let model = ModelDir::of_case("mha_plain");
    let server = loaded(model.arg());
    let ask = |prompt: Value| {
        server.post(
            "/v1/completions",
            &json!({"model": "default", "prompt": prompt, "max_tokens": 2, "temperature": 0}),
        )
    };
    let ids = ask(json!([1, 2]));
    assert_eq!((ids.status, &ids.json()["usage"]["completion_tokens"]), (200, &json!(2)), "{ids:?}");
    for refused in [ask(json!("Hello")), chat(&server, &json!({}))] {
        assert_eq!((refused.status, refused.error_code().as_str()), (400, "no_tokenizer"), "{refused:?}");
        let message = refused.json()["error"]["message"].as_str().expect("words").to_owned();
        assert!(
            message.contains("give /v1/completions token ids") && !message.contains("leave the prompt out"),
            "{message}"
        );
    }
}

/// A long generation of a model that has no tokenizer: its tokens show in their logarithms.
pub(super) fn long() -> Value {
    json!({"model": "default", "prompt": [1, 2, 3], "max_tokens": 4000, "stream": true, "logprobs": 0, "temperature": 0})
}

#[test]
fn requests_are_batched_and_end_with_their_clients() {
    let model = ModelDir::slow();
    let server = loaded(model.arg());
    // Neither waits for the other.
    let mut both = [open(&server, "/v1/completions", &long()), open(&server, "/v1/completions", &long())];
    for _ in 0..5 {
        for stream in &mut both {
            let chunk: Value = serde_json::from_str(&data(stream).expect("a token")).expect("JSON");
            assert_eq!(chunk["choices"][0]["finish_reason"], Value::Null, "{chunk}");
        }
    }
    // A third has to wait for one of them, until they leave.
    let short = json!({"model": "default", "prompt": [4], "max_tokens": 2, "temperature": 0});
    drop(both);
    let left = Instant::now();
    let answer = server.post("/v1/completions", &short);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["usage"]["completion_tokens"], 2);
    // Two long generations take several seconds.
    assert!(left.elapsed() < Duration::from_secs(3), "{:?}", left.elapsed());

    // Beyond the bound one is told to come back.
    let mut many: Vec<_> = (0..40).map(|_| open(&server, "/v1/completions", &long())).collect();
    let start = Instant::now();
    let refused = 'refused: loop {
        assert!(start.elapsed() < Duration::from_secs(30), "40 requests, and none is refused");
        for stream in &mut many {
            stream.get_ref().set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
            let mut line = String::new();
            // Who waits is not answered yet.
            if stream.read_line(&mut line).is_ok() && line.contains(" 429 ") {
                break 'refused stream;
            }
        }
    };
    refused.get_ref().set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let mut answer = String::new();
    std::io::Read::read_to_string(refused, &mut answer).expect("an answer");
    assert!(answer.contains("retry-after: 1") && answer.contains("rate_limit_error"), "{answer}");
    drop(many);
    let start = Instant::now();
    while server.post("/v1/completions", &short).status != 200 {
        assert!(start.elapsed() < Duration::from_secs(10), "room comes back");
    }
}

/// A prompt that is refused is refused before any answer begins, whichever of them it is.
#[test]
fn one_prompt_that_is_refused_refuses_the_request() {
    let model = ModelDir::slow();
    let server = loaded(model.arg());
    for stream in [true, false] {
        for _ in 0..4 {
            let prompts = json!([[1], [2], [3], [999_999]]);
            let body = json!({"model": "default", "prompt": prompts, "max_tokens": 4, "stream": stream});
            let answer = server.post("/v1/completions", &body);
            assert_eq!(
                (answer.status, answer.error_code().as_str()),
                (400, "token_out_of_range"),
                "{answer:?}"
            );
        }
    }
}

/// Of many choices some wait for others: the request runs from the first on, and others come between.
#[test]
fn a_request_of_many_choices_lets_others_in_between() {
    let model = ModelDir::slow();
    let server = loaded(model.arg());
    // More choices than places, two at a time: the last of them begins long after the first has ended.
    let prompts: Vec<Value> = (0..16).map(|id| json!([id + 1])).collect();
    let many = json!({"model": "default", "prompt": prompts, "n": 16, "max_tokens": 12, "temperature": 0, "stream": true, "logprobs": 0});
    let whole =
        json!({"model": "default", "prompt": [[1], [2], [3], [4]], "max_tokens": 400, "temperature": 0});
    let running = |wanted: &str| {
        let begun = Instant::now();
        while !server.get("/metrics").body.lines().any(|line| line == wanted) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{wanted}: {}", server.get("/metrics").body);
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let stream = open(&server, "/v1/completions", &whole);
    running("preflight_num_requests_running 1");
    assert!(server.get("/metrics").body.lines().any(|line| line == "preflight_num_requests_waiting 0"));
    drop(stream);
    running("preflight_num_requests_running 0");

    let mut stream = open(&server, "/v1/completions", &many);
    data(&mut stream).expect("a token");
    let short = json!({"model": "default", "prompt": [4], "max_tokens": 1, "temperature": 0});
    let answer = server.post("/v1/completions", &short);
    assert_eq!(answer.status, 200, "{answer:?}");
    let counters = server.get("/metrics").body;
    let generated = counters.lines().find_map(|line| line.strip_prefix("preflight_generation_tokens_total "));
    let generated: usize = generated.and_then(|count| count.parse().ok()).expect("a count");
    assert!(generated < 256 * 12 / 4, "{generated} tokens came before the answer");
    let mut ended = 0;
    while let Some(event) = data(&mut stream) {
        ended += usize::from(event.contains("\"finish_reason\":\"length\""));
    }
    assert_eq!(ended, 256);
}

/// A token comes every tenth of a second: for whoever has left, one more is generated at most, whether the answer came in
/// pieces or would have come whole.
#[test]
fn a_client_that_leaves_ends_its_stream_within_a_token() {
    let model = ModelDir::of_case("mha_plain");
    for stream in [true, false] {
        let (_dir, worker) = super::faults::faulty("steady");
        let server = Server::with_worker(&["--default-model", model.arg()], &worker);
        let answer = server.post("/api/models/default/load", &json!({}));
        let id = answer.json()["attempt_id"].as_u64().expect("an id");
        server.until(id, |attempt| attempt["state"] == "ready");
        let asked = json!({ "model": "default", "prompt": [1], "max_tokens": 1000, "stream": stream });
        let asked_at = Instant::now();
        let mut client = open(&server, "/v1/completions", &asked);
        if stream {
            for _ in 0..3 {
                data(&mut client).expect("a token");
            }
        } else {
            let counted =
                |counters: &str| counters.lines().any(|line| line == "preflight_num_requests_running 1");
            let begun = Instant::now();
            while !counted(&server.get("/metrics").body) {
                assert!(begun.elapsed() < Duration::from_secs(10), "it runs");
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        drop(client);
        // As many tokens as may have come by now, and one more.
        let most = asked_at.elapsed().as_millis() as u32 / 100 + 2;
        let path = format!("/api/attempts/{id}/log");
        let begun = Instant::now();
        let stopped = loop {
            let log = server.get(&path).body;
            if let Some((_, rest)) = log.split_once("stopped after ") {
                break rest.split(' ').next().and_then(|count| count.parse::<u32>().ok()).expect("a number");
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "nobody told the worker: {log}");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!((3..=most).contains(&stopped), "stream: {stream}, {stopped} of at most {most} tokens");
        let begun = Instant::now();
        while !server.get("/metrics").body.lines().any(|line| line == "preflight_num_requests_running 0") {
            assert!(begun.elapsed() < Duration::from_secs(5), "it is not counted any more");
        }
    }
}

/// An unload while somebody listens is told, not a broken stream.
#[test]
fn an_unload_ends_streams_with_a_word() {
    let model = ModelDir::slow();
    let server = loaded(model.arg());
    let mut stream = open(&server, "/v1/completions", &long());
    data(&mut stream).expect("a token");
    assert_eq!(server.post("/api/models/default/unload", &json!({})).status, 202);
    let mut last = String::new();
    while let Some(event) = data(&mut stream) {
        if event == "[DONE]" {
            break;
        }
        last = event;
    }
    let error: Value = serde_json::from_str(&last).expect("JSON");
    assert_eq!(error["error"]["code"], "model_unloaded", "{last}");
    assert_eq!(error["error"]["message"], "the model was unloaded on request while it answered");
}

/// `PREFLIGHT_OPENAI_PYTHON`: a Python that has the official client.
#[test]
fn the_official_client_is_content() {
    let Some(python) = std::env::var_os("PREFLIGHT_OPENAI_PYTHON").map(PathBuf::from) else {
        crate::support::left_out("PREFLIGHT_OPENAI_PYTHON names no Python with the package openai");
        return;
    };
    let server = loaded(&tiny());
    let mut command = Command::new(python);
    command.arg(tests_dir().join("openai_client.py"));
    command.args([&format!("http://{}/v1", server.address()), "default"]);
    let ran = run(command);
    assert_eq!(ran.code, 0, "{ran:?}");
}
