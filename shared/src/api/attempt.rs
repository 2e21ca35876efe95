//! Attempts as the server tells and keeps them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ErrorObject;
use crate::engine::LoadProgress;
use crate::load_config::{Change, OutcomeClass};
use crate::validate::{Report, Verdict};

/// Where an attempt stands. Only the server writes it, before the act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AttemptState {
    /// Waits for those before it.
    Queued,
    /// Files come from the Hub.
    Downloading,
    /// Files, config and load config are checked; no worker is there yet.
    Checking,
    /// A worker process is being started.
    Starting,
    /// Weights go to their device.
    Loading,
    /// The loaded model runs.
    Validating,
    /// The model is loaded and waits for requests.
    Ready,
    /// The worker is being ended.
    Stopping,
    /// Ended as planned.
    Stopped,
    /// Ended with an error.
    Failed,
    /// Ended because somebody asked for it.
    Cancelled,
    /// The server died while it went on.
    Lost,
}

impl AttemptState {
    /// Every state, in the order that an attempt can go through them.
    pub const ALL: [Self; 12] = [
        Self::Queued,
        Self::Downloading,
        Self::Checking,
        Self::Starting,
        Self::Loading,
        Self::Validating,
        Self::Ready,
        Self::Stopping,
        Self::Stopped,
        Self::Failed,
        Self::Cancelled,
        Self::Lost,
    ];

    /// Whether nothing will change any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed | Self::Cancelled | Self::Lost)
    }

    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Downloading => "downloading",
            Self::Checking => "checking",
            Self::Starting => "starting",
            Self::Loading => "loading",
            Self::Validating => "validating",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }
}

/// What an attempt tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AttemptKind {
    /// Load, and stay loaded until unloaded.
    Load,
    /// Load, run a short validation, unload; or validate what is loaded already.
    Validate,
    /// Bring a model's files from the Hub, and check them; nothing is loaded.
    Stage,
}

impl AttemptKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Load, Self::Validate, Self::Stage];

    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Validate => "validate",
            Self::Stage => "stage",
        }
    }
}

/// One try to load and run a model with one resolved load config.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Attempt {
    /// Its id, ascending from 1.
    pub id: u64,
    /// Id of the model: `default`.
    pub model: String,
    /// What is tried.
    pub kind: AttemptKind,
    /// Where it stands.
    pub state: AttemptState,
    /// How it ended; null while it goes on, and where no class says it.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub outcome: Option<OutcomeClass>,
    /// The attempt that it changes one thing of.
    pub parent: Option<u64>,
    /// What differs from the parent's load config.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub changes: Vec<Change>,
    /// Attempts before it in the queue of its device, where it waits.
    pub position: Option<usize>,
    /// Device asked for, in the CLI's spelling; `hub` where files are brought.
    pub device: String,
    /// The load config that holds, in one spelling: every layer above the built-in one.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub load_config: Map<String, Value>,
    /// Milliseconds since 1970 when it was made.
    pub created_ms: u64,
    /// Milliseconds since 1970 when it left the queue.
    pub started_ms: Option<u64>,
    /// Milliseconds since 1970 when it ended.
    pub finished_ms: Option<u64>,
    /// How far the load or the download is, while it goes on.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub progress: Option<LoadProgress>,
    /// Text generated so far.
    pub text: String,
    /// The report, where the run came to its end.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub report: Option<Report>,
    /// Why it failed, where it did.
    pub error: Option<ErrorObject>,
    /// What somebody noted.
    #[serde(default)]
    pub note: String,
    /// The last lines of the worker's log; only in the answer for one attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

impl Attempt {
    /// How a run stands that came to its end and showed what it should.
    pub const PASSED: &str = "passed";
    /// How a run stands that came to its end and did not show enough.
    pub const UNVERIFIED: &str = "unverified";

    /// How it stands, in a word: the verdict of what came to its end, else its state.
    #[must_use]
    pub fn standing(&self) -> &'static str {
        match (self.state, self.report.as_ref().map(|report| report.verdict)) {
            (AttemptState::Stopped, Some(Verdict::Unverified)) => Self::UNVERIFIED,
            (AttemptState::Stopped, Some(_)) => Self::PASSED,
            (state, _) => state.name(),
        }
    }

    /// One that waits, made at `created_ms` (milliseconds since 1970), with nothing said of it yet but what it is.
    #[must_use]
    pub fn queued(
        model: impl Into<String>,
        kind: AttemptKind,
        device: impl Into<String>,
        created_ms: u64,
    ) -> Self {
        Self {
            id: 0,
            model: model.into(),
            kind,
            state: AttemptState::Queued,
            outcome: None,
            parent: None,
            changes: Vec::new(),
            position: None,
            device: device.into(),
            load_config: Map::new(),
            created_ms,
            started_ms: None,
            finished_ms: None,
            progress: None,
            text: String::new(),
            report: None,
            error: None,
            note: String::new(),
            log: Vec::new(),
        }
    }
}

/// Answer to a request that starts an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Started {
    /// Id of the attempt; its progress comes as events.
    pub attempt_id: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_json() {
        for state in AttemptState::ALL {
            assert_eq!(serde_json::to_value(state).expect("a name"), state.name());
        }
        for kind in AttemptKind::ALL {
            assert_eq!(serde_json::to_value(kind).expect("a name"), kind.name());
        }
    }
}
