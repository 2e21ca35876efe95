//! The commands of `docs/walkthrough.md`, run as they stand there.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::support::program::{program, run};
use crate::support::tests_dir;

/// The folder of the page's model, as it is called there.
const MODEL: &str = "smollm2-135m-phi3";

/// The lines of the `sh` blocks of a page.
fn commands(page: &str) -> String {
    let mut script = String::new();
    for block in page.split("```sh\n").skip(1) {
        script.push_str(block.split("```").next().unwrap_or_default());
    }
    script
}

/// The model of the page; where it was not made, the embedded one under its name, and the reason.
fn put_model(folder: &Path) -> Option<String> {
    let made = tests_dir().join("../models").join(MODEL);
    std::fs::create_dir(folder.join("models")).expect("made");
    let copy = folder.join("models").join(MODEL);
    std::fs::create_dir(&copy).expect("made");
    let reason = (!made.join("config.json").exists())
        .then(|| format!("{} is not there: run ./dev model", made.display()));
    let from = if reason.is_some() { tests_dir().join("../public/tiny") } else { made };
    for entry in from.read_dir().expect("a folder").map(|entry| entry.expect("readable")) {
        let to = copy.join(entry.file_name());
        // Hundreds of megabytes are not copied where they need not be.
        if std::fs::hard_link(entry.path(), &to).is_err() {
            std::fs::copy(entry.path(), &to).expect("copied");
        }
    }
    reason
}

#[test]
fn the_walk_through_can_be_walked() {
    for needed in ["curl", "python3"] {
        if Command::new(needed).arg("--version").output().is_err() {
            crate::support::left_out(&format!("there is no {needed}"));
            return;
        }
    }
    let page = std::fs::read_to_string(tests_dir().join("../docs/walkthrough.md")).expect("the page");
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let script = commands(&page).replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"));
    assert!(script.lines().count() > 25, "the page has commands");
    let folder = tempfile::tempdir().expect("a temporary directory");
    if let Some(reason) = put_model(folder.path()) {
        assert!(std::env::var_os("PREFLIGHT_REQUIRE_MODEL").is_none(), "{reason}");
        println!("the walk-through is walked with the embedded model: {reason}");
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
    // The server's certificate, and that of the command line.
    let verified = ran.stdout.matches("verified: it computes here what it computed there").count();
    assert_eq!(verified, 2, "{ran:?}");
    let written = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect(name);
    assert!(written("attempts.md").starts_with("| attempt |"));
    assert!(written("attempts.csv").starts_with("id,model,"));
    assert!(written("known-good.json").contains("\"preflight_certificate\":1"));
    assert!(written("certificate.json").contains("\"preflight_certificate\": 1"));
    assert!(written("load.py").contains("from_pretrained("), "{}", written("load.py"));
    assert!(written("vllm.sh").contains("vllm serve"), "{}", written("vllm.sh"));
    let third = written("rungs.txt").lines().find(|line| line.starts_with("3 ")).map(str::to_owned);
    let third = third.expect("rung 3 has its line");
    assert!(
        third.starts_with("3 skipped - no GPU here: this machine computes on")
            || third.starts_with("3 passed")
    );
    assert!(
        written("killed.json").contains("\"state\":\"interrupted\",\"position\""),
        "{}",
        written("killed.json")
    );
    assert!(written("resumed.json").contains("\"state\":\"queued\""), "{}", written("resumed.json"));
}

/// What the first page shows of the command line is what it says.
#[test]
fn the_readme_shows_what_the_command_says() {
    let readme = std::fs::read_to_string(tests_dir().join("../README.md")).expect("the first page");
    let shown = readme.split("```console\n$ preflight ").nth(1).expect("a command");
    let (command, rest) = shown.split_once('\n').expect("a line");
    let output =
        rest.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("its output");
    let mut preflight = Command::new(program("preflight"));
    let ran = run({
        preflight.args(command.split(' '));
        preflight
    });
    assert_eq!((ran.code, ran.stdout.as_str()), (1, output), "{command}");
}
