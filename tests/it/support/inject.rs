//! Faults of a machine that a test cannot have, put before libc: see `inject.c`.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::tests_dir;

/// Switches for the faults of one program, and the library that obeys them.
pub(crate) struct Inject {
    dir: TempDir,
    library: PathBuf,
}

impl Inject {
    /// All switches off; the reason where this machine cannot have them.
    pub(crate) fn new() -> Result<Self, &'static str> {
        if !cfg!(target_os = "linux") {
            return Err("faults are put before libc on Linux alone");
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let library = dir.path().join("inject.so");
        let source = tests_dir().join("it/support/inject.c");
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

    /// Lets a program have the faults.
    pub(crate) fn put_before(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("INJECT_DIR", self.dir.path());
    }

    /// Turns a switch on.
    pub(crate) fn on(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).expect("written");
    }

    /// Turns it off.
    pub(crate) fn off(&self, name: &str) {
        std::fs::remove_file(self.dir.path().join(name)).expect("removed");
    }
}
