//! `tokenizer.json` and its companions from GGUF's metadata.

use serde_json::{Map, Value, json};

use super::pre_tokenizer::{PreTokenizer, pre_tokenizer};
use crate::config::ModelConfig;
use crate::units::one_line;
use crate::weights::WeightsProblem;
use crate::weights::gguf::{Metadata, Strings};
use crate::weights::safetensors::pretty;

/// Token types of GGUF (`llama.h`).
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// Longest chat template, as everywhere here; the longest in use have 20 kB.
const MAX_TEMPLATE_BYTES: usize = 1 << 20;

/// The files of a tokenizer.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenizerFiles {
    /// `tokenizer.json`.
    pub tokenizer: Value,
    /// `tokenizer_config.json`, chat template included.
    pub tokenizer_config: Value,
    /// `special_tokens_map.json`.
    pub special_tokens_map: Value,
}

impl TokenizerFiles {
    /// Each file's name and bytes.
    #[must_use]
    pub fn files(&self) -> [(&'static str, Vec<u8>); 3] {
        [
            ("tokenizer.json", pretty(&self.tokenizer)),
            ("tokenizer_config.json", pretty(&self.tokenizer_config)),
            ("special_tokens_map.json", pretty(&self.special_tokens_map)),
        ]
    }
}

fn byte_level(use_regex: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex })
}

/// Builds the files of a byte-level BPE tokenizer.
///
/// # Errors
/// Another kind of tokenizer, an unknown pre-tokenizer, lists that are missing or contradict each other.
pub fn tokenizer_files(metadata: &Metadata, model: &ModelConfig) -> Result<TokenizerFiles, WeightsProblem> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let kind = metadata.text(&key("model"))?.unwrap_or("none");
    if kind != "gpt2" {
        let what = format!("tokenizer model `{kind}`; only gpt2 (byte-level BPE) converts");
        return Err(WeightsProblem::Unsupported(what));
    }
    let pre_name = metadata.text(&key("pre"))?.unwrap_or("default");
    let pre = pre_tokenizer(pre_name).ok_or_else(|| {
        WeightsProblem::Unsupported(format!("pre-tokenizer `{pre_name}` is not known here"))
    })?;
    let missing = |name: &str| WeightsProblem::Corrupt(format!("its metadata have no {}", key(name)));
    let tokens = metadata.strings(&key("tokens"))?.ok_or_else(|| missing("tokens"))?;
    let merges = metadata.strings(&key("merges"))?.ok_or_else(|| missing("merges"))?;
    let types = metadata.integers(&key("token_type"))?.unwrap_or_else(|| vec![1; tokens.len()]);
    if tokens.len() > model.vocab_size || types.len() != tokens.len() {
        let what = format!(
            "{} tokens, {} token types, {} rows of embedding",
            tokens.len(),
            types.len(),
            model.vocab_size
        );
        return Err(WeightsProblem::Corrupt(what));
    }

    let special = SpecialTokens::read(metadata, tokens)?;
    let vocabulary = vocabulary(tokens)?;
    let added = added_tokens(tokens, &types);
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": split_steps(&pre),
        "post_processor": special.post_processor(metadata, pre.add_bos)?,
        "decoder": byte_level(true),
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": pre.ignore_merges,
            "vocab": &vocabulary,
            "merges": merge_pairs(merges, &vocabulary)?,
        },
    });
    let special_tokens_map = Value::Object(special.map());
    let mut tokenizer_config = special.map();
    let decoder: Map<String, Value> = added
        .into_iter()
        .map(|mut token| {
            let id = token.as_object_mut().and_then(|fields| fields.shift_remove("id"));
            (id.unwrap_or_default().to_string(), token)
        })
        .collect();
    tokenizer_config.insert("added_tokens_decoder".to_owned(), Value::Object(decoder));
    tokenizer_config.insert("clean_up_tokenization_spaces".to_owned(), json!(false));
    tokenizer_config.insert("model_max_length".to_owned(), json!(model.max_position_embeddings));
    // Any other class rebuilds the steps from its own idea of the model and drops ours.
    tokenizer_config.insert("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"));
    if let Some(template) = metadata.text("tokenizer.chat_template")? {
        if template.len() > MAX_TEMPLATE_BYTES {
            let what = format!("a chat template of {} bytes, more than {MAX_TEMPLATE_BYTES}", template.len());
            return Err(WeightsProblem::Unsupported(what));
        }
        tokenizer_config.insert("chat_template".to_owned(), json!(template));
    }
    Ok(TokenizerFiles { tokenizer, tokenizer_config: Value::Object(tokenizer_config), special_tokens_map })
}

fn split_steps(pre: &PreTokenizer) -> Value {
    let mut steps = pre.splits.clone();
    steps.push(byte_level(pre.gpt2_split));
    if steps.len() == 1 { steps.remove(0) } else { json!({ "type": "Sequence", "pretokenizers": steps }) }
}

