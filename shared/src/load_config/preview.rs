//! What a knob would do to memory: bytes now, bytes then.

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use super::{EstimateError, KNOBS, LoadConfig, LoadConfigError};
use crate::config::{ConfigError, Fields};
use crate::decoder::Decoder;
use crate::estimate::{Options, OptionsError, Report, StoredTensors};
use crate::placement::PlacementError;
use crate::weights::as_stored;

/// The model that a knob is tried on.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its `config.json`.
    pub fields: &'a Fields,
    /// Its tensors, where there is a checkpoint.
    pub stored: Option<&'a StoredTensors>,
    /// Options of the estimate that stand above every load config.
    pub options: &'a Options,
}

/// One number of the estimate, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TermChange {
    /// `weights`, `kv_cache`, `activations`, …, `host_load_peak`, `host_load_peak_beside_gpu`, `total`.
    pub name: String,
    /// Bytes now.
    pub now_bytes: u64,
    /// Bytes with the change.
    pub then_bytes: u64,
}

/// What one knob does to memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// The knob, or the entry of a map.
    pub key: String,
    /// The value tried.
    pub value: Value,
    /// Every term of the estimate over all devices, the host's peaks while loading, and the sum of the terms last.
    pub terms: Vec<TermChange>,
    /// Why this build's engine would refuse a load with it, where it would.
    pub refused: Option<String>,
}

/// A change that cannot be sized.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PreviewError {
    /// The key or the value is refused.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    LoadConfig(Vec<LoadConfigError>),
    /// The model's config is refused, with or without the change.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An option is out of range.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// A map or a budget that means nothing for the model, with or without the change.
    #[error(transparent)]
    Placement(#[from] PlacementError),
}

impl From<EstimateError> for PreviewError {
    fn from(error: EstimateError) -> Self {
        match error {
            EstimateError::Options(error) => Self::Options(error),
            EstimateError::Placement(error) => Self::Placement(error),
        }
    }
}

impl Subject<'_> {
    /// What is needed, on each device that budgets or a map of modules give; where budgets are too small, what it would
    /// take if they were not.
    fn report(&self, load_config: &LoadConfig) -> Result<Report, PreviewError> {
        let decoder = Decoder::from_fields(&load_config.overridden(self.fields))?;
        let decoder = match self.stored {
            Some(stored) => as_stored(decoder, stored),
            None => decoder,
        };
        Ok(super::estimate::sized(&decoder, self.stored, self.options, load_config)?)
    }
}

/// Sizes the load with `key` set to `value` on top of `current`.
///
/// # Errors
/// [`PreviewError`].
pub fn preview(
    subject: &Subject<'_>,
    current: &LoadConfig,
    key: &str,
    value: &Value,
) -> Result<Preview, PreviewError> {
    against(subject, &subject.report(current)?, current, key, value)
}

/// Sizes every candidate of every knob that differs from what `current` says; a candidate that the model's
/// architecture refuses is left out.
///
/// # Errors
/// The load config as it is cannot be sized.
pub fn preview_candidates(subject: &Subject<'_>, current: &LoadConfig) -> Result<Vec<Preview>, PreviewError> {
    let now = subject.report(current)?;
    let tried = KNOBS.iter().flat_map(|knob| knob.candidates.iter().map(move |json| (knob.key, *json)));
    let differs = |key: &str, value: &Value| {
        current.with(key, value).is_ok_and(|changed| !super::diff(current, &changed).is_empty())
    };
    Ok(tried
        .filter_map(|(key, json)| Some((key, serde_json::from_str::<Value>(json).ok()?)))
        .filter(|(key, value)| differs(key, value))
        .filter_map(|(key, value)| against(subject, &now, current, key, &value).ok())
        .collect())
}

/// What going from one load config to another does to memory, by the estimates of both.
#[must_use]
pub fn term_changes(
    current: &LoadConfig,
    now: &Report,
    changed: &LoadConfig,
    then: &Report,
) -> Vec<TermChange> {
    let pairs = numbers(current, now).into_iter().zip(numbers(changed, then));
    pairs
        .map(|((name, now_bytes), (_, then_bytes))| TermChange {
            name: name.to_owned(),
            now_bytes,
            then_bytes,
        })
        .collect()
}

fn against(
    subject: &Subject<'_>,
    now: &Report,
    current: &LoadConfig,
    key: &str,
    value: &Value,
) -> Result<Preview, PreviewError> {
    let changed = current.with(key, value).map_err(PreviewError::LoadConfig)?;
    let then = subject.report(&changed)?;
    let terms = term_changes(current, now, &changed, &then);
    let refused = changed.refusals().first().map(ToString::to_string);
    Ok(Preview { key: key.to_owned(), value: value.clone(), terms, refused })
}

/// The numbers of an estimate that a knob can move: its terms over all devices, the host's peak while loading with the
/// model on the CPU and beside a GPU, and the sum of the terms last. The same names in the same order for every report.
fn numbers(load_config: &LoadConfig, report: &Report) -> [(&'static str, u64); 7] {
    let low_cpu_mem_usage = load_config.low_cpu_mem_usage.unwrap_or(true);
    let peak = report.load_peaks.iter().find(|peak| peak.low_cpu_mem_usage == low_cpu_mem_usage);
    let [host, beside_gpu] = peak.map_or([0, 0], |peak| [peak.host_bytes, peak.host_bytes_beside_gpu]);
    [
        ("weights", report.weights_bytes),
        ("kv_cache", report.kv_cache_bytes),
        ("activations", report.activation_bytes),
        ("overhead", report.overhead_bytes),
        ("host_load_peak", host),
        ("host_load_peak_beside_gpu", beside_gpu),
        ("total", report.total_bytes),
    ]
}
