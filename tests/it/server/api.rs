//! The description of the routes, held against the routes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::model_dir::ModelDir;
use crate::support::program::{preflight, program};

const TOKEN: &str = "token-of-the-server-0123456789";

fn with_token(model: &ModelDir) -> Server {
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(program("preflight"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--default-model", model.arg(), "--data-dir"])
        .arg(data.path())
        .env("PREFLIGHT_WORKER", program("preflight-worker"))
        .env("PREFLIGHT_TOKEN", TOKEN)
        .env("RUST_LOG", "error");
    Server::spawn(command, Some(data))
}

/// Method and address of every route, with made-up ids.
pub(super) fn routes(api: &Value) -> Vec<(String, String)> {
    let mut routes = Vec::new();
    for (path, methods) in api["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            routes.push((method.to_ascii_uppercase(), path.replace("{id}", "1")));
        }
    }
    routes
}

/// A snapshot of the whole contract: a change of it is a change for every client.
#[test]
fn the_description_is_the_contract() {
    let api = Server::start(&[]).get("/api-docs/openapi.json").json();
    // Beside the documents: it is one, and the tests' folder is to stay light.
    insta::with_settings!({ snapshot_path => "../../../docs", prepend_module_to_snapshot => false }, {
        insta::assert_json_snapshot!("openapi", api);
    });
}

/// Programs that are made of the description name their functions after them.
#[test]
fn every_operation_has_a_name_of_its_own() {
    let api = Server::start(&[]).get("/api-docs/openapi.json").json();
    let mut names = std::collections::BTreeMap::new();
    for (path, methods) in api["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let name =
                operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has none"));
            let place = format!("{method} {path}");
            if let Some(other) = names.insert(name.to_owned(), place.clone()) {
                panic!("`{name}` is {other} and {place}");
            }
        }
    }
    assert!(names.len() > 29, "{names:?}");
}

#[test]
fn every_route_wants_the_token() {
    let model = ModelDir::of_case("mha_plain");
    let server = with_token(&model);
    let bearer = format!("authorization: Bearer {TOKEN}");
    let api = server.ask("GET", "/api-docs/openapi.json", &[&bearer], "").json();
    let routes = routes(&api);
    assert!(routes.len() > 29, "{routes:?}");
    for place in ["/v1/models", "/v1/models/1", "/v1/completions", "/v1/chat/completions", "/api/events"] {
        assert!(routes.iter().any(|(_, path)| path == place), "{place}: {routes:?}");
    }
    // The description says of the same routes that they are open: all others have its two ways to show the token.
    assert_eq!(api["security"], json!([{ "bearer": [] }, { "session": [] }]));
    let schemes = api["components"]["securitySchemes"].as_object().expect("schemes");
    assert_eq!(schemes["bearer"]["scheme"], "bearer");
    assert_eq!(
        (&schemes["session"]["in"], &schemes["session"]["name"]),
        (&json!("cookie"), &json!("preflight_session"))
    );
    for (path, methods) in api["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let says_open = operation.get("security") == Some(&json!([{}]));
            assert_eq!(says_open, ["/health", "/api/session"].contains(&path.as_str()), "{method} {path}");
            assert!(says_open || operation.get("security").is_none(), "{method} {path}");
        }
    }
    let others = ["/api-docs/openapi.json", "/docs/", "/docs/swagger-ui.css"];
    let others = others.map(|path| ("GET".to_owned(), path.to_owned()));
    for (method, path) in routes.iter().chain(&others) {
        let open = ["/health", "/api/session"].contains(&path.as_str());
        for header in [
            "x-nothing: 1",
            "authorization: Bearer wrong",
            "authorization: Basic eDp5",
            "cookie: preflight_session=1",
        ] {
            let answer = server.ask(method, path, &[header], "");
            assert_eq!(answer.status == 401, !open, "{method} {path} with {header}: {answer:?}");
        }
    }
    assert_eq!(server.ask("GET", "/ready", &[&bearer], "").status, 200);
    // A page shows the token once, and is known by its cookie then.
    let content = "content-type: application/json";
    let wrong = server.ask("POST", "/api/session", &[content], r#"{"token":"wrong"}"#);
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, None));
    let session = server.ask("POST", "/api/session", &[content], &json!({ "token": TOKEN }).to_string());
    let cookie = session.header("set-cookie").expect("a cookie").to_owned();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(TOKEN),
        "{cookie}"
    );
    let cookie = format!("cookie: other=1; {}", cookie.split(';').next().expect("a pair"));
    assert_eq!(server.ask("GET", "/api/models", &[&cookie], "").status, 200);
    // The shell of the dashboard holds nothing that is not public.
    assert_eq!(server.get("/").error_code(), "dashboard_not_built");
}

