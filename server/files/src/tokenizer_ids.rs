//! How many ids a `tokenizer.json` knows, without building a tokenizer.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
struct Tokenizer {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
}

#[derive(Deserialize)]
struct Model {
    vocab: Vocab,
}

/// By token in BPE and WordPiece, a list of scored tokens in Unigram.
#[derive(Deserialize)]
#[serde(untagged)]
enum Vocab {
    ByToken(HashMap<String, u32>),
    Scored(Vec<IgnoredAny>),
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
}

/// One more than the largest id.
///
/// # Errors
/// Not the JSON of a tokenizer.
pub fn tokenizer_ids(json: &[u8]) -> Result<usize, serde_json::Error> {
    let Tokenizer { model, added_tokens } = serde_json::from_slice(json)?;
    let vocab = match model.vocab {
        Vocab::ByToken(vocab) => vocab.into_values().max().map_or(0, |id| id as usize + 1),
        Vocab::Scored(list) => list.len(),
    };
    let added = added_tokens.iter().map(|token| token.id as usize + 1).max().unwrap_or(0);
    Ok(vocab.max(added))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_tokens_count() {
        let bpe = br#"{"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]},"added_tokens":[{"id":7}]}"#;
        assert_eq!(tokenizer_ids(bpe).expect("a tokenizer"), 8);
        let unigram = br#"{"model":{"vocab":[["a",-1.5],["b",-2]]}}"#;
        assert_eq!(tokenizer_ids(unigram).expect("a tokenizer"), 2);
        assert!(tokenizer_ids(b"{}").is_err());
    }
}
