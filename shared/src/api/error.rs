//! An error as JSON, the same on the CLI, over HTTP and from a worker.

use serde::{Deserialize, Serialize};

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
    /// File or JSON path it is about.
    pub path: Option<String>,
}

impl ErrorObject {
    /// An error that is about no file or field.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), path: None }
    }

    /// The same error, about `path`.
    #[must_use]
    pub fn at(self, path: impl Into<String>) -> Self {
        Self { path: Some(path.into()), ..self }
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
