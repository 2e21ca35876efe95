//! Downloads into the cache from a Hub that misbehaves: what breaks off is taken up again, what is wrong is thrown away.

#[expect(dead_code, unused_imports, reason = "the other tests of the Hub use all of it")]
mod fake_hub;

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fake_hub::{COMMIT, FakeHub, Fault, Repo, blob, repo_files};
use preflight_files::hub::{DownloadProgress, HubError, HubRef, HubSettings, RemoteRepo, Snapshot};
use preflight_files::{Model, Source};

/// A large file of the repository, and a part of its address.
const SHARD: &str = "model-00001-of-00002.safetensors";

fn settings(hub: &FakeHub, cache: &Path, more: &[(&str, &str)]) -> HubSettings {
    let (endpoint, cache) = (hub.endpoint(), cache.display().to_string());
    HubSettings::from_vars(|name| match name {
        "HF_ENDPOINT" => Some(endpoint.clone()),
        "HF_HUB_CACHE" => Some(cache.clone()),
        "HF_HUB_DOWNLOAD_TIMEOUT" => Some("1".to_owned()),
        _ => more.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()),
    })
    .expect("good settings")
}

fn tiny() -> FakeHub {
    let mut files = repo_files();
    for (name, text) in
        [("modeling_phi3.py", "import os"), ("pytorch_model.bin", "PK"), ("onnx/model.onnx", "")]
    {
        files.insert(name.to_owned(), text.as_bytes().to_vec());
    }
    FakeHub::start(vec![Repo::new("acme/tiny", files)])
}

fn download(
    hub: &FakeHub,
    cache: &Path,
    text: &str,
    watch: &mut dyn FnMut(DownloadProgress) -> ControlFlow<()>,
) -> Result<Snapshot, HubError> {
    let settings = settings(hub, cache, &[]);
    let repo = RemoteRepo::ask(&settings, &HubRef::parse(text, &settings.endpoint)?)?;
    repo.download(&repo.needed()?, watch)
}

fn whole(hub: &FakeHub, cache: &Path) -> Result<Snapshot, HubError> {
    download(hub, cache, "acme/tiny", &mut |_| ControlFlow::Continue(()))
}

fn partial(cache: &Path, name: &str) -> PathBuf {
    let blob = blob(name, &repo_files()[name]);
    cache.join("models--acme--tiny/blobs").join(format!("{blob}.incomplete"))
}

/// Every file of a folder that is not whole.
fn incomplete(cache: &Path) -> Vec<PathBuf> {
    let blobs = cache.join("models--acme--tiny/blobs").read_dir().into_iter().flatten().flatten();
    blobs.map(|entry| entry.path()).filter(|path| path.extension().is_some()).collect()
}

#[test]
fn a_download_lies_where_hugging_face_looks() {
    let (hub, cache) = (tiny(), tempfile::tempdir().expect("a temporary directory"));
    let mut told = Vec::new();
    let snapshot = download(&hub, cache.path(), "acme/tiny", &mut |progress| {
        told.push(progress);
        ControlFlow::Continue(())
    });
    let snapshot = snapshot.expect("downloaded");
    let folder = cache.path().join("models--acme--tiny");
    assert_eq!(snapshot.directory, folder.join("snapshots").join(COMMIT));
    assert_eq!(std::fs::read_to_string(folder.join("refs/main")).expect("a reference"), COMMIT);
    for (name, bytes) in repo_files() {
        let link = snapshot.directory.join(&name);
        let target = link.read_link().expect("a link");
        assert_eq!(target, Path::new("../../blobs").join(blob(&name, &bytes)), "{name}");
        assert_eq!(std::fs::read(&link).expect("read"), bytes, "{name}");
    }
    for name in ["modeling_phi3.py", "pytorch_model.bin", "onnx"] {
        assert!(!snapshot.directory.join(name).exists(), "{name} is not fetched");
    }
    assert!(incomplete(cache.path()).is_empty());
    assert!(cache.path().join(".locks/models--acme--tiny").is_dir());
    let total: u64 = repo_files().values().map(|bytes| bytes.len() as u64).sum();
    assert_eq!(told.last(), Some(&DownloadProgress { done_bytes: total, total_bytes: total }));
    assert!(told.is_sorted_by_key(|progress| progress.done_bytes), "{told:?}");

    // Read back without a network, under its branch and its commit.
    let offline = settings(&hub, cache.path(), &[("HF_HUB_OFFLINE", "1")]);
    for text in ["acme/tiny".to_owned(), format!("acme/tiny@{COMMIT}")] {
        let model = Model::open_on_hub(&HubRef::parse_id(&text).expect("a name"), &offline).expect("opens");
        assert!(model.checkpoint.is_some(), "{text}");
    }
    assert!(Source::resolve(&snapshot.directory.display().to_string()).is_ok());
    // What is there is not fetched again.
    let before = hub.sent("/cdn/") + hub.sent("/resolve/");
    whole(&hub, cache.path()).expect("it is there");
    assert_eq!(hub.sent("/cdn/") + hub.sent("/resolve/"), before);
}

