//! Who may ask: names, sites, addresses, data folders.

use serde_json::json;

use crate::support::http::Server;
use crate::support::model_dir::ModelDir;
use crate::support::program::preflight;

#[test]
fn other_names_are_refused_everywhere() {
    let server = Server::start(&[]);
    for path in ["/", "/health", "/ready", "/api/models", "/api/events", "/app.js"] {
        for host in ["evil.com", "127.0.0.1.evil.com", "localhost.evil.com:8080", ""] {
            let answer = server.ask("GET", path, &[&format!("host: {host}")], "");
            assert_eq!(answer.status, 421, "{path} as {host:?}");
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
    for (method, path) in [
        ("DELETE", "/api/attempts/1"),
        ("POST", "/api/attempts/1/cancel"),
        ("POST", "/api/models/default/validate"),
        ("POST", "/api/estimate"),
        ("PUT", "/api/models"),
    ] {
        let answer = server.ask(method, path, &["sec-fetch-site: cross-site"], "");
        assert_eq!((answer.status, answer.error_code().as_str()), (403, "cross_site"), "{method} {path}");
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

#[test]
fn a_server_that_cannot_start_says_which_flag() {
    let running = Server::start(&[]);
    let address = running.address().to_owned();
    for (args, flag) in [
        (&["--listen", &address][..], "--listen"),
        (&["--listen", "nonsense"], "--listen"),
        (&["--dashboard", "/no/such/dir"], "--dashboard"),
        (&["--model-root", "/no/such/dir"], "/no/such/dir"),
    ] {
        let ran = preflight(&[&["serve"][..], args].concat());
        assert_eq!((ran.code, ran.stderr.lines().count()), (2, 1), "{ran:?}");
        assert!(ran.stderr.contains(flag), "{ran:?}");
    }
}

#[test]
fn a_data_folder_has_one_server() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path().to_str().expect("UTF-8");
    let first = Server::start(&["--data-dir", dir]);
    let second = preflight(&["serve", "--listen", "127.0.0.1:0", "--data-dir", dir]);
    assert_eq!(second.code, 2, "{second:?}");
    assert!(second.stderr.contains("another preflight serve"), "{second:?}");
    assert_eq!(first.stop(), Some(0));
    Server::start(&["--data-dir", dir]);
}
