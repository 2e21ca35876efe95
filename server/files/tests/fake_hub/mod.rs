//! A Hub on loopback: the API and the files of repositories, redirects as the Hub makes them, faults on request.
//!
//! Plain sockets, since a web framework would not lie about lengths or break off in the middle.

mod model;

pub(crate) use model::{COMMIT, repo_files, tiny_config, weights_file};

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// What goes wrong with requests whose path holds a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// A status, `x-error-code` and one more header.
    Status(u16, &'static str, Option<(&'static str, &'static str)>),
    /// A status for the first so many requests, then none.
    Passing(u16, usize),
    /// A web page with status 200, as from a captive portal.
    Html,
    /// A web page that claims to be JSON.
    HtmlAsJson,
    /// The connection breaks after so many bytes of the body.
    CutAt(usize),
    /// `content-length` tells so many bytes more or less than there are.
    WrongLength(i64),
    /// The whole file with status 200.
    IgnoreRange,
    /// Another range than asked for.
    OtherRange,
    /// Compressed without being asked.
    Gzip,
    /// To itself, for ever.
    RedirectLoop,
    /// To this address.
    RedirectTo(String),
    /// One byte a second.
    Slow,
    /// Nothing at all, the connection stays open.
    Silent,
    /// This body.
    Body(String),
    /// As many bytes as there are, and other ones.
    OtherBytes,
    /// This, where the whole file is asked for: headers come by ranges.
    Whole(Box<Fault>),
}

/// A request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    pub(crate) path: String,
    pub(crate) range: Option<(u64, u64)>,
    pub(crate) authorization: Option<String>,
    /// Bytes of the body that were sent.
    pub(crate) sent: usize,
}