#[test]
fn what_breaks_off_goes_on_where_it_was() {
    let len = repo_files()[SHARD].len();
    // Cut again and again, it gets on with every try.
    let (hub, cache) = (tiny(), tempfile::tempdir().expect("a temporary directory"));
    hub.fault(&format!("/cdn/acme/tiny//{SHARD}"), Fault::CutAt(len / 3));
    whole(&hub, cache.path()).expect("downloaded");
    let ranges: Vec<_> = hub
        .log()
        .into_iter()
        .filter(|entry| entry.path.contains(SHARD))
        .filter_map(|entry| entry.range)
        .collect();
    assert!(ranges.iter().any(|(first, _)| *first > 0), "{ranges:?}");
    assert!(hub.sent(&format!("//{SHARD}")) <= len, "no byte comes twice");

    // Cancelled where it was cut, the next one fetches the rest and nothing else.
    let (hub, cache) = (tiny(), tempfile::tempdir().expect("a temporary directory"));
    hub.fault(&format!("//{SHARD}"), Fault::CutAt(len / 3));
    let mut at = Vec::new();
    let cancelled = download(&hub, cache.path(), "acme/tiny", &mut |progress| {
        at.push(progress.done_bytes);
        // The third of the shard that has come is told before the rest is asked for.
        if at.iter().any(|done| *done as usize >= len / 3) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert_eq!(cancelled.expect_err("cancelled").code(), "cancelled");
    assert!(!cache.path().join("models--acme--tiny/snapshots").exists(), "half of it is no snapshot");
    let kept = partial(cache.path(), SHARD).metadata().expect("kept for the next try").len();
    assert_eq!(kept as usize, len / 3);
    hub.mend();
    whole(&hub, cache.path()).expect("the rest");
    let rest =
        hub.log().into_iter().rfind(|entry| entry.path.contains(&format!("//{SHARD}"))).expect("asked");
    assert_eq!(rest.range, Some((kept, len as u64 - 1)));
    assert!(incomplete(cache.path()).is_empty());

    // A server that ignores ranges is asked from the front.
    let (hub, cache) = (tiny(), tempfile::tempdir().expect("a temporary directory"));
    std::fs::create_dir_all(cache.path().join("models--acme--tiny/blobs")).expect("made");
    std::fs::write(partial(cache.path(), SHARD), &repo_files()[SHARD][..1000]).expect("written");
    hub.fault(SHARD, Fault::IgnoreRange);
    whole(&hub, cache.path()).expect("whole");
}

#[test]
fn bytes_that_are_not_those_of_the_list_are_thrown_away() {
    for name in [SHARD, "tokenizer.json"] {
        let (hub, cache) = (tiny(), tempfile::tempdir().expect("a temporary directory"));
        hub.fault(name, Fault::OtherBytes);
        let error = whole(&hub, cache.path()).expect_err("other bytes");
        assert_eq!(error.code(), "hub_wrong_bytes", "{error}");
        assert!(error.to_string().contains(&blob(name, &repo_files()[name])), "{error}");
        assert!(!partial(cache.path(), name).exists());
        hub.mend();
        whole(&hub, cache.path()).expect("the right ones");
    }
    // The same for what an earlier try left.
    for left in [vec![7_u8; 1000], vec![7; 10 << 20]] {
        let (hub, cache) = (tiny(), tempfile::tempdir().expect("a temporary directory"));
        std::fs::create_dir_all(cache.path().join("models--acme--tiny/blobs")).expect("made");
        std::fs::write(partial(cache.path(), SHARD), &left).expect("written");
        let first = whole(&hub, cache.path());
        // What is longer than the file cannot be a part of it.
        assert_eq!(first.is_ok(), left.len() > 5 << 20, "{first:?}");
        whole(&hub, cache.path()).expect("the right ones");
    }
}

#[test]
fn every_fault_of_a_download_has_its_name_and_passes() {
    let shard = format!("//{SHARD}");
    for (part, fault, code, keeps) in [
        ("/api/", Fault::Status(401, "GatedRepo", None), "hub_gated", false),
        ("/resolve/", Fault::Status(404, "EntryNotFound", None), "hub_not_found", true),
        (shard.as_str(), Fault::Status(429, "", Some(("retry-after", "7"))), "hub_rate_limited", true),
        (&shard, Fault::Status(503, "", None), "hub_unavailable", true),
        (&shard, Fault::WrongLength(1000), "hub_bad_answer", true),
        (&shard, Fault::WrongLength(-1000), "hub_bad_answer", true),
        (&shard, Fault::Html, "hub_bad_answer", true),
        (&shard, Fault::Gzip, "hub_bad_answer", true),
        (&shard, Fault::CutAt(0), "hub_truncated", true),
        (&shard, Fault::Silent, "hub_timeout", true),
        (&shard, Fault::RedirectTo("http://169.254.169.254/x".to_owned()), "hub_redirect_refused", true),
        (&shard, Fault::RedirectLoop, "hub_redirect_refused", true),
    ] {
        let (hub, cache) = (tiny(), tempfile::tempdir().expect("a temporary directory"));
        hub.fault(part, fault.clone());
        let error = whole(&hub, cache.path()).expect_err("a fault");
        assert_eq!(error.code(), code, "{fault:?}: {error}");
        assert!(!error.to_string().contains('\n'));
        let snapshots = cache.path().join("models--acme--tiny/snapshots");
        assert!(!snapshots.exists(), "{fault:?}");
        assert_eq!(cache.path().join("models--acme--tiny/blobs").exists(), keeps, "{fault:?}");
        hub.mend();
        let snapshot = whole(&hub, cache.path()).unwrap_or_else(|error| panic!("after {fault:?}: {error}"));
        assert_eq!(std::fs::read(snapshot.directory.join(SHARD)).expect("read"), repo_files()[SHARD]);
        assert!(incomplete(cache.path()).is_empty(), "{fault:?}");
    }
}

#[test]
fn one_file_is_fetched_by_one_process_at_a_time() {
    let (hub, cache) = (tiny(), tempfile::tempdir().expect("a temporary directory"));
    let locks = cache.path().join(".locks/models--acme--tiny");
    std::fs::create_dir_all(&locks).expect("made");
    let held = File::create(locks.join(format!("{}.lock", blob(SHARD, &repo_files()[SHARD])))).expect("made");
    held.lock().expect("locked");
    let begun = Instant::now();
    let waits = download(&hub, cache.path(), "acme/tiny", &mut |_| match begun.elapsed() {
        passed if passed > Duration::from_millis(600) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert_eq!(waits.expect_err("it is held").code(), "cancelled");
    assert_eq!(hub.sent(&format!("//{SHARD}")), 0);
    held.unlock().expect("unlocked");
    whole(&hub, cache.path()).expect("it is free");
}

#[test]
fn only_what_can_be_loaded_is_wanted() {
    let gguf = |names: &[&str]| {
        let files = names.iter().map(|name| ((*name).to_owned(), vec![0; 8])).collect();
        FakeHub::start(vec![Repo::new("acme/tiny", files)])
    };
    let needed = |hub: &FakeHub, text: &str| -> Result<Vec<String>, HubError> {
        let cache = tempfile::tempdir().expect("a temporary directory");
        let settings = settings(hub, cache.path(), &[]);
        let repo = RemoteRepo::ask(&settings, &HubRef::parse(text, &settings.endpoint)?)?;
        Ok(repo.needed()?.into_iter().map(|entry| entry.path.clone()).collect())
    };
    let hub = gguf(&["a.gguf", "b.gguf", "README.md", "sub/c.gguf"]);
    assert_eq!(needed(&hub, "acme/tiny").expect_err("two").code(), "hub_ambiguous");
    assert_eq!(needed(&hub, "hf://acme/tiny@main/b.gguf").expect("a file"), ["b.gguf"]);
    assert_eq!(needed(&hub, "hf://acme/tiny@main/sub/c.gguf").expect("a file"), ["sub/c.gguf"]);
    let [first, second] = ["m-Q4-00001-of-00002.gguf", "m-Q4-00002-of-00002.gguf"];
    let split = gguf(&[first, second, "README.md", "m-Q8-00001-of-00002.gguf"]);
    for part in [first, second] {
        let named = format!("hf://acme/tiny@main/{part}");
        assert_eq!(needed(&split, &named).expect("all parts"), [first, second], "{part}");
    }
    let cut = needed(&split, "hf://acme/tiny@main/m-Q8-00001-of-00002.gguf").expect_err("a part is missing");
    assert!(cut.to_string().contains("has no m-Q8-00002-of-00002.gguf"), "{cut}");
    assert_eq!(needed(&split, "acme/tiny").expect_err("two models").code(), "hub_ambiguous");
    let whole = gguf(&[&format!("d/{first}"), &format!("d/{second}"), "d/README.md"]);
    let all = ["d/README.md".to_owned(), format!("d/{first}"), format!("d/{second}")];
    assert_eq!(needed(&whole, "https://huggingface.co/acme/tiny/tree/main/d").expect("one model"), all);
    let pickled = gguf(&["config.json", "pytorch_model.bin"]);
    let pickled = needed(&pickled, "acme/tiny").expect_err("no weights");
    let says = "pytorch_model.bin is pickled, which is never read";
    assert!(pickled.code() == "hub_not_found" && pickled.to_string().contains(says), "{pickled}");
    let both = gguf(&[
        "config.json",
        "model.safetensors",
        "model-00001-of-00002.safetensors",
        "consolidated.safetensors",
    ]);
    assert_eq!(needed(&both, "acme/tiny").expect("weights"), ["config.json", "model.safetensors"]);
}
