//! Converted tokenizers against llama.cpp's own vectors, one vocabulary for each rule: `tests/goldens/README.md`.

use std::collections::BTreeMap;
use std::path::Path;

use pollster::block_on;
use serde::Deserialize;

use super::*;
use crate::weights::BytesSource;
use crate::weights::convert::tokenizer_files;
use crate::weights::gguf::Gguf;
use crate::weights::gguf::test_file::File;

#[derive(Deserialize)]
struct Goldens {
    texts: Vec<String>,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    tokens: Vec<String>,
    added: BTreeMap<usize, i32>,
    merges: Vec<String>,
    ids: Vec<Vec<u32>>,
}

/// The tokenizer that a conversion of a GGUF with this vocabulary writes.
fn converted(name: &str, case: &Case) -> Tokenizer {
    let [tokens, merges] =
        [&case.tokens, &case.merges].map(|list| list.iter().map(String::as_str).collect::<Vec<_>>());
    let types: Vec<i32> = (0..tokens.len()).map(|id| case.added.get(&id).copied().unwrap_or(1)).collect();
    let file = File::default()
        .text("general.architecture", "llama")
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", name)
        .key("tokenizer.ggml.tokens", |writer, key| writer.texts(key, &tokens))
        .key("tokenizer.ggml.token_type", |writer, key| writer.numbers(key, &types))
        .key("tokenizer.ggml.merges", |writer, key| writer.texts(key, &merges));
    let gguf = block_on(Gguf::read("m.gguf", &BytesSource(file.bytes()))).expect("a good file");
    let config = format!(r#"{{"model_type":"phi3","vocab_size":{},"pad_token_id":0}}"#, case.tokens.len());
    let config = ModelConfig::parse(config.as_bytes()).expect("valid");
    let files = tokenizer_files(&gguf.metadata, &config).unwrap_or_else(|error| panic!("{name}: {error}"));
    let [tokenizer, config, special] = files.files().map(|(_, bytes)| bytes);
    let files = TokenizerFiles {
        tokenizer: &tokenizer,
        tokenizer_config: Some(&config),
        special_tokens_map: Some(&special),
        chat_template: None,
    };
    Tokenizer::load(&files).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn ids_equal_llama_cpps() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/pre_tokenizers.json");
    let goldens: Goldens =
        serde_json::from_slice(&std::fs::read(&path).expect("the goldens")).expect("as they were written");
    assert_eq!((goldens.texts.len(), goldens.cases.len()), (46, 10));
    let mut wrong = Vec::new();
    for (name, case) in &goldens.cases {
        let tokenizer = converted(name, case);
        for (text, ids) in goldens.texts.iter().zip(&case.ids) {
            let found = tokenizer.encode(text).expect("encodes");
            if found != *ids {
                wrong.push(format!("{name}: {text:?}: {found:?}, expected {ids:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Each rule is needed: another one gives other ids on the same vocabulary.
#[test]
fn no_rule_stands_for_another() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/pre_tokenizers.json");
    let goldens: Goldens =
        serde_json::from_slice(&std::fs::read(&path).expect("the goldens")).expect("as they were written");
    // The vectors do not tell DeepSeek-LLM's from those of its kin.
    for (name, others) in [
        ("gpt-2", &["llama-bpe", "falcon"][..]),
        ("starcoder", &["gpt-2", "qwen2"]),
        ("llama-bpe", &["gpt-2", "qwen2"]),
        ("qwen2", &["gpt-2", "deepseek-llm"]),
        ("deepseek-llm", &["gpt-2"]),
        ("deepseek-coder", &["gpt-2", "falcon"]),
        ("falcon", &["gpt-2", "llama-bpe"]),
    ] {
        for other in others {
            let tokenizer = converted(other, &goldens.cases[name]);
            let mut pairs = goldens.texts.iter().zip(&goldens.cases[name].ids);
            let differs = pairs.any(|(text, ids)| tokenizer.encode(text).expect("encodes") != *ids);
            assert!(differs, "{name} cut by the rule of {other}");
        }
    }
}
