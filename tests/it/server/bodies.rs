//! Bodies that are too large, too deep, no JSON or no request: each is answered, and none costs memory.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::model_dir::ModelDir;

const JSON: &str = "content-type: application/json";

fn inspect(server: &Server, body: &str) -> (u16, Value) {
    let answer = server.ask("POST", "/api/inspect", &[JSON], body);
    (answer.status, answer.json()["error"].clone())
}

/// A config of that many bytes.
fn padded(bytes: usize) -> String {
    let frame = r#"{"source":{"config":{"model_type":"mamba9","x":""}}}"#;
    frame.replace("\"\"", &format!("\"{}\"", "a".repeat(bytes - frame.len())))
}

#[test]
fn a_body_is_taken_up_to_its_limit() {
    let server = Server::start(&[]);
    let limit = 4 << 20;
    // It was read and understood: what is refused is the config in it.
    let (status, error) = inspect(&server, &padded(limit));
    assert_eq!((status, &error["code"]), (422, &json!("config_invalid")), "{error}");
    // The client has written all of it before it reads: the answer comes, not a broken pipe.
    for bytes in [limit + 1, 9 << 20, 40 << 20] {
        let (status, error) = inspect(&server, &padded(bytes));
        assert_eq!((status, &error["code"]), (413, &json!("body_too_large")), "{bytes}");
    }
    // What reads no body refuses one alike.
    assert_eq!(server.ask("GET", "/health", &[], &padded(limit + 1)).status, 413);
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn a_body_of_unknown_length_is_taken_up_to_its_limit() {
    let server = Server::start(&[]);
    for (pieces, status) in [(3, "422"), (5, "413")] {
        let mut stream = TcpStream::connect(server.address()).expect("the server listens");
        let head = format!(
            "POST /api/inspect HTTP/1.1\r\nhost: localhost\r\n{JSON}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("sent");
        let body = padded(pieces << 20);
        for piece in body.as_bytes().chunks(1 << 20) {
            stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).expect("sent");
            stream.write_all(piece).expect("sent");
            stream.write_all(b"\r\n").expect("sent");
        }
        stream.write_all(b"0\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer:.300}");
    }
}

/// What is too large by its own header is not waited for, whether or not it comes.
#[test]
fn a_body_that_says_it_is_too_large_is_refused_at_once() {
    let server = Server::start(&[]);
    for bytes in [(4 << 20) + 1, 100_000_000_000_u64] {
        let mut stream = TcpStream::connect(server.address()).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(40))).expect("a timeout");
        let head = format!(
            "POST /api/inspect HTTP/1.1\r\nhost: localhost\r\n{JSON}\r\ncontent-length: {bytes}\r\n\r\n{{"
        );
        stream.write_all(head.as_bytes()).expect("sent");
        let begun = Instant::now();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("an answer without the rest");
        assert_eq!(&answer, b"HTTP/1.1 413");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    // As soon as a body of unknown length is too large, it is waited for no longer.
    let mut stream = TcpStream::connect(server.address()).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(40))).expect("a timeout");
    let head = format!(
        "POST /api/inspect HTTP/1.1\r\nhost: localhost\r\n{JSON}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let piece = padded(5 << 20);
    stream.write_all(format!("{head}{:x}\r\n{piece}", piece.len()).as_bytes()).expect("sent");
    let begun = Instant::now();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer without the rest");
    assert_eq!(&answer, b"HTTP/1.1 413");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(server.get("/health").status, 200);
}

