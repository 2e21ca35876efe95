//! A short run that proves that a loaded model computes, and what it reports.

mod report;

pub use report::{PredictedMeasured, Probe, ProbeKind, ProbeSet, Report, Verdict};
