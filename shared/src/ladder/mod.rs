//! The ladder: which try comes next, and which is not worth its time.
//!
//! A [`Profile`] lists steps; [`next`] takes the outcomes so far and answers with the step to run, with its load
//! config, its one change and its bytes as predicted, or with the reason why a step is skipped. It decides purely:
//! whoever runs a ladder keeps the outcomes, and can go on from them after a restart.

mod profile;
mod check;
mod decide;
mod judge;

pub use check::ProfileError;
pub use decide::{Facts, Next, Past, Rung, next};
pub use judge::{Outcome, Run, Status, conclude, judge};
pub use profile::{Action, DeviceChoice, Expectations, Profile, Prompt, Step};

#[cfg(test)]
mod tests;
