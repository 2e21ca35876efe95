//! A short run that proves that a loaded model computes, and what it reports.

mod difference;
mod report;
mod run;

pub use difference::Difference;
pub use report::{
    LayerCheck, PredictedMeasured, Probe, ProbeKind, ProbeSet, Report, TopLogit, Validations, Verdict,
};
pub use run::{ContextTooLong, Run, check_context, context, run};

/// The default prompt is the beginning of this.
pub const DEFAULT_PROMPT: &str =
    "The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday.";

/// Ids of the default prompt.
pub const DEFAULT_TOKENS: usize = 10;