/// The pages need no network: all that they name comes from here.
#[test]
fn the_pages_of_the_description_work_offline() {
    let server = Server::start(&[]);
    let page = server.get("/docs/");
    assert_eq!(page.status, 200, "{page:?}");
    assert!(
        page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'self'"))
    );
    for quote in page.body.split('"').filter(|text| text.starts_with("http") || text.starts_with("//")) {
        assert!(quote.starts_with("http://www.w3.org"), "{quote}");
    }
    for file in ["swagger-ui-bundle.js", "swagger-ui.css", "swagger-initializer.js"] {
        assert_eq!(server.get(&format!("/docs/{file}")).status, 200, "{file}");
    }
}

/// Every route answers whatever it is sent, and never with a fault of ours.
#[test]
fn no_route_has_a_fault() {
    let server = Server::start(&[]);
    let api = server.get("/api-docs/openapi.json").json();
    let content = "content-type: application/json";
    for (method, path) in routes(&api) {
        if path == "/api/events" {
            continue;
        }
        for place in [
            path.clone(),
            path.replace('1', "%2e%2e%2f"),
            path.replace('1', "%00"),
            path.replace('1', "%ff"),
            path.replace('1', "18446744073709551616"),
        ] {
            for body in [
                "",
                "{}",
                "[]",
                "null",
                r#"{"source":{"path":"\u0000"}}"#,
                r#"{"note":5,"token":1,"load_config":[]}"#,
            ] {
                let answer = server.ask(&method, &place, &[content], body);
                assert!(answer.status < 500, "{method} {place} {body}: {answer:?}");
            }
        }
    }
    assert_eq!(server.get("/docs/nothing").status, 404);
    // `/v1` speaks as its clients expect, all else as we do.
    for (path, code) in [
        ("/v1/nothing", "unknown_url"),
        ("/v1", "unknown_url"),
        ("/v1/", "unknown_url"),
        ("/api", "no_such_route"),
        ("/api-docs/nothing", "no_such_route"),
    ] {
        for method in ["GET", "DELETE"] {
            let answer = server.ask(method, path, &[], "");
            assert_eq!((answer.status, answer.error_code().as_str()), (404, code), "{method} {path}");
        }
    }
}