/// Tokens that are found in a text before it is split; control tokens are special, user-defined ones are text.
fn added_tokens(tokens: &Strings, types: &[i64]) -> Vec<Value> {
    let added = tokens.iter().zip(types).enumerate().filter_map(|(id, (content, kind))| {
        let special = match *kind {
            CONTROL | UNKNOWN => true,
            USER_DEFINED => false,
            _ => return None,
        };
        Some(json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special,
        }))
    });
    added.collect()
}

fn vocabulary(tokens: &Strings) -> Result<Map<String, Value>, WeightsProblem> {
    let mut vocabulary = Map::new();
    for (id, token) in tokens.iter().enumerate() {
        if let Some(first) = vocabulary.insert(token.to_owned(), json!(id)) {
            return Err(WeightsProblem::Corrupt(format!("tokens {first} and {id} are the same text")));
        }
    }
    Ok(vocabulary)
}

/// Merges as pairs; GGUF joins the two with a space, which no byte-level token contains. What they merge and what
/// comes of it are tokens: a tokenizer that looks them up would not load otherwise.
fn merge_pairs(merges: &Strings, vocabulary: &Map<String, Value>) -> Result<Vec<Value>, WeightsProblem> {
    let pair = |(rank, merge): (usize, &str)| {
        let (left, right) = merge
            .split_once(' ')
            .filter(|(left, right)| !left.is_empty() && !right.is_empty() && !right.contains(' '))
            .ok_or_else(|| WeightsProblem::Corrupt(format!("merge {rank} is no pair of tokens")))?;
        let whole = format!("{left}{right}");
        match [left, right, &whole].into_iter().find(|text| !vocabulary.contains_key(*text)) {
            None => Ok(json!([left, right])),
            Some(text) => {
                let what = format!("merge {rank} needs `{}`, which is no token", one_line(text));
                Err(WeightsProblem::Corrupt(what))
            }
        }
    };
    merges.iter().enumerate().map(pair).collect()
}

/// The tokens with a role, as (id, text).
struct SpecialTokens<'a> {
    bos: Option<Token<'a>>,
    eos: Option<Token<'a>>,
    unk: Option<Token<'a>>,
    pad: Option<Token<'a>>,
}

type Token<'a> = (u64, &'a str);

impl<'a> SpecialTokens<'a> {
    fn read(metadata: &Metadata, tokens: &'a Strings) -> Result<Self, WeightsProblem> {
        let token = |name: &str| -> Result<Option<Token<'a>>, WeightsProblem> {
            let key = format!("tokenizer.ggml.{name}_token_id");
            let Some(id) = metadata.unsigned(&key)? else { return Ok(None) };
            let text = usize::try_from(id).ok().and_then(|id| tokens.get(id));
            let text = text.ok_or_else(|| {
                WeightsProblem::Corrupt(format!("`{key}` is {id}, but there are {} tokens", tokens.len()))
            })?;
            Ok(Some((id, text)))
        };
        Ok(Self { bos: token("bos")?, eos: token("eos")?, unk: token("unknown")?, pad: token("padding")? })
    }

    fn map(&self) -> Map<String, Value> {
        let named = [
            ("bos_token", self.bos),
            ("eos_token", self.eos),
            ("pad_token", self.pad),
            ("unk_token", self.unk),
        ];
        named.into_iter().filter_map(|(name, token)| Some((name.to_owned(), json!(token?.1)))).collect()
    }

    /// Puts bos before and eos after a text where the file asks for it.
    fn post_processor(&self, metadata: &Metadata, default_bos: bool) -> Result<Value, WeightsProblem> {
        let wanted = |name: &str, default: bool, token: Option<Token<'a>>| -> Result<_, WeightsProblem> {
            let wanted = metadata.flag(&format!("tokenizer.ggml.add_{name}_token"))?.unwrap_or(default);
            Ok(token.filter(|_| wanted))
        };
        let (bos, eos) = (wanted("bos", default_bos, self.bos)?, wanted("eos", false, self.eos)?);
        if bos.is_none() && eos.is_none() {
            return Ok(byte_level(true));
        }
        let special = |token: Option<Token<'_>>, sequence: u8| {
            token.map(|(_, text)| json!({ "SpecialToken": { "id": text, "type_id": sequence } }))
        };
        let framed = |name: &str, sequence: u8| {
            let text = json!({ "Sequence": { "id": name, "type_id": sequence } });
            special(bos, sequence).into_iter().chain([text]).chain(special(eos, sequence)).collect::<Vec<_>>()
        };
        let pair = [framed("A", 0), framed("B", 1)].concat();
        let described: Map<String, Value> = [bos, eos]
            .into_iter()
            .flatten()
            .map(|(id, text)| (text.to_owned(), json!({ "id": text, "ids": [id], "tokens": [text] })))
            .collect();
        let template = json!({
            "type": "TemplateProcessing",
            "single": framed("A", 0),
            "pair": pair,
            "special_tokens": described,
        });
        Ok(json!({ "type": "Sequence", "processors": [byte_level(true), template] }))
    }
}
