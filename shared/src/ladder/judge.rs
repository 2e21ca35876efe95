//! Whether a step passed, and a ladder as a whole.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::profile::{Action, Expectations, Profile};
use crate::engine::Memory;
use crate::load_config::{Change, OutcomeClass};
use crate::units::{format_bytes, format_count};
use crate::validate::{Report, Verdict};

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It did what was expected.
    Passed,
    /// It did not.
    Failed,
    /// It was not run, for a reason.
    Skipped,
}

/// What is kept of a step: enough to decide what comes next, also after a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Id of the step.
    pub step: String,
    /// How it ended.
    pub status: Status,
    /// Why, in words.
    pub reason: String,
    /// How the attempt ended, or would have ended for certain.
    pub class: Option<OutcomeClass>,
    /// The load config that it stands for; none where it has none.
    pub load_config: Option<Map<String, Value>>,
    /// The device that it was for.
    pub device: Option<String>,
    /// What it changed.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// Whether it stands beside the trunk.
    #[serde(default)]
    pub branch: bool,
    /// Bytes by term as predicted.
    pub predicted: Option<Memory>,
    /// Bytes by term as measured.
    pub measured: Option<Memory>,
    /// Id in the ledger, where there is one.
    #[serde(default)]
    pub attempt: Option<u64>,
}

/// What a run gave.
#[derive(Debug, Clone, PartialEq)]
pub enum Run<'a> {
    /// It loaded and did what was asked; a report for each prompt of a run.
    Done {
        /// Bytes measured.
        measured: Option<Memory>,
        /// Of each run.
        reports: &'a [Report],
    },
    /// It failed.
    Failed {
        /// How.
        class: OutcomeClass,
        /// The original message.
        message: &'a str,
    },
}

/// Holds a run against what was expected: its status, its class, and why.
#[must_use]
pub fn judge(expected: &Expectations, run: &Run<'_>) -> (Status, OutcomeClass, String) {
    use OutcomeClass::{NanInf, OomDeviceActivation, OomDeviceKv, OomDeviceWeights, OomLoadHost, Passed};
    let (measured, reports) = match run {
        Run::Failed { class, message } => {
            let is_oom = [OomLoadHost, OomDeviceWeights, OomDeviceKv, OomDeviceActivation].contains(class);
            let (status, reason) = match expected.fits {
                Some(false) if is_oom => (Status::Passed, format!("does not fit, as expected: {message}")),
                _ => (Status::Failed, (*message).to_owned()),
            };
            return (status, *class, reason);
        }
        Run::Done { measured, reports } => (measured, reports),
    };
    if expected.fits == Some(false) {
        return (Status::Failed, Passed, "fits, and was expected not to".to_owned());
    }
    for report in *reports {
        let bad = report.nan_count + report.inf_count;
        // What is not finite fails a validation in any case, unless the profile says that it may be.
        if bad > 0 && expected.no_nan != Some(false) {
            return (Status::Failed, NanInf, report.reason.clone());
        }
        if report.verdict == Verdict::Fail && bad == 0 {
            return (Status::Failed, OutcomeClass::WrongTokens, report.reason.clone());
        }
        if let Some(least) = expected.min_decode_tokens_per_s
            && report.decode_tokens_per_s.is_none_or(|rate| rate < least)
        {
            let reason = too_slow(report.decode_tokens_per_s, least);
            return (Status::Failed, Passed, reason);
        }
    }
    let reason = match (reports.last(), measured) {
        (Some(report), _) => report.reason.clone(),
        (None, Some(memory)) => format!("loaded, {} measured", format_bytes(memory.total_bytes)),
        (None, None) => "done".to_owned(),
    };
    (Status::Passed, Passed, reason)
}

/// Why a run did not decode as fast as was expected.
pub(super) fn too_slow(rate: Option<f64>, least: f64) -> String {
    let decodes = match rate {
        None => "generated no second token, which would tell the speed".to_owned(),
        Some(rate) => format!("decodes {rate:.2} tokens/s"),
    };
    // What somebody wrote, as they wrote it, but for the thousands.
    let least = if least.fract() == 0.0 { format_count(least as u64) } else { least.to_string() };
    format!("{decodes}, expected at least {least} tokens/s")
}

/// Whether the ladder as a whole passed, and why. Something must have been proved, and nothing may have failed for
/// good: a failed load or run is mended by a later one that passes, a failed validation or expectation by nothing.
#[must_use]
pub fn conclude(profile: &Profile, done: &[Outcome]) -> (bool, String) {
    let action =
        |outcome: &Outcome| profile.steps.iter().find(|step| step.id == outcome.step).map(|step| step.action);
    let proves = |outcome: &Outcome| action(outcome).is_some_and(Action::loads);
    let passed = |outcome: &&Outcome| proves(outcome) && outcome.status == Status::Passed;
    for (index, failed) in done.iter().enumerate().filter(|(_, outcome)| outcome.status == Status::Failed) {
        let is_attempt = proves(failed) && action(failed) != Some(Action::Validate);
        let has_failed = failed.class.is_some_and(|class| class != OutcomeClass::Passed);
        if !(is_attempt && has_failed && done[index..].iter().any(|later| passed(&later))) {
            return (false, format!("step {} failed: {}", failed.step, failed.reason));
        }
    }
    if let Some(last) = done.iter().rev().find(passed) {
        return (true, format!("step {} passed: {}", last.step, last.reason));
    }
    let skipped = done.iter().rev().find(|outcome| proves(outcome));
    let why = skipped.map(|outcome| format!("; step {} was skipped: {}", outcome.step, outcome.reason));
    (false, format!("nothing was loaded{}", why.unwrap_or_default()))
}
