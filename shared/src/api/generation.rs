//! Generation in words that travel: what a stream is asked for and what comes of it.

use serde::{Deserialize, Serialize};

use super::ErrorObject;
use crate::engine::Sampling;

/// A stream to be generated beside others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generate {
    /// Names the stream; chosen by whoever asks, unique while it runs.
    pub id: u64,
    /// Names the request that it is a choice of. Where there is less room than streams, requests take turns.
    pub request: u64,
    /// The prompt.
    pub prompt: PromptInput,
    /// Most tokens to generate; `None` goes on to the end of the context.
    pub max_new_tokens: Option<usize>,
    /// How ids are chosen.
    pub sampling: Sampling,
    /// Texts that end it; they are not part of what it gives.
    pub stop: Vec<String>,
    /// Logarithms of probabilities of each token, and of so many of the likeliest.
    pub logprobs: Option<usize>,
}

/// A prompt as it comes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptInput {
    /// Ids, as they are.
    Ids(Vec<u32>),
    /// A text, encoded as it is.
    Text(String),
    /// A conversation through the chat template, with the generation prompt.
    Chat(Vec<Turn>),
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// `system`, `user`, `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

/// What a stream says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StreamEvent {
    /// Nothing of what was asked is refused; it waits for its turn.
    Taken,
    /// It runs, with so many tokens of prompt.
    Started {
        /// Tokens.
        prompt_tokens: usize,
    },
    /// A token was generated.
    Token {
        /// Its id.
        token: u32,
        /// Text that became certain with it; may be empty.
        text: String,
        /// Where asked for.
        logprobs: Option<TokenLogprobs>,
    },
    /// It ended in order.
    Finished {
        /// Why.
        reason: FinishReason,
        /// Text that was held back until it was certain that no stop begins there.
        text: String,
        /// Tokens generated, a stop id included.
        completion_tokens: usize,
    },
    /// It ended with an error.
    Failed {
        /// What went wrong.
        error: ErrorObject,
    },
}

impl StreamEvent {
    /// Whether nothing comes after it.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Finished { .. } | Self::Failed { .. })
    }
}

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// A stop id or a stop text.
    Stop,
    /// As many tokens as were asked for, or as the context takes.
    Length,
    /// Whoever asked is gone.
    Cancelled,
}

/// How likely a token was, and what was likelier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprobs {
    /// The token that was chosen.
    pub chosen: TokenLogprob,
    /// The likeliest, in order.
    pub top: Vec<TokenLogprob>,
}

/// A token and the natural logarithm of its probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// Its id.
    pub token: u32,
    /// Its text by itself.
    pub text: String,
    /// ln p, before temperature and penalties.
    pub logprob: f64,
}
