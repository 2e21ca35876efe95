//! Small model directories, made of the golden cases.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::program::preflight;
use super::tests_dir;

/// A model directory that is gone with its value.
pub(crate) struct ModelDir {
    dir: TempDir,
    /// The golden case that it was made of.
    pub(crate) case: Value,
}

impl ModelDir {
    /// The config and the checkpoint of a golden case.
    pub(crate) fn of_case(name: &str) -> Self {
        let goldens = tests_dir().join("goldens");
        let case: Value =
            serde_json::from_slice(&read(&goldens.join(format!("cases/{name}.json")))).expect("JSON");
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("config.json"), case["config"].to_string()).expect("written");
        let checkpoint = goldens.join("checkpoints").join(case["checkpoint"].as_str().expect("a name"));
        for entry in checkpoint.read_dir().expect("a folder").map(|entry| entry.expect("readable").path()) {
            let name = entry.file_name().expect("a name");
            std::fs::copy(&entry, dir.path().join(name)).expect("copied");
        }
        Self { dir, case }
    }

    /// A made-up model of 8 million parameters without a stop id: 4,000 tokens take it several seconds, so that
    /// a run can be looked at, cancelled or killed while it goes on.
    pub(crate) fn slow() -> Self {
        let case = json!({ "config": {
            "model_type": "phi3", "vocab_size": 512, "hidden_size": 256, "intermediate_size": 1024,
            "num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 4,
            "max_position_embeddings": 8192, "original_max_position_embeddings": 8192,
            "bos_token_id": 1, "eos_token_id": null, "pad_token_id": 0, "sliding_window": null,
        } });
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (config, model) = (dir.path().join("made.json"), dir.path().join("model"));
        std::fs::write(&config, case["config"].to_string()).expect("written");
        let [config, out] = [&config, &model].map(|path| path.to_str().expect("UTF-8"));
        let ran = preflight(&["synth", config, out, "--seed", "1", "--dtype", "f32"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        for entry in model.read_dir().expect("a folder").map(|entry| entry.expect("readable")) {
            std::fs::rename(entry.path(), dir.path().join(entry.file_name())).expect("moved");
        }
        Self { dir, case }
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The directory as an argument.
    pub(crate) fn arg(&self) -> &str {
        self.dir.path().to_str().expect("temporary names are UTF-8")
    }

    /// A file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces a file.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.file(name), bytes).expect("written");
    }

    /// Changes keys of the config; `null` takes one away.
    pub(crate) fn set_config(&self, changes: &Value) {
        let mut config = self.case["config"].as_object().expect("an object").clone();
        for (key, value) in changes.as_object().expect("an object") {
            config.insert(key.clone(), value.clone());
        }
        self.write("config.json", Value::Object(config).to_string());
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
