//! How much a tokenizer can make of a text, told from its file before it is read: a `tokenizer.json` comes from
//! strangers, and a chain of replacements turns one letter into gigabytes.
//!
//! Bounds are of bytes, for the worst text. They multiply along a chain, so real files (a space into `▁`, NFKC) stay
//! below a hundred.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::TokenizerError;
use super::error::short_line;
use crate::units::one_line;

/// Largest growth of any chain of steps; beyond it a file is refused.
const MAX_GROWTH: u64 = 1 << 10;
/// Most bytes that the steps may make of a text, and of the added tokens, which are normalised when the file is read.
const MAX_GROWN_BYTES: u64 = 16 << 20;
/// Longest text that is split at all: more than any context takes.
const MAX_TEXT_BYTES: u64 = 4 << 20;

/// The parts of `tokenizer.json` that make text of text. The vocabulary is passed over.
#[derive(Deserialize)]
struct Steps {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    #[serde(default)]
    added_tokens: Vec<Added>,
}

#[derive(Deserialize)]
struct Added {
    #[serde(default)]
    content: String,
}

/// Longest text that a file's steps may be given, in bytes.
///
/// # Errors
/// No JSON, or steps that make too much of any text.
pub(super) fn longest_text(file: &'static str, json: &[u8]) -> Result<u64, TokenizerError> {
    let refuse = |message: String| TokenizerError::Invalid { file, message };
    let steps: Steps =
        serde_json::from_slice(json).map_err(|error| refuse(short_line(&error.to_string())))?;
    for step in [&steps.post_processor, &steps.decoder] {
        check_pieces(step).map_err(refuse)?;
    }
    let chains = [
        ("normalizer", growth(&steps.normalizer)),
        ("pre_tokenizer", growth(&steps.pre_tokenizer)),
        ("post_processor", growth(&steps.post_processor)),
        ("decoder", growth(&steps.decoder)),
    ];
    if let Some((name, growth)) = chains.iter().find(|(_, growth)| *growth > MAX_GROWTH) {
        return Err(refuse(format!(
            "its {name} can make {growth} bytes of one, more than {MAX_GROWTH}: no tokenizer of a model does that"
        )));
    }
    let grown = chains[..3].iter().fold(1u64, |product, (_, growth)| product.saturating_mul(*growth));
    let added = steps.added_tokens.iter().fold(0u64, |sum, token| sum + token.content.len() as u64);
    if added.saturating_mul(chains[0].1) > MAX_GROWN_BYTES {
        let made = added.saturating_mul(chains[0].1);
        return Err(refuse(format!("its normalizer can make {made} bytes of its added tokens")));
    }
    Ok((MAX_GROWN_BYTES / grown).min(MAX_TEXT_BYTES))
}

/// Steps that make no text longer.
const PLAIN: [&str; 19] = [
    "BPEDecoder",
    "BertPreTokenizer",
    "BertProcessing",
    "ByteFallback",
    "CTC",
    "CharDelimiterSplit",
    "Digits",
    "FixedLength",
    "Fuse",
    "Nmt",
    "Punctuation",
    "RobertaProcessing",
    "Split",
    "Strip",
    "StripAccents",
    "UnicodeScripts",
    "Whitespace",
    "WhitespaceSplit",
    "WordPiece",
];

/// U+FDFA in NFKC: 3 bytes into 33, the most that any step does whose file does not say how much.
const MOST_OF_A_TABLE: u64 = 11;

/// Bytes that a step, or a chain of them, can make of one.
fn growth(step: &Value) -> u64 {
    match step["type"].as_str().unwrap_or_default() {
        "Sequence" => chain(step),
        "Replace" => replacement(step),
        "Prepend" => prefix(step),
        "Metaspace" => space(step),
        "ByteLevel" => 3,
        "Lowercase" => 2,
        "NFC" | "NFD" => 3,
        "NFKC" | "NFKD" => MOST_OF_A_TABLE,
        "BertNormalizer" => 5,
        "Precompiled" => table(step),
        "TemplateProcessing" => pieces(step),
        plain if PLAIN.contains(&plain) => 1,
        // The library takes a step that has no name, or one that it does not know, for whatever its keys fit.
        _ if step.is_object() => {
            let any = [chain, replacement, prefix, space, table, pieces];
            any.iter().map(|growth| growth(step)).fold(MOST_OF_A_TABLE, u64::max)
        }
        _ => 1,
    }
}