#[test]
fn headers_have_a_size_and_a_time() {
    let server = Server::start(&[]);
    let answer = |text: &[u8]| {
        let mut stream = TcpStream::connect(server.address()).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream.write_all(text).ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let long = format!("GET /health HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "a".repeat(1 << 20));
    assert!(answer(long.as_bytes()).starts_with("HTTP/1.1 431"));
    let two = "GET /health HTTP/1.1\r\nhost: localhost\r\nhost: evil.com\r\nconnection: close\r\n\r\n";
    let told = answer(two.as_bytes());
    assert!(told.starts_with("HTTP/1.1 421") || told.starts_with("HTTP/1.1 400"), "{told}");
    // Half a head, the beginning of another protocol, nothing, or nothing more: it keeps its place for some seconds, not
    // for ever.
    let begun = Instant::now();
    let whole = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
    std::thread::scope(|scope| {
        for sent in [&b"GET /health HTTP/1.1\r\nhost: loc"[..], b"PRI * HTTP/2.0\r\n\r\nSM", b"P", b"", whole]
        {
            scope.spawn(move || answer(sent));
        }
    });
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(server.get("/health").status, 200);
}

/// Nobody without the token makes the server keep a body.
#[test]
fn a_body_is_read_for_those_who_may_ask() {
    let model = ModelDir::of_case("mha_plain");
    let server = with_token(&model);
    let mut stream = TcpStream::connect(server.address()).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let host = server.address();
    let head = format!("POST /api/inspect HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n");
    stream.write_all(format!("{head}content-length: 1000000\r\n\r\n{{").as_bytes()).expect("sent");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer before the body is there");
    assert_eq!(&answer, b"HTTP/1.1 401");
}

#[test]
fn counters_have_their_names() {
    let model = ModelDir::of_case("mha_plain");
    let server = Server::start(&["--default-model", model.arg()]);
    let id =
        server.post("/api/models/default/validate", &json!({})).json()["attempt_id"].as_u64().expect("an id");
    server.ended(id);
    let _reader = server.events(&[]);
    let text = server.get("/metrics").body;
    for line in [
        r#"preflight_model_load_attempts_total{outcome="stopped",reason="passed"} 1"#,
        r#"preflight_model_load_seconds_count{outcome="stopped"} 1"#,
        "preflight_queue_depth 0",
        "preflight_sse_subscribers 1",
        "preflight_num_requests_running 0",
        "preflight_num_requests_waiting 0",
        "preflight_prompt_tokens_total 0",
        "preflight_generation_tokens_total 0",
        "preflight_worker_restarts_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
}

/// What the running server tells is what `config show` tells, with what was left open filled in, and no secret.
#[test]
fn a_server_tells_its_settings() {
    let model = ModelDir::of_case("mha_plain");
    let file = model.file("preflight.toml");
    let text = "allowed_host = [\"models.example\"]\n[load_config]\ntorch_dtype = \"float32\"\n";
    std::fs::write(&file, text).expect("written");
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(program("preflight"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--default-model", model.arg(), "--config"])
        .arg(&file)
        .env("PREFLIGHT_DATA_DIR", data.path())
        .env("PREFLIGHT_WORKER", program("preflight-worker"))
        .env("PREFLIGHT_TOKEN", TOKEN)
        .env("RUST_LOG", "error");
    let server = Server::spawn(command, None);
    assert_eq!(server.get("/api/settings").status, 401);
    let bearer = format!("authorization: Bearer {TOKEN}");
    let answer = server.ask("GET", "/api/settings", &[&bearer], "");
    assert!(!answer.body.contains(TOKEN), "{answer:?}");
    let told = answer.json();
    assert_eq!(told["file"], file.display().to_string());
    let of = |key: &str| {
        let list = told["settings"].as_array().expect("a list");
        let setting = list.iter().find(|setting| setting["key"] == key).expect(key);
        (setting["value"].clone(), setting["origin"].as_str().expect("an origin").to_owned())
    };
    let flag = |value: &str| (json!(value), "flag".to_owned());
    assert_eq!(of("listen"), flag(server.address()));
    assert_eq!(of("default_model"), flag(model.arg()));
    assert_eq!(of("data_dir"), (json!(data.path().display().to_string()), "environment".to_owned()));
    assert_eq!(of("allowed_host"), (json!(["models.example"]), "file".to_owned()));
    assert_eq!(of("load_config"), (json!({ "torch_dtype": "float32" }), "file".to_owned()));
    assert_eq!(of("token"), (json!("given, and not shown"), "environment".to_owned()));
    assert_eq!(of("insecure_no_auth"), (json!(false), "default".to_owned()));
    // For people, in words: what holds where nothing was said is told too.
    let shown = preflight(&["config", "show", "--origin"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(!shown.stdout.contains('–'), "{shown:?}");
    let line = |key: &str| {
        shown.stdout.lines().find(|line| line.trim_start().starts_with(key)).expect(key).to_owned()
    };
    assert!(line("listen").contains("127.0.0.1:8080"), "{shown:?}");
    assert!(line("data_dir").contains("preflight"), "{shown:?}");
    assert!(line("token_file").ends_with("none"), "{shown:?}");
}

#[test]
fn settings_tell_where_they_come_from() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("preflight.toml");
    std::fs::write(&file, "listen = \"127.0.0.1:1\"\nmodel_root = [\"models\"]\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    let shown =
        preflight(&["config", "show", "--origin", "--json", "--config", file, "--listen", "127.0.0.1:2"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    let settings = shown.json()["settings"].clone();
    let of = |key: &str| {
        settings.as_array().expect("a list").iter().find(|s| s["key"] == key).expect("shown").clone()
    };
    assert_eq!((&of("listen")["value"], &of("listen")["origin"]), (&json!("127.0.0.1:2"), &json!("flag")));
    assert_eq!(
        (&of("model_root")["origin"], &of("dashboard")["origin"]),
        (&json!("file"), &json!("default"))
    );
    std::fs::write(file, "listn = 1\n").expect("written");
    let refused = preflight(&["serve", "--config", file]);
    assert_eq!((refused.code, refused.stderr.lines().count()), (2, 1), "{refused:?}");
    assert!(refused.stderr.contains("listn") && refused.stderr.contains("line 1"), "{refused:?}");
}
