//! What an estimate answers: the fields of `preflight estimate --json`.

use serde::{Deserialize, Serialize};

use super::fit::Fit;
use super::{KvLayers, LoadPeak};
use crate::weights::WeightsFinding;

/// How sure a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Badge {
    /// Counted; equal to the real thing to the byte.
    Exact,
    /// Computed from a stated formula.
    Formula,
    /// A formula fitted to measured attempts.
    Calibrated,
    /// Measured.
    Measured,
}

impl Badge {
    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Formula => "formula",
            Self::Calibrated => "calibrated",
            Self::Measured => "measured",
        }
    }
}

/// One term of the memory a load needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// `weights`, `kv_cache`, `activations`, `overhead`; `other_parts` of a checkpoint that holds more than the language
    /// model.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// How sure.
    pub badge: Badge,
    /// How it was computed, with the numbers.
    pub formula: String,
    /// Where it lies.
    pub device: String,
}

/// A value that the answer rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assumption {
    /// What it is about.
    pub name: String,
    /// The value taken, with its reason where it is a default.
    pub value: String,
    /// Whether it was chosen for the asker.
    pub is_default: bool,
}

/// The answer. `total_bytes` is the sum of `terms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field is one term of the contract, named with its unit")]
pub struct Report {
    pub params_total: u64,
    pub weights_bytes: u64,
    pub kv_bytes_per_token: u64,
    pub kv_cache_bytes: u64,
    pub activation_bytes: u64,
    pub overhead_bytes: u64,
    /// What is assumed where nothing was measured; the same as `overhead_bytes` then.
    pub assumed_overhead_bytes: u64,
    pub total_bytes: u64,
    pub terms: Vec<Term>,
    pub kv_layers: Vec<KvLayers>,
    pub assumptions: Vec<Assumption>,
    /// Memory while loading; none where the need alone was asked for.
    pub load_peaks: Vec<LoadPeak>,
    pub fit: Fit,
}

impl Report {
    /// Takes back that the weights' bytes are exact: there are none to count, for the reason given.
    pub fn without_weights(&mut self, why: &str) {
        for term in self.terms.iter_mut().filter(|term| term.name == "weights") {
            term.badge = Badge::Formula;
        }
        self.assumptions.push(Assumption {
            name: "checkpoint".to_owned(),
            value: why.to_owned(),
            is_default: true,
        });
    }

    /// Says which of a checkpoint's tensors the weights' bytes are without; other findings are none of an estimate's.
    pub fn leave_out(&mut self, finding: &WeightsFinding) {
        use WeightsFinding::{IgnoredBuffers, NotLoaded, TiedHead};
        if matches!(finding, IgnoredBuffers(_) | NotLoaded(_) | TiedHead(_)) {
            let value = finding.to_string();
            self.assumptions.push(Assumption { name: "not_counted".to_owned(), value, is_default: true });
        }
    }

    /// Takes back what was called exact: the weights say otherwise than the config (`Checkpoint::contradiction`), so that
    /// no byte is certain.
    pub fn doubt(&mut self, contradiction: &str) {
        for term in self.terms.iter_mut().filter(|term| term.badge == Badge::Exact) {
            term.badge = Badge::Formula;
        }
        self.assumptions.push(Assumption {
            name: "checkpoint".to_owned(),
            value: format!("differs from its config: {contradiction}"),
            is_default: true,
        });
        self.fit.warnings.push(format!("the weights are not those of the config: {contradiction}"));
    }
}
