//! What is read from strangers between text and ids: tokenizers and chat templates.

use phi3::tokenize::{ChatTemplate, Tokenizer, TokenizerFiles};

use super::allocations::within;
use super::targets::Target;

/// Reads what it is given, or panics; by name, as the others.
pub const TEXT_TARGETS: [(&str, Target); 2] = [("tokenizer", tokenizer), ("template", template)];

/// A text with what tokenizers treat apart: spaces, marks, digits, special tokens, more than one script.
const TEXT: &str = "  Hello, wörld! <s>12 345</s>\n\tﷺ ﬁ 漢字 😀 ▁a aaaaaaaa";

/// What a file of a few kilobytes may take: compiled patterns are limited by their library, per pattern.
const MOST_BYTES: usize = 256 << 20;

/// `tokenizer.json`: read, and used both ways where it is one.
pub fn tokenizer(data: &[u8]) {
    within(MOST_BYTES + 200 * data.len(), || {
        let files = TokenizerFiles { tokenizer: data, ..TokenizerFiles::default() };
        let tokenizer = match Tokenizer::load(&files) {
            Ok(tokenizer) => tokenizer,
            Err(error) => return is_message(&error.to_string()),
        };
        match tokenizer.encode(TEXT) {
            Ok(ids) => {
                let whole = tokenizer.decode(&ids, true);
                let mut stream = tokenizer.stream(true);
                let pieces = ids.iter().try_for_each(|id| stream.push(*id).map(drop));
                assert!(
                    whole.is_ok() || pieces.is_err() || ids.is_empty(),
                    "a stream reads what the whole is not"
                );
            }
            Err(error) => is_message(&error.to_string()),
        }
    });
}

/// A chat template, compiled; what a rendering may take is another process's matter.
pub fn template(data: &[u8]) {
    within(MOST_BYTES + 2000 * data.len(), || {
        let template = ChatTemplate::new(String::from_utf8_lossy(data).into_owned());
        if let Err(error) = template.check() {
            is_message(&error.to_string());
        }
    });
}

/// A message is one line, and short enough to be read.
fn is_message(text: &str) {
    assert!(!text.contains('\n') && text.chars().count() < 1000, "{text:?}");
}
