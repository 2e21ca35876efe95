//! The report's types.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::card::Card;
use crate::estimate::GroupCount;
use crate::weights::WeightsFinding;

/// What this build can do with an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Support {
    /// Loads and runs it.
    Run,
    /// Counts and sizes it.
    Estimate,
    /// Knows neither its tensors nor its cache.
    Unknown,
}

/// What our engines make of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Changes what is computed.
    Honoured,
    /// Read by others; changes nothing here.
    NoEffect,
    /// Changes the estimate alone.
    EstimateOnly,
    /// Understood, but not computed.
    Unsupported,
    /// Not a key that is known.
    UnknownKey,
}

impl Status {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Honoured => "honoured",
            Self::NoEffect => "no effect",
            Self::EstimateOnly => "estimate only",
            Self::Unsupported => "unsupported",
            Self::UnknownKey => "unknown key",
        }
    }
}

/// A key of the config, explained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// The key.
    pub key: String,
    /// Its value; long lists are cut, with their length said in `implication`.
    pub value: Value,
    /// What the key means.
    pub meaning: String,
    /// What this value implies, with the number.
    pub implication: String,
    /// What one can do about it without training; empty where nothing.
    pub lever: String,
    /// What our engines make of it.
    pub status: Status,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something will go wrong.
    Error,
    /// Something may surprise.
    Warning,
    /// Good to know.
    Info,
}

/// Something that the reader should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// A stable name.
    pub code: String,
    /// How much it matters.
    pub severity: Severity,
    /// What, with the numbers, and what to do.
    pub message: String,
}

impl From<&WeightsFinding> for Finding {
    fn from(finding: &WeightsFinding) -> Self {
        let severity = match finding {
            WeightsFinding::MissingParts(_) => Severity::Error,
            WeightsFinding::NotRead(_) => Severity::Warning,
            _ => Severity::Info,
        };
        Self::new(finding.code(), severity, finding.to_string())
    }
}

impl Finding {
    /// A finding.
    pub fn new(code: &str, severity: Severity, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), severity, message: message.into() }
    }
}

/// Parameters by group; `total` is null where nothing is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotalParams {
    /// All parameters; a checkpoint's own count where there is one.
    pub total: Option<u64>,
    /// By group, from the config.
    pub groups: Vec<GroupCount>,
}

/// `hidden × intermediate × layers × 2`, and how far off it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RuleOfThumb {
    /// What the rule gives.
    pub value: u64,
    /// value / total − 1.
    pub error: f64,
}

/// The whole report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InspectReport {
    /// `model_type` of the config.
    pub model_type: String,
    /// The class that `architectures` names; null where it names none.
    pub architecture: Option<String>,
    /// What this build can do with it.
    pub support: Support,
    /// Parameters.
    pub params: TotalParams,
    /// Every key, in the file's order.
    pub fields: Vec<Field>,
    /// What the reader should know, the gravest first.
    pub findings: Vec<Finding>,
    /// The rule of thumb; null for an unknown architecture.
    pub rule_of_thumb: Option<RuleOfThumb>,
    /// What the model's card and the files beside its config tell, where there is a card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<Card>,
}
