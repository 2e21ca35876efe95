//! Models opened from a Hub that misbehaves, and from its cache.

#[expect(dead_code, reason = "the tests of downloads use all of it")]
mod fake_hub;
#[path = "support/split_gguf.rs"]
mod split_gguf;

use std::path::Path;

use fake_hub::{COMMIT, FakeHub, Fault, Repo, repo_files, tiny_config, weights_file};
use phi3::config::ModelConfig;
use phi3::estimate;
use preflight_files::hub::{HubRef, HubSettings};
use preflight_files::{FilesError, Model};
use serde_json::json;
use split_gguf::split_gguf;

const CANARY: &str = "hf_CanaryThatNobodyMaySee";

fn settings(hub: &FakeHub, cache: &Path, more: &[(&str, &str)]) -> HubSettings {
    let (endpoint, cache) = (hub.endpoint(), cache.display().to_string());
    HubSettings::from_vars(|name| match name {
        "HF_ENDPOINT" => Some(endpoint.clone()),
        "HF_HUB_CACHE" => Some(cache.clone()),
        "HF_TOKEN" => Some(CANARY.to_owned()),
        "HF_HUB_DOWNLOAD_TIMEOUT" => Some("1".to_owned()),
        _ => more.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()),
    })
    .expect("good settings")
}

fn open(hub: &FakeHub, text: &str) -> Result<Model, FilesError> {
    let cache = tempfile::tempdir().expect("a temporary directory");
    open_with(&settings(hub, cache.path(), &[]), text)
}

fn open_with(settings: &HubSettings, text: &str) -> Result<Model, FilesError> {
    let hub = HubRef::parse(text, &settings.endpoint)?;
    Model::open_on_hub(&hub, settings)
}

fn tiny() -> FakeHub {
    FakeHub::start(vec![Repo::new("acme/tiny", repo_files())])
}

fn header_len(file: &[u8]) -> usize {
    8 + u64::from_le_bytes(file[..8].try_into().expect("eight bytes")) as usize
}

#[test]
fn a_sharded_model_costs_its_headers_alone() {
    let hub = tiny();
    let model = open(&hub, "acme/tiny").expect("opens");
    let config = ModelConfig::parse(tiny_config().as_bytes()).expect("good");
    let checkpoint = model.checked_weights(&config.decoder()).expect("its weights");
    assert_eq!(checkpoint.parameter_count(), estimate::params(&config.decoder()).total);
    assert!(checkpoint.findings().is_empty(), "{:?}", checkpoint.findings());

    let log = hub.log();
    assert!(log[0].path.starts_with("/api/models/acme/tiny/revision/main"), "{log:?}");
    let headers: usize = repo_files()
        .iter()
        .filter(|(name, _)| name.ends_with(".safetensors"))
        .map(|(_, bytes)| header_len(bytes))
        .sum();
    let sent = hub.sent(".safetensors") - hub.sent("index.json");
    assert!(sent <= headers + 2 * (16 << 10), "{sent} bytes for headers of {headers}");
    let weights = log.iter().filter(|logged| logged.path.ends_with(".safetensors"));
    for logged in weights {
        assert!(logged.range.is_some(), "{logged:?}");
    }
    // Nothing else was asked for, and a companion only when it is wanted.
    assert!(!log.iter().any(|logged| logged.path.contains("tokenizer")), "{log:?}");
    assert!(model.companion("tokenizer.json").expect("fetched").is_some());
    assert_eq!(model.companion("absent.json").expect("no request"), None);
    assert_eq!(hub.log().iter().filter(|logged| logged.path.contains("absent")).count(), 0);
    let origin = model.companions.origin().expect("from the Hub");
    assert_eq!(origin, ("acme/tiny".to_owned(), COMMIT.to_owned()));
}

