//! Bodies that are too large, too deep, no JSON or no request: each is answered, and none costs memory.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

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
        ("[]".to_owned(), "."),
        ("{}".to_owned(), "."),
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
        let found = error["path"].as_str().expect("a path");
        assert!(found.starts_with(path), "{text:.100}: {error}");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let answer = server.ask("POST", "/api/inspect", &[&format!("content-type: {kind}")], "{}");
        assert_eq!((answer.status, answer.error_code().as_str()), (415, "not_json"), "{kind}");
    }
    assert_eq!(server.get("/health").status, 200);
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
