//! The description of the routes, and what schemathesis (PyPI) makes of it: requests that fit it and requests that do not,
//! none of which may be a fault of ours. `PREFLIGHT_SCHEMATHESIS` names its program, `PREFLIGHT_EXAMPLES` how many
//! examples for each route: `./dev soak` takes 100.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::left_out;
use crate::support::model_dir::ModelDir;
use crate::support::program::run_within;

#[test]
fn no_request_that_schemathesis_makes_is_a_fault() {
    let Some(program) = std::env::var_os("PREFLIGHT_SCHEMATHESIS").map(PathBuf::from) else {
        left_out("PREFLIGHT_SCHEMATHESIS names no schemathesis; ./dev test installs it");
        return;
    };
    let examples = std::env::var("PREFLIGHT_EXAMPLES").unwrap_or_else(|_| "2".to_owned());
    let model = ModelDir::of_case("mha_plain");
    let server = Server::start(&["--default-model", model.arg()]);
    // Loaded, so that /v1 has more to say than that it is not.
    let started = server.post("/api/models/default/load", &json!({}));
    let id = started.json()["attempt_id"].as_u64().expect("an id");
    server.until(id, |attempt| attempt["state"] == "ready");
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

/// Requests to `/v1` are read by hand and described apart from that: both have the same ranges.
#[test]
fn the_ranges_of_v1_are_those_that_are_described() {
    let server = Server::start(&[]);
    let api = server.get("/api-docs/openapi.json").json();
    let of = |body: &str| -> Vec<(String, Value)> {
        let parts = api["components"]["schemas"][body]["allOf"].as_array().expect("two parts").clone();
        parts
            .iter()
            .flat_map(|part| {
                let name = part["$ref"].as_str().and_then(|name| name.rsplit('/').next());
                let part = name.map_or(part, |name| &api["components"]["schemas"][name]);
                part["properties"].as_object().expect("fields").clone()
            })
            .collect()
    };
    let mut bounds = 0;
    for (path, body, base) in [
        ("/v1/completions", "CompletionBody", json!({ "model": "nobody", "prompt": "x" })),
        (
            "/v1/chat/completions",
            "ChatBody",
            json!({ "model": "nobody", "messages": [{ "role": "user", "content": "x" }], "logprobs": true }),
        ),
    ] {
        let answered = |field: &str, value: f64| {
            let mut body = base.clone();
            body[field] = if value.fract() == 0.0 { json!(value as i64) } else { json!(value) };
            let answer = server.post(path, &body);
            let param = answer.json()["error"]["param"].as_str().expect("a field").to_owned();
            (answer.status, param)
        };
        let fields = of(body);
        assert!(["model", "stop", "stream"].iter().all(|name| fields.iter().any(|(known, _)| known == name)));
        for (field, schema) in fields {
            for (bound, step) in
                [("minimum", -1.0), ("maximum", 1.0), ("exclusiveMinimum", 0.0), ("exclusiveMaximum", 0.0)]
            {
                let Some(limit) = schema[bound].as_f64() else { continue };
                bounds += 1;
                // What is within is read, and the model is then not there.
                if step != 0.0 {
                    assert_eq!(answered(&field, limit), (404, "model".to_owned()), "{field} {bound}");
                }
                assert_eq!(answered(&field, limit + step), (400, field.clone()), "{field} {bound}");
            }
        }
    }
    assert!(bounds >= 30, "{bounds}");
}
