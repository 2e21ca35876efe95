//! Ladders.

use phi3::api::{LadderState, RungState};
use phi3::units::format_bytes;

pub const RUNGS: &str = "Rungs";
pub const START: &str = "Start";
pub const START_TITLE: &str = "Start a ladder";
pub const START_WHY: &str = "Tries one change at a time, from what is sure to what is fast, and stops at what was proved. Loads happen one after the other; a model that is loaded is unloaded when its turn comes.";
pub const MODEL: &str = "Model";
pub const PROFILE: &str = "Profile";
pub const NO_MODELS: &str =
    "This server knows no model: start it with --model-root DIR, or register one on the page Models.";
pub const ALL: &str = "Ladders";
pub const NONE: &str = "No ladder was started yet.";
pub const STEPS: &str = "What it will try";
pub const NONE_YET: &str = "No ladder was started yet. Each rung says what it needs before it runs; one that cannot succeed is skipped, with the reason.";
pub const GONE: &str = "There is no such ladder on this server.";
pub const CANCEL: &str = "Cancel";
pub const RESUME: &str = "Resume";
pub const MEMORY: &str = "Predicted and measured";
pub const CHANGE: &str = "Change against its parent";
pub const NO_CHANGE: &str = "This rung begins from the built-in load config.";
pub const SAME: &str = "Nothing: it goes on with the load config of that rung.";
pub const LOAD_CONFIG: &str = "Load config of this rung";
pub const BRANCH: &str = "branch";
pub const UNEXPECTED: &str = "not as expected";
pub const KNOWN_GOOD: &str = "Committed as known good";
pub const NOTHING_MEASURED: &str = "Nothing has run yet that could be measured.";

pub fn title(id: u64, model: &str) -> String {
    format!("Ladder #{id} · {model}")
}

pub fn started(id: u64) -> String {
    format!("Ladder #{id} is on its way")
}

pub fn profile(name: &str) -> String {
    format!("profile {name}")
}

pub fn place(rung: usize, of: usize) -> String {
    format!("rung {rung} of {of}")
}

pub fn rung(step: &str) -> String {
    format!("rung {step}")
}

pub fn waits(before: usize) -> String {
    match before {
        0 => "next in the queue".to_owned(),
        n => format!("{n} before it"),
    }
}

pub fn one_change(change: &str) -> String {
    format!("one change: {change}")
}

pub fn predicted(total: u64, device: &str, free: Option<u64>) -> String {
    let free = free.map_or_else(String::new, |free| format!(", {} free", format_bytes(free)));
    format!("Predicted {} on {device}{free}.", format_bytes(total))
}

pub fn measured(total: u64) -> String {
    format!("Measured {}.", format_bytes(total))
}

pub fn state(state: LadderState) -> &'static str {
    state.name()
}

pub fn rung_state(state: RungState) -> &'static str {
    match state {
        RungState::Waiting => "waiting",
        RungState::Running => "running",
        RungState::Passed => "passed",
        RungState::Failed => "failed",
        RungState::Skipped => "skipped",
    }
}
