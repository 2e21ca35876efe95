//! `preflight verify`: what is the same is verified, what differs is named, and what is no certificate is refused.

use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::model_dir::ModelDir;
use crate::support::program::{Ran, preflight};

/// A model, and the certificate of a server that has validated it.
fn certified() -> (ModelDir, Value) {
    let model = ModelDir::of_case("gqa_plain");
    let server = Server::start(&["--default-model", model.arg()]);
    let answer = server.post("/api/models/default/validate", &json!({ "max_new_tokens": 8, "probe": "all" }));
    let attempt = server.ended(answer.json()["attempt_id"].as_u64().expect("an id"));
    assert_eq!(attempt["outcome"], "passed", "{attempt}");
    let committed = server.post("/api/models/default/known-good", &json!({}));
    assert_eq!(committed.status, 201, "{committed:?}");
    (model, committed.json())
}

fn verify(model: &ModelDir, certificate: &str) -> Ran {
    model.write("certificate.json", certificate);
    let file = model.file("certificate.json");
    preflight(&["verify", file.to_str().expect("UTF-8"), "--model", model.arg(), "--json"])
}

/// Names of the checks that did not pass, with what they say.
fn failed(ran: &Ran) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    let checks = ran.json()["checks"].as_array().expect("checks").clone();
    assert_eq!(checks.len(), 10, "{checks:?}");
    let failed = checks.iter().filter(|check| check["passed"] == false);
    failed.map(|check| (word(&check["name"]), word(&check["detail"]))).collect()
}

#[test]
fn a_certificate_holds_until_something_differs() {
    let (model, certificate) = certified();
    let same = verify(&model, &certificate.to_string());
    assert_eq!((same.code, &same.json()["verified"]), (0, &json!(true)), "{same:?}");
    assert!(failed(&same).is_empty(), "{same:?}");
    assert_eq!(same.json()["report"]["generated_tokens"], certificate["report"]["generated_tokens"]);

    // Other tokens than are certified.
    let mut other = certificate.clone();
    other["report"]["generated_tokens"][0] = json!(0);
    let differs = verify(&model, &other.to_string());
    assert_eq!((differs.code, &differs.json()["verified"]), (1, &json!(false)), "{differs:?}");
    let names: Vec<String> = failed(&differs).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["generated tokens"]);

    // A text, a number format, logits, a probe or a list of files that are not what was run.
    for (name, at, lie) in [
        ("text", "/report/text", json!("lies")),
        ("dtype", "/report/dtype", json!("f16")),
        ("likeliest tokens", "/report/top_logits/0/token", json!(332)),
        ("likeliest tokens", "/report/top_logits/1/logit", json!(-7.5)),
        ("likeliest tokens", "/report/top_logits/1/token", json!(332)),
        ("likeliest tokens", "/report/top_logits", json!([certificate["report"]["top_logits"][0]])),
        ("generated tokens", "/report/stop_reason", json!("nan")),
        ("probes", "/report/probes/0/verdict", json!("pass")),
        ("probes", "/report/probes/0/tokens", json!(9)),
        ("layers", "/report/layers", json!([certificate["report"]["layers"][0]])),
        ("files", "/files", json!([certificate["files"][0]])),
    ] {
        let mut other = certificate.clone();
        *other.pointer_mut(at).expect("is there") = lie;
        let differs = verify(&model, &other.to_string());
        let names: Vec<String> = failed(&differs).into_iter().map(|(name, _)| name).collect();
        assert_eq!((differs.code, names.as_slice()), (1, &[name.to_owned()][..]), "{differs:?}");
    }

    // The load config of the certificate is the one that is run.
    let mut half = certificate.clone();
    half["load_config"] = json!({ "dtype": "bfloat16" });
    let ran = verify(&model, &half.to_string());
    assert_eq!(ran.json()["report"]["dtype"], "bf16");

    // What is held against the CPU in f32 is as far from it here as there.
    half["report"] = ran.json()["report"].clone();
    let checks = |half: &Value| {
        let ran = verify(&model, &half.to_string());
        let checks = ran.json()["checks"].as_array().cloned().unwrap_or_default();
        (
            ran.code,
            checks
                .into_iter()
                .find(|check| check["name"] == "reference")
                .map(|check| check["passed"] == true),
        )
    };
    assert_eq!(checks(&half), (0, Some(true)));
    for (at, lie) in [
        ("/difference", Value::Null),
        ("/difference/top1_agreement", json!(0.1)),
        ("/difference/rows", json!(1)),
    ] {
        let mut other = half.clone();
        *other["report"].pointer_mut(at).expect("is there") = lie;
        assert_eq!(checks(&other), (1, Some(false)), "{at}");
    }
    for (at, lie) in [
        ("/difference/max", json!(1e6)),
        ("/difference/bound", json!(9)),
        ("/difference/mean", json!(1e3)),
        ("/probes/0/non_finite", json!(1)),
    ] {
        let mut other = half.clone();
        *other["report"].pointer_mut(at).expect("is there") = lie;
        assert_eq!(verify(&model, &other.to_string()).error_code(), "certificate_invalid", "{at}");
    }

    // Other weights: one bit of the last tensor.
    let mut bytes = std::fs::read(model.file("model.safetensors")).expect("weights");
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    model.write("model.safetensors", &bytes);
    let changed = verify(&model, &certificate.to_string());
    assert_eq!(changed.code, 1, "{changed:?}");
    let found = failed(&changed);
    assert!(
        found
            .iter()
            .any(|(name, says)| name == "files" && says.contains("model.safetensors has another SHA-256")),
        "{found:?}"
    );
    let plain = preflight(&[
        "verify",
        model.file("certificate.json").to_str().expect("UTF-8"),
        "--model",
        model.arg(),
    ]);
    assert_eq!(plain.code, 1, "{plain:?}");
    assert!(plain.stdout.contains("not verified") && plain.stdout.contains("another SHA-256"), "{plain:?}");
}