/// A list may hold names alone: lengths come with the first answer of a file.
#[test]
fn a_list_of_names_is_enough_to_read_headers() {
    let hub = tiny();
    let names: Vec<_> = repo_files().keys().map(|name| json!({ "rfilename": name })).collect();
    let list = json!({ "id": "acme/tiny", "sha": COMMIT, "siblings": names });
    hub.fault("/api/", Fault::Body(list.to_string()));
    let model = open(&hub, "acme/tiny").expect("opens");
    let decoder = ModelConfig::parse(tiny_config().as_bytes()).expect("good").decoder();
    let checkpoint = model.checked_weights(&decoder).expect("its weights");
    assert_eq!(checkpoint.parameter_count(), estimate::params(&decoder).total);
    assert!(hub.sent(".safetensors") < 40 << 10, "{}", hub.sent(".safetensors"));
}

#[test]
fn headers_longer_than_the_first_window_are_fetched_whole() {
    let many: Vec<_> =
        (0..2000).map(|i| (format!("model.layers.{i}.some.long.tensor.name"), vec![64, 8])).collect();
    let file = weights_file(many.iter());
    let header = header_len(&file);
    assert!(header > 100 << 10, "{header}");
    let mut files = repo_files();
    files.retain(|name, _| !name.contains("safetensors"));
    files.insert("model.safetensors".to_owned(), file);
    let hub = FakeHub::start(vec![Repo::new("acme/tiny", files)]);
    let model = open(&hub, "acme/tiny").expect("opens");
    assert_eq!(model.checkpoint.as_ref().expect("weights").tensors().len(), 2000);
    assert_eq!(
        hub.sent("/cdn/acme/tiny//model.safetensors"),
        header,
        "the first window, then the rest of the header"
    );
    let mut buffer = vec![1; 2 * 64 * 8];
    let checkpoint = model.checkpoint.expect("weights");
    pollster::block_on(checkpoint.read("model.layers.1999.some.long.tensor.name", &mut buffer))
        .expect("read");
    assert!(buffer.iter().all(|byte| *byte == 0));
}

