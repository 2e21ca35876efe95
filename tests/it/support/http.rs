//! A `preflight serve` of its own for a test, and the little HTTP that is needed to ask it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::program::{program, wait};

const LIMIT: Duration = Duration::from_secs(60);

/// A server that ends with its value.
pub(crate) struct Server {
    child: Child,
    address: String,
    log: Option<JoinHandle<Vec<u8>>>,
    // Gone after the server.
    _data_dir: Option<TempDir>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The value of a header, named in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn error_code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_else(|| panic!("no error: {self:?}")).to_owned()
    }
}

impl Server {
    /// Starts one on a free port.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::with_worker(args, &program("preflight-worker"))
    }

    /// Starts one with another worker.
    pub(crate) fn with_worker(args: &[&str], worker: &Path) -> Self {
        let data_dir =
            (!args.contains(&"--data-dir")).then(|| tempfile::tempdir().expect("a temporary directory"));
        let mut command = Command::new(program("preflight"));
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        if let Some(dir) = &data_dir {
            command.arg("--data-dir").arg(dir.path());
        }
        command.args(args).env("PREFLIGHT_WORKER", worker).env("RUST_LOG", "error");
        Self::spawn(command, data_dir)
    }

    /// Starts what `command` says, which must be a server.
    pub(crate) fn spawn(mut command: Command, data_dir: Option<TempDir>) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the server starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let address =
            line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("said {line:?}"));
        let log = child.stderr.take().map(|mut stream| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).expect("a pipe");
                bytes
            })
        });
        Self { address: address.to_owned(), child, log, _data_dir: data_dir }
    }

    /// Kills it and gives what it wrote to its log, which must be piped.
    pub(crate) fn kill_and_read_log(mut self) -> Vec<u8> {
        self.child.kill().expect("it runs");
        self.child.wait().expect("a child");
        self.log.take().expect("piped").join().expect("read")
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &["content-type: application/json"], &body.to_string())
    }

    /// Any request. A `host` among the headers takes the place of the right one.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let mut stream = self.send(method, path, headers, body);
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// Opens the event stream; what happens from here on comes on it.
    pub(crate) fn events(&self, headers: &[&str]) -> Events {
        let mut stream = BufReader::new(self.send("GET", "/api/events", headers, ""));
        let mut line = String::new();
        // The head is sent once the reader has joined.
        while line.trim_end() != "" || line.is_empty() {
            line.clear();
            assert!(stream.read_line(&mut line).expect("an answer") > 0, "the stream is refused");
        }
        Events(stream)
    }

    /// Waits until an attempt has ended.
    pub(crate) fn ended(&self, id: u64) -> Value {
        self.until(id, |attempt| {
            ["stopped", "failed", "cancelled", "lost"].contains(&attempt["state"].as_str().expect("a state"))
        })
    }

    /// Waits until an attempt is as wanted.
    pub(crate) fn until(&self, id: u64, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let attempt = self.get(&format!("/api/attempts/{id}")).json();
            if wanted(&attempt) {
                return attempt;
            }
            assert!(start.elapsed() < LIMIT, "still {attempt}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends SIGTERM and gives the exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let pid = self.pid().to_string();
        Command::new("kill").arg(pid).status().expect("kill runs");
        wait(&mut self.child, Duration::from_secs(20)).and_then(|status| status.code())
    }

    // HTTP/1.0: the answer ends with the connection, and streams come without chunks.
    fn send(&self, method: &str, path: &str, headers: &[&str], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("the server listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let mut request = format!("{method} {path} HTTP/1.0\r\n");
        if !headers.iter().any(|header| header.to_ascii_lowercase().starts_with("host:")) {
            request += &format!("host: {}\r\n", self.address);
        }
        for header in headers {
            request += &format!("{header}\r\n");
        }
        request += &format!("content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).expect("sent");
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The event stream.
pub(crate) struct Events(BufReader<TcpStream>);

impl Events {
    /// The next event as it comes; `None` where the stream ends.
    pub(crate) fn text(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).expect("the stream goes on") == 0 {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(data.to_owned());
            }
        }
    }
}

impl Iterator for Events {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        self.text().map(|text| serde_json::from_str(&text).expect("events are JSON"))
    }
}
