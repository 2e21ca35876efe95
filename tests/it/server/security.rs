//! Who may ask: names, sites, addresses, data folders.

use std::process::Command;

use serde_json::json;

use super::api::routes;
use crate::support::http::Server;
use crate::support::model_dir::ModelDir;
use crate::support::program::{preflight, program};

#[test]
fn other_names_are_refused_everywhere() {
    let server = Server::start(&[]);
    let api = server.get("/api-docs/openapi.json").json();
    let files =
        ["/", "/app.js", "/docs/", "/docs/swagger-ui.css", "/api-docs/openapi.json", "/v1/x", "/api/x"];
    let files = files.map(|path| ("GET".to_owned(), path.to_owned()));
    let all: Vec<_> = routes(&api).into_iter().chain(files).collect();
    assert!(all.len() > 40 && all.iter().any(|(_, path)| path == "/api/events"), "{all:?}");
    for (method, path) in &all {
        for host in ["evil.com", "127.0.0.1.evil.com", "localhost.evil.com:8080", ""] {
            let answer = server.ask(method, path, &[&format!("host: {host}")], "");
            assert_eq!(answer.status, 421, "{method} {path} as {host:?}");
        }
    }
    for host in ["localhost", "localhost:1234", "127.0.0.1:99", "[::1]:8080"] {
        assert_eq!(server.ask("GET", "/health", &[&format!("host: {host}")], "").status, 200, "{host}");
    }
}

#[test]
fn other_sites_change_nothing() {
    let server = Server::start(&[]);
    let body = json!({ "source": { "preset": "phi-4" } }).to_string();
    let content = "content-type: application/json";
    let ask =
        |headers: &[&str]| server.ask("POST", "/api/inspect", &[&[content], headers].concat(), &body).status;
    assert_eq!(ask(&[]), 200, "curl");
    assert_eq!(ask(&["sec-fetch-site: same-origin"]), 200);
    assert_eq!(ask(&["sec-fetch-site: cross-site"]), 403);
    assert_eq!(ask(&["sec-fetch-site: same-site"]), 403);
    assert_eq!(ask(&["origin: http://evil.com"]), 403);
    assert_eq!(ask(&["origin: null"]), 403);
    // Every route that may change something, and methods that no route has.
    let api = server.get("/api-docs/openapi.json").json();
    let changing = routes(&api).into_iter().filter(|(method, _)| method != "GET");
    let others = ["PUT", "PATCH"].map(|method| (method.to_owned(), "/api/models".to_owned()));
    let all: Vec<_> = changing.chain(others).collect();
    assert!(all.len() > 20, "{all:?}");
    for (method, path) in all {
        for header in ["sec-fetch-site: cross-site", "sec-fetch-site: same-site", "origin: null"] {
            let answer = server.ask(&method, &path, &[header], "");
            let told = (answer.status, answer.error_code());
            assert_eq!(told, (403, "cross_site".to_owned()), "{method} {path} with {header}");
            // In the shape that clients of the path read.
            let has_type = answer.json().pointer("/error/type").is_some();
            assert_eq!(has_type, path.starts_with("/v1/"), "{method} {path}");
        }
    }
}

/// Nothing allows a page of another site to read an answer, asked first or not.
#[test]
fn no_other_site_may_read_an_answer() {
    let server = Server::start(&[]);
    for (method, path) in [
        ("GET", "/api/models"),
        ("GET", "/health"),
        ("GET", "/v1/models"),
        ("GET", "/api-docs/openapi.json"),
        ("OPTIONS", "/api/models"),
        ("OPTIONS", "/v1/chat/completions"),
    ] {
        let headers = ["origin: http://evil.com", "access-control-request-method: POST"];
        let answer = server.ask(method, path, &headers, "");
        for name in [
            "access-control-allow-origin",
            "access-control-allow-credentials",
            "access-control-allow-methods",
        ] {
            assert_eq!(answer.header(name), None, "{method} {path}: {answer:?}");
        }
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"), "{method} {path}");
    }
}