/// A repository: its id, what its revisions mean, its files.
#[derive(Debug, Clone)]
pub(crate) struct Repo {
    pub(crate) id: String,
    pub(crate) commit: String,
    pub(crate) revisions: Vec<String>,
    pub(crate) gated: Value,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Repo {
    pub(crate) fn new(id: &str, files: BTreeMap<String, Vec<u8>>) -> Self {
        let revisions = vec!["main".to_owned(), "refs/pr/1".to_owned(), COMMIT.to_owned()];
        Self { id: id.to_owned(), commit: COMMIT.to_owned(), revisions, gated: json!(false), files }
    }
}

#[derive(Debug, Default)]
struct State {
    repos: Vec<Repo>,
    faults: Vec<(String, Fault, usize)>,
    log: Vec<Logged>,
}

/// The server; it ends with the test's process.
#[derive(Debug, Clone)]
pub(crate) struct FakeHub {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl FakeHub {
    pub(crate) fn start(repos: Vec<Repo>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let hub = Self { address, state: Arc::new(Mutex::new(State { repos, ..State::default() })) };
        let server = hub.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.answer(stream));
            }
        });
        hub
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets requests whose path holds `part` go wrong.
    pub(crate) fn fault(&self, part: &str, fault: Fault) {
        self.state.lock().expect("no panic").faults.insert(0, (part.to_owned(), fault, 0));
    }

    /// Nothing goes wrong any more.
    pub(crate) fn mend(&self) {
        self.state.lock().expect("no panic").faults.clear();
    }

    pub(crate) fn log(&self) -> Vec<Logged> {
        self.state.lock().expect("no panic").log.clone()
    }

    /// Bytes of bodies sent for paths that hold `part`.
    pub(crate) fn sent(&self, part: &str) -> usize {
        self.log().iter().filter(|logged| logged.path.contains(part)).map(|logged| logged.sent).sum()
    }

    fn answer(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a clone"));
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(read) if read > 2 => lines.push(line.trim_end().to_owned()),
                Ok(2) => break,
                _ => return,
            }
        }
        let path = lines[0].split(' ').nth(1).expect("a path").to_owned();
        let header = |name: &str| {
            lines.iter().skip(1).find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let range = header("range").map(|range| {
            let (first, last) =
                range.strip_prefix("bytes=").and_then(|r| r.split_once('-')).expect("one range");
            (first.parse().expect("a number"), last.parse().expect("a number"))
        });
        let (answer, index) = {
            let mut state = self.state.lock().expect("no panic");
            let authorization = header("authorization");
            let answer = self.reply(&mut state, &path, range);
            state.log.push(Logged { path, range, authorization, sent: 0 });
            (answer, state.log.len() - 1)
        };
        let mut stream = stream;
        let mut sent = |count: usize| self.state.lock().expect("no panic").log[index].sent += count;
        answer.write(&mut stream, &mut sent).ok();
    }

    fn reply(&self, state: &mut State, path: &str, range: Option<(u64, u64)>) -> Answer {
        let good = self.good(state, path, range);
        let State { faults, .. } = state;
        let Some((_, fault, times)) = faults.iter_mut().find(|(part, fault, _)| {
            path.contains(part.as_str()) && !(matches!(fault, Fault::Whole(_)) && range.is_some())
        }) else {
            return good;
        };
        *times += 1;
        let plain = |status: u16, kind: &str, body: &str| Answer::new(status, kind, body.as_bytes().to_vec());
        let fault = match fault.clone() {
            Fault::Whole(fault) => *fault,
            fault => fault,
        };
        match fault {
            Fault::Whole(_) => good,
            Fault::Status(status, code, extra) => {
                let mut answer = plain(status, "text/plain", "refused").with("x-error-code", code);
                if let Some((name, value)) = extra {
                    answer = answer.with(name, value);
                }
                answer
            }
            Fault::Passing(status, most) if *times <= most => plain(status, "text/plain", "later"),
            Fault::Passing(..) => good,
            Fault::Html => plain(200, "text/html; charset=utf-8", "<!doctype html><html>log in</html>"),
            Fault::HtmlAsJson => plain(200, "application/json", "<!doctype html><html>log in</html>"),
            Fault::CutAt(bytes) => Answer { cut_at: Some(bytes), ..good },
            Fault::WrongLength(more) => Answer { length_off: more, ..good },
            Fault::IgnoreRange => self.good(state, path, None),
            Fault::OtherRange => match range {
                Some((first, last)) => self.good(state, path, Some((first + 1, last + 1))),
                None => good,
            },
            Fault::Gzip => good.with("content-encoding", "gzip"),
            Fault::RedirectLoop => plain(302, "text/plain", "").with("location", path),
            Fault::RedirectTo(to) => plain(302, "text/plain", "").with("location", &to),
            Fault::Slow => Answer { pause: Some(Duration::from_secs(1)), ..good },
            Fault::Silent => Answer { pause: Some(Duration::from_secs(60)), silent: true, ..good },
            Fault::OtherBytes => {
                let body = good.body.iter().map(|byte| !byte).collect();
                Answer { body, ..good }
            }
            Fault::Body(body) => plain(200, "application/json", &body),
        }
    }

    fn good(&self, state: &State, path: &str, range: Option<(u64, u64)>) -> Answer {
        let not_found = |code: &str| Answer::new(404, "text/plain", code.into()).with("x-error-code", code);
        if let Some(blob) = path.strip_prefix("/cdn/") {
            let (repo, file) = blob.split_once("//").expect("a blob");
            let repo = state.repos.iter().find(|known| known.id == repo).expect("known");
            return of_file(&repo.files[file], range);
        }
        for repo in &state.repos {
            if let Some(rest) = path.strip_prefix(&format!("/api/models/{}/revision/", repo.id)) {
                let (revision, query) = rest.split_once('?').unwrap_or((rest, ""));
                assert_eq!(query, "blobs=true", "sizes must be asked for");
                return match repo.revisions.contains(&revision.replace("%2F", "/")) {
                    true => Answer::new(200, "application/json; charset=utf-8", info(repo).into_bytes()),
                    false => not_found("RevisionNotFound"),
                };
            }
            if let Some(rest) = path.strip_prefix(&format!("/{}/resolve/", repo.id)) {
                let (revision, file) = rest.split_once('/').expect("a file");
                let file = file.replace("%20", " ");
                assert_eq!(revision, repo.commit, "files are asked for by their commit");
                return match repo.files.get(&file) {
                    None => not_found("EntryNotFound"),
                    // Large files lie in a storage of their own; small ones are sent by the Hub itself.
                    Some(_) if is_large(&file) => Answer::new(302, "text/plain", Vec::new())
                        .with("location", &format!("{}/cdn/{}//{file}", self.endpoint(), repo.id)),
                    Some(_) if file == "config.json" => Answer::new(307, "text/plain", Vec::new())
                        .with("location", &format!("/cdn/{}//{file}", repo.id)),
                    Some(bytes) => of_file(bytes, range),
                };
            }
        }
        not_found("RepoNotFound")
    }
}

