//! Small model directories, made of the golden cases.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

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
