//! What `/api/events` streams.

use serde::{Deserialize, Serialize};

use super::{Attempt, Ladder};
use crate::engine::LoadProgress;
use crate::validate::Report;

/// One event; `id` is the SSE id, `kind` names itself in `type`, which is the SSE event name too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// Ascending, without gaps while the server lives, and above all of an earlier server's.
    pub id: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// An attempt was made or changed its state; the whole attempt, without log.
    Attempt {
        /// The attempt as it is now.
        attempt: Box<Attempt>,
    },
    /// A load went on.
    Progress {
        /// Which attempt.
        attempt_id: u64,
        /// How far it is.
        #[cfg_attr(feature = "openapi", schema(value_type = Object))]
        progress: LoadProgress,
    },
    /// A token was generated.
    Token {
        /// Which attempt.
        attempt_id: u64,
        /// Id of the token.
        token: u32,
        /// Text that became readable with it; may be empty.
        text: String,
    },
    /// A validation reported.
    Report {
        /// Which attempt.
        attempt_id: u64,
        /// The report.
        #[cfg_attr(feature = "openapi", schema(value_type = Object))]
        report: Box<Report>,
    },
    /// A ladder was started, or went on: the whole ladder, without the reports of its attempts.
    Ladder {
        /// The ladder as it is now.
        ladder: Box<Ladder>,
    },
    /// Events were lost to this reader: fetch `/api/attempts` and `/api/ladders` anew. What goes on follows at once.
    Reset,
    /// The server ends; the stream closes after this.
    Shutdown,
}

impl EventKind {
    /// The SSE event name: the value of `type`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Attempt { .. } => "attempt",
            Self::Progress { .. } => "progress",
            Self::Token { .. } => "token",
            Self::Report { .. } => "report",
            Self::Ladder { .. } => "ladder",
            Self::Reset => "reset",
            Self::Shutdown => "shutdown",
        }
    }
}