/// The hash by which the Hub knows a file.
pub(crate) fn blob(name: &str, bytes: &[u8]) -> String {
    let hex = |hash: &[u8]| hash.iter().map(|byte| format!("{byte:02x}")).collect();
    if is_large(name) {
        return hex(&Sha256::digest(bytes));
    }
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", bytes.len()));
    hash.update(bytes);
    hex(&hash.finalize())
}

fn is_large(file: &str) -> bool {
    file.ends_with(".safetensors") || file.ends_with(".gguf")
}

/// As the Hub's `/api/models/…/revision/…?blobs=true` answers, as far as anybody reads it.
fn info(repo: &Repo) -> String {
    let siblings: Vec<Value> = repo
        .files
        .iter()
        .map(|(name, bytes)| {
            let mut file = json!({"rfilename": name, "size": bytes.len(), "blobId": blob(name, bytes)});
            if is_large(name) {
                file["blobId"] = json!("a".repeat(40));
                file["lfs"] = json!({"sha256": blob(name, bytes), "size": bytes.len(), "pointerSize": 135});
            }
            file
        })
        .collect();
    json!({
        "_id": "0", "id": repo.id, "modelId": repo.id, "sha": repo.commit, "private": false, "gated": repo.gated,
        "disabled": false, "pipeline_tag": "text-generation", "tags": ["phi3"], "siblings": siblings,
        "safetensors": {"parameters": {"BF16": 1}, "total": 1}
    })
    .to_string()
}

fn of_file(bytes: &[u8], range: Option<(u64, u64)>) -> Answer {
    let Some((first, last)) = range else {
        return Answer::new(200, "application/octet-stream", bytes.to_vec());
    };
    match bytes.get(first as usize..=last as usize) {
        Some(part) => Answer::new(206, "application/octet-stream", part.to_vec())
            .with("content-range", &format!("bytes {first}-{last}/{}", bytes.len())),
        None => Answer::new(416, "text/plain", Vec::new()),
    }
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    cut_at: Option<usize>,
    length_off: i64,
    pause: Option<Duration>,
    silent: bool,
}

impl Answer {
    fn new(status: u16, kind: &str, body: Vec<u8>) -> Self {
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        Self { status, headers, body, cut_at: None, length_off: 0, pause: None, silent: false }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn write(self, stream: &mut TcpStream, sent: &mut impl FnMut(usize)) -> std::io::Result<()> {
        if let Some(pause) = self.pause.filter(|_| self.silent) {
            std::thread::sleep(pause);
            return Ok(());
        }
        let mut head = format!("HTTP/1.1 {} Any\r\nconnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("content-length: {}\r\n\r\n", self.body.len() as i64 + self.length_off);
        stream.write_all(head.as_bytes())?;
        let body = &self.body[..self.cut_at.map_or(self.body.len(), |at| at.min(self.body.len()))];
        match self.pause {
            None => {
                stream.write_all(body)?;
                sent(body.len());
            }
            Some(pause) => {
                for byte in body {
                    stream.write_all(&[*byte])?;
                    sent(1);
                    std::thread::sleep(pause);
                }
            }
        }
        stream.flush()
    }
}
