//! The commands of `docs/walkthrough.md`, run as they stand there.

use std::net::TcpListener;
use std::process::Command;

use crate::support::program::{program, run};
use crate::support::tests_dir;

/// The lines of the `sh` blocks of a page.
fn commands(page: &str) -> String {
    let mut script = String::new();
    for block in page.split("```sh\n").skip(1) {
        script.push_str(block.split("```").next().unwrap_or_default());
    }
    script
}

#[test]
fn the_walk_through_can_be_walked() {
    if Command::new("curl").arg("--version").output().is_err() {
        println!("the walk-through is LEFT OUT: there is no curl");
        return;
    }
    let page = std::fs::read_to_string(tests_dir().join("../docs/walkthrough.md")).expect("the page");
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let script = commands(&page).replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"));
    assert!(script.lines().count() > 25, "the page has commands");
    let folder = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir(folder.path().join("models")).expect("made");
    let tiny = tests_dir().join("../public/tiny").canonicalize().expect("the tiny model");
    let copy = folder.path().join("models/tiny");
    std::fs::create_dir(&copy).expect("made");
    for entry in tiny.read_dir().expect("a folder").map(|entry| entry.expect("readable")) {
        std::fs::copy(entry.path(), copy.join(entry.file_name())).expect("copied");
    }
    // Job control numbers what runs beside the script; whatever happens, it ends with it.
    let script =
        format!("set -euo pipefail\nset -m\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}");
    let bin = program("preflight").parent().expect("a folder").to_owned();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("a path"));
    let mut command = Command::new("bash");
    command
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("PATH", path)
        .env("PREFLIGHT_WORKER", program("preflight-worker"))
        .env("RUST_LOG", "error");
    let ran = run(command);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("verified: it computes here what it computed there"), "{ran:?}");
    let written = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect(name);
    assert!(written("attempts.md").starts_with("| attempt |"));
    assert!(written("attempts.csv").starts_with("id,model,"));
    assert!(written("known-good.json").contains("\"preflight_certificate\":1"));
}
