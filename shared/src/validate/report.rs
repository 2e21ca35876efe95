//! What a validation reports: the fields of `preflight validate --json`.

use serde::{Deserialize, Serialize};

use super::Difference;
use crate::dtype::DType;
use crate::engine::{DeviceFacts, Memory};

/// Whether the model is proven to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every check passed.
    Pass,
    /// A check failed; the report says which.
    Fail,
    /// It ran, but the reference could not be had here.
    Unverified,
}

/// Which boundary a probe crosses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// Longer than the sliding window.
    Window,
    /// Past `original_max_position_embeddings`.
    Long,
}

/// Which probes to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeSet {
    /// None.
    #[default]
    None,
    /// [`ProbeKind::Window`].
    Window,
    /// [`ProbeKind::Long`].
    Long,
    /// Each of them.
    All,
}

impl ProbeSet {
    /// The probes of the set, in the order that they run.
    #[must_use]
    pub fn kinds(self) -> &'static [ProbeKind] {
        match self {
            Self::None => &[],
            Self::Window => &[ProbeKind::Window],
            Self::Long => &[ProbeKind::Long],
            Self::All => &[ProbeKind::Window, ProbeKind::Long],
        }
    }
}

/// A run over a boundary that ten tokens cannot reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Which boundary.
    pub kind: ProbeKind,
    /// Tokens run; 0 where the probe does not apply.
    pub tokens: usize,
    /// Logits that are no finite numbers, one where the run broke off on them.
    #[serde(default)]
    pub non_finite: usize,
    /// Whether it ran and every logit was finite.
    pub verdict: Verdict,
    /// What was seen, or why it was not run.
    pub detail: String,
}

/// Bytes predicted and measured, term by term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PredictedMeasured {
    /// From the estimator, for the context that was loaded for.
    pub predicted: Memory,
    /// Weights, cache and activations: bytes of the buffers that the engine holds. Overhead: what the process has
    /// resident beside them. The total is their sum.
    pub measured: Memory,
}

/// What a layer put out that is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerCheck {
    /// NaN.
    pub nan: u64,
    /// Infinite values.
    pub inf: u64,
}

/// A token and its logit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopLogit {
    /// Its id.
    pub token: u32,
    /// Its logit.
    pub logit: f32,
    /// Its text by itself; empty where nobody can tell.
    #[serde(default)]
    pub text: String,
}

/// The report of one validation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Device in the CLI's spelling.
    pub device: String,
    /// Format that weights were multiplied in.
    pub dtype: DType,
    /// Ids of the prompt.
    pub prompt_tokens: Vec<u32>,
    /// Ids generated, the stop id included.
    pub generated_tokens: Vec<u32>,
    /// Their text, without the stop id.
    pub text: String,
    /// `stop` (a stop id came), `length`, or [`Report::BROKE_OFF`].
    pub stop_reason: String,
    /// Load time in ms.
    pub load_ms: f64,
    /// Time from prompt to first id in ms; `None` where the run broke off, and nothing was timed.
    pub ttft_ms: Option<f64>,
    /// Prompt tokens a second, likewise.
    pub prefill_tokens_per_s: Option<f64>,
    /// Generated tokens a second after the first; `None` where only one was generated, and so no step was measured.
    pub decode_tokens_per_s: Option<f64>,
    /// NaN seen in any layer.
    pub nan_count: u64,
    /// Infinite values seen in any layer.
    pub inf_count: u64,
    /// What each layer put out that is no number, the logits last.
    #[serde(default)]
    pub layers: Vec<LayerCheck>,
    /// The likeliest tokens after the prompt, in order.
    #[serde(default)]
    pub top_logits: Vec<TopLogit>,
    /// Bytes by term.
    pub memory: PredictedMeasured,
    /// How far the logits are from the reference's; `None` where they were not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
    /// What is known of the device; `None` where its engine tells nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<DeviceFacts>,
    /// Runs over the boundaries asked for.
    pub probes: Vec<Probe>,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in words.
    pub reason: String,
}

/// Validations of one model, to be kept or shown: one for each device, in the order that they ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validations {
    /// Name of the model.
    pub model: String,
    /// A report for each device.
    pub reports: Vec<Report>,
    /// The second device's logits held against the first's, where there are two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Difference>,
}
