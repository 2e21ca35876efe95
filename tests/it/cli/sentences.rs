//! What a person reads: errors that say what to write, warnings beside a verdict, names that are nearly right.

use serde_json::json;

use crate::support::model_dir::ModelDir;
use crate::support::program::{preflight, program, wait};
use crate::support::tests_dir;

const MINI: &str = "preset:phi-3-mini-4k-instruct";

/// The one line that a command fails with.
fn line(args: &[&str]) -> String {
    let ran = preflight(args);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.lines().count()), (2, "", 1), "{ran:?}");
    assert!(ran.stderr.chars().count() < 600, "{ran:?}");
    ran.stderr
}

#[test]
fn errors_say_what_to_write() {
    let model = ModelDir::of_case("mha_plain");
    model.write("lc.json", r#"{"max_memory":{"0":"12G"}}"#);
    let file = model.file("lc.json");
    let file = file.to_str().expect("UTF-8");
    let qwen = tests_dir().join("data/configs/Qwen__Qwen2.5-7B.json");
    let qwen = qwen.to_str().expect("UTF-8");
    let ids = format!("{}x", "7,".repeat(4000));
    let out = model.file("out");
    let out = out.to_str().expect("UTF-8");
    for (args, says) in [
        (
            &["estimate", MINI, "--load-config", file][..],
            "expected 12GB (powers of 10) or 12GiB (powers of 2)",
        ),
        (&["estimate", MINI, "--load-config", "nowhere.json"], "nowhere.json: no such file or directory\n"),
        (&["estimate", MINI, "--device", "4091"], "did you mean RTX 4090,"),
        (&["estimate", MINI, "--device", "4091"], "`preflight gpus` lists all"),
        (&["estimate", MINI, "--backend", "tpu"], "cpu, cuda, rocm, metal, wgpu"),
        (&["inspect", "preset:Phi-4"], "did you mean preset:phi-4?"),
        (&["inspect", "phi-4"], "a preset is written preset:NAME"),
        (&["inspect", "microsoft/phi-4"], "a repository of the Hub is written hf:ORG/NAME"),
        (&["load", "phi-4"], "phi-4: no such file or directory\n"),
        (&["load", "preset:phi-4"], "it is a config alone"),
        (&["load", qwen], "`qwen2` is inspected and estimated here, not run"),
        (&["synth", qwen, out], "`qwen2` is inspected and estimated here, not run"),
        (&["logits", MINI, "--tokens", &ids, "--out", out], "expected ids with commas between"),
        (&["gpus", "RTX 4099"], "did you mean"),
        (&["gpus", "no such card"], "names are like"),
    ] {
        let line = line(args);
        assert!(line.contains(says), "{args:.80?}: {line}");
    }
}

#[test]
fn a_sequence_longer_than_the_model_is_refused() {
    let model = ModelDir::of_case("mha_plain");
    let positions = model.case["config"]["max_position_embeddings"].as_u64().expect("a number");
    model.write("ids.json", json!(vec![1; positions as usize + 1]).to_string());
    let [ids, out] = ["ids.json", "out"].map(|name| model.file(name));
    let [ids, out] = [&ids, &out].map(|path| path.to_str().expect("UTF-8"));
    let line = line(&["logits", model.arg(), "--tokens-file", ids, "--out", out]);
    let positions = phi3::units::format_count(positions);
    assert!(line.contains(&format!("exceed the model's {positions} positions")), "{line}");
}

#[test]
fn a_context_beyond_the_positions_is_warned_of_at_the_verdict() {
    let ran = preflight(&["estimate", MINI, "--context", "9000", "--device", "4090"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let top: String = ran.stdout.lines().take(4).collect();
    assert!(top.contains("fits: ") && top.contains("beyond the model's 4,096 positions"), "{top}");
    assert!(ran.stdout.contains("1.2 × weights") && ran.stdout.contains("3,887 tokens"), "{}", ran.stdout);
    let json = preflight(&["estimate", MINI, "--context", "9000", "--json"]).json();
    assert_eq!(json["fit"]["warnings"].as_array().map(Vec::len), Some(1));
    let none = preflight(&["estimate", "preset:phi-4", "--device-memory", "2GiB"]);
    assert!(none.stdout.contains("no change is enough: even weights in q4_0"), "{}", none.stdout);
}

#[test]
fn the_budgets_of_a_load_config_are_the_verdict() {
    let model = ModelDir::of_case("mha_plain");
    let estimate = |budgets: serde_json::Value| {
        model.write("lc.json", json!({ "max_memory": budgets }).to_string());
        let file = model.file("lc.json");
        let file = file.to_str().expect("UTF-8");
        preflight(&["estimate", MINI, "--device", "4090", "--load-config", file, "--json"])
    };
    let small = estimate(json!({ "0": "6GiB" }));
    let report = small.json();
    assert_eq!((small.code, &report["fit"]["verdict"]), (1, &json!("does_not_fit")));
    assert_eq!(report["fit"]["available_bytes"], 6_442_450_944_u64);
    assert_eq!(report["placement_error"]["code"], "does_not_fit");
    let split = estimate(json!({ "0": "6GiB", "cpu": "32GiB" })).json();
    assert_eq!((&split["fit"]["verdict"], &split["placement_error"]), (&json!("fits"), &json!(null)));
    let devices: Vec<_> =
        split["terms"].as_array().expect("terms").iter().map(|term| term["device"].clone()).collect();
    assert!(devices.contains(&json!("cuda:0")) && devices.contains(&json!("cpu")), "{devices:?}");
}

#[test]
fn gpus_are_listed() {
    let all = preflight(&["gpus", "--json"]).json();
    let all = all["gpus"].as_array().expect("a list");
    assert!(all.len() > 150 && all.iter().all(|gpu| gpu["usable_bytes"].as_u64() > Some(1 << 30)));
    let one = preflight(&["gpus", "4090"]).stdout;
    assert!(one.contains("RTX 4090 Laptop") && one.contains("23.52 GiB"), "{one}");
}

#[test]
fn odd_names_do_not_steer_the_terminal() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let odd = dir.path().join("a\u{1b}[31mb");
    let odd = odd.to_str().expect("UTF-8");
    let synth = preflight(&["synth", MINI, odd, "--dtype", "f32", "--no-such-flag"]);
    assert!(!synth.stderr.contains('\u{1b}'), "{synth:?}");
    let model = ModelDir::of_case("mha_plain");
    let synth = preflight(&["synth", model.file("config.json").to_str().expect("UTF-8"), odd]);
    assert_eq!(synth.code, 0, "{synth:?}");
    assert!(!synth.stdout.contains('\u{1b}'), "{synth:?}");
    for target in ["vllm", "llama.cpp", "ollama", "from_pretrained", "json", "toml", "markdown"] {
        let export = preflight(&["export", odd, "--to", target]);
        let told = [export.stdout.as_str(), &export.stderr].concat();
        assert!(export.code == 0 && !told.contains('\u{1b}'), "{target}: {export:?}");
    }
}

/// Told to end, a command takes what it has begun with it.
#[test]
fn an_interrupted_checkpoint_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().join("model");
    for signal in ["TERM", "INT"] {
        let mut child = std::process::Command::new(program("preflight"))
            .args(["synth", MINI, out.to_str().expect("UTF-8"), "--dtype", "f32"])
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("started");
        // 15 GB are never written in this time; the folder is there when the first file is begun.
        let begun = || dir.path().read_dir().expect("readable").next().is_some();
        let start = std::time::Instant::now();
        while !begun() && start.elapsed().as_secs() < 30 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(begun(), "nothing was begun");
        let kill = std::process::Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
        assert!(kill.expect("kill runs").success());
        let ended = wait(&mut child, std::time::Duration::from_secs(30)).expect("it ends");
        assert_eq!(ended.code(), Some(130), "{signal}");
        assert!(!begun(), "{signal}: {:?}", dir.path().read_dir().expect("readable").collect::<Vec<_>>());
    }
}
