//! SmolLM2 against llama.cpp, Phi-3 against llama.cpp and Hugging Face: `tests/goldens/README.md`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::*;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn golden(name: &str) -> Vec<u8> {
    let path = repository().join("tests/goldens").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn parse<T: for<'de> Deserialize<'de>>(name: &str) -> T {
    serde_json::from_slice(&golden(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The converted SmolLM2, if `./dev model` has made it.
fn smollm2() -> Option<Tokenizer> {
    let folder = repository().join("models/smollm2-135m-phi3");
    let read = |name: &str| std::fs::read(folder.join(name)).ok();
    let Some(tokenizer) = read("tokenizer.json") else {
        let required = std::env::var_os("PREFLIGHT_REQUIRE_MODEL").is_some();
        assert!(!required, "{} has no tokenizer.json: run ./dev model", folder.display());
        println!("skipped: models/smollm2-135m-phi3 is not there; ./dev model makes it");
        return None;
    };
    let (config, map) = (read("tokenizer_config.json"), read("special_tokens_map.json"));
    let files = TokenizerFiles {
        tokenizer: &tokenizer,
        tokenizer_config: config.as_deref(),
        special_tokens_map: map.as_deref(),
        chat_template: None,
    };
    Some(Tokenizer::load(&files).expect("the converter's own files"))
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32], skip_special_tokens: bool) -> String {
    let mut stream = tokenizer.stream(skip_special_tokens);
    let mut text: String = ids.iter().map(|id| stream.push(*id).expect("decodes")).collect();
    text.push_str(&stream.finish().expect("decodes"));
    text
}

#[derive(Deserialize)]
struct Vector {
    text: String,
    parse_special: bool,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct ChatCase {
    #[serde(default)]
    template: String,
    name: String,
    messages: Vec<ChatMessage>,
    add_generation_prompt: bool,
    text: String,
    ids: Vec<u32>,
}

#[test]
fn smollm2_ids_equal_llama_cpps() {
    let Some(tokenizer) = smollm2() else { return };
    let vectors: Vec<Vector> = parse("smollm2_tokenizer.json");
    // A text in which special tokens stay text is another call of llama.cpp's; there is none here.
    let vectors: Vec<_> = vectors.into_iter().filter(|vector| vector.parse_special).collect();
    assert!(vectors.len() > 200);
    for Vector { text, ids, .. } in vectors {
        assert_eq!(tokenizer.encode(&text).expect("encodes"), ids, "{text:?}");
        let decoded = tokenizer.decode(&ids, false).expect("decodes");
        // The vocabulary lacks some bytes, which llama.cpp drops too: six control characters, and 0xf1 and 0xf2,
        // with which characters from U+40000 on begin.
        let lacks = |c| matches!(c, '\x04' | '\x06' | '\x13' | '\x14' | '\x16' | '\x1d' | '\u{40000}'..);
        assert!(decoded == text || text.contains(lacks), "{text:?}");
        assert_eq!(streamed(&tokenizer, &ids, false), decoded);
    }
    assert_eq!(tokenizer.vocab_size(), 49_152);
}

#[test]
fn smollm2_conversations_equal_llama_cpps() {
    #[derive(Deserialize)]
    struct Chats {
        cases: Vec<ChatCase>,
    }
    let Some(tokenizer) = smollm2() else { return };
    for case in parse::<Chats>("smollm2_chat.json").cases {
        let text = tokenizer.chat_text(&case.messages, case.add_generation_prompt).expect("renders");
        assert_eq!(text, case.text, "{}", case.name);
        let ids = tokenizer.encode_chat(&case.messages, case.add_generation_prompt).expect("encodes");
        assert_eq!(ids, case.ids, "{}", case.name);
    }
}

#[derive(Deserialize)]
struct Phi3 {
    space_run_order: Vec<usize>,
    merges: usize,
    added_tokens: Vec<Added>,
    added_tokens_april_2024: Vec<Added>,
    vectors: Vec<Phi3Vector>,
    vectors_april_2024: Vec<Phi3Vector>,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
    rstrip: bool,
    special: bool,
}

#[derive(Deserialize)]
struct Phi3Vector {
    text: String,
    ids: Vec<u32>,
    decoded: String,
    decoded_plain: String,
}

/// `tokenizer.json` of Phi-3 from its vocabulary, as `make_phi3_tokenizer.py` derives it.
fn phi3(golden: &Phi3, added: &[Added]) -> Tokenizer {
    let text = String::from_utf8(self::golden("phi3_vocab.txt")).expect("UTF-8");
    let vocab: Vec<&str> = text.strip_suffix('\n').unwrap_or(&text).split('\n').collect();
    let ids: HashMap<&str, usize> = vocab.iter().enumerate().map(|(id, token)| (*token, id)).collect();
    let (mut merges, mut runs) = (Vec::new(), HashMap::new());
    for token in &vocab {
        let cuts = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
        let mut pairs: Vec<(&str, &str)> =
            cuts.filter(|(left, right)| ids.contains_key(left) && ids.contains_key(right)).collect();
        if token.chars().all(|c| c == '▁') {
            runs.extend(pairs.iter().map(|(l, r)| ((l.chars().count(), r.chars().count()), (*l, *r))));
        } else {
            pairs.sort_by_key(|(left, right)| (ids[left], ids[right]));
            merges.extend(pairs);
        }
    }
    for left in &golden.space_run_order {
        merges.extend(golden.space_run_order.iter().filter_map(|right| runs.get(&(*left, *right))));
    }
    assert_eq!(merges.len(), golden.merges);
    let added: Vec<Value> = added
        .iter()
        .map(|Added { id, content, rstrip, special }| {
            json!({"id": id, "content": content, "rstrip": rstrip, "special": special,
                "lstrip": false, "normalized": false, "single_word": false})
        })
        .collect();
    let replace =
        |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")]},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": ids, "merges": merges},
    })
    .to_string();
    let config = json!({"bos_token": "<s>", "eos_token": "<|endoftext|>"}).to_string();
    let files = TokenizerFiles {
        tokenizer: tokenizer.as_bytes(),
        tokenizer_config: Some(config.as_bytes()),
        ..TokenizerFiles::default()
    };
    Tokenizer::load(&files).expect("good")
}

