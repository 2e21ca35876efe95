//! A short run that proves that a loaded model computes, and what it reports.

mod report;
mod run;

pub use report::{PredictedMeasured, Probe, ProbeKind, ProbeSet, Report, Verdict};
pub use run::{Run, context, run};