/// Resident bytes of a process.
fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// Millions of tiny pieces once ended another server.
#[test]
fn a_body_in_tiny_pieces_costs_no_more_than_its_bytes() {
    let server = Server::start(&[]);
    let before = resident_bytes(server.pid());
    let mut stream = TcpStream::connect(server.address()).expect("the server listens");
    let head = format!(
        "POST /api/inspect HTTP/1.1\r\nhost: localhost\r\n{JSON}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    );
    let body = padded(200_000);
    let pieces: Vec<u8> = body.bytes().flat_map(|byte| [b'1', b'\r', b'\n', byte, b'\r', b'\n']).collect();
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(&pieces).expect("sent");
    let grown = resident_bytes(server.pid()).saturating_sub(before);
    stream.write_all(b"0\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(["200", "422"].contains(&answer.split(' ').nth(1).expect("a status")), "{answer:.300}");
    assert!(grown < 32 << 20, "{grown} bytes for a body of {}", body.len());
}

/// A body that comes no further is answered, and keeps its place no longer.
#[test]
fn a_body_that_stops_is_not_waited_for() {
    let server = Server::start(&[]);
    // A stream of events on which nothing happens meanwhile: a sign of life keeps it open through whatever lies between.
    let mut events = TcpStream::connect(server.address()).expect("the server listens");
    events.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    events.write_all(b"GET /api/events HTTP/1.0\r\nhost: localhost\r\n\r\n").expect("sent");
    let mut stream = TcpStream::connect(server.address()).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(40))).expect("a timeout");
    let head =
        format!("POST /api/inspect HTTP/1.1\r\nhost: localhost\r\n{JSON}\r\ncontent-length: 100\r\n\r\n{{");
    stream.write_all(head.as_bytes()).expect("sent");
    let begun = Instant::now();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer without the rest");
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    let mut lines = BufReader::new(events).lines().map(|line| line.expect("the stream goes on"));
    let opening = lines.by_ref().skip_while(|line| !line.is_empty()).take_while(|line| line != ":");
    let opening: Vec<String> = opening.collect();
    assert_eq!(opening, ["", "retry: 1000", ": preflight", ""], "nothing but a sign of life came");
    assert_eq!(server.get("/health").status, 200);
}

/// A kilobyte that unpacks to a gigabyte is a kilobyte here.
#[test]
fn a_compressed_body_is_not_unpacked() {
    let server = Server::start(&[]);
    let body = r#"{"source":{"preset":"phi-4"}}"#;
    for coding in ["gzip", "br", "deflate", "gzip, gzip"] {
        for path in ["/api/inspect", "/v1/completions"] {
            let answer = server.ask("POST", path, &[JSON, &format!("content-encoding: {coding}")], body);
            assert_eq!((answer.status, answer.error_code().as_str()), (415, "body_encoded"), "{coding}");
        }
    }
    assert_eq!(server.ask("POST", "/api/inspect", &[JSON, "content-encoding: identity"], body).status, 200);
}

#[test]
fn a_client_that_asks_first_is_told_at_once() {
    let server = Server::start(&[]);
    let mut stream = TcpStream::connect(server.address()).expect("the server listens");
    let head = format!(
        "POST /api/inspect HTTP/1.1\r\nhost: localhost\r\n{JSON}\r\ncontent-length: 5000000\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer:?}");
}

