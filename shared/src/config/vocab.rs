//! The size of a tokenizer's vocabulary, read without building a tokenizer.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// One past the highest id in a `tokenizer.json`, added tokens included; `None` if it is no such file.
///
/// Only ids are kept while reading. Covers every model of the `tokenizers` library: vocabularies that map tokens to
/// ids (BPE, WordPiece, WordLevel) and those that list tokens (Unigram).
#[must_use]
pub fn tokenizer_vocab_size(tokenizer_json: &[u8]) -> Option<usize> {
    let file: File = serde_json::from_slice(tokenizer_json).ok()?;
    let added = file.added_tokens.iter().map(|token| token.id as usize + 1).max();
    Some(file.model.vocab.0.max(added.unwrap_or(0)))
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    model: Model,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
}

#[derive(Deserialize)]
struct Model {
    vocab: VocabSize,
}

struct VocabSize(usize);

impl<'de> Deserialize<'de> for VocabSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VocabVisitor;
        impl<'de> Visitor<'de> for VocabVisitor {
            type Value = VocabSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of ids or a list of tokens")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VocabSize, A::Error> {
                let mut size = 0;
                while let Some((_, id)) = map.next_entry::<IgnoredAny, u32>()? {
                    size = size.max(id as usize + 1);
                }
                Ok(VocabSize(size))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<VocabSize, A::Error> {
                let mut size = 0;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    size += 1;
                }
                Ok(VocabSize(size))
            }
        }
        deserializer.deserialize_any(VocabVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::tokenizer_vocab_size;

    #[test]
    fn the_highest_id_counts_wherever_it_stands() {
        for (json, size) in [
            (r#"{"model":{"type":"BPE","vocab":{"a":0,"b":7},"merges":[]}}"#, Some(8)),
            (r#"{"added_tokens":[{"id":9,"content":"<s>"}],"model":{"vocab":{"a":0}}}"#, Some(10)),
            (r#"{"model":{"type":"Unigram","vocab":[["a",0.0],["b",-1.5]]}}"#, Some(2)),
            (r#"{"model":{"vocab":{"a":-1}}}"#, None),
            (r#"{"model":{}}"#, None),
            ("{", None),
        ] {
            assert_eq!(tokenizer_vocab_size(json.as_bytes()), size, "{json}");
        }
    }
}
