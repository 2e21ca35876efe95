//! The real programs, run as a user runs them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest that a command of a test may take; a hang fails the test instead of holding it up.
const LIMIT: Duration = Duration::from_secs(120);

/// A built program: `PREFLIGHT_BIN`, `PREFLIGHT_WORKER`, else beside this test's own folder.
pub(crate) fn program(name: &str) -> PathBuf {
    let variable = if name == "preflight" { "PREFLIGHT_BIN" } else { "PREFLIGHT_WORKER" };
    let path = std::env::var_os(variable).map(PathBuf::from).unwrap_or_else(|| {
        let test = std::env::current_exe().expect("a test has a path");
        test.parent().and_then(Path::parent).expect("target/debug/deps").join(name)
    });
    assert!(
        path.is_file(),
        "{}: build it first: cargo build -p preflight -p preflight-worker",
        path.display()
    );
    path
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Its stdout as the one JSON object that `--json` promises.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of the error that it told as JSON.
    pub(crate) fn error_code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_else(|| panic!("no error: {self:?}")).to_owned()
    }
}

/// Runs `preflight` with the worker of this build.
pub(crate) fn preflight(args: &[&str]) -> Ran {
    let mut command = Command::new(program("preflight"));
    command.args(args).env("PREFLIGHT_WORKER", program("preflight-worker"));
    run(command)
}

/// Runs a command to its end.
pub(crate) fn run(command: Command) -> Ran {
    run_within(command, LIMIT)
}

/// Runs a command that may take longer.
pub(crate) fn run_within(mut command: Command, limit: Duration) -> Ran {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let out = read_all(child.stdout.take().expect("piped"));
    let err = read_all(child.stderr.take().expect("piped"));
    let status = wait(&mut child, limit).unwrap_or_else(|| panic!("{command:?}: still runs after {limit:?}"));
    let code = status.code().unwrap_or_else(|| panic!("{command:?}: {status}"));
    Ran { code, stdout: out.join().expect("read"), stderr: err.join().expect("read") }
}

fn read_all(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("a pipe");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for the end of a process; kills it and gives `None` where it takes too long.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return Some(status);
        }
        if start.elapsed() > limit {
            child.kill().ok();
            child.wait().ok();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Process ids of the children of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc")
        .expect("proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    processes.filter(|child| stat(*child).is_some_and(|(_, parent)| parent == pid)).collect()
}

/// Whether a process is gone, or dead and only not yet waited for by whoever adopted it.
pub(crate) fn has_ended(pid: u32) -> bool {
    stat(pid).is_none_or(|(state, _)| state == "Z" || state == "X")
}

/// State and parent of a process.
fn stat(pid: u32) -> Option<(String, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}
