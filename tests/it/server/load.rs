//! A server under load: many who read events, many who generate, one who asks how it is. `./dev bench server` takes a
//! minute of it and says what it measured; the test takes two seconds and looks at what must never happen.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::program::program;
use crate::support::tests_dir;

/// How much load, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) readers: usize,
    pub(crate) clients: usize,
    pub(crate) time: Duration,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// Times of `/health`, in order of their length.
    pub(crate) health: Vec<Duration>,
    /// Requests to `/v1` that were answered to their end.
    pub(crate) answered: usize,
    /// Those that were told to come back.
    pub(crate) refused: usize,
    /// All else that was answered, or was not.
    pub(crate) failed: Vec<String>,
    /// Events that were published, and those that each reader got.
    pub(crate) published: u64,
    pub(crate) read: Vec<u64>,
    /// Resident bytes of the server after a quarter of the time, and at its end.
    pub(crate) resident_bytes: [u64; 2],
}

impl Measured {
    /// So many of a hundred times were not longer.
    pub(crate) fn health_percentile(&self, percent: usize) -> Duration {
        self.health[(self.health.len() * percent / 100).min(self.health.len() - 1)]
    }
}

/// Puts a server of its own under load; its worker computes on one thread.
pub(crate) fn under_load(load: Load) -> Measured {
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(program("preflight"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data.path())
        .arg("--default-model")
        .arg(tests_dir().join("../public/tiny"))
        .env("PREFLIGHT_WORKER", program("preflight-worker"))
        .env("RAYON_NUM_THREADS", "1")
        .env("RUST_LOG", "error");
    let server = Arc::new(Server::spawn(command, Some(data)));
    let started = server.post("/api/models/default/load", &json!({})).json();
    let id = started["attempt_id"].as_u64().expect("an id");
    server.until(id, |attempt| attempt["state"] == "ready");

    let is_over = Arc::new(AtomicBool::new(false));
    let read: Arc<Vec<AtomicU64>> = Arc::new((0..load.readers).map(|_| AtomicU64::new(0)).collect());
    let (answered, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let failed: Arc<Mutex<Vec<String>>> = Arc::default();
    let (mut readers, mut clients) = (Vec::new(), Vec::new());
    for reader in 0..load.readers {
        let (read, mut events) = (Arc::clone(&read), server.events(&[]));
        // Not looked into: what is measured is the server.
        readers.push(std::thread::spawn(move || {
            while events.text().is_some() {
                read[reader].fetch_add(1, Relaxed);
            }
        }));
    }
    for client in 0..load.clients {
        let (server, is_over) = (Arc::clone(&server), Arc::clone(&is_over));
        let (answered, refused, failed) = (Arc::clone(&answered), Arc::clone(&refused), Arc::clone(&failed));
        clients.push(std::thread::spawn(move || {
            while !is_over.load(Relaxed) {
                match ask(server.address(), client % 2 == 0) {
                    Ok(200) => {
                        answered.fetch_add(1, Relaxed);
                    }
                    Ok(429) => {
                        refused.fetch_add(1, Relaxed);
                        std::thread::sleep(Duration::from_millis(100));
                    }
                    Ok(status) => failed.lock().expect("no panic").push(format!("status {status}")),
                    Err(error) => failed.lock().expect("no panic").push(error),
                }
            }
        }));
    }

    let mut measured = Measured::default();
    let begun = Instant::now();
    while begun.elapsed() < load.time {
        let asked = Instant::now();
        assert_eq!(server.get("/health").status, 200);
        measured.health.push(asked.elapsed());
        // Every reader hears of it.
        let note = json!({ "note": measured.published.to_string() }).to_string();
        let noted =
            server.ask("PATCH", &format!("/api/attempts/{id}"), &["content-type: application/json"], &note);
        assert_eq!(noted.status, 200);
        measured.published += 1;
        if begun.elapsed() < load.time / 4 || measured.resident_bytes[0] == 0 {
            measured.resident_bytes[0] = resident_bytes(server.pid());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    measured.resident_bytes[1] = resident_bytes(server.pid());
    is_over.store(true, Relaxed);
    // What was asked is answered before the server is ended.
    clients.into_iter().for_each(|client| client.join().expect("no panic"));
    // The last to come to the readers, and then their end.
    let quiet = Instant::now();
    let all_heard = || read.iter().all(|count| count.load(Relaxed) >= measured.published);
    while !all_heard() && quiet.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let ended = Command::new("kill").arg(server.pid().to_string()).status().expect("kill runs");
    assert!(ended.success());
    readers.into_iter().for_each(|reader| reader.join().expect("no panic"));
    measured.health.sort();
    measured.answered = answered.load(Relaxed);
    measured.refused = refused.load(Relaxed);
    measured.failed = std::mem::take(&mut failed.lock().expect("no panic"));
    measured.read = read.iter().map(|count| count.load(Relaxed)).collect();
    measured
}

/// One completion, whole or in pieces; its status, once it has come to its end.
fn ask(address: &str, streamed: bool) -> Result<u16, String> {
    let body = json!({
        "model": "default", "prompt": "Once upon a time", "max_tokens": 16, "temperature": 1, "stream": streamed,
    });
    let body = body.to_string();
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(failed)?;
    let head =
        format!("POST /v1/completions HTTP/1.0\r\nhost: {address}\r\ncontent-type: application/json\r\n");
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).map_err(failed)?;
    let mut answer = BufReader::new(stream);
    let mut line = String::new();
    answer.read_line(&mut line).map_err(failed)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("no status: {line:?}"))?;
    let mut rest = String::new();
    answer.read_to_string(&mut rest).map_err(failed)?;
    if status != 200 {
        return Ok(status);
    }
    let body = rest.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let is_whole = match streamed {
        true => body.trim_end().ends_with("data: [DONE]"),
        false => serde_json::from_str::<Value>(body).is_ok_and(|json| json["choices"][0]["text"].is_string()),
    };
    if is_whole { Ok(status) } else { Err(format!("broken off: {body:?}")) }
}

fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() * 1024
}

/// Nobody is forgotten, nobody is told anything but 429, and nothing grows. How long it takes is measured by the bench: this
/// machine has other tests to run.
#[cfg(test)]
#[test]
fn many_who_read_and_many_who_generate() {
    let measured = under_load(Load { readers: 60, clients: 40, time: Duration::from_secs(2) });
    assert!(measured.failed.is_empty(), "{:?}", measured.failed);
    // Forty ask, thirty-four may run and wait.
    assert!(measured.answered > 0 && measured.refused > 0, "{} and {}", measured.answered, measured.refused);
    for events in &measured.read {
        // Every note, and the end of the attempt and of the server.
        assert!(
            (measured.published..measured.published + 8).contains(events),
            "{events} of {}",
            measured.published
        );
    }
    let [early, late] = measured.resident_bytes;
    assert!(late < early + (24 << 20), "{early}, then {late}");
    assert!(measured.health_percentile(50) < Duration::from_secs(1), "{:?}", measured.health_percentile(50));
}
