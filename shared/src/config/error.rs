//! Why a config is refused.

use thiserror::Error;

use super::JsonError;
use crate::units::one_line;

/// Why a `config.json` (or a file beside it) cannot be used; `field` is the JSON path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// Nothing there.
    #[error("the config is empty (0 bytes)")]
    Empty,
    /// Larger than any real config.
    #[error("the config has {bytes} bytes, more than the {limit} that are read; is it a weight file?")]
    TooLarge {
        /// Size found.
        bytes: u64,
        /// Largest size read.
        limit: u64,
    },
    /// Not JSON; carries serde_json's own message with line and column.
    #[error("not valid JSON: {0}")]
    NotJson(String),
    /// JSON that is not read: a repeated key, or past a limit that no config reaches.
    #[error("the config is not read: {0}")]
    Refused(JsonError),
    /// JSON, but not an object.
    #[error("the config is not a JSON object")]
    NotAnObject,
    /// A key that must be there.
    #[error("`{field}` is missing")]
    Missing {
        /// JSON path.
        field: String,
    },
    /// A value of the wrong type or out of range.
    #[error("`{field}` is {}, expected {expected}", one_line(found))]
    Invalid {
        /// JSON path.
        field: String,
        /// The value found, shortened.
        found: String,
        /// What would be accepted.
        expected: String,
    },
    /// Two values that cannot both be.
    #[error("`{field}`: {rule}")]
    Contradiction {
        /// JSON path of the first value.
        field: String,
        /// The rule broken, with the numbers.
        rule: String,
    },
    /// A `model_type` that no engine here runs and whose tensors are not known.
    #[error("{}: nothing can be derived from its config", unknown(model_type))]
    UnknownArchitecture {
        /// The `model_type` found.
        model_type: String,
    },
    /// Layers of a kind that no known family has: an architecture of its own, whatever its `model_type`.
    #[error("`{field}` = {}: {reason}", one_line(found))]
    UnknownLayers {
        /// JSON path.
        field: String,
        /// The value found.
        found: String,
        /// What is not known of them.
        reason: String,
    },
    /// A value that is understood but that no engine here computes.
    #[error("`{field}` = {} is not supported: {reason}", one_line(found))]
    Unsupported {
        /// JSON path.
        field: String,
        /// The value found.
        found: String,
        /// Why, and what to do.
        reason: String,
    },
}

/// What is unknown of an architecture, which GGUF names by a key of its own.
fn unknown(model_type: &str) -> String {
    match model_type {
        "" => "no architecture is named (`model_type`, in GGUF `general.architecture`)".to_owned(),
        named => format!(
            "model_type `{}` is not known to this build, which runs phi3 and sizes other families",
            one_line(named)
        ),
    }
}

impl ConfigError {
    /// A stable name for programs: the `code` of an error object.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownArchitecture { .. } | Self::UnknownLayers { .. } => "unknown_architecture",
            Self::Unsupported { .. } => "unsupported_config",
            _ => "config_invalid",
        }
    }

    /// JSON path of the field that the error is about, if it is about one.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Missing { field }
            | Self::Invalid { field, .. }
            | Self::Contradiction { field, .. }
            | Self::UnknownLayers { field, .. }
            | Self::Unsupported { field, .. } => Some(field),
            Self::Refused(JsonError::DuplicateKey { path }) => Some(path),
            Self::UnknownArchitecture { .. } => Some("model_type"),
            _ => None,
        }
    }
}

impl From<JsonError> for ConfigError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Syntax(message) => Self::NotJson(message),
            error => Self::Refused(error),
        }
    }
}
