//! What a config says, means and implies: the fields of `preflight inspect --json`.

mod alone;
pub mod card;
mod explain;
mod findings;
mod keys;
mod report;
mod scaling;

pub use alone::{FormatCount, by_format, weights_alone};
pub use findings::ids_beyond;
pub use report::{Field, Finding, InspectReport, RuleOfThumb, Severity, Status, Support, TotalParams};

use crate::config::{ConfigError, Fields, GenerationConfig, ModelConfig};
use crate::decoder::Decoder;
use crate::estimate::{self, StoredTensors};
use crate::weights::as_stored;

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

/// A config that is understood: what it costs, and for the family that runs here how it computes.
#[derive(Debug, Clone, Copy)]
struct Known<'a> {
    fields: &'a Fields,
    decoder: &'a Decoder,
    config: Option<&'a ModelConfig>,
}

/// Explains a config. An unknown architecture is a report with [`Support::Unknown`], not an error.
///
/// # Errors
/// A config of a known family that contradicts itself, or no `model_type` at all.
pub fn inspect(subject: Subject<'_>) -> Result<InspectReport, ConfigError> {
    match decoder(subject) {
        Ok(decoder) => {
            let config =
                decoder.family.runs().then(|| ModelConfig::from_fields(subject.fields)).transpose()?;
            Ok(known(subject, Known { fields: subject.fields, decoder: &decoder, config: config.as_ref() }))
        }
        Err(error) => unknown(subject, unknown_architecture(error)?),
    }
}

/// The model as its config and, where there are some, its weights have it.
fn decoder(subject: Subject<'_>) -> Result<Decoder, ConfigError> {
    let decoder = Decoder::from_fields(subject.fields)?;
    Ok(match subject.stored {
        Some(stored) => as_stored(decoder, stored),
        None => decoder,
    })
}

fn known(subject: Subject<'_>, known: Known<'_>) -> InspectReport {
    let decoder = known.decoder;
    let total = estimate::params_total(decoder, subject.stored);
    let mut counted = estimate::params(decoder);
    if let Some(stored) = subject.stored.filter(|_| total != counted.total) {
        counted = estimate::params_stored(decoder, stored);
    }
    let value = estimate::rule_of_thumb(decoder);
    InspectReport {
        model_type: subject.fields.text("model_type").ok().flatten().unwrap_or_default().to_owned(),
        architecture: architecture(subject.fields),
        support: support(decoder),
        params: TotalParams { total: Some(total), groups: counted.groups },
        fields: explain::fields(subject.fields, known),
        findings: findings::findings(subject, known),
        rule_of_thumb: Some(RuleOfThumb { value, error: value as f64 / total as f64 - 1.0 }),
        card: None,
    }
}

/// What [`inspect`] finds, and what can be done with the architecture, without the explanation of every key: for
/// whoever shows no keys.
///
/// # Errors
/// As [`inspect`].
pub fn find(subject: Subject<'_>) -> Result<(Support, Vec<Finding>), ConfigError> {
    match decoder(subject) {
        Ok(decoder) => {
            let runs = decoder.family.runs();
            let config = runs.then(|| ModelConfig::from_fields(subject.fields)).transpose()?;
            let known = Known { fields: subject.fields, decoder: &decoder, config: config.as_ref() };
            Ok((support(&decoder), findings::findings(subject, known)))
        }
        Err(error) => Ok((Support::Unknown, vec![unknown_architecture(error)?])),
    }
}

fn support(decoder: &Decoder) -> Support {
    if decoder.runs() { Support::Run } else { Support::Estimate }
}

/// What is said of an architecture that is not known; other errors are passed on.
fn unknown_architecture(error: ConfigError) -> Result<Finding, ConfigError> {
    match error {
        ConfigError::UnknownArchitecture { .. } | ConfigError::UnknownLayers { .. } => {
            Ok(Finding::new("unknown_architecture", Severity::Warning, error.to_string()))
        }
        other => Err(other),
    }
}

/// Says what can still be said: the header's count, never a guess from a config that nothing here understands.
fn unknown(subject: Subject<'_>, finding: Finding) -> Result<InspectReport, ConfigError> {
    Ok(InspectReport {
        architecture: architecture(subject.fields),
        support: Support::Unknown,
        params: TotalParams { total: subject.stored.map(estimate::stored_count), groups: Vec::new() },
        fields: explain::unexplained(subject.fields),
        findings: vec![finding],
        rule_of_thumb: None,
        card: None,
        model_type: subject.fields.text("model_type")?.unwrap_or_default().to_owned(),
    })
}

/// The class that `architectures` names.
fn architecture(fields: &Fields) -> Option<String> {
    let list = fields.get("architectures")?.as_array()?;
    Some(list.first()?.as_str()?.to_owned())
}
