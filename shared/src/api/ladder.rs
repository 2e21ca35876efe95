//! Ladders as the server tells and keeps them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::engine::Memory;
use crate::ladder::{Action, Outcome, Profile, Rung, Status, Step};
use crate::load_config::{Change, OutcomeClass};

/// Where a ladder stands. Only the server writes it, before the act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LadderState {
    /// Waits for the ladders before it.
    Queued,
    /// A rung runs, or is about to.
    Running,
    /// Every rung has its end, and something was proved.
    Passed,
    /// Every rung has its end, or it could not be begun: `reason` says why.
    Failed,
    /// Somebody ended it. It can be resumed.
    Cancelled,
    /// The server ended, or could not write, while it went on. It can be resumed.
    Interrupted,
}

impl LadderState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::Passed, Self::Failed, Self::Cancelled, Self::Interrupted];

    /// Whether the server sees to it.
    #[must_use]
    pub fn goes_on(self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }

    /// Whether it can be resumed: it stopped before its last rung.
    #[must_use]
    pub fn can_resume(self) -> bool {
        matches!(self, Self::Cancelled | Self::Interrupted)
    }

    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Where a rung stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RungState {
    /// Its turn has not come.
    Waiting,
    /// It runs: its attempts are the last of `attempts`.
    Running,
    /// It did what was expected.
    Passed,
    /// It did not.
    Failed,
    /// It was not run: `reason` says why.
    Skipped,
}

/// A ladder that was started with a profile, and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ladder {
    /// Its id, ascending from 1.
    pub id: u64,
    /// Id of the model.
    pub model: String,
    /// Name of the profile, as it was when the ladder was started.
    pub profile: String,
    /// Where it stands.
    pub state: LadderState,
    /// Ladders before it, where it waits.
    pub position: Option<usize>,
    /// How it ended, or why it stopped; empty while it goes on.
    pub reason: String,
    /// One for each step of the profile, in order.
    pub rungs: Vec<LadderRung>,
    /// The attempt whose load config it committed as known good.
    pub known_good: Option<u64>,
    /// What somebody noted when it was started.
    pub note: String,
    /// Milliseconds since 1970 when it was started.
    pub created_ms: u64,
    /// Milliseconds since 1970 when it came to an end or was stopped.
    pub finished_ms: Option<u64>,
}

/// A step of a ladder's profile, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LadderRung {
    /// Id of the step: `5a`.
    pub step: String,
    /// What it tries, for people.
    pub title: String,
    /// `inspect`, `load`, `unload`, `validate`, `infer`, `document`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub action: Action,
    /// Where it stands.
    pub state: RungState,
    /// Why it passed, failed or was skipped, in words.
    pub reason: String,
    /// How its attempt ended, or would have ended for certain.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub class: Option<OutcomeClass>,
    /// The load config as a whole, from the rung's turn on.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub load_config: Option<Map<String, Value>>,
    /// The device that it is for.
    pub device: Option<String>,
    /// The rung that it changes one thing of.
    pub parent: Option<String>,
    /// What it changes.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub changes: Vec<Change>,
    /// Whether it stands beside the trunk.
    pub branch: bool,
    /// Bytes by term as predicted, from the rung's turn on.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub predicted: Option<Memory>,
    /// Bytes by term as measured.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub measured: Option<Memory>,
    /// What was free on the device when the ladder was begun or resumed.
    pub free_bytes: Option<u64>,
    /// Its attempts in the ledger, in order; those of a run that was broken off too.
    pub attempts: Vec<u64>,
}

impl Ladder {
    /// A ladder that waits; `id` is given by whoever keeps it.
    #[must_use]
    pub fn new(model: String, profile: &Profile, note: String, created_ms: u64) -> Self {
        Self {
            id: 0,
            model,
            profile: profile.name.clone(),
            state: LadderState::Queued,
            position: None,
            reason: String::new(),
            rungs: profile.steps.iter().map(LadderRung::new).collect(),
            known_good: None,
            note,
            created_ms,
            finished_ms: None,
        }
    }

    /// The outcomes of the rungs that have one: what comes next is decided from them.
    #[must_use]
    pub fn done(&self) -> Vec<Outcome> {
        self.rungs.iter().map_while(LadderRung::outcome).collect()
    }
}

impl LadderRung {
    fn new(step: &Step) -> Self {
        Self {
            step: step.id.clone(),
            title: step.heading().to_owned(),
            action: step.action,
            state: RungState::Waiting,
            reason: String::new(),
            class: None,
            load_config: None,
            device: None,
            parent: None,
            changes: Vec::new(),
            branch: step.branch,
            predicted: None,
            measured: None,
            free_bytes: None,
            attempts: Vec::new(),
        }
    }

    /// It is about to run, resolved as in `rung`.
    pub fn begin(&mut self, rung: &Rung) {
        self.state = RungState::Running;
        self.parent.clone_from(&rung.parent);
        self.free_bytes = rung.free_bytes;
        let outcome = rung.outcome(Status::Passed, None, String::new());
        self.describe(outcome);
    }

    /// It has this outcome.
    pub fn settle(&mut self, outcome: Outcome) {
        self.state = match outcome.status {
            Status::Passed => RungState::Passed,
            Status::Failed => RungState::Failed,
            Status::Skipped => RungState::Skipped,
        };
        self.describe(outcome);
    }

    /// It was broken off: its turn comes again.
    pub fn break_off(&mut self) {
        self.state = RungState::Waiting;
        "broken off; it runs again when the ladder is resumed".clone_into(&mut self.reason);
    }

    fn describe(&mut self, outcome: Outcome) {
        self.reason = outcome.reason;
        self.class = outcome.class;
        self.load_config = outcome.load_config;
        self.device = outcome.device;
        self.changes = outcome.changes;
        self.branch = outcome.branch;
        self.predicted = outcome.predicted;
        self.measured = outcome.measured;
    }

    /// Its outcome, where it has one.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        let status = match self.state {
            RungState::Waiting | RungState::Running => return None,
            RungState::Passed => Status::Passed,
            RungState::Failed => Status::Failed,
            RungState::Skipped => Status::Skipped,
        };
        Some(Outcome {
            step: self.step.clone(),
            status,
            reason: self.reason.clone(),
            class: self.class,
            load_config: self.load_config.clone(),
            device: self.device.clone(),
            changes: self.changes.clone(),
            branch: self.branch,
            predicted: self.predicted,
            measured: self.measured,
            attempt: self.attempts.last().copied(),
        })
    }
}

/// Answer to a request that starts a ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LadderStarted {
    /// Id of the ladder; its course comes as events.
    pub ladder_id: u64,
}

/// A profile that ladders can be started with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProfileEntry {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether it is the product's own, which cannot be replaced.
    pub built_in: bool,
    /// Its steps, read from the text.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub steps: Vec<Step>,
    /// The text, in TOML.
    pub toml: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_json() {
        for state in LadderState::ALL {
            assert_eq!(serde_json::to_value(state).expect("a name"), state.name());
            assert!(!(state.goes_on() && state.can_resume()));
        }
    }
}
