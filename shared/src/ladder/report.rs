//! What is told of a ladder: the fields of `preflight ladder --json`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::judge::{Outcome, conclude};
use super::profile::{Action, Profile};
use crate::validate::Report;

/// A ladder and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LadderReport {
    /// Name of the profile.
    pub profile: String,
    /// Whether it passed, so far as it went.
    pub passed: bool,
    /// Why, in words.
    pub reason: String,
    /// Every step that has an outcome.
    pub rungs: Vec<RungReport>,
    /// The load config that was validated, where one was and the profile asks for it.
    pub known_good: Option<KnownGood>,
}

/// One step and its outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RungReport {
    /// What it tries, for people.
    pub title: String,
    /// What it does.
    pub action: Action,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Of each run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<Report>,
}

/// A load config that is proven.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KnownGood {
    /// The step that validated it.
    pub step: String,
    /// The load config.
    pub load_config: Map<String, Value>,
    /// The device that it was validated on.
    pub device: Option<String>,
    /// The validation.
    pub evidence: Report,
}

impl LadderReport {
    /// The report of a ladder from its rungs.
    #[must_use]
    pub fn new(profile: &Profile, rungs: Vec<RungReport>) -> Self {
        let done: Vec<Outcome> = rungs.iter().map(|rung| rung.outcome.clone()).collect();
        let (passed, reason) = conclude(profile, &done);
        let known_good = known_good(&rungs);
        Self { profile: profile.name.clone(), passed, reason, rungs, known_good }
    }
}

/// What the last passed `document` stands on.
fn known_good(rungs: &[RungReport]) -> Option<KnownGood> {
    use super::Status::Passed;
    let passed = |rung: &&RungReport, action| rung.action == action && rung.outcome.status == Passed;
    let documented = rungs.iter().rposition(|rung| passed(&rung, Action::Document))?;
    let validated = rungs[..documented].iter().rev().find(|rung| passed(rung, Action::Validate))?;
    Some(KnownGood {
        step: validated.outcome.step.clone(),
        load_config: validated.outcome.load_config.clone()?,
        device: validated.outcome.device.clone(),
        evidence: validated.reports.last()?.clone(),
    })
}
