//! An error as JSON, the same on the CLI, over HTTP and from a worker.

use serde::{Deserialize, Serialize};

use crate::engine::EngineError;
use crate::load_config::LoadConfigError;

/// An error as it stands in JSON: `{"error": {…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorObject,
}

/// What went wrong, for programs and people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[error("{message}")]
pub struct ErrorObject {
    /// A stable name: `config_invalid`, `weights_corrupt`.
    pub code: String,
    /// What, where, what to do; one line.
    pub message: String,
    /// File or JSON path it is about; what memory was for.
    pub path: Option<String>,
    /// Bytes that were asked for, where memory was short and that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_bytes: Option<u64>,
    /// Bytes that were free then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
}

impl ErrorObject {
    /// An error that is about no file or field.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            path: None,
            requested_bytes: None,
            free_bytes: None,
        }
    }

    /// The same error, about `path`.
    #[must_use]
    pub fn at(self, path: impl Into<String>) -> Self {
        Self { path: Some(path.into()), ..self }
    }

    /// The same error, with the bytes that were asked for and those that were free; 0 is not known.
    #[must_use]
    pub fn short(self, requested_bytes: u64, free_bytes: u64) -> Self {
        let known = |bytes: u64| (bytes > 0).then_some(bytes);
        Self { requested_bytes: known(requested_bytes), free_bytes: known(free_bytes), ..self }
    }
}

impl From<&LoadConfigError> for ErrorObject {
    fn from(error: &LoadConfigError) -> Self {
        let object = Self::new(error.code(), error.to_string());
        match error.path() {
            Some(path) => object.at(path),
            None => object,
        }
    }
}

impl From<&EngineError> for ErrorObject {
    fn from(error: &EngineError) -> Self {
        let object = Self::new(error.code(), error.to_string());
        match error {
            EngineError::Weights(weights) => object.at(&weights.file),
            EngineError::OutOfMemory { phase, requested_bytes, free_bytes } => {
                object.at(*phase).short(*requested_bytes, *free_bytes)
            }
            _ => object,
        }
    }
}
