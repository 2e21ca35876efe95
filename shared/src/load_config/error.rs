//! Why a load config is refused.

use serde_json::Value;
use thiserror::Error;

use super::KNOBS;
use crate::config::ConfigError;

/// A load config that cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoadConfigError {
    /// Not a JSON object.
    #[error("load config: {0}")]
    Json(ConfigError),
    /// A key that no knob has.
    #[error("load config: unknown key `{key}`; did you mean `{nearest}`?")]
    UnknownKey {
        /// The key found.
        key: String,
        /// The known key nearest to it.
        nearest: &'static str,
    },
    /// A value of the wrong type or out of range.
    #[error("load config: `{path}` is {found}, expected {expected}")]
    Invalid {
        /// JSON path.
        path: String,
        /// The value found.
        found: String,
        /// What would be accepted.
        expected: String,
    },
    /// A knob that this build has no meaning for.
    #[error("load config: `{key}` is not supported: {reason}")]
    Refused {
        /// The knob.
        key: String,
        /// Why, and what to do instead.
        reason: String,
    },
}

impl LoadConfigError {
    pub(super) fn unknown(key: &str) -> Self {
        let nearest =
            KNOBS.iter().map(|knob| knob.key).min_by_key(|known| strsim::damerau_levenshtein(key, known));
        Self::UnknownKey { key: key.to_owned(), nearest: nearest.unwrap_or_default() }
    }

    pub(super) fn invalid(path: &str, found: &Value, expected: &str) -> Self {
        Self::Invalid { path: path.to_owned(), found: found.to_string(), expected: expected.to_owned() }
    }

    pub(super) fn refused(key: &str, reason: &str) -> Self {
        Self::Refused { key: key.to_owned(), reason: reason.to_owned() }
    }

    /// A stable name for programs: the `code` of an error object.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "unsupported_load_config",
            _ => "load_config_invalid",
        }
    }
}
