//! What can go wrong between text and ids.

use thiserror::Error;

/// Why a text could not be tokenized or a template not be applied.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenizerError {
    /// A file of the tokenizer cannot be used; carries the reader's own message.
    #[error("{file}: {message}")]
    Invalid {
        /// Name of the file.
        file: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// An id without a row in the embedding: on a GPU it would end the process.
    #[error(
        "the tokenizer has id {id} (`{token}`), but vocab_size is {vocab_size}: they belong to different models"
    )]
    VocabTooLarge {
        /// The token.
        token: String,
        /// Its id.
        id: u32,
        /// Rows of the embedding.
        vocab_size: usize,
    },
    /// `add_bos_token` without a token to add.
    #[error("add_bos_token needs a bos token, and {0}")]
    NoBosToken(String),
    /// No chat template in the model's files.
    #[error(
        "the model has no chat template (tokenizer_config.json, chat_template.jinja): give a plain prompt instead"
    )]
    NoChatTemplate,
    /// The template is wrong, refuses the conversation, or exceeds its limits; the engine's own message.
    #[error("chat template: {0}")]
    Template(String),
    /// A text that is not split at all.
    #[error(
        "the prompt has {bytes} bytes, and this model and its tokenizer take at most {limit}: shorten it"
    )]
    TextTooLong {
        /// Its length.
        bytes: u64,
        /// The longest that is split.
        limit: u64,
    },
    /// The tokenizer's own message.
    #[error("the text cannot be encoded: {0}")]
    Encode(String),
    /// The tokenizer's own message.
    #[error("the ids cannot be decoded: {0}")]
    Decode(String),
}

/// A library's message on one line, of a length that can be read: a stranger's file may stand in it.
pub(super) fn short_line(text: &str) -> String {
    const MOST_CHARS: usize = 400;
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(MOST_CHARS) {
        line.truncate(end);
        line.push('…');
    }
    line
}

impl TokenizerError {
    /// A stable name for programs: the `code` of an error object.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } | Self::VocabTooLarge { .. } => "tokenizer_invalid",
            Self::NoBosToken(_) => "load_config_invalid",
            Self::NoChatTemplate => "no_chat_template",
            Self::Template(_) => "template_error",
            Self::TextTooLong { .. } => "context_too_long",
            Self::Encode(_) | Self::Decode(_) => "tokenizer_failed",
        }
    }
}
