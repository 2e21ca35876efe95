use serde_json::json;

use super::*;
use crate::config::GenerationConfig;
use crate::inspect::Severity;

/// Of the shape of Phi-3's cards, in words of our own.
const CARD: &str = r#"---
license: mit
license_link: https://example.org/LICENSE
language:
- en
pipeline_tag: text-generation
base_model:
  - acme/base-4k   # the parent
  - "acme/other"
tags: [nlp, code]
widget:
  - messages:
      - role: user
        content: "Is pineapple a fruit?"
inference:
  parameters:
    temperature: 9.0
---
# Model

Trained with flash attention kernels on many machines.

```python
from transformers import pipeline
# generation_args = {"temperature": 5}
pipe = pipeline("text-generation", model=model)
generation_args = {
    "max_new_tokens": 500,  # , "top_k": 3
    "return_full_text": False,
    'temperature': 0.0,
    "do_sample": False,
    "stop": "a, b: {c}",
    "logits_processor": LogitsProcessorList([a, b]),
    "eos_token_id": tokenizer.eos_token_id,
    "top_p": 9e-1,
    "seed": 1_000,
}
output = pipe(messages, **generation_args)
```

## Training
* GPUs: 512 H100-80G
* Training time: 10 days

## Software
* [PyTorch](https://example.org/pytorch)
* [Flash-Attention](https://example.org/flash-attention)

## Hardware
By default, the model uses flash attention, which requires
certain types of GPU hardware to run. We have tested on the following GPU types:
* NVIDIA A100
* NVIDIA RTX 4090 Ti
* NVIDIA A6000

If you want to run it on:
* NVIDIA V100 or earlier GPUs: call from_pretrained() with attn_implementation="eager"
"#;

#[test]
fn the_facts_of_a_card() {
    let facts = CardFacts::parse(CARD);
    assert_eq!(facts.license.as_deref(), Some("mit"));
    assert_eq!(facts.pipeline_tag.as_deref(), Some("text-generation"));
    assert_eq!(facts.base_model, ["acme/base-4k", "acme/other"]);
    let expected = json!({
        "max_new_tokens": 500, "return_full_text": false, "temperature": 0.0, "do_sample": false,
        "stop": "a, b: {c}", "top_p": 0.9, "seed": 1000
    });
    assert_eq!(Value::Object(facts.generation_args), expected);
    let notes: Vec<_> = facts.hardware.iter().map(|note| (note.kind, note.gpus.join(","))).collect();
    assert_eq!(
        notes,
        [
            (HardwareKind::FlashAttentionAssumed, String::new()),
            (HardwareKind::TestedOn, "A100,RTX 4090 Ti,A6000".to_owned()),
            (HardwareKind::Eager, "V100".to_owned()),
        ]
    );
    assert_eq!(
        facts.hardware[0].quote,
        "By default, the model uses flash attention, which requires certain types of GPU hardware to run."
    );
    for note in &facts.hardware {
        for word in note.quote.split([' ', ';']) {
            assert!(CARD.contains(word), "{word} is not the card's");
        }
    }
}

#[test]
fn a_card_that_leaves_it_open_assumes_nothing() {
    for text in [
        "You can enable flash attention with attn_implementation=\"flash_attention_2\".",
        "FlashAttention is optional and not required by default.",
        "If you have an A100, use flash-attn for speed.",
        "Trained on 512 H100 with flash attention.",
        "We tested it on 2 datasets.",
        "- Flash-Attention",
    ] {
        let facts = CardFacts::parse(text);
        let assumed = |note: &HardwareNote| {
            matches!(note.kind, HardwareKind::FlashAttentionAssumed | HardwareKind::TestedOn)
        };
        assert!(!facts.hardware.iter().any(assumed), "{text}: {:?}", facts.hardware);
    }
}

#[test]
fn front_matter_in_all_its_spellings() {
    for (text, license, base) in [
        ("---\nlicense: 'apache-2.0'\nbase_model: a/b\n---\n", Some("apache-2.0"), vec!["a/b"]),
        (
            "\u{feff}---\r\nlicense: mit # free\r\nbase_model: [a/b, 'c/d']\r\n---\r\n",
            Some("mit"),
            vec!["a/b", "c/d"],
        ),
        ("---\nbase_model:\n- a/b\n- c/d\nlicense: other\n---", Some("other"), vec!["a/b", "c/d"]),
        ("---\nlicense: |\n  long\n  text\n---\n", None, vec![]),
        ("---\nlicense:\n  mit: yes\n---\n", None, vec![]),
        ("---\nlicense: mit\n", None, vec![]),
        ("license: mit\n", None, vec![]),
        ("", None, vec![]),
        ("---", None, vec![]),
        ("---\n---\nlicense: mit", None, vec![]),
    ] {
        let facts = CardFacts::parse(text);
        assert_eq!(
            (facts.license.as_deref(), facts.base_model),
            (license, base.iter().map(|b| (*b).to_owned()).collect()),
            "{text:?}"
        );
    }
}

#[test]
fn odd_dictionaries_are_passed_over() {
    for code in [
        "generation_args = {",
        "generation_args = {}",
        "generation_args = {\"a\": }",
        "generation_args = {\"a\": 1",
        "generation_args = {\"a\": 1e999}",
        "generation_args = {a: 1}",
        "generation_args = {\"a\" 1}",
        "generation_args == {\"a\": 1}",
        "xgeneration_args = {\"a\": 1}",
        "generation_args = {\"\\x\": 1}",
        "generation_args = {\"a\": \"\\n\"}",
        "generation_args = dict(a=1)",
    ] {
        let facts = CardFacts::parse(&format!("```python\n{code}\n```\n"));
        assert!(facts.generation_args.is_empty(), "{code}: {:?}", facts.generation_args);
    }
    let outside = CardFacts::parse("generation_args = {\"a\": 1}");
    assert!(outside.generation_args.is_empty(), "running text is no code");
}

#[test]
fn texts_of_a_card_cannot_reach_a_terminal() {
    let text = format!("---\nlicense: \"\u{1b}[31m{}\"\n---\n", "x".repeat(1000));
    let license = CardFacts::parse(&text).license.expect("a text");
    assert!(!license.contains('\u{1b}') && license.chars().count() <= MAX_QUOTE_CHARS + 1, "{license}");
}

#[test]
fn findings_name_what_is_missing_and_what_is_assumed() {
    let generation = GenerationConfig::parse(br#"{"eos_token_id":[7,9],"temperature":0.6}"#).expect("good");
    let files = [("config.json", 10), ("README.md", 5), ("tokenizer.model", 7)];
    let files: Vec<_> = files.map(|(name, bytes)| (name.to_owned(), Some(bytes))).to_vec();
    let card = Card::new(CardSubject {
        repo: Some("acme/m"),
        revision: Some("main"),
        commit: Some("c0ffee"),
        gated: Some("manual"),
        readme: Some(CARD),
        generation: Some(&generation),
        files: &files,
        ..CardSubject::default()
    });
    let recommended: Vec<_> = card.recommended.iter().map(|r| (r.key.as_str(), &r.value, r.origin)).collect();
    assert_eq!(recommended[0], ("eos_token_id", &json!([7, 9]), Origin::GenerationConfig));
    assert_eq!(recommended[1], ("temperature", &json!(0.6), Origin::GenerationConfig));
    assert_eq!(recommended[2].2, Origin::CardExample);
    // What an example says goes before what the Hub's page does.
    assert_eq!(recommended.last(), Some(&("temperature", &json!(9.0), Origin::CardInference)));
    let found: Vec<_> = card.findings().into_iter().map(|f| (f.code, f.severity, f.message)).collect();
    let with = |code: &str, severity, part: &str| {
        assert!(
            found.iter().any(|f| f.0 == code && f.1 == severity && f.2.contains(part)),
            "{code} {part}: {found:?}"
        );
    };
    with("flash_attention_assumed", Severity::Warning, "tested on A100, RTX 4090 Ti, A6000");
    with("gated", Severity::Info, "manual");
    with("missing_required_file", Severity::Warning, "model.safetensors");
    with("missing_required_file", Severity::Info, "generation_config.json");
    with("revision_not_pinned", Severity::Info, "@c0ffee");
    assert!(!found.iter().any(|f| f.2.contains("tokenizer.json")), "{found:?}");

    let gguf = CardSubject { weight_files: &["m.gguf".to_owned()], ..CardSubject::default() };
    assert_eq!(Card::new(gguf).files.len(), 1);
    assert_eq!(Card::new(CardSubject::default()).recommended, []);
}
