//! What a config says, means and implies: the fields of `preflight inspect --json`.

mod explain;
mod findings;
mod report;

pub use report::{Field, Finding, InspectReport, RuleOfThumb, Severity, Status, Support, TotalParams};

use crate::config::{ConfigError, Fields, GenerationConfig, ModelConfig};
use crate::estimate::{self, StoredTensors};

/// What is inspected: a config, and what lies beside it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The config as it stands in the file.
    pub fields: &'a Fields,
    /// `generation_config.json`, where there is one.
    pub generation: Option<&'a GenerationConfig>,
    /// Ids that the tokenizer knows, where there is one.
    pub tokenizer_vocab: Option<usize>,
    /// Tensors of the checkpoint's headers, where there is one.
    pub stored: Option<&'a StoredTensors>,
}

impl<'a> Subject<'a> {
    /// A config alone.
    #[must_use]
    pub fn config_only(fields: &'a Fields) -> Self {
        Self { fields, generation: None, tokenizer_vocab: None, stored: None }
    }
}

/// Explains a config. An unknown architecture is a report with [`Support::Unknown`], not an error.
///
/// # Errors
/// A `phi3` config that contradicts itself, or no `model_type` at all.
pub fn inspect(subject: Subject<'_>) -> Result<InspectReport, ConfigError> {
    match ModelConfig::from_fields(subject.fields) {
        Ok(config) => Ok(known(subject, &config)),
        Err(ConfigError::UnknownArchitecture { model_type }) => unknown(subject, model_type),
        Err(error) => Err(error),
    }
}

fn known(subject: Subject<'_>, config: &ModelConfig) -> InspectReport {
    let counted = estimate::params(config);
    let total = subject.stored.map_or(counted.total, estimate::stored_count);
    let value = estimate::rule_of_thumb(config);
    InspectReport {
        model_type: "phi3".to_owned(),
        architecture: architecture(subject.fields),
        support: Support::Run,
        params: TotalParams { total: Some(total), groups: counted.groups },
        fields: explain::fields(subject.fields, config),
        findings: findings::findings(subject, config),
        rule_of_thumb: Some(RuleOfThumb { value, error: value as f64 / total as f64 - 1.0 }),
    }
}

/// Says what can still be said: the header's count, never a guess from a config that nothing here understands.
fn unknown(subject: Subject<'_>, model_type: String) -> Result<InspectReport, ConfigError> {
    let message = format!(
        "model_type `{model_type}` is not known to this build: its tensors cannot be derived from the config, so no estimate is given"
    );
    Ok(InspectReport {
        architecture: architecture(subject.fields),
        support: Support::Unknown,
        params: TotalParams { total: subject.stored.map(estimate::stored_count), groups: Vec::new() },
        fields: explain::unexplained(subject.fields),
        findings: vec![Finding::new("unknown_architecture", Severity::Warning, message)],
        rule_of_thumb: None,
        model_type,
    })
}

/// The class that `architectures` names.
fn architecture(fields: &Fields) -> Option<String> {
    let list = fields.get("architectures")?.as_array()?;
    Some(list.first()?.as_str()?.to_owned())
}