fn bytes(step: &Value, key: &str) -> u64 {
    step[key].as_str().map_or(0, str::len) as u64
}

/// The steps of a chain.
fn steps(step: &Value) -> impl Iterator<Item = &Value> {
    let keys = ["normalizers", "pretokenizers", "processors", "decoders"];
    keys.into_iter().filter_map(|key| step[key].as_array()).flatten()
}

fn chain(step: &Value) -> u64 {
    steps(step).fold(1, |product, step| product.saturating_mul(growth(step)))
}

fn replacement(step: &Value) -> u64 {
    let made = bytes(step, "content");
    match step["pattern"]["String"].as_str().filter(|pattern| !pattern.is_empty()) {
        Some(pattern) => made.div_ceil(pattern.len() as u64).max(1),
        // A regex may match between any two characters and leave both.
        None => 1 + made,
    }
}

/// Before every piece between added tokens, the shortest of which are one byte.
fn prefix(step: &Value) -> u64 {
    1 + bytes(step, "prepend")
}

fn space(step: &Value) -> u64 {
    2 * bytes(step, "replacement").max(1)
}

fn table(step: &Value) -> u64 {
    longest_replacement(step["precompiled_charsmap"].as_str().unwrap_or_default())
}

fn pieces(step: &Value) -> u64 {
    step["single"].as_array().map_or(1, Vec::len).max(1) as u64
}

/// What the library takes for granted and would panic without: a template has all that it puts around a text, and a
/// decoder that strips the ends of tokens has tokens that are longer.
fn check_pieces(step: &Value) -> Result<(), String> {
    for step in steps(step) {
        check_pieces(step)?;
    }
    if step["stop"].as_u64().is_some_and(|stop| stop > 0) {
        return Err("its decoder strips the ends of tokens, which fails for shorter ones".to_owned());
    }
    for piece in step["single"].as_array().into_iter().flatten() {
        if let Some(id) = piece["SpecialToken"]["id"].as_str()
            && step["special_tokens"].get(id).is_none()
        {
            return Err(format!(
                "its post_processor puts `{}` around a text and does not say which id that is",
                one_line(id)
            ));
        }
        if piece["Sequence"]["id"] == "B" {
            return Err("its post_processor asks for a second text where there is one".to_owned());
        }
    }
    Ok(())
}

