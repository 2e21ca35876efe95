//! Attempts and models as the server tells them.

use serde::{Deserialize, Serialize};

use super::ErrorObject;
use crate::engine::LoadProgress;
use crate::validate::Report;

/// Where an attempt stands. Only the server writes it, before the act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptState {
    /// Waits for those before it.
    Queued,
    /// A worker process is being started.
    Starting,
    /// Weights go to their device.
    Loading,
    /// The loaded model runs.
    Validating,
    /// The worker is being ended.
    Stopping,
    /// Ended as planned, with a report.
    Stopped,
    /// Ended with an error.
    Failed,
    /// Ended because somebody asked for it.
    Cancelled,
}

impl AttemptState {
    /// Whether nothing will change any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed | Self::Cancelled)
    }
}

/// What an attempt tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptKind {
    /// Load, run a short validation, unload.
    Validate,
}

/// One try to load and run a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its id, ascending from 1.
    pub id: u64,
    /// Id of the model: `default`.
    pub model: String,
    /// What is tried.
    pub kind: AttemptKind,
    /// Where it stands.
    pub state: AttemptState,
    /// Attempts before it in the queue, where it waits.
    pub position: Option<usize>,
    /// Device asked for, in the CLI's spelling.
    pub device: String,
    /// Milliseconds since 1970 when it was made.
    pub created_ms: u64,
    /// Milliseconds since 1970 when its worker was started.
    pub started_ms: Option<u64>,
    /// Milliseconds since 1970 when it ended.
    pub finished_ms: Option<u64>,
    /// How far the load is, while it loads.
    pub progress: Option<LoadProgress>,
    /// Text generated so far.
    pub text: String,
    /// The report, where the run came to its end.
    pub report: Option<Report>,
    /// Why it failed, where it did.
    pub error: Option<ErrorObject>,
    /// The last lines of the worker's log; only in the answer for one attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// Answer to a request that starts an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Id of the attempt; its progress comes as events.
    pub attempt_id: u64,
}

/// A model that the server knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelEntry {
    /// Id in URLs: `default`, or the folder's name.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Path under its model root, for `{"path": …}` in requests.
    pub path: String,
}
