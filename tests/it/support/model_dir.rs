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

    /// Copies it into a cache of Hugging Face's layout, as `org/name` at the tag `v1`.
    pub(crate) fn cached(&self, cache: &Path) {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let repo = cache.join("models--org--name");
        let snapshot = repo.join("snapshots").join(commit);
        for folder in [&snapshot, &repo.join("refs")] {
            std::fs::create_dir_all(folder).expect("made");
        }
        std::fs::write(repo.join("refs/v1"), commit).expect("written");
        for entry in self.path().read_dir().expect("a folder").map(|entry| entry.expect("readable")) {
            std::fs::copy(entry.path(), snapshot.join(entry.file_name())).expect("copied");
        }
    }

    /// A model with 2 GiB of weights that are a hole in the disk: nothing can be computed with it.
    pub(crate) fn hollow() -> Self {
        let (hidden, intermediate, layers, vocab) = (2048, 8192, 16, 1024);
        let case = json!({ "config": {
            "model_type": "phi3", "vocab_size": vocab, "hidden_size": hidden, "intermediate_size": intermediate,
            "num_hidden_layers": layers, "num_attention_heads": 16, "num_key_value_heads": 16,
            "max_position_embeddings": 4096, "original_max_position_embeddings": 4096, "torch_dtype": "bfloat16",
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "sliding_window": null,
        } });
        let tensor = |name: &str, shape: &[usize]| (format!("{name}.weight"), shape.to_vec());
        let mut tensors = vec![
            tensor("model.embed_tokens", &[vocab, hidden]),
            tensor("model.norm", &[hidden]),
            tensor("lm_head", &[vocab, hidden]),
        ];
        for layer in (0..layers).map(|layer| format!("model.layers.{layer}")) {
            tensors.extend([
                tensor(&format!("{layer}.input_layernorm"), &[hidden]),
                tensor(&format!("{layer}.post_attention_layernorm"), &[hidden]),
                tensor(&format!("{layer}.self_attn.qkv_proj"), &[3 * hidden, hidden]),
                tensor(&format!("{layer}.self_attn.o_proj"), &[hidden, hidden]),
                tensor(&format!("{layer}.mlp.gate_up_proj"), &[2 * intermediate, hidden]),
                tensor(&format!("{layer}.mlp.down_proj"), &[hidden, intermediate]),
            ]);
        }
        let (mut header, mut end) = (serde_json::Map::new(), 0);
        for (name, shape) in tensors {
            let begin = end;
            end += 2 * shape.iter().product::<usize>();
            header.insert(name, json!({ "dtype": "BF16", "shape": shape, "data_offsets": [begin, end] }));
        }
        let header = Value::Object(header).to_string();
        let made = Self { dir: tempfile::tempdir().expect("a temporary directory"), case };
        made.write("config.json", made.case["config"].to_string());
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
        made.write("model.safetensors", &bytes);
        let file = std::fs::File::options().write(true).open(made.file("model.safetensors")).expect("there");
        file.set_len((bytes.len() + end) as u64).expect("a hole");
        made
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