#[test]
fn what_is_no_certificate_is_refused() {
    let (model, certificate) = certified();
    let mut newer = certificate.clone();
    newer["preflight_certificate"] = json!(99);
    let mut odd = certificate.clone();
    odd["run"]["max_new_tokens"] = json!("many");
    let mut failed = certificate.clone();
    failed["report"]["verdict"] = json!("fail");
    let (mut stranger, mut torn) = (certificate.clone(), certificate.clone());
    stranger["runs"] = json!(3);
    torn.as_object_mut().expect("an object").remove("run");
    // A part that is not there could not differ.
    let without = |at: &str, nothing: Value| {
        let mut less = certificate.clone();
        *less.pointer_mut(at).expect("is there") = nothing;
        less.to_string()
    };
    for (text, says) in [
        ("{", "not valid JSON"),
        (&certificate.to_string().replacen("{", r#"{"model":"x","#, 1), "`model` stands twice"),
        ("[]", "is no certificate"),
        ("{}", "is no certificate"),
        (&newer.to_string(), "is of version 99, this build reads version 1"),
        (&odd.to_string(), "run.max_new_tokens"),
        (&failed.to_string(), "the validation failed"),
        (&without("/files", json!([])), "lacks a file of the model"),
        (&without("/files/1/sha256", Value::Null), "lacks the SHA-256 of"),
        (&without("/report/top_logits", json!([])), "lacks the likeliest tokens"),
        (&without("/report/probes", json!([])), "lacks the probe \"window\""),
        (&without("/report/layers", json!([])), "lacks what each layer put out"),
        (
            &without("/report/layers/0", json!({ "nan": 0, "inf": 0, "odd": 1 })),
            "unknown key `report.layers[0].odd`",
        ),
        (
            &without("/report/stop_reason", json!("length")).replacen(
                "\"stop_reason\"",
                "\"zzz\":1,\"stop_reason\"",
                1,
            ),
            "unknown key `report.zzz`",
        ),
        (&stranger.to_string(), "runs is not known"),
        (&torn.to_string(), "run is missing"),
    ] {
        let ran = verify(&model, text);
        assert_eq!((ran.code, ran.error_code().as_str()), (2, "certificate_invalid"), "{text:.60}: {ran:?}");
        let message = ran.json()["error"]["message"].as_str().expect("words").to_owned();
        assert!(message.contains(says) && message.contains("certificate.json"), "{text:.60}: {message}");
    }
    let absent = preflight(&["verify", "/no/such/certificate.json"]);
    assert_eq!((absent.code, absent.stderr.lines().count()), (2, 1), "{absent:?}");
    // Where the model lies on the machine that it was certified on is not told: it must be said here.
    model.write("certificate.json", certificate.to_string());
    let nowhere = preflight(&["verify", model.file("certificate.json").to_str().expect("UTF-8")]);
    assert_eq!((nowhere.code, nowhere.stderr.lines().count()), (2, 1), "{nowhere:?}");
    assert!(nowhere.stderr.contains("--model PATH"), "{nowhere:?}");
}