/// The longest text that SentencePiece's table replaces a character by: behind the trie, texts that end with a zero.
fn longest_replacement(base64: &str) -> u64 {
    let Ok(table) = STANDARD.decode(base64) else { return 1 };
    let Some((length, rest)) = table.split_first_chunk::<4>() else { return 1 };
    let texts = rest.get(u32::from_le_bytes(*length) as usize..).unwrap_or_default();
    texts.split(|byte| *byte == 0).map(<[u8]>::len).max().unwrap_or(0).max(1) as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_has_all_that_it_names() {
        let with = |single: Value, special_tokens: Value| {
            let template =
                json!({ "type": "TemplateProcessing", "single": single, "special_tokens": special_tokens });
            longest(&json!({ "post_processor": { "type": "Sequence", "processors": [template] } }))
        };
        let text = json!({ "Sequence": { "id": "A", "type_id": 0 } });
        let bos = json!({ "SpecialToken": { "id": "<s>", "type_id": 0 } });
        let known = json!({ "<s>": { "id": "<s>", "ids": [1], "tokens": ["<s>"] } });
        assert!(with(json!([bos, text]), known).is_ok());
        assert!(with(json!([bos, text]), json!({})).is_err_and(|error| error.contains("`<s>`")));
        let second = json!({ "Sequence": { "id": "B", "type_id": 0 } });
        assert!(with(json!([text, second]), json!({})).is_err_and(|error| error.contains("second text")));
    }

    #[test]
    fn a_decoder_that_strips_ends_is_refused() {
        let strip = |stop: u64| json!({ "type": "Strip", "content": " ", "start": 1, "stop": stop });
        let with = |stop| longest(&json!({ "decoder": { "type": "Sequence", "decoders": [strip(stop)] } }));
        assert!(with(0).is_ok());
        assert!(with(1).is_err_and(|error| error.contains("strips the ends")));
        assert!(longest(&json!({ "decoder": { "content": " ", "start": 0, "stop": 2 } })).is_err());
    }

    fn longest(steps: &Value) -> Result<u64, String> {
        longest_text("tokenizer.json", steps.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    fn replace(pattern: &str, content: &str) -> Value {
        json!({ "type": "Replace", "pattern": { "String": pattern }, "content": content })
    }

    #[test]
    fn real_chains_keep_whole_prompts() {
        let llama = json!({ "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "Prepend", "prepend": "▁" }, replace(" ", "▁"),
        ] }, "decoder": { "type": "Sequence", "decoders": [
            replace("▁", " "), { "type": "ByteFallback" }, { "type": "Fuse" }, { "type": "Strip", "content": " " },
        ] } });
        assert!(longest(&llama).is_ok_and(|bytes| bytes > 1 << 20), "{:?}", longest(&llama));
        let byte_level = json!({ "pre_tokenizer": { "type": "ByteLevel" }, "post_processor": {
            "type": "TemplateProcessing", "single": [{ "SpecialToken": {} }, { "Sequence": {} }] } });
        assert!(longest(&byte_level).is_ok_and(|bytes| bytes > 2 << 20), "{:?}", longest(&byte_level));
        assert_eq!(longest(&json!({})), Ok(MAX_TEXT_BYTES));
    }

    #[test]
    fn bombs_are_refused_in_every_place() {
        let thousand = replace("a", &"a".repeat(1000));
        let chain = json!([thousand, thousand, thousand]);
        for steps in [
            json!({ "normalizer": { "type": "Sequence", "normalizers": chain } }),
            json!({ "decoder": { "type": "Sequence", "decoders": chain } }),
            json!({ "normalizer": replace("a", &"b".repeat(5000)) }),
            // Names that the library does not know: it goes by the keys then.
            json!({ "normalizer": { "type": "Sequense", "normalizers": chain } }),
            json!({ "normalizer": { "normalizers": [{ "typ": "Replace", "pattern": { "String": "a" }, "content": "b".repeat(5000) }] } }),
            json!({ "post_processor": { "single": vec![json!({ "Sequence": {} }); 2000] } }),
            json!({ "normalizer": { "type": "Prepend", "prepend": "b".repeat(5000) } }),
            json!({ "normalizer": { "type": "Replace", "pattern": { "Regex": "(?=.)" }, "content": "x".repeat(2000) } }),
            json!({ "post_processor": { "type": "TemplateProcessing", "single": vec![json!({ "Sequence": {} }); 2000] } }),
            json!({ "normalizer": { "type": "Precompiled", "precompiled_charsmap":
                STANDARD.encode([&0u32.to_le_bytes()[..], &[b'x'; 2000], &[0]].concat()) } }),
        ] {
            let error = longest(&steps).expect_err("a bomb");
            assert!(error.contains("bytes of one"), "{error}");
        }
        // A thousandfold may be, of short texts; not of a megabyte of added tokens.
        let mut steps = json!({ "normalizer": thousand });
        assert_eq!(longest(&steps), Ok(MAX_GROWN_BYTES / 1000));
        steps["added_tokens"] = json!([{ "id": 0, "content": "a".repeat(1 << 20) }]);
        assert!(longest(&steps).expect_err("too much").contains("added tokens"));
    }
}