/// 400 for what is no JSON, 422 for JSON that is refused, 415 for another type.
#[test]
fn every_bad_body_has_its_code() {
    let server = Server::start(&[]);
    let config = |value: &str| format!(r#"{{"source":{{"config":{{"model_type":{value}}}}}}}"#);
    for text in ["", "{", "nonsense", "{\"source\":}", "[1,]", "{} {}", "\u{feff}{}", "{\"a\":NaN}"] {
        let (status, error) = inspect(&server, text);
        assert_eq!((status, &error["code"]), (400, &json!("invalid_json")), "{text:?}");
    }
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    let unclosed = "[".repeat(1_000_000);
    assert_eq!(inspect(&server, &unclosed).0, 400);
    for (text, path) in [
        (config(&deep), "source.config"),
        (config("1e999"), "source.config"),
        ("[]".to_owned(), ""),
        ("{}".to_owned(), "source"),
        (r#"{"source":{"preset":5}}"#.to_owned(), "source.preset"),
        (r#"{"source":{"preset":"phi-4"},"option":{}}"#.to_owned(), "option"),
        (r#"{"source":{"nowhere":"phi-4"}}"#.to_owned(), "source"),
        (r#"{"source":{"preset":"phi-4","path":"x"}}"#.to_owned(), "source"),
        (config(r#""phi3","hidden_size":64,"hidden_size":32"#), "source.config.hidden_size"),
        (config(r#"{"a":1,"a":1}"#), "source.config.model_type.a"),
        (r#"{"source":{"preset":"phi-4"},"source":{"preset":"phi-4"}}"#.to_owned(), "source"),
    ] {
        let (status, error) = inspect(&server, &text);
        assert_eq!((status, &error["code"]), (422, &json!("invalid_request")), "{text:.100}: {error}");
        let found = error["path"].as_str().unwrap_or_default();
        assert!(found.starts_with(path), "{text:.100}: {error}");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let answer = server.ask("POST", "/api/inspect", &[&format!("content-type: {kind}")], "{}");
        assert_eq!((answer.status, answer.error_code().as_str()), (415, "not_json"), "{kind}");
        let answer = server.ask("POST", "/v1/completions", &[&format!("content-type: {kind}")], "{}");
        assert_eq!((answer.status, answer.error_code().as_str()), (415, "not_json"), "{kind}: {answer:?}");
    }
    // As many clients of OpenAI's shape have it: no type at all is JSON.
    assert_eq!(server.ask("POST", "/v1/completions", &[], "{}").status, 400);
    // What may be left out is not passed over where it is there.
    let untyped = server.ask("POST", "/api/models/default/load", &[], "{\"context\": 5}");
    assert_eq!((untyped.status, untyped.error_code().as_str()), (415, "not_json"), "{untyped:?}");
    assert_eq!(server.get("/health").status, 200);
}

/// Words of the libraries that read for us.
const LIBRARY_WORDS: [&str; 12] = [
    "deserialize",
    "missing field",
    "unknown field",
    "unknown variant",
    "invalid type",
    "invalid digit",
    "untagged",
    "struct ",
    "expected value",
    "EOF while",
    "sqlx",
    "error returned from database",
];

/// Whatever is wrong with a request, its message is one sentence that names the field and says what is expected.
#[test]
fn what_is_wrong_is_said_in_our_words() {
    let model = ModelDir::of_case("mha_plain");
    let server = Server::start(&["--default-model", model.arg()]);
    let estimate = |options: &str| format!(r#"{{"source":{{"preset":"phi-4"}},"options":{options}}}"#);
    let (attempts, ladders) = ("/api/attempts", "/api/ladders");
    for (method, path, body, message) in [
        (
            "GET",
            "/api/attempts?limit=abc",
            "",
            "`limit` is `abc`, expected a whole number from 0 to 4294967295",
        ),
        ("GET", "/api/attempts?limit=", "", "`limit` is empty, expected a whole number from 0 to 4294967295"),
        ("GET", "/api/attempts?limit=0", "", "`limit` is 0, expected 1 to 1000"),
        ("GET", "/api/attempts?limit=1&limit=2", "", "`limit` stands twice: give it once"),
        ("GET", "/api/attempts?kind=x", "", "`kind` is `x`, expected one of `load`, `validate`, `stage`"),
        ("GET", "/api/attempts?outcome=%00x", "", "`outcome` is ` x`, expected one of `passed`"),
        ("GET", "/api/attempts?nothing=1", "", "`nothing` is not known, expected one of `model`, `kind`"),
        ("GET", "/api/attempts/compare", "", "`ids` is missing, and must be given"),
        (
            "GET",
            "/api/attempts/compare?ids=1",
            "",
            "`ids` names 1 attempt, expected 2 to 1000, separated by commas",
        ),
        ("GET", "/api/attempts/export?format=x", "", "`format` is `x`, expected one of `jsonl`"),
        ("GET", "/api/attempts/x%0Ay", "", "there is no attempt `xy`: expected its number"),
        ("GET", "/api/ladders/-1", "", "there is no ladder `-1`: expected its number"),
        (
            "GET",
            "/api/models/%ff",
            "",
            "the address holds bytes that are no text: percent-encode names in UTF-8",
        ),
        ("GET", "/ready?modle=x", "", "`modle` is not known, expected `model`"),
        ("POST", "/api/inspect", "", "the body is not JSON: it is empty"),
        (
            "POST",
            "/api/inspect",
            "{\"source\":",
            "the body is not JSON: it ends too early, at line 1, column 10",
        ),
        ("POST", "/api/inspect", "{\n\"source\":}", "the body is not JSON: look at line 2, column 10"),
        ("POST", "/api/inspect", "[]", "the body is a list, expected an object"),
        ("POST", "/api/inspect", "{}", "`source` is missing, and must be given"),
        (
            "POST",
            "/api/inspect",
            r#"{"source":{}}"#,
            "`source` has 0 fields, expected exactly one of `config`",
        ),
        ("POST", "/api/inspect", r#"{"source":{"preset":5}}"#, "`source.preset` is 5, expected a string"),
        (
            "POST",
            "/api/inspect",
            r#"{"source":{"preset":"phi-4"},"options":{"x":1}}"#,
            "`options.x` is not known",
        ),
        (
            "POST",
            "/api/estimate",
            &estimate(r#"{"context":-1}"#),
            "`options.context` is -1, expected a whole number",
        ),
        ("POST", "/api/estimate", &estimate(r#"{"dtype":"f8"}"#), "`options.dtype`: "),
        (
            "POST",
            "/api/estimate",
            &estimate(r#"{"bogus":1}"#),
            "`options.bogus` is not known, expected one of `dtype`, `kv_dtype`, `context`, `batch`, `attn`, `kv_policy`, \
             `device`, `backend`, `device_memory`, `calibration`, `load_config`",
        ),
        (
            "POST",
            "/api/estimate",
            &estimate(r#"{"attn":"x"}"#),
            "`options.attn` is `x`, expected one of `eager`",
        ),
        (
            "POST",
            "/api/estimate",
            &estimate(r#"{"device_memory":[]}"#),
            "`options.device_memory`: expected a number",
        ),
        ("POST", "/api/estimate", &estimate(r#"{"device_memory":"16G"}"#), "`options.device_memory`: "),
        ("POST", "/api/estimate", &estimate(r#"{"load_config":[]}"#), "`options.load_config` is a list"),
        ("POST", "/api/models", r#"{"source":{"path":1}}"#, "`source.path` is 1, expected a string"),
        ("POST", "/api/models", r#"{"source":"path"}"#, "`source"),
        ("POST", "/api/models/default/load", r#"{"context":0}"#, "`context` is 0, expected 1 to 1073741824"),
        (
            "POST",
            "/api/models/default/load",
            r#"{"load_config":5}"#,
            "`load_config` is 5, expected an object",
        ),
        (
            "POST",
            "/api/models/default/validate",
            r#"{"probe":"x"}"#,
            "`probe` is `x`, expected one of `none`",
        ),
        ("POST", "/api/models/default/validate", r#"{"chat":1}"#, "`chat` is 1, expected a string"),
        ("PATCH", "/api/attempts/1", r#"{"note":null}"#, "`note` is null, expected a string"),
        (
            "POST",
            ladders,
            r#"{"model":"default","profile":"a","toml":"b"}"#,
            "`toml` stands beside `profile`",
        ),
        (
            "POST",
            "/api/profiles",
            r#"{"toml":"name = \"x\"\n[[steps]]\nid = \"a\"\nacton = \"load\""}"#,
            "line 4, column 1: `steps[0].acton` is not known, expected one of `id`, `title`, `action`",
        ),
        ("POST", "/api/profiles", r#"{"toml":"name = x"}"#, "line 1, column 8: `x` needs quotes: \"x\""),
        ("POST", "/v1/completions", "{", "The body is not JSON: it ends too early"),
        ("POST", "/v1/completions", "[]", "The body is no JSON object."),
    ] {
        let answer = server.ask(method, path, &[JSON], body);
        let error = answer.json()["error"].clone();
        let found = error["message"].as_str().expect("a message");
        assert!((400..500).contains(&answer.status), "{method} {path} {body}: {answer:?}");
        assert!(found.starts_with(message), "{method} {path} {body}: {found}");
        assert!(!found.contains('\n'), "{found}");
        for words in LIBRARY_WORDS {
            assert!(!found.contains(words), "{method} {path} {body}: {found}");
        }
        // The field that the sentence is about stands beside it, for programs.
        if let Some(field) = found.strip_prefix('`').and_then(|rest| rest.split('`').next()) {
            let path = if error["code"].is_null() { &error["param"] } else { &error["path"] };
            assert_eq!(path, field, "{error}");
        }
    }
    assert_eq!(server.get(attempts).status, 200);
}

#[test]
fn numbers_out_of_range_name_their_field() {
    let model = ModelDir::of_case("mha_plain");
    let server = Server::start(&["--default-model", model.arg()]);
    for (body, path) in [
        (r#"{"max_new_tokens":-1}"#, "max_new_tokens"),
        (r#"{"max_new_tokens":0}"#, "max_new_tokens"),
        (r#"{"max_new_tokens":1e309}"#, "max_new_tokens"),
        (r#"{"max_new_tokens":18446744073709551616}"#, "max_new_tokens"),
        (r#"{"max_new_tokens":"5"}"#, "max_new_tokens"),
        (r#"{"max_new_tokens":1000000000}"#, "max_new_tokens"),
        (r#"{"prompt":"a","chat":"b"}"#, "chat"),
        (r#"{"probe":"everything"}"#, "probe"),
    ] {
        let answer = server.ask("POST", "/api/models/default/validate", &[JSON], body);
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status, &error["path"]), (422, &json!(path)), "{body}: {error}");
    }
}