/// A broken model is told by its path below the root: where that lies on this machine is nobody's matter.
#[test]
fn no_answer_tells_where_the_roots_lie() {
    let model = ModelDir::of_case("mha_plain");
    let folder = model.path().file_name().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
    let root = model.path().parent().expect("a parent");
    let server = Server::start(&["--model-root", root.to_str().expect("UTF-8")]);
    let content = "content-type: application/json";
    model.write("tokenizer.json", "no tokenizer");
    let mut told = String::new();
    for (config, status) in [
        (None, 200),
        (Some(json!({ "num_attention_heads": 0 })), 422),
        (Some(json!({ "hidden_size": 128 })), 422),
    ] {
        if let Some(changes) = config {
            model.set_config(&changes);
        }
        for path in ["/api/inspect", "/api/estimate"] {
            let body = json!({ "source": { "path": folder } }).to_string();
            let answer = server.ask("POST", path, &[content], &body);
            assert_eq!(answer.status, status, "{path}: {answer:?}");
            told += &answer.body;
        }
    }
    assert!(told.contains(&folder), "{told}");
    assert!(!told.contains(&format!("{}/{folder}", root.display())), "{told}");
}

#[test]
fn other_machines_are_not_let_in_by_default() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let ran = preflight(&["serve", "--listen", address]);
        assert_eq!((ran.code, ran.stderr.lines().count()), (2, 1), "{ran:?}");
        assert!(ran.stderr.contains("--insecure-no-auth"), "{ran:?}");
    }
}

/// Where others can reach it, a token is asked of everyone, under whatever name; names that are given are the only ones.
#[test]
fn other_machines_are_let_in_with_a_token() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("token");
    std::fs::write(&file, "token-of-the-server-0123456789\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    let bearer = "authorization: Bearer token-of-the-server-0123456789";
    let serve = |args: &[&str]| {
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new(program("preflight"));
        command.args(["serve", "--listen", "0.0.0.0:0", "--data-dir"]).arg(data.path()).args(args);
        command.env("RUST_LOG", "off").env("PREFLIGHT_WORKER", program("preflight-worker"));
        Server::spawn(command, Some(data))
    };
    let server = serve(&["--token-file", file]);
    for host in [server.address(), "box.example"] {
        let host = format!("host: {host}");
        assert_eq!(server.ask("GET", "/api/models", &[&host], "").status, 401, "{host}");
        assert_eq!(server.ask("GET", "/v1/models", &[&host], "").status, 401, "{host}");
        assert_eq!(server.ask("GET", "/api/models", &[&host, bearer], "").status, 200, "{host}");
        assert_eq!(server.ask("GET", "/health", &[&host], "").status, 200, "{host}");
    }
    let named = serve(&["--token-file", file, "--allowed-host", "box.example"]);
    for (host, status) in [
        ("box.example", 200),
        ("BOX.example:8080", 200),
        ("evil.com", 421),
        ("localhost", 200),
        ("192.0.2.7", 200),
    ] {
        let answer = named.ask("GET", "/api/models", &[&format!("host: {host}"), bearer], "");
        assert_eq!(answer.status, status, "{host}");
    }
    // Without a token a page whose name was bound to the address would be let in by that name.
    let open = serve(&["--insecure-no-auth"]);
    for (host, status) in
        [("192.0.2.7:80", 200), ("[2001:db8::1]", 200), ("box.example", 421), ("192.0.2.7.evil.com", 421)]
    {
        assert_eq!(open.ask("GET", "/api/models", &[&format!("host: {host}")], "").status, status, "{host}");
    }
    // One that can be guessed is none.
    for text in ["", "short", "sixteen characters"] {
        std::fs::write(file, text).expect("written");
        let ran = preflight(&["serve", "--listen", "0.0.0.0:0", "--token-file", file]);
        assert_eq!((ran.code, ran.stderr.lines().count()), (2, 1), "{ran:?}");
        assert!(ran.stderr.contains("--token-file") && ran.stderr.contains("at least 16"), "{ran:?}");
        assert!(text.is_empty() || !ran.stderr.contains(text), "{ran:?}");
    }
}

/// All of 127.0.0.0/8 is this machine: the address that a server tells is one that it answers to.
#[cfg(target_os = "linux")]
#[test]
fn an_address_of_loopback_answers_to_itself() {
    let serve = |address: &str| {
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new(program("preflight"));
        command.args(["serve", "--listen", address, "--data-dir"]).arg(data.path()).env("RUST_LOG", "off");
        Server::spawn(command, Some(data))
    };
    let server = serve("localhost:0");
    assert!(server.address().starts_with("127.0.0.1:") && server.get("/health").status == 200);
    let server = serve("127.0.0.2:0");
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.ask("GET", "/health", &["host: localhost"], "").status, 200);
    assert_eq!(server.ask("GET", "/health", &["host: 127.0.0.3"], "").status, 421);
}

