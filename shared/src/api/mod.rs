//! Words that travel between processes: errors, events, the worker's messages.

use serde::{Deserialize, Serialize};

/// An error as it stands in JSON: `{"error": {…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorObject,
}

/// What went wrong, for programs and people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorObject {
    /// A stable name: `config_invalid`, `weights_corrupt`.
    pub code: String,
    /// What, where, what to do; one line.
    pub message: String,
    /// File or JSON path it is about.
    pub path: Option<String>,
}