#[test]
fn names_revisions_and_addresses() {
    let mut gpt2 = Repo::new("gpt2", repo_files());
    gpt2.revisions.push("v1".to_owned());
    let hub = FakeHub::start(vec![Repo::new("acme/tiny", repo_files()), gpt2]);
    for text in [
        "hf:gpt2@v1".to_owned(),
        "acme/tiny@refs/pr/1".to_owned(),
        format!("acme/tiny@{COMMIT}"),
        format!("{}/acme/tiny/tree/main", hub.endpoint()),
        "https://huggingface.co/acme/tiny/tree/refs%2Fpr%2F1".to_owned(),
        format!("{}/acme/tiny/blob/main/model.safetensors.index.json?raw=true", hub.endpoint()),
    ] {
        let model = open(&hub, &text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(model.checkpoint.is_some(), "{text}");
    }
    let model = open(&hub, &format!("{}/acme/tiny/resolve/main/config.json", hub.endpoint())).expect("opens");
    assert!(model.checkpoint.is_none(), "the config alone was named");
    let before = hub.log().len();
    for text in ["http://169.254.169.254/x", "user@host/x", "a/b/c", "..", "https://evil.example/acme/tiny"] {
        assert_eq!(open(&hub, text).expect_err(text).code(), "hub_name_invalid", "{text}");
    }
    assert_eq!(hub.log().len(), before, "nothing was asked");
}

#[test]
fn gguf_files_are_read_from_the_front() {
    let gguf = gguf_of(3000);
    let with = |names: &[&str]| {
        let files = names.iter().map(|name| ((*name).to_owned(), gguf.clone())).collect();
        FakeHub::start(vec![Repo::new("acme/tiny", files)])
    };
    let hub = with(&["tiny-Q8_0.gguf"]);
    let model = open(&hub, "acme/tiny").expect("the only file");
    assert_eq!(model.fields().expect("a config").get("model_type"), Some(&"llama".into()));
    assert_eq!(model.checkpoint.expect("weights").tensors().len(), 1);
    let sent = hub.sent("/cdn/");
    assert!(sent < gguf.len() / 2, "{sent} of {}", gguf.len());

    let hub = with(&["tiny-F16.gguf", "tiny-Q8_0.gguf"]);
    let error = open(&hub, "acme/tiny").expect_err("two");
    assert_eq!(error.code(), "hub_ambiguous");
    assert!(error.to_string().contains("hf://acme/tiny@main/tiny-Q8_0.gguf"), "{error}");
    assert!(open(&hub, "hf://acme/tiny@main/tiny-Q8_0.gguf").is_ok());
    assert!(open(&hub, "https://huggingface.co/acme/tiny/blob/main/tiny-F16.gguf").is_ok());
    assert_eq!(open(&hub, "hf://acme/tiny@main/other.gguf").expect_err("absent").code(), "hub_not_found");
}

/// A part stands for all of its model, wherever the others lie; one that is alone in the cache does not.
#[test]
fn parts_of_a_split_gguf_are_one_model() {
    let names = ["q/m-00001-of-00002.gguf", "q/m-00002-of-00002.gguf"];
    let parts = split_gguf();
    let files = |count: usize| {
        names.iter().zip(&parts).take(count).map(|(name, part)| ((*name).to_owned(), part.clone())).collect()
    };
    let hub = FakeHub::start(vec![Repo::new("acme/split", files(2)), Repo::new("acme/cut", files(1))]);
    let counted = |text: &str| {
        let model = open(&hub, text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let checkpoint = model.checkpoint.expect("weights");
        (checkpoint.parameter_count(), checkpoint.findings().len())
    };
    let folder = "https://huggingface.co/acme/split/tree/main/q";
    for text in [folder, "hf://acme/split@main/q/m-00001-of-00002.gguf"] {
        assert_eq!(counted(text), (760, 0), "{text}");
    }
    assert_eq!(counted("hf://acme/split@main/q/m-00002-of-00002.gguf"), (760, 0));
    let (count, findings) = counted("hf://acme/cut@main/q/m-00001-of-00002.gguf");
    assert!(count < 760 && findings == 1, "{count} {findings}");
}

/// A GGUF file of one tensor with a vocabulary, so that its header is longer than one window.
fn gguf_of(tokens: u64) -> Vec<u8> {
    fn text(bytes: &mut Vec<u8>, text: &str) {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(1_u64.to_le_bytes());
    let numbers = [
        ("block_count", 1),
        ("embedding_length", 64),
        ("feed_forward_length", 128),
        ("attention.head_count", 4),
        ("context_length", 128),
    ];
    bytes.extend((numbers.len() as u64 + 3).to_le_bytes());
    text(&mut bytes, "general.architecture");
    bytes.extend(8_u32.to_le_bytes());
    text(&mut bytes, "llama");
    for (key, value) in numbers {
        text(&mut bytes, &format!("llama.{key}"));
        bytes.extend(4_u32.to_le_bytes());
        bytes.extend((value as u32).to_le_bytes());
    }
    text(&mut bytes, "llama.attention.layer_norm_rms_epsilon");
    bytes.extend(6_u32.to_le_bytes());
    bytes.extend(1e-5_f32.to_le_bytes());
    text(&mut bytes, "tokenizer.ggml.tokens");
    bytes.extend(9_u32.to_le_bytes());
    bytes.extend(8_u32.to_le_bytes());
    bytes.extend(tokens.to_le_bytes());
    for token in 0..tokens {
        text(&mut bytes, &format!("a token of some length {token}"));
    }
    text(&mut bytes, "token_embd.weight");
    bytes.extend(2_u32.to_le_bytes());
    bytes.extend(64_u64.to_le_bytes());
    bytes.extend(tokens.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.resize(bytes.len() + 4 * 64 * tokens as usize, 0);
    bytes
}

#[test]
fn every_fault_has_its_name_and_its_way_out() {
    let status = |status, code| Fault::Status(status, code, None);
    let shard = "//model-00001";
    let cases = [
        ("/api/", status(401, "GatedRepo"), "hub_gated", "accept its terms"),
        ("config.json", status(403, "GatedRepo"), "hub_gated", "wait until its owners"),
        ("/api/", status(403, ""), "hub_gated", "accept its terms"),
        ("/api/", status(401, "RepoNotFound"), "hub_not_found", "HF_TOKEN is valid"),
        ("/api/", status(401, ""), "hub_token_refused", "set HF_TOKEN to a valid one"),
        ("/api/", status(404, "RepoNotFound"), "hub_not_found", "no such repository"),
        ("/api/", status(404, "RevisionNotFound"), "hub_not_found", "no revision main"),
        ("index.json", status(404, "EntryNotFound"), "hub_not_found", "index.json"),
        ("/api/", Fault::Status(429, "", Some(("retry-after", "42"))), "hub_rate_limited", "in 42 s"),
        (shard, Fault::Status(429, "", None), "hub_rate_limited", "in some minutes"),
        ("/api/", status(503, ""), "hub_unavailable", "status 503"),
        (shard, status(500, ""), "hub_unavailable", "status 500"),
        ("/api/", Fault::Html, "hub_bad_answer", "web page"),
        ("/api/", Fault::HtmlAsJson, "hub_bad_answer", "web page"),
        ("config.json", Fault::Html, "hub_bad_answer", "web page"),
        ("config.json", Fault::HtmlAsJson, "hub_bad_answer", "web page"),
        (shard, Fault::Html, "hub_bad_answer", "web page"),
        ("/api/", Fault::Body("no".to_owned()), "hub_bad_answer", "no JSON"),
        ("/api/", Fault::Body("{}".to_owned()), "hub_bad_answer", "names no commit"),
        ("/api/", Fault::Body(r#"{"sha":"../../x"}"#.to_owned()), "hub_bad_answer", "names no commit"),
        ("/api/", Fault::CutAt(100), "hub_truncated", "cut after"),
        ("config.json", Fault::CutAt(100), "hub_truncated", "100 of"),
        (shard, Fault::CutAt(100), "hub_truncated", "100 of"),
        ("//config.json", Fault::WrongLength(-5), "hub_truncated", ""),
        (shard, Fault::WrongLength(-5), "hub_bad_answer", "were asked for"),
        (shard, Fault::WrongLength(5), "hub_bad_answer", "were asked for"),
        (shard, Fault::IgnoreRange, "hub_range_ignored", "download the files"),
        (shard, Fault::OtherRange, "hub_bad_answer", "instead of"),
        (shard, Fault::Gzip, "hub_bad_answer", "compressed"),
        ("config.json", Fault::Gzip, "hub_bad_answer", "compressed"),
        ("/api/", Fault::RedirectLoop, "hub_redirect_refused", "more than 5 times"),
        (shard, Fault::RedirectLoop, "hub_redirect_refused", "more than 5 times"),
        (
            "/api/",
            Fault::RedirectTo("http://169.254.169.254/latest?x=secret".to_owned()),
            "hub_redirect_refused",
            "http://169.254.169.254,",
        ),
        (
            shard,
            Fault::RedirectTo("https://huggingface.co.evil.example/x".to_owned()),
            "hub_redirect_refused",
            "none of its own hosts",
        ),
        (shard, Fault::RedirectTo("//evil.example/x".to_owned()), "hub_bad_answer", "no address"),
        (shard, Fault::RedirectTo("file:///etc/passwd".to_owned()), "hub_", ""),
        ("/api/", Fault::Slow, "hub_timeout", "HF_HUB_DOWNLOAD_TIMEOUT"),
        ("/api/", Fault::Silent, "hub_timeout", "HF_HUB_DOWNLOAD_TIMEOUT"),
    ];
    // Each waits for its own server alone.
    std::thread::scope(|scope| {
        for (part, fault, code, text) in cases {
            scope.spawn(move || {
                let hub = tiny();
                hub.fault(part, fault.clone());
                let error = open(&hub, "acme/tiny").expect_err(&format!("{part} {fault:?}"));
                let told = format!("{error}");
                assert!(error.code().starts_with(code), "{part} {fault:?}: {} {told}", error.code());
                assert!(told.contains(text), "{part} {fault:?}: {told}");
                assert!(told.lines().count() == 1 && !told.contains("secret"), "{told}");
                assert!(!format!("{error:?}{told}").contains("Canary"), "{error:?}");
            });
        }
    });
}

#[test]
fn small_files_may_come_whole_and_passing_faults_pass() {
    let mut files = repo_files();
    files.retain(|name, _| !name.contains("safetensors"));
    files.insert("model.safetensors".to_owned(), weights_file([("x".to_owned(), vec![8, 8])].iter()));
    let hub = FakeHub::start(vec![Repo::new("acme/tiny", files)]);
    hub.fault("model.safetensors", Fault::IgnoreRange);
    assert_eq!(open(&hub, "acme/tiny").expect("whole").checkpoint.expect("weights").tensors().len(), 1);

    let hub = tiny();
    hub.fault("/api/", Fault::Passing(502, 2));
    assert!(open(&hub, "acme/tiny").is_ok());
}

#[test]
fn the_token_goes_to_the_endpoint_and_into_no_text() {
    let hub = tiny();
    let cache = tempfile::tempdir().expect("a temporary directory");
    let settings = settings(&hub, cache.path(), &[]);
    let model = open_with(&settings, "acme/tiny").expect("opens");
    assert!(
        hub.log().iter().all(|logged| logged.authorization.as_deref() == Some(&format!("Bearer {CANARY}")))
    );
    assert!(!format!("{settings:?}{model:?}").contains("Canary"));

    // Another port is another place: nothing is fetched there, with or without the token.
    let other = tiny();
    hub.fault("//model-00002", Fault::RedirectTo(format!("{}/cdn/x", other.endpoint())));
    assert_eq!(open_with(&settings, "acme/tiny").expect_err("elsewhere").code(), "hub_redirect_refused");
    assert!(other.log().is_empty());
}

#[test]
fn an_endpoint_that_nobody_serves() {
    let hub = tiny();
    let cache = tempfile::tempdir().expect("a temporary directory");
    // Nobody there, and somebody who does not speak TLS.
    for endpoint in ["http://127.0.0.1:9".to_owned(), hub.endpoint().replace("http://", "https://")] {
        let vars = |name: &str| match name {
            "HF_ENDPOINT" => Some(endpoint.clone()),
            "HF_HUB_CACHE" => Some(cache.path().display().to_string()),
            _ => None,
        };
        let settings = HubSettings::from_vars(vars).expect("settings");
        let error = open_with(&settings, "acme/tiny").expect_err("nobody there");
        assert_eq!(error.code(), "hub_unavailable", "{error}");
        assert!(error.to_string().contains(&format!("{endpoint} cannot be reached")), "{error}");
    }
    assert!(hub.log().is_empty(), "a token is never sent in the clear instead");
}

/// Lays a snapshot into a cache as Hugging Face does: blobs, links to them, a reference.
fn cached(cache: &Path, repo: &str, files: &[(&str, &[u8])]) {
    let folder = cache.join(format!("models--{}", repo.replace('/', "--")));
    let snapshot = folder.join("snapshots").join(COMMIT);
    for directory in [&snapshot, &folder.join("blobs"), &folder.join("refs")] {
        std::fs::create_dir_all(directory).expect("made");
    }
    std::fs::write(folder.join("refs/main"), COMMIT).expect("written");
    for (name, bytes) in files {
        std::fs::write(folder.join("blobs").join(name), bytes).expect("written");
        std::os::unix::fs::symlink(format!("../../blobs/{name}"), snapshot.join(name)).expect("linked");
    }
}

#[test]
fn the_cache_comes_first_where_nothing_can_have_moved() {
    let hub = tiny();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let all = repo_files();
    let files: Vec<_> = all.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    cached(dir.path(), "acme/tiny", &files);
    let online = settings(&hub, dir.path(), &[]);
    let model = open_with(&online, &format!("acme/tiny@{COMMIT}")).expect("cached");
    assert!(hub.log().is_empty() && model.checkpoint.is_some(), "{:?}", hub.log());
    assert_eq!(model.companions.origin().map(|(repo, _)| repo).as_deref(), Some("acme/tiny"));
    // A branch may have moved: the Hub is asked which commit it is, and no file is fetched again.
    open_with(&online, "acme/tiny").expect("cached");
    assert_eq!(hub.log().len(), 1, "{:?}", hub.log());

    let offline = settings(&hub, dir.path(), &[("HF_HUB_OFFLINE", "1")]);
    for text in ["acme/tiny", &format!("acme/tiny@{COMMIT}"), &format!("hf://acme/tiny@{COMMIT}/config.json")]
    {
        open_with(&offline, text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    for text in ["acme/tiny@other", "acme/absent"] {
        let error = open_with(&offline, text).expect_err(text);
        assert_eq!(error.code(), "hub_offline", "{text}");
        assert!(error.to_string().contains("hf download"), "{error}");
    }
    assert_eq!(hub.log().len(), 1, "offline asks nobody");
}

#[test]
fn a_snapshot_that_is_not_whole() {
    let hub = tiny();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let all = repo_files();
    let some: Vec<_> = all
        .iter()
        .filter(|(name, _)| !name.starts_with("model-00002"))
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    cached(dir.path(), "acme/tiny", &some);
    let text = format!("acme/tiny@{COMMIT}");
    // Online the Hub's files are read instead.
    assert!(
        open_with(&settings(&hub, dir.path(), &[]), &text).expect("remote").companions.remote().is_some()
    );
    let offline = settings(&hub, dir.path(), &[("TRANSFORMERS_OFFLINE", "true")]);
    let error = open_with(&offline, &text).expect_err("a shard is missing");
    assert_eq!(error.code(), "missing_shards", "{error}");
    // A link without its blob is named, with where it leads.
    let blob = dir.path().join("models--acme--tiny/blobs/model-00001-of-00002.safetensors");
    std::fs::remove_file(blob).expect("removed");
    let error = open_with(&offline, &text).expect_err("a broken link");
    assert_eq!(error.code(), "broken_link", "{error}");
    assert!(error.to_string().contains("../../blobs/model-00001"), "{error}");
}

#[test]
fn what_a_repository_lacks() {
    let files = repo_files();
    let without = |name: &str| {
        let mut files = files.clone();
        files.remove(name);
        FakeHub::start(vec![Repo::new("acme/tiny", files)])
    };
    let error = open(&without("config.json"), "acme/tiny").expect_err("no config");
    assert!(error.to_string().contains("has no config.json"), "{error}");
    let error = open(&without("model-00002-of-00002.safetensors"), "acme/tiny").expect_err("no shard");
    assert_eq!(error.code(), "missing_shards");
    assert!(error.to_string().contains("model-00002-of-00002"), "{error}");
    let error =
        open(&without("model.safetensors.index.json"), "acme/tiny").expect_err("no index").to_string();
    assert!(error.contains("model-00001-of-00002.safetensors"), "{error}");

    let mut unsafe_index = files.clone();
    let index = r#"{"weight_map":{"a":"../../../etc/passwd"}}"#;
    unsafe_index.insert("model.safetensors.index.json".to_owned(), index.into());
    let hub = FakeHub::start(vec![Repo::new("acme/tiny", unsafe_index)]);
    assert_eq!(open(&hub, "acme/tiny").expect_err("leads out").code(), "unsafe_path");

    let mut corrupt = files.clone();
    corrupt.get_mut("model-00001-of-00002.safetensors").expect("a shard")[..8]
        .copy_from_slice(&u64::MAX.to_le_bytes());
    let hub = FakeHub::start(vec![Repo::new("acme/tiny", corrupt)]);
    assert_eq!(open(&hub, "acme/tiny").expect_err("a header that lies").code(), "weights_corrupt");

    let mut large = files;
    large.insert("config.json".to_owned(), vec![b' '; 2 << 20]);
    let hub = FakeHub::start(vec![Repo::new("acme/tiny", large)]);
    assert_eq!(open(&hub, "acme/tiny").expect_err("no config has that").code(), "too_large");
    assert_eq!(
        hub.log().iter().filter(|logged| logged.path.contains("/config.json")).count(),
        0,
        "refused by its length alone"
    );
}
