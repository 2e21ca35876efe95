use super::*;

fn url(text: &str) -> Result<HubRef, HubError> {
    HubRef::parse_url(text, &Endpoint::default())
}

#[test]
fn ids_and_revisions() {
    for (text, repo, revision) in [
        ("microsoft/Phi-3-mini-4k-instruct", "microsoft/Phi-3-mini-4k-instruct", "main"),
        ("gpt2", "gpt2", "main"),
        ("a/b@v1.0", "a/b", "v1.0"),
        ("a/b@refs/pr/1", "a/b", "refs/pr/1"),
        ("a_b/c.d@feature/x+y", "a_b/c.d", "feature/x+y"),
        (
            "_a/b_@0a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
            "_a/b_",
            "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
        ),
    ] {
        let found = HubRef::parse_id(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((found.repo(), found.revision(), found.path()), (repo, revision, None), "{text}");
        let again = found.to_string();
        assert_eq!(HubRef::parse_id(again.strip_prefix("hf:").expect("hf:")).expect("reads itself"), found);
    }
}

#[test]
fn every_form_of_address() {
    let commit = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567";
    for (text, repo, revision, path) in [
        ("https://huggingface.co/a/b", "a/b", "main", None),
        ("http://HuggingFace.co/a/b/", "a/b", "main", None),
        ("https://hf.co/a/b?library=transformers#usage", "a/b", "main", None),
        ("https://www.hf.co/a/b.git", "a/b", "main", None),
        ("https://huggingface.co/gpt2", "gpt2", "main", None),
        ("https://huggingface.co/gpt2/tree/main", "gpt2", "main", None),
        ("https://huggingface.co/gpt2/blob/v1/model.safetensors", "gpt2", "v1", Some("model.safetensors")),
        ("https://huggingface.co/a/b/tree/dev", "a/b", "dev", None),
        ("https://huggingface.co/a/b/tree/dev/onnx", "a/b", "dev", Some("onnx")),
        ("https://huggingface.co/a/b/tree/refs%2Fpr%2F1", "a/b", "refs/pr/1", None),
        ("https://huggingface.co/a/b/tree/refs/pr/1/x", "a/b", "refs/pr/1", Some("x")),
        ("https://huggingface.co/a/b/blob/main/config.json?raw=1", "a/b", "main", Some("config.json")),
        ("https://huggingface.co/a/b/resolve/main/d/m.gguf?download=true", "a/b", "main", Some("d/m.gguf")),
        ("https://huggingface.co/a/b/raw/main/my%20file.json", "a/b", "main", Some("my file.json")),
        (&format!("https://huggingface.co/a/b/commit/{commit}"), "a/b", commit, None),
        ("https://huggingface.co/a/b/commits/main", "a/b", "main", None),
        ("https://huggingface.co/api/models/a/b/revision/main", "a/b", "main", None),
        ("https://huggingface.co/api/models/gpt2", "gpt2", "main", None),
    ] {
        let found = url(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((found.repo(), found.revision(), found.path()), (repo, revision, path), "{text}");
    }
    let found = HubRef::parse_id("//a/b@refs/pr/2/x/y.gguf").expect("Hugging Face's file system");
    assert_eq!((found.repo(), found.revision(), found.path()), ("a/b", "refs/pr/2", Some("x/y.gguf")));
    assert_eq!(found.to_string(), "hf://a/b@refs/pr/2/x/y.gguf");
    let found = url("https://huggingface.co/a/b/resolve/main/my%20file.gguf").expect("with a space");
    let again = found.to_string();
    assert_eq!(HubRef::parse_id(again.strip_prefix("hf:").expect("hf:")).expect("reads itself"), found);
    assert_eq!(HubRef::parse_id("//a/b/y.gguf").expect("without a revision").path(), Some("y.gguf"));
}

#[test]
fn a_custom_endpoint_has_addresses_too() {
    let endpoint = Endpoint::parse("https://hub.example.org:8443/hf/").expect("an endpoint");
    let found = HubRef::parse("https://hub.example.org:8443/hf/a/b/tree/v2", &endpoint).expect("its own");
    assert_eq!((found.repo(), found.revision()), ("a/b", "v2"));
    assert_eq!(HubRef::parse("https://huggingface.co/a/b", &endpoint).expect("the Hub's").repo(), "a/b");
    for text in ["https://hub.example.org/hf/a/b", "https://hub.example.org:8443/other/a/b"] {
        assert!(HubRef::parse(text, &endpoint).is_err(), "{text}");
    }
}

#[test]
fn tricks_are_refused() {
    let long = "a".repeat(97);
    for text in [
        "",
        "/",
        "a/",
        "/b",
        "a/b/c",
        "..",
        "a/..",
        "../b",
        "a/b/..",
        "a--b/c",
        "a/b..c",
        ".a/b",
        "a/b.",
        "-a/b",
        "a/b-",
        "a/b.git",
        "a\\b",
        "C:\\x",
        "a/b c",
        "a/b\0",
        "a/\u{202e}b",
        "a/b%2e%2e",
        "user@host/x",
        "ä/b",
        "a/b@",
        "a/b@..",
        "a/b@../x",
        "a/b@/x",
        "a/b@x/",
        "a/b@x//y",
        "a/b@-rf",
        "a/b@.x",
        "a/b@x.lock",
        "a/b@x@y",
        "a/b@x%2Fy",
        "a/b@x y",
        "a/b@x?y",
        "a/b@a/../b",
        "http://169.254.169.254/x",
        "//a/b/../c",
        "//a/b@main/../../c",
        "//a/b@main/x\\y",
        long.as_str(),
    ] {
        let error = HubRef::parse_id(text).expect_err(text);
        assert_eq!(error.code(), "hub_name_invalid", "{text}");
    }
    for text in [
        "huggingface.co/a/b",
        "ftp://huggingface.co/a/b",
        "https://huggingface.co",
        "https://huggingface.co/",
        "https://huggingface.co//a/b",
        "https://huggingface.co/a//b",
        "https://huggingface.co/datasets/a/b",
        "https://huggingface.co/spaces/a/b",
        "https://huggingface.co/docs",
        "https://huggingface.co/a/b/discussions/3",
        "https://huggingface.co/a/b/tree",
        "https://huggingface.co/a/b/settings",
        "https://huggingface.co/a/b/blob/main/../../x",
        "https://huggingface.co/a/b/blob/main/%2e%2e/x",
        "https://huggingface.co/a/b/blob/main/%252e%252e/x",
        "https://huggingface.co/a/b/blob/main/..%2fx",
        "https://huggingface.co/a/b/blob/main/x%5c..%5cy",
        "https://huggingface.co/a/b/blob/main/x\\y",
        "https://huggingface.co/a/b/blob/main/x%00",
        "https://huggingface.co/a/b/blob/main/x%zz",
        "https://huggingface.co/a/b/blob/main/x%f",
        "https://huggingface.co/a/b/blob/main/%ff",
        "https://huggingface.co/a%2fb%2fc/d",
        "https://huggingface.co.evil.com/a/b",
        "https://evil.com/huggingface.co/a/b",
        "https://evil.com#huggingface.co/a/b",
        "https://huggingface.co@evil.com/a/b",
        "https://huggingface.co:8443/a/b",
        "https://huggingface.co./a/b",
        "https://cdn-lfs.huggingface.co/a/b",
        "http://169.254.169.254/x",
        "http://[::1]/a/b",
        "https:///a/b",
    ] {
        let error = url(text).expect_err(text);
        assert_eq!(error.code(), "hub_name_invalid", "{text}");
    }
}

#[test]
fn a_refusal_tells_no_secret() {
    for text in [
        "https://user:canary@huggingface.co/a/b",
        "https://canary@evil.com/a/b",
        "https://evil.com/a/b?token=canary",
        "https://evil.com/a/b#canary",
    ] {
        let error = url(text).expect_err(text);
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
}
