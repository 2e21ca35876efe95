//! Models that cannot be loaded, beside one that is: each attempt ends with its name, none starts a worker or takes the
//! loaded one along.

use std::path::Path;

use serde_json::{Value, json};

use super::v1::tiny;
use crate::support::http::Server;
use crate::support::model_dir::ModelDir;
use crate::support::program::children;

/// What is done to a model.
enum Spoilt {
    /// Keys of its config are others.
    Config(Value),
    /// Its config is this text.
    Text(String),
    /// Its weights are these bytes.
    Weights(Vec<u8>),
    /// Its weights are only so many of their bytes.
    Cut(usize),
    /// Its weights are a file of another name.
    Renamed(&'static str),
    /// Its index names this file for a tensor.
    Indexed(&'static str),
    /// A shard is not there.
    Shard,
    /// In place of its weights there is a pipe, a folder, a link to itself.
    Pipe,
    Folder,
    Loop,
}

use Spoilt::{Config, Cut, Folder, Indexed, Loop, Pipe, Renamed, Shard, Text, Weights};

fn spoil(model: &ModelDir, how: &Spoilt) {
    let weights = model.file("model.safetensors");
    let index = model.file("model.safetensors.index.json");
    match how {
        Config(changes) => model.set_config(changes),
        Text(text) => model.write("config.json", text),
        Weights(bytes) => model.write("model.safetensors", bytes),
        Cut(bytes) => {
            let whole = std::fs::read(&weights).expect("weights");
            model.write("model.safetensors", &whole[..*bytes]);
        }
        Renamed(name) => std::fs::rename(&weights, model.file(name)).expect("renamed"),
        Indexed(name) => {
            let mut json: Value =
                serde_json::from_slice(&std::fs::read(&index).expect("an index")).expect("JSON");
            let map = json["weight_map"].as_object_mut().expect("a map");
            let first = map.keys().next().expect("a tensor").clone();
            map.insert(first, json!(name));
            model.write("model.safetensors.index.json", json.to_string());
        }
        Shard => std::fs::remove_file(model.file("model-00002-of-00002.safetensors")).expect("removed"),
        Pipe | Folder | Loop => {
            std::fs::remove_file(&weights).expect("removed");
            match how {
                Folder => std::fs::create_dir(&weights).expect("made"),
                Loop => std::os::unix::fs::symlink(&weights, &weights).expect("linked"),
                _ => {
                    let made = std::process::Command::new("mkfifo").arg(&weights).status();
                    assert!(made.expect("mkfifo runs").success());
                }
            }
        }
    }
}

#[test]
fn bad_models_take_nothing_along() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let arg = root.path().to_str().expect("UTF-8");
    let good = tiny();
    let server = Server::start(&["--model-root", arg, "--default-model", &good]);
    let loaded = server.post("/api/models/default/load", &json!({})).json()["attempt_id"].as_u64();
    server.until(loaded.expect("an id"), |attempt| attempt["state"] == "ready");
    let workers = children(server.pid());
    assert_eq!(workers.len(), 1);
    let header = |length: u64| [&length.to_le_bytes()[..], b"{}"].concat();
    let deep = format!(r#"{{"model_type":"phi3","x":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let (plain, sharded) = ("mha_plain", "sharded_plain");
    let cases = [
        ("empty", plain, Text(String::new()), "config_invalid", "0 bytes"),
        ("no-json", plain, Text("config = 1".to_owned()), "config_invalid", "not valid JSON"),
        ("deep", plain, Text(deep), "config_invalid", "nested deeper"),
        ("long", plain, Text(" ".repeat(1 << 21)), "config_invalid", "config.json"),
        (
            "no-heads",
            plain,
            Config(json!({"num_attention_heads": 0})),
            "config_invalid",
            "num_attention_heads",
        ),
        (
            "odd-heads",
            plain,
            Config(json!({"num_key_value_heads": 2})),
            "config_invalid",
            "num_key_value_heads",
        ),
        (
            "positions",
            plain,
            Config(json!({"max_position_embeddings": 1_u64 << 31})),
            "config_invalid",
            "max_position_embeddings",
        ),
        ("yarn", plain, Config(json!({"rope_scaling": {"type": "yarn"}})), "config_invalid", "short_factor"),
        ("mamba", plain, Config(json!({"model_type": "mamba9"})), "unknown_architecture", "mamba9"),
        ("llama", plain, Config(json!({"model_type": "llama"})), "unknown_architecture", "llama"),
        ("shapes", plain, Config(json!({"intermediate_size": 8})), "weights_mismatch", "gate_up_proj"),
        ("layers", plain, Config(json!({"num_hidden_layers": 3})), "weights_mismatch", "is missing"),
        ("leads-out", sharded, Indexed("../../etc/passwd"), "unsafe_path", "no plain file name"),
        ("absolute", sharded, Indexed("/etc/passwd"), "unsafe_path", "no plain file name"),
        ("no-shard", sharded, Shard, "missing_shards", "model-00002-of-00002"),
        ("cut", plain, Cut(1000), "weights_corrupt", "model.safetensors"),
        ("header", plain, Weights(header(1 << 63)), "weights_corrupt", "model.safetensors"),
        ("no-header", plain, Weights(header(0)), "weights_corrupt", "model.safetensors"),
        (
            "pointer",
            plain,
            Weights(b"version https://git-lfs.github.com/spec/v1\n".to_vec()),
            "not_a_weight_file",
            "Git-LFS",
        ),
        ("page", plain, Weights(b"<!DOCTYPE html><html></html>".to_vec()), "not_a_weight_file", "HTML"),
        ("archive", plain, Weights(b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec()), "not_a_weight_file", "gzip"),
        ("pickle", plain, Renamed("pytorch_model.bin"), "incomplete_model", "pickled"),
        ("no-weights", plain, Renamed("weights.safetensors.part"), "incomplete_model", "no weights"),
        ("pipe", plain, Pipe, "not_a_file", "pipe"),
        ("folder", plain, Folder, "not_a_file", "directory"),
        ("loop", plain, Loop, "broken_link", "model.safetensors"),
    ];
    let count = cases.len();
    for (name, case, how, code, says) in cases {
        let model = ModelDir::of_case(case);
        spoil(&model, &how);
        std::fs::rename(model.path(), root.path().join(name)).expect("moved");
        let answer = server.post(&format!("/api/models/{name}/load"), &json!({}));
        assert_eq!(answer.status, 202, "{name}: {answer:?}");
        let attempt = server.ended(answer.json()["attempt_id"].as_u64().expect("an id"));
        assert_eq!(
            (&attempt["state"], &attempt["error"]["code"]),
            (&json!("failed"), &json!(code)),
            "{name}: {attempt}"
        );
        let message = attempt["error"]["message"].as_str().expect("words");
        assert!(message.contains(says) && !message.contains('\n'), "{name}: {message}");
        assert!(!attempt.to_string().contains(arg), "{name} tells a path of this machine: {attempt}");
        assert_eq!(attempt["timings"]["starting_ms"], Value::Null, "{name}: no worker was started");
    }
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(children(server.pid()), workers);
    let asked = json!({ "model": "default", "prompt": "Once", "max_tokens": 2 });
    assert_eq!(server.post("/v1/completions", &asked).status, 200);
    let attempts = server.get("/api/attempts?limit=1000").json();
    assert_eq!(attempts.as_array().map(Vec::len), Some(count + 1), "one row for each");
    assert!(Path::new(&good).join("config.json").is_file());
}
