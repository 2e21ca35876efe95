//! How an engine sizes its cache.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Tokens in a block of the paged policy where nobody says; vLLM's default.
pub const PAGE_TOKENS: u16 = 16;

/// Far above any engine's blocks.
const MOST_PAGE_TOKENS: u16 = 4096;

/// How an engine sizes its cache; `full`, `window`, `paged` or `paged:32` in the CLI and in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum KvPolicy {
    /// Every layer holds the whole context, allocated up front: what our engines do for one stream.
    #[default]
    Full,
    /// A layer with a sliding window holds no more than the window.
    Window,
    /// Blocks of so many tokens, above 0: what the CUDA engine does for several streams, of [`PAGE_TOKENS`].
    Paged(u16),
}

impl KvPolicy {
    /// Blocks of [`PAGE_TOKENS`].
    pub const PAGED: Self = Self::Paged(PAGE_TOKENS);
    /// Each kind, blocks in their usual size.
    pub const KINDS: [Self; 3] = [Self::Full, Self::Window, Self::PAGED];

    /// The name of its kind: that of a policy of [`KvPolicy::KINDS`].
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Window => "window",
            Self::Paged(_) => "paged",
        }
    }
}

/// A name that is no policy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "unknown KV policy `{0}`: use full, window, paged or paged:TOKENS with blocks of 1 to {MOST_PAGE_TOKENS} tokens"
)]
pub struct UnknownKvPolicy(pub String);

impl fmt::Display for KvPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paged(tokens) if *tokens != PAGE_TOKENS => write!(f, "paged:{tokens}"),
            policy => f.write_str(policy.name()),
        }
    }
}

impl FromStr for KvPolicy {
    type Err = UnknownKvPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownKvPolicy> {
        let paged = || {
            let digits = text.strip_prefix("paged:")?;
            let tokens = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
            (1..=MOST_PAGE_TOKENS).contains(&tokens).then_some(Self::Paged(tokens))
        };
        let named = Self::KINDS.into_iter().find(|policy| policy.name() == text);
        named.or_else(paged).ok_or_else(|| UnknownKvPolicy(crate::units::one_line(text)))
    }
}

impl From<KvPolicy> for String {
    fn from(policy: KvPolicy) -> Self {
        policy.to_string()
    }
}

impl TryFrom<String> for KvPolicy {
    type Error = UnknownKvPolicy;

    fn try_from(text: String) -> Result<Self, UnknownKvPolicy> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for policy in KvPolicy::KINDS.into_iter().chain([1, 15, 32, 4096].map(KvPolicy::Paged)) {
            assert_eq!(policy.to_string().parse(), Ok(policy));
            let json = serde_json::to_string(&policy).expect("a text");
            assert_eq!(serde_json::from_str::<KvPolicy>(&json).expect("its own"), policy, "{json}");
        }
        assert_eq!(
            ("paged:16".parse(), KvPolicy::PAGED.to_string()),
            (Ok(KvPolicy::PAGED), "paged".to_owned())
        );
        for text in [
            "",
            "all",
            "Full",
            "paged:",
            "paged:0",
            "paged:4097",
            "paged:-1",
            "paged:+8",
            "paged: 8",
            "window:3",
        ] {
            let error = text.parse::<KvPolicy>().expect_err(text).to_string();
            assert!(error.contains("paged:TOKENS") && !error.contains('\n'), "{error}");
        }
    }
}
