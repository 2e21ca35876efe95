//! The description of the routes, and what schemathesis (PyPI) makes of it: requests that fit it and requests that do not,
//! none of which may be a fault of ours. `PREFLIGHT_SCHEMATHESIS` names its program, `PREFLIGHT_EXAMPLES` how many
//! examples for each route: `./dev soak` takes 100.

use std::path::PathBuf;
use std::process::Command;

use crate::support::http::Server;
use crate::support::model_dir::ModelDir;
use crate::support::program::run_within;

#[test]
fn no_request_that_schemathesis_makes_is_a_fault() {
    let Some(program) = std::env::var_os("PREFLIGHT_SCHEMATHESIS").map(PathBuf::from) else {
        println!("skipped: PREFLIGHT_SCHEMATHESIS names no schemathesis; ./dev test installs it");
        return;
    };
    let examples = std::env::var("PREFLIGHT_EXAMPLES").unwrap_or_else(|_| "2".to_owned());
    let model = ModelDir::of_case("mha_plain");
    let server = Server::start(&["--default-model", model.arg()]);
    let phases = if examples == "2" { "fuzzing" } else { "examples,coverage,fuzzing,stateful" };
    let mut command = Command::new(program);
    command
        .args(["run", &format!("http://{}/api-docs/openapi.json", server.address())])
        .args([
            "--checks",
            "not_a_server_error",
            "--seed",
            "1",
            "--max-examples",
            &examples,
            "--phases",
            phases,
        ])
        // A stream of events has no end.
        .args(["--exclude-path", "/api/events", "--request-timeout", "60", "--suppress-health-check", "all"])
        .current_dir(model.path());
    let ran = run_within(command, std::time::Duration::from_secs(3600));
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    // It has asked: a run that finds no routes is content too.
    assert!(ran.stdout.contains("generated"), "{}", ran.stdout);
    assert_eq!(server.get("/health").status, 200);
}
