//! Chat templates from strangers: what fuel cannot see ends a process that holds nothing else, by name.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::model_dir::ModelDir;
use crate::support::program::{Ran, preflight};

/// A small checkpoint with a tokenizer of the letters a to z.
fn with_tokenizer() -> ModelDir {
    let model = ModelDir::of_case("mha_plain");
    let vocab: serde_json::Map<String, Value> =
        ('a'..='z').zip(0..).map(|(letter, id): (char, u32)| (letter.to_string(), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    model.write("tokenizer.json", tokenizer.to_string());
    model
}

fn chat(model: &ModelDir, template: &str) -> Ran {
    model.write("chat_template.jinja", template);
    preflight(&["validate", model.arg(), "--chat", "abc", "--max-new-tokens", "2", "--json"])
}

#[test]
fn a_template_makes_the_prompt() {
    let model = with_tokenizer();
    let ran = chat(&model, "{% for m in messages %}{{ m.role }}{{ m.content }}{% endfor %}");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["prompt_tokens"], json!([20, 18, 4, 17, 0, 1, 2]), "userabc");
    let ran = chat(&model, "{{ raise_exception('no such role') }}");
    assert_eq!((ran.code, ran.error_code().as_str()), (2, "template_error"));
    assert!(ran.json()["error"]["message"].as_str().expect("words").contains("no such role"), "{ran:?}");
}

/// A model whose own template does not compile loads and completes; `inspect` says that it will not chat.
#[test]
fn a_models_own_template_that_does_not_compile_is_a_finding() {
    let model = with_tokenizer();
    let found = || {
        let inspected = preflight(&["inspect", model.arg(), "--json"]);
        assert_eq!(inspected.code, 0, "{inspected:?}");
        let findings = inspected.json()["findings"].as_array().expect("a list").clone();
        findings.into_iter().find(|finding| finding["code"] == "chat_template_invalid")
    };
    assert_eq!(found(), None);
    let named = json!([{ "name": "default", "template": "{{ x | nofilter }}" }]);
    for template in [json!("{% if %}"), named] {
        model.write("tokenizer_config.json", json!({ "chat_template": template }).to_string());
        let finding = found().expect("found");
        assert_eq!(finding["severity"], "warning", "{finding}");
        assert!(
            finding["message"].as_str().is_some_and(|text| text.contains("chats are refused")),
            "{finding}"
        );
    }
    // The file of its own wins.
    model.write("chat_template.jinja", "{{ messages }}");
    assert_eq!(found(), None);
    model.write("chat_template.jinja", "{% for %}");
    assert!(found().is_some());
    assert_eq!(preflight(&["validate", model.arg(), "--prompt", "abc", "--max-new-tokens", "2"]).code, 0);
}

/// A normalizer that makes a thousand letters of one, three times over, would take gigabytes.
#[test]
fn a_tokenizer_that_multiplies_text_is_refused() {
    let model = with_tokenizer();
    let json = std::fs::read(model.file("tokenizer.json")).expect("written above");
    let mut tokenizer: Value = serde_json::from_slice(&json).expect("JSON");
    let step = json!({ "type": "Replace", "pattern": { "String": "a" }, "content": "a".repeat(1000) });
    tokenizer["normalizer"] = json!({ "type": "Sequence", "normalizers": [step, step, step] });
    model.write("tokenizer.json", tokenizer.to_string());
    for args in [&["--prompt", "aaaa"][..], &[]] {
        let ran = preflight(&[&["validate", model.arg(), "--json"], args].concat());
        assert_eq!((ran.code, ran.error_code().as_str()), (2, "tokenizer_invalid"), "{ran:?}");
        let message = ran.json()["error"]["message"].as_str().expect("words").to_owned();
        assert!(message.contains("normalizer can make 1000000000 bytes of one"), "{message}");
    }
}

/// The length is looked at before anything is split.
#[test]
fn a_prompt_longer_than_any_context_is_refused() {
    let model = with_tokenizer();
    model.set_config(&json!({ "max_position_embeddings": 64, "original_max_position_embeddings": 64 }));
    let ran = preflight(&["validate", model.arg(), "--prompt", &"a".repeat(100_000), "--json"]);
    assert_eq!((ran.code, ran.error_code().as_str()), (2, "context_too_long"), "{ran:?}");
    assert!(ran.json()["error"]["message"].as_str().expect("words").contains("100000 bytes"), "{ran:?}");
}

#[test]
fn no_template_takes_the_worker_along() {
    let model = with_tokenizer();
    let shared =
        "{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}";
    let other =
        "{% set ms = namespace(a=[1]) %}{% for i in range(60) %}{% set ms.a = [ms.a, ms.a] %}{% endfor %}";
    let deep =
        "{% set ns = namespace(a=[1]) %}{% for i in range(99999) %}{% set ns.a = [ns.a] %}{% endfor %}";
    // Which of two limits a text that doubles meets first is the machine's matter.
    const TIME: &str = "ran for more than 5 s";
    for (template, says) in [
        (format!("{shared}{{{{ (ns.a ~ '') | length }}}}"), ["more memory", TIME]),
        (format!("{shared}{other}{{{{ ns.a == ms.a }}}}"), [TIME; 2]),
        (format!("{deep}{{{{ ns.a }}}}"), ["nested deeper"; 2]),
        ("{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}".to_owned(), ["fuel"; 2]),
    ] {
        let start = Instant::now();
        let ran = chat(&model, &template);
        assert_eq!((ran.code, ran.error_code().as_str()), (2, "template_error"), "{template}: {ran:?}");
        let message = ran.json()["error"]["message"].as_str().expect("words").to_owned();
        assert!(says.iter().any(|words| message.contains(words)), "{template}: {message}");
        assert!(start.elapsed() < Duration::from_secs(60), "{template}: {:?}", start.elapsed());
    }
}
