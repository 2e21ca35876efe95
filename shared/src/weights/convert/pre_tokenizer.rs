//! How GGUF's byte-level tokenizers cut a text before they merge, by the name in `tokenizer.ggml.pre`.
//!
//! Names and rules as in llama.cpp's `llama-vocab.cpp`; a name stands here only where its rule was held against
//! llama.cpp's own vectors (`tests/goldens/README.md`), or is by name the same rule as one that was.

use serde_json::{Value, json};

/// How text is cut into the pieces within which merges happen.
pub(super) struct PreTokenizer {
    /// Splits that come before the byte-level step.
    pub(super) splits: Vec<Value>,
    /// Whether the byte-level step splits by GPT-2's expression.
    pub(super) gpt2_split: bool,
    /// Whether a piece that is in the vocabulary is taken whole, without merging.
    pub(super) ignore_merges: bool,
    /// Whether a text starts with the bos token, where the file does not say.
    pub(super) add_bos: bool,
}

/// As OpenAI's `cl100k`, with digits in threes.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The same with digits one by one.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Chinese, Japanese and Korean, and everything from U+0800 to them.
const CJK: &str = "[一-龥ࠀ-一가-퟿]+";

/// Letters with case; DeepSeek lists them, since the property that it means is not in every engine.
const CASED: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";

/// The rule of a name.
pub(super) fn pre_tokenizer(name: &str) -> Option<PreTokenizer> {
    let plain = |splits| PreTokenizer { splits, gpt2_split: false, ignore_merges: false, add_bos: false };
    let gpt2 = |splits| PreTokenizer { gpt2_split: true, ..plain(splits) };
    Some(match name {
        "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" => gpt2(vec![]),
        "smollm" | "starcoder" | "refact" | "codeshell" | "command-r" | "exaone" | "minerva-7b" => {
            gpt2(vec![json!({ "type": "Digits", "individual_digits": true })])
        }
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2" => {
            PreTokenizer { ignore_merges: true, add_bos: true, ..plain(splits(&[LLAMA3])) }
        }
        "smaug-bpe" | "dbrx" => plain(splits(&[LLAMA3])),
        "qwen2" | "deepseek-r1-qwen" | "megrez" | "stablelm2" => plain(splits(&[QWEN2])),
        "deepseek-llm" => {
            plain(splits(&[r"[\r\n]", CASED, r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", CJK, r"\p{N}+"]))
        }
        "deepseek-coder" => plain(splits(&[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}"])),
        "falcon" => plain(splits(&[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"])),
        _ => return None,
    })
}

/// Each expression cuts what those before it have left in one piece.
fn splits(expressions: &[&str]) -> Vec<Value> {
    let split = |regex: &&str| json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false });
    expressions.iter().map(split).collect()
}