#[test]
fn phi3_ids_and_texts_equal_the_goldens() {
    let golden: Phi3 = parse("phi3_tokenizer.json");
    let july = (&golden.added_tokens, &golden.vectors);
    let april = (&golden.added_tokens_april_2024, &golden.vectors_april_2024);
    for (added, vectors) in [july, april] {
        let tokenizer = phi3(&golden, added);
        assert_eq!(tokenizer.vocab_size(), 32_011);
        for Phi3Vector { text, ids, decoded, decoded_plain } in vectors {
            assert_eq!(tokenizer.encode(text).expect("encodes"), *ids, "{text:?}");
            for (skip_special_tokens, expected) in [(false, decoded), (true, decoded_plain)] {
                assert_eq!(
                    tokenizer.decode(ids, skip_special_tokens).expect("decodes"),
                    *expected,
                    "{text:?}"
                );
                assert_eq!(streamed(&tokenizer, ids, skip_special_tokens), *expected, "{text:?}");
            }
        }
    }
}

#[test]
fn phi3_conversations_equal_the_goldens() {
    #[derive(Deserialize)]
    struct Chats {
        templates: HashMap<String, String>,
        cases: Vec<ChatCase>,
    }
    let golden: Phi3 = parse("phi3_tokenizer.json");
    let chats: Chats = parse("phi3_chat.json");
    let mut first = phi3(&golden, &golden.added_tokens);
    let mut april = phi3(&golden, &golden.added_tokens_april_2024);
    for case in chats.cases {
        let tokenizer = if case.template.contains("april") { &mut april } else { &mut first };
        tokenizer.set_chat_template(chats.templates[&case.template].as_str());
        let text = tokenizer.chat_text(&case.messages, case.add_generation_prompt).expect("renders");
        assert_eq!(text, case.text, "{} {}", case.template, case.name);
        let ids = tokenizer.encode_chat(&case.messages, case.add_generation_prompt).expect("encodes");
        assert_eq!(ids, case.ids, "{} {}", case.template, case.name);
    }
}
