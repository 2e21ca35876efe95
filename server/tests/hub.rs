//! `hf:` on the command line and `hub` over HTTP, against a Hub on loopback.

#[path = "../files/tests/fake_hub/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the other tests of the Hub use all of it")]
mod fake_hub;
#[path = "../files/tests/support/split_gguf.rs"]
mod split_gguf;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use fake_hub::{COMMIT, FakeHub, Fault, Repo, repo_files, tiny_config};
use phi3::config::ModelConfig;
use phi3::estimate;
use serde_json::{Value, json};

const CANARY: &str = "hf_CanaryThatNobodyMaySee";

fn command(hub: &FakeHub, home: &Path, args: &[&str]) -> Command {
    let mut command = with_environment(Command::new(env!("CARGO_BIN_EXE_preflight")), hub, home);
    command.args(args);
    command
}

fn with_environment(mut command: Command, hub: &FakeHub, home: &Path) -> Command {
    for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        command.env_remove(name);
    }
    command.env("HF_ENDPOINT", hub.endpoint()).env("HF_HOME", home).env("HF_TOKEN", CANARY);
    command.env("RUST_LOG", "trace");
    command
}

fn preflight(hub: &FakeHub, home: &Path, args: &[&str]) -> (i32, Value, String) {
    let Output { status, stdout, stderr } = command(hub, home, args).output().expect("runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(!stdout.contains("Canary") && !stderr.contains("Canary"), "{stdout}{stderr}");
    let json = serde_json::from_str(&stdout).unwrap_or(Value::Null);
    (status.code().expect("an exit code"), json, format!("{stdout}{stderr}"))
}

fn tiny() -> FakeHub {
    FakeHub::start(vec![Repo { gated: json!("manual"), ..Repo::new("acme/tiny", repo_files()) }])
}

fn expected_params() -> u64 {
    estimate::params(&ModelConfig::parse(tiny_config().as_bytes()).expect("good").decoder()).total
}

#[test]
fn inspect_tells_what_the_hub_tells() {
    let (hub, home) = (tiny(), tempfile::tempdir().expect("a temporary directory"));
    let (code, report, text) = preflight(&hub, home.path(), &["inspect", "hf:acme/tiny", "--json"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(report["params"]["total"], expected_params());
    let card = &report["card"];
    assert_eq!(card["repo"], "acme/tiny");
    assert_eq!((&card["revision"], &card["commit"]), (&json!("main"), &json!(COMMIT)));
    assert_eq!(card["url"], format!("{}/acme/tiny/tree/{COMMIT}", hub.endpoint()));
    assert_eq!((&card["license"], &card["base_model"]), (&json!("mit"), &json!(["acme/base"])));
    assert!(card["files"].as_array().expect("files").iter().all(|file| file["present"] == true), "{card}");
    let recommended = card["recommended"].as_array().expect("a list");
    let has = |key: &str, value: Value, origin: &str| {
        recommended.contains(&json!({"key": key, "value": value, "origin": origin}))
    };
    assert!(has("eos_token_id", json!([7, 9]), "generation_config"), "{card}");
    assert!(has("max_new_tokens", json!(500), "card_example"), "{card}");
    let codes: Vec<&str> =
        report["findings"].as_array().expect("findings").iter().filter_map(|f| f["code"].as_str()).collect();
    for code in ["flash_attention_assumed", "gated", "revision_not_pinned", "stop_ids_missing_in_config"] {
        assert!(codes.contains(&code), "{code}: {codes:?}");
    }
    assert!(!codes.contains(&"missing_required_file"), "{codes:?}");
    let (code, _, page) = preflight(&hub, home.path(), &["inspect", "hf:acme/tiny"]);
    assert!(code == 0 && page.contains("license") && page.contains("A100, H100"), "{page}");
}

#[test]
fn a_directory_with_a_card_is_told_the_same_way() {
    let (hub, home) = (tiny(), tempfile::tempdir().expect("a temporary directory"));
    let directory = home.path().join("tiny");
    std::fs::create_dir(&directory).expect("made");
    for (name, bytes) in repo_files().iter().filter(|(name, _)| *name != "tokenizer.json") {
        std::fs::write(directory.join(name), bytes).expect("written");
    }
    let path = directory.to_str().expect("UTF-8");
    let (code, report, text) = preflight(&hub, home.path(), &["inspect", path, "--json"]);
    assert_eq!(code, 0, "{text}");
    let card = &report["card"];
    assert_eq!(
        (&card["license"], &card["repo"], &card["commit"]),
        (&json!("mit"), &Value::Null, &Value::Null)
    );
    let missing: Vec<&Value> =
        card["files"].as_array().expect("files").iter().filter(|file| file["present"] == false).collect();
    assert_eq!(
        missing,
        [&json!({"name": "tokenizer.json", "purpose": "tokenizer", "present": false, "bytes": null})]
    );
    let findings = report["findings"].to_string();
    assert!(findings.contains("missing_required_file") && findings.contains("tokenizer.json"), "{findings}");
    std::fs::remove_file(directory.join("README.md")).expect("removed");
    let (_, report, _) = preflight(&hub, home.path(), &["inspect", path, "--json"]);
    assert_eq!(report.get("card"), None, "nothing is known of where it is from");
    assert!(hub.log().is_empty());
}

#[test]
fn estimate_counts_headers_and_fetches_nothing_else() {
    let (hub, home) = (tiny(), tempfile::tempdir().expect("a temporary directory"));
    let address = format!("{}/acme/tiny/tree/main", hub.endpoint());
    let (code, report, text) = preflight(&hub, home.path(), &["estimate", &address, "--json"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(report["params_total"], expected_params());
    assert!(hub.sent("/cdn/acme/tiny//model-0") < 40 << 10, "{}", hub.sent("/cdn/"));
    assert_eq!(hub.sent("tokenizer"), 0);
    assert!(std::fs::read_dir(home.path()).expect("there").next().is_none(), "nothing is written");
}

#[test]
fn faults_are_told_and_exit_2() {
    let home = tempfile::tempdir().expect("a temporary directory");
    for (fault, code) in [
        (Fault::Status(401, "GatedRepo", None), "hub_gated"),
        (Fault::Status(404, "RepoNotFound", None), "hub_not_found"),
        (Fault::Status(429, "", None), "hub_rate_limited"),
        (Fault::RedirectTo("http://127.0.0.1:1/x".to_owned()), "hub_redirect_refused"),
    ] {
        let hub = tiny();
        hub.fault("/api/", fault);
        let (exit, answer, text) = preflight(&hub, home.path(), &["inspect", "hf:acme/tiny", "--json"]);
        assert_eq!((exit, &answer["error"]["code"]), (2, &json!(code)), "{text}");
    }
}

#[test]
fn a_load_says_how_to_get_the_files() {
    let (hub, home) = (tiny(), tempfile::tempdir().expect("a temporary directory"));
    for name in ["load", "validate"] {
        let (exit, answer, text) = preflight(&hub, home.path(), &[name, "hf:acme/tiny@refs/pr/1", "--json"]);
        assert_eq!((exit, &answer["error"]["code"]), (2, &json!("not_downloaded")), "{text}");
        let message = answer["error"]["message"].as_str().expect("a message");
        assert!(message.contains("hf download acme/tiny --revision refs/pr/1"), "{message}");
    }
    assert!(hub.log().is_empty(), "nothing is asked for a load");
}

struct Server(Child, String);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Server {
    fn start(hub: &FakeHub, home: &Path) -> Self {
        Self::spawn(command(hub, home, &[]), home)
    }

    /// Starts what `command` says, with its data folder below `home`.
    fn spawn(mut command: Command, home: &Path) -> Self {
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(home.join("data"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("says where it listens");
        let address = line.trim().rsplit_once("://").expect("an address").1.trim_end_matches('/').to_owned();
        Self(child, address)
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.1).expect("listens");
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            self.1,
            body.len()
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answers");
        assert!(!answer.contains("Canary"), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
        let json = &body[body.find('{').expect("JSON")..=body.rfind('}').expect("JSON")];
        (status, serde_json::from_str(json).expect("JSON"))
    }
}

#[test]
fn hub_sources_over_http() {
    let (hub, home) = (tiny(), tempfile::tempdir().expect("a temporary directory"));
    let server = Server::start(&hub, home.path());
    for source in ["acme/tiny".to_owned(), format!("{}/acme/tiny", hub.endpoint())] {
        let (status, report) = server.post("/api/estimate", &json!({"source": {"hub": source}}));
        assert_eq!((status, &report["params_total"]), (200, &json!(expected_params())), "{report}");
    }
    let (status, report) = server.post("/api/inspect", &json!({"source": {"hub": "acme/tiny"}}));
    assert_eq!((status, &report["card"]["commit"]), (200, &json!(COMMIT)), "{report}");
    let before = hub.log().len();
    for (source, status, code) in [
        ("http://169.254.169.254/x", 422, "hub_name_invalid"),
        ("../../etc/passwd", 422, "hub_name_invalid"),
        ("/etc", 422, "hub_name_invalid"),
        ("preset:phi-4", 422, "hub_name_invalid"),
    ] {
        let (found, answer) = server.post("/api/inspect", &json!({"source": {"hub": source}}));
        assert_eq!((found, &answer["error"]["code"]), (status, &json!(code)), "{source}: {answer}");
    }
    assert_eq!(hub.log().len(), before, "no request leaves for what is no name");
    hub.fault("/api/", Fault::Status(503, "", None));
    let (status, answer) = server.post("/api/inspect", &json!({"source": {"hub": "acme/tiny"}}));
    assert_eq!((status, &answer["error"]["code"]), (502, &json!("hub_unavailable")), "{answer}");
}

impl Server {
    fn get(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(&self.1).expect("listens");
        write!(stream, "GET {path} HTTP/1.0\r\nhost: {}\r\n\r\n", self.1).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answers");
        assert!(!answer.contains("Canary"), "{answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").expect("a body").1).expect("JSON")
    }

    fn until(&self, id: u64, wanted: &[&str]) -> Value {
        let begun = std::time::Instant::now();
        loop {
            let attempt = self.get(&format!("/api/attempts/{id}"));
            if wanted.iter().any(|state| attempt["state"] == *state) {
                return attempt;
            }
            assert!(begun.elapsed().as_secs() < 30, "still {attempt}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

const ENDED: [&str; 4] = ["stopped", "failed", "cancelled", "lost"];

/// Staged, cancelled half way, killed half way, and taken up again: nothing that has come is fetched twice.
#[test]
fn a_repository_is_staged_by_a_download() {
    let (hub, home) = (tiny(), tempfile::tempdir().expect("a temporary directory"));
    let body = json!({"source": {"hub": "acme/tiny"}});
    let shard = "//model-00002";
    hub.fault(shard, Fault::Whole(Box::new(Fault::Silent)));
    let mut server = Server::start(&hub, home.path());
    let (status, staged) = server.post("/api/models/offline", &body);
    assert_eq!((status, &staged["model_id"]), (202, &json!("tiny")), "{staged}");
    let id = staged["attempt_id"].as_u64().expect("an attempt");
    // Asked for again, it is on its way already.
    assert_eq!(server.post("/api/models/offline", &body), (202, staged));
    let first = repo_files()["model-00001-of-00002.safetensors"].len() as u64;
    let begun = std::time::Instant::now();
    let attempt = loop {
        let attempt = server.get(&format!("/api/attempts/{id}"));
        if attempt["progress"]["done_bytes"].as_u64().is_some_and(|bytes| bytes > first) {
            break attempt;
        }
        assert!(begun.elapsed().as_secs() < 30, "still {attempt}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert_eq!((&attempt["state"], &attempt["kind"]), (&json!("downloading"), &json!("stage")));
    assert_eq!(attempt["progress"]["stage"], "downloading");
    let load = server.post("/api/models/tiny/load", &json!({}));
    assert_eq!((load.0, &load.1["error"]["code"]), (422, &json!("not_downloaded")), "{load:?}");
    let cancelled = std::time::Instant::now();
    server.post(&format!("/api/attempts/{id}/cancel"), &json!({}));
    assert_eq!(server.until(id, &ENDED)["state"], "cancelled");
    assert!(cancelled.elapsed().as_secs() < 2, "{:?}", cancelled.elapsed());

    let (_, staged) = server.post("/api/models/offline", &body);
    let id = staged["attempt_id"].as_u64().expect("an attempt");
    server.until(id, &["downloading"]);
    drop(server);
    server = Server::start(&hub, home.path());
    assert_eq!(server.get(&format!("/api/attempts/{id}"))["state"], "lost");
    hub.mend();
    let (status, staged) = server.post("/api/models/offline", &body);
    assert_eq!(status, 202, "{staged}");
    let done = server.until(staged["attempt_id"].as_u64().expect("an attempt"), &ENDED);
    assert_eq!(done["state"], "stopped", "{done}");
    assert!(done["timings"]["downloading_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{done}");
    assert!(
        // Beside it its header, as often as it was looked at.
        (hub.sent("/cdn/acme/tiny//model-00001") as u64) < first + first / 2,
        "the first shard came once"
    );
    // It is here now, at the commit that it was staged at, and by the name that it was asked for: as Hugging Face's
    // tools leave it, so that they and we find it offline.
    let reference = home.path().join("hub/models--acme--tiny/refs/main");
    assert_eq!(std::fs::read_to_string(&reference).expect("a reference"), COMMIT);
    let pinned = json!({"source": {"hub": format!("acme/tiny@{COMMIT}")}});
    // The answer says which commit that is: nobody was asked which one the name means by now.
    let here = (200, json!({"model_id": "tiny", "hub": format!("acme/tiny@{COMMIT}")}));
    assert_eq!(server.post("/api/models/offline", &pinned), here);
    let asked = hub.log().len();
    assert_eq!(server.post("/api/models/offline", &body), here);
    assert_eq!(hub.log().len(), asked, "the Hub is not asked for what is here");
    assert!((hub.sent("/cdn/acme/tiny//model-00001") as u64) < first + first / 2, "nothing comes twice");
    assert_eq!(server.get("/api/models/tiny")["hub"], format!("acme/tiny@{COMMIT}"));
    // What a load reads beside the weights is part of what is here: not fetched yet, or lost, it is fetched.
    let tokenizer = home.path().join("hub/models--acme--tiny/snapshots").join(COMMIT).join("tokenizer.json");
    let blob = tokenizer.canonicalize().expect("a link to it");
    for lost in [&tokenizer, &blob] {
        std::fs::remove_file(lost).expect("removed");
        let (status, staged) = server.post("/api/models/offline", &body);
        assert_eq!(status, 202, "{staged}");
        let done = server.until(staged["attempt_id"].as_u64().expect("an attempt"), &ENDED);
        assert_eq!((&done["state"], tokenizer.is_file()), (&json!("stopped"), true), "{done}");
    }
    // Where the Hub cannot be reached, weights that are here are enough.
    std::fs::remove_file(&tokenizer).expect("removed");
    hub.fault("/api/", Fault::Status(503, "", None));
    assert_eq!(server.post("/api/models/offline", &body), here);
    hub.mend();
    let load = server.post("/api/models/tiny/load", &json!({"force": true}));
    assert_eq!(load.0, 202, "{load:?}");
}

/// What the Hub refuses stands in the attempt; a full disk is told, and what has come is kept.
#[test]
fn a_download_that_fails_says_why() {
    let (hub, home) = (tiny(), tempfile::tempdir().expect("a temporary directory"));
    let body = json!({"source": {"hub": "acme/tiny"}});
    let failed = |server: &Server| {
        let (status, staged) = server.post("/api/models/offline", &body);
        assert_eq!(status, 202, "{staged}");
        let attempt = server.until(staged["attempt_id"].as_u64().expect("an attempt"), &ENDED);
        assert_eq!(attempt["state"], "failed", "{attempt}");
        attempt["error"].clone()
    };
    // No file may be larger than 800 kB: to a program that is a disk that takes no more.
    let mut limited = Command::new("bash");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 800; exec \"$@\"", "bash"])
        .arg(env!("CARGO_BIN_EXE_preflight"));
    let server = Server::spawn(with_environment(limited, &hub, home.path()), home.path());
    let error = failed(&server);
    assert_eq!(error["code"], "storage_full", "{error}");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("the disk is full")), "{error}");
    assert_eq!(server.get("/health")["status"], "ok");
    drop(server);
    let server = Server::start(&hub, home.path());
    hub.fault("//model-00002", Fault::Whole(Box::new(Fault::OtherBytes)));
    assert_eq!(failed(&server)["code"], "hub_wrong_bytes");
    hub.mend();
    let (_, staged) = server.post("/api/models/offline", &body);
    assert_eq!(server.until(staged["attempt_id"].as_u64().expect("an attempt"), &ENDED)["state"], "stopped");
}

/// An address of a file beside the weights means its model, and where nothing may be fetched, what the cache holds.
#[test]
fn an_address_in_a_repository_means_its_model() {
    let (hub, home) = (tiny(), tempfile::tempdir().expect("a temporary directory"));
    let address = format!("{}/acme/tiny/resolve/main/config.json", hub.endpoint());
    let offline = || {
        let mut command = command(&hub, home.path(), &[]);
        command.env("HF_HUB_OFFLINE", "1");
        Server::spawn(command, home.path())
    };
    let stage = |server: &Server, hub: &str| {
        let (status, answer) = server.post("/api/models/offline", &json!({"source": {"hub": hub}}));
        (status, answer["error"]["code"].as_str().map(str::to_owned), answer)
    };
    let absent = stage(&offline(), &address);
    assert_eq!((absent.0, absent.1.as_deref()), (422, Some("hub_offline")), "{absent:?}");
    let server = Server::start(&hub, home.path());
    let (status, _, staged) = stage(&server, &address);
    assert_eq!(status, 202, "{staged}");
    let done = server.until(staged["attempt_id"].as_u64().expect("an attempt"), &ENDED);
    assert_eq!(done["state"], "stopped", "{done}");
    drop(server);
    let server = offline();
    let asked = hub.log().len();
    let here = json!({"model_id": "tiny", "hub": format!("acme/tiny@{COMMIT}")});
    for name in [&address, "acme/tiny", "hf:acme/tiny@main"] {
        assert_eq!(stage(&server, name), (200, None, here.clone()), "{name}");
    }
    // Without its weights nothing could be brought: the model that is listed stays as it is.
    let snapshot = home.path().join("hub/models--acme--tiny/snapshots").join(COMMIT);
    for file in snapshot.read_dir().expect("there").flatten() {
        if file.file_name().to_string_lossy().contains("safetensors") {
            std::fs::remove_file(file.path()).expect("removed");
        }
    }
    let less = stage(&server, "acme/tiny");
    assert_eq!((less.0, less.1.as_deref()), (422, Some("no_weights")), "{less:?}");
    assert_eq!(hub.log().len(), asked, "nothing is asked");
}

/// Of several models in one repository the one that is named is staged, with all of its parts and nothing else.
#[test]
fn a_file_of_a_repository_is_a_model() {
    let [first, second] = split_gguf::split_gguf();
    let mut files: std::collections::BTreeMap<String, Vec<u8>> = ["a", "b"]
        .iter()
        .flat_map(|name| {
            let part = |number: u32| format!("{name}-0000{number}-of-00002.gguf");
            [(part(1), first.clone()), (part(2), second.clone())]
        })
        .collect();
    files.insert("README.md".to_owned(), b"two models".to_vec());
    let bare = [("config.json".to_owned(), tiny_config().as_bytes().to_vec())].into();
    let hub = FakeHub::start(vec![Repo::new("acme/both", files), Repo::new("acme/bare", bare)]);
    let home = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(&hub, home.path());
    let stage = |name: &str| server.post("/api/models/offline", &json!({"source": {"hub": name}}));
    let (status, answer) = stage("acme/both");
    assert_eq!((status, &answer["error"]["code"]), (422, &json!("hub_ambiguous")), "{answer}");
    let address = format!("{}/acme/both/resolve/main/b-00001-of-00002.gguf", hub.endpoint());
    let (status, staged) = stage(&address);
    let pinned = format!("//acme/both@{COMMIT}/b-00001-of-00002.gguf");
    assert_eq!((status, &staged["hub"]), (202, &json!(pinned)), "{staged}");
    let done = server.until(staged["attempt_id"].as_u64().expect("an attempt"), &ENDED);
    assert_eq!(done["state"], "stopped", "{done}");
    let snapshot = home.path().join("hub/models--acme--both/snapshots").join(COMMIT);
    let name = |file: std::fs::DirEntry| file.file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = snapshot.read_dir().expect("there").flatten().map(name).collect();
    names.sort();
    assert_eq!(names, ["b-00001-of-00002.gguf", "b-00002-of-00002.gguf"]);
    let asked = hub.log().len();
    for name in [address.as_str(), &format!("hf:{pinned}")] {
        assert_eq!(stage(name), (200, json!({"model_id": "both", "hub": pinned})), "{name}");
    }
    assert_eq!(hub.log().len(), asked, "the Hub is not asked for what is here");
    // What is here of several does not decide which is meant.
    let (status, answer) = stage("acme/both");
    assert_eq!((status, &answer["error"]["code"]), (422, &json!("hub_ambiguous")), "{answer}");
    assert!(
        answer["error"]["message"].as_str().is_some_and(|text| text.contains("holds 2 GGUF models")),
        "{answer}"
    );
    // By another name of the same commit, which the cache does not know.
    let other = address.replace("main", "refs%2Fpr%2F1");
    let (status, again) = stage(&other);
    assert_eq!((status, &again["hub"]), (202, &json!(pinned)), "{again}");
    server.until(again["attempt_id"].as_u64().expect("an attempt"), &ENDED);
    let model = server.get("/api/models/both");
    assert_eq!(model["files"].as_array().map(Vec::len), Some(2), "{model}");
    // Where there is nothing to bring, nothing is registered.
    let (status, answer) = stage("acme/bare");
    assert_eq!((status, &answer["error"]["code"]), (422, &json!("hub_not_found")), "{answer}");
    assert!(!server.get("/api/models").to_string().contains("bare"));
    // The file is found: what the load refuses is its family.
    let (status, load) = server.post("/api/models/both/load", &json!({"force": true}));
    assert_eq!(status, 202, "{load}");
    let attempt = server.until(load["attempt_id"].as_u64().expect("an attempt"), &ENDED);
    assert_eq!(attempt["error"]["code"], "unknown_architecture", "{attempt}");
}