#[test]
fn a_server_that_cannot_start_says_which_flag() {
    let running = Server::start(&[]);
    let address = running.address().to_owned();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let place = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    std::fs::write(place("file"), "").expect("written");
    std::fs::create_dir(place("empty")).expect("made");
    std::fs::create_dir_all(place("piped/preflight.lock")).expect("made");
    std::fs::create_dir(place("empty db")).expect("made");
    std::fs::write(place("empty db/preflight.db"), "").expect("written");
    let below = format!("{}: {} is a file", place("file/below"), place("file"));
    for (args, flag) in [
        (&["--listen", &address][..], "--listen"),
        (&["--listen", "nonsense"], "--listen"),
        (&["--listen", "8080"], "is no address with a port: write 127.0.0.1:8080"),
        (&["--listen", "localhost"], "is no address with a port"),
        (&["--dashboard", "/no/such/dir"], "--dashboard"),
        (&["--model-root", "/no/such/dir"], "/no/such/dir"),
        (
            &["--listen", "127.0.0.1:0", "--data-dir", &place("file")],
            &format!("--data-dir {}: is a file", place("file")),
        ),
        (&["--listen", "127.0.0.1:0", "--data-dir", &place("file/below")], &format!("--data-dir {below}")),
        (&["--listen", "127.0.0.1:0", "--data-dir", "/dev/null"], "--data-dir /dev/null: is a file"),
        (&["--listen", "127.0.0.1:0", "--data-dir", &place("piped")], "preflight.lock in it is no file"),
        (&["--default-model", &place("empty")], "empty: holds no model"),
        (&["--default-model", &place("file")], &format!("--default-model {}: ", place("file"))),
    ] {
        let ran = preflight(&[&["serve"][..], args].concat());
        assert_eq!((ran.code, ran.stderr.lines().count()), (2, 1), "{ran:?}");
        assert!(ran.stderr.contains(flag) && !ran.stderr.contains("os error"), "{ran:?}");
    }
    for (folder, says) in [
        ("file", format!("--data-dir {}: is a file", place("file"))),
        ("empty db", format!("{}: there is no database", place("empty db/preflight.db"))),
    ] {
        let ran = preflight(&["attempts", "--data-dir", &place(folder)]);
        assert!(ran.code == 2 && ran.stderr.contains(&says), "{ran:?}");
    }
}

/// It is served all the same, as it was asked for.
#[test]
fn a_default_model_that_no_path_reaches_is_told_at_the_start() {
    let (model, root) = (ModelDir::of_case("mha_plain"), tempfile::tempdir().expect("a temporary directory"));
    let serve = |root: &std::path::Path| {
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new(program("preflight"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data.path());
        command.arg("--model-root").arg(root).args(["--default-model", model.arg()]);
        command.env("RUST_LOG", "warn").env("NO_COLOR", "1").stderr(std::process::Stdio::piped());
        let server = Server::spawn(command, Some(data));
        assert_eq!(server.get("/api/models").json()[0]["id"], "default");
        String::from_utf8(server.kill_and_read_log()).expect("UTF-8")
    };
    let outside = serve(root.path());
    let line = format!("--default-model {}: lies under no --model-root", model.arg());
    assert_eq!(outside.matches(&line).count(), 1, "{outside}");
    let inside = serve(std::path::Path::new(model.arg()).parent().expect("a folder"));
    assert!(!inside.contains("--default-model"), "{inside}");
}

#[test]
fn a_data_folder_has_one_server() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path().to_str().expect("UTF-8");
    let first = Server::start(&["--data-dir", dir]);
    let second = preflight(&["serve", "--listen", "127.0.0.1:0", "--data-dir", dir]);
    assert_eq!(second.code, 2, "{second:?}");
    assert!(second.stderr.contains("another preflight serve"), "{second:?}");
    // The lock is on the folder too: who tidies up by hand lets nobody in.
    std::fs::remove_file(std::path::Path::new(dir).join("preflight.lock")).expect("removed");
    let second = preflight(&["serve", "--listen", "127.0.0.1:0", "--data-dir", dir]);
    assert!(second.code == 2 && second.stderr.contains("another preflight serve"), "{second:?}");
    assert_eq!(first.stop(), Some(0));
    Server::start(&["--data-dir", dir]);
}
