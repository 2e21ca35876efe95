//! Faults of a machine that a test cannot have: put before libc (`inject.c`), or told by a driver's library (`nvml.c`).

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::program::program;
use super::tests_dir;

/// Switches for what one program meets, and the library that obeys them.
pub(crate) struct Inject {
    dir: TempDir,
    library: PathBuf,
}

impl Inject {
    /// Faults of the system, all off; the reason where this machine cannot have them.
    pub(crate) fn new() -> Result<Self, &'static str> {
        Self::build("inject.c", "inject.so")
    }

    /// A GPU of NVIDIA's, as its management library tells it; the reason where this machine cannot have one.
    pub(crate) fn gpu() -> Result<Self, &'static str> {
        Self::build("nvml.c", "libnvidia-ml.so.1")
    }

    fn build(source: &str, name: &str) -> Result<Self, &'static str> {
        if !cfg!(target_os = "linux") {
            return Err("faults are put before libraries on Linux alone");
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let library = dir.path().join(name);
        let source = tests_dir().join("it/support").join(source);
        let built =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).output();
        match built {
            Err(_) => Err("there is no C compiler"),
            Ok(built) => {
                assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
                Ok(Self { dir, library })
            }
        }
    }

    /// Lets a program have the faults of the system.
    pub(crate) fn put_before(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("INJECT_DIR", self.dir.path());
    }

    /// A worker that has them: its environment is cleaned, so that its own program puts them before it.
    pub(crate) fn before_worker(&self) -> PathBuf {
        let script = format!(
            "#!/bin/sh\nLD_PRELOAD='{}' INJECT_DIR='{}' exec '{}' \"$@\"\n",
            self.library.display(),
            self.dir.path().display(),
            program("preflight-worker").display()
        );
        let worker = self.file("worker");
        std::fs::write(&worker, script).expect("written");
        std::fs::set_permissions(&worker, std::fs::Permissions::from_mode(0o755)).expect("executable");
        worker
    }

    /// Lets a program find the GPU.
    pub(crate) fn show_gpu(&self, command: &mut Command) {
        command.env("LD_LIBRARY_PATH", self.dir.path()).env("NVML_DIR", self.dir.path());
    }

    /// Turns a switch on.
    pub(crate) fn on(&self, name: &str, text: &str) {
        // Whole, or not there.
        let (part, file) = (self.file(&format!("{name}.part")), self.file(name));
        std::fs::write(&part, text).and_then(|()| std::fs::rename(part, file)).expect("written");
    }

    /// Turns it off.
    pub(crate) fn off(&self, name: &str) {
        std::fs::remove_file(self.file(name)).expect("removed");
    }

    /// The file of a switch, or of what the library notes.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        Path::new(self.dir.path()).join(name)
    }
}
