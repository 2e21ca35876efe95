//! Why a load config is refused.

use serde_json::Value;
use thiserror::Error;

use super::KNOBS;
use crate::config::ConfigError;
use crate::units::{nearest, one_line};

/// A load config that cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoadConfigError {
    /// Not a JSON object.
    #[error("load config: {0}")]
    Json(ConfigError),
    /// A key that no knob has.
    #[error("load config: unknown key `{key}`; {}", hint(*nearest, known))]
    UnknownKey {
        /// JSON path of the key found.
        key: String,
        /// The known key that is meant, most likely.
        nearest: Option<&'static str>,
        /// Every key that is known there.
        known: Vec<&'static str>,
    },
    /// A value of the wrong type or out of range.
    #[error("load config: `{path}` is {found}, expected {expected}")]
    Invalid {
        /// JSON path.
        path: String,
        /// The value found, shortened.
        found: String,
        /// What would be accepted.
        expected: String,
    },
    /// Two values that cannot both be.
    #[error("load config: `{path}` {rule}")]
    Contradiction {
        /// JSON path of the second value.
        path: String,
        /// The rule broken, with the other value.
        rule: String,
    },
    /// A knob that is understood and that this build has no meaning for.
    #[error("load config: `{key}` is not supported: {reason}")]
    Refused {
        /// JSON path of the knob.
        key: String,
        /// Why, and what to do instead.
        reason: String,
    },
}

fn hint(nearest: Option<&str>, known: &[&str]) -> String {
    nearest.map_or_else(|| format!("there are {}", known.join(", ")), |it| format!("did you mean `{it}`?"))
}

impl LoadConfigError {
    /// An unknown key of the object itself.
    pub(super) fn unknown(key: &str) -> Self {
        Self::unknown_among(key, key, KNOBS.iter().flat_map(|knob| knob.names()))
    }

    /// An unknown key at `path`, and the nearest of those that would be known there.
    pub(super) fn unknown_among(path: &str, key: &str, known: impl Iterator<Item = &'static str>) -> Self {
        let known: Vec<&str> = known.collect();
        Self::UnknownKey {
            key: one_line(path),
            nearest: nearest(&one_line(key), known.iter().copied()),
            known,
        }
    }

    pub(super) fn invalid(path: &str, found: &Value, expected: impl Into<String>) -> Self {
        Self::Invalid { path: one_line(path), found: one_line(&found.to_string()), expected: expected.into() }
    }

    pub(super) fn refused(key: &str, reason: &str) -> Self {
        Self::Refused { key: one_line(key), reason: reason.to_owned() }
    }

    pub(super) fn contradiction(path: &str, rule: impl Into<String>) -> Self {
        Self::Contradiction { path: one_line(path), rule: rule.into() }
    }

    /// A stable name for programs: the `code` of an error object.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "unsupported_load_config",
            _ => "load_config_invalid",
        }
    }

    /// JSON path of the value that the error is about, if it is about one.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Json(_) => None,
            Self::UnknownKey { key: path, .. }
            | Self::Refused { key: path, .. }
            | Self::Contradiction { path, .. }
            | Self::Invalid { path, .. } => Some(path),
        }
    }
}
