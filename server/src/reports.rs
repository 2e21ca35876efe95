//! What the CLI and HTTP answer alike, from an opened model.

use phi3::api::ErrorObject;
use phi3::config::{GenerationConfig, tokenizer_vocab_size};
use phi3::decoder::Decoder;
use phi3::estimate;
use phi3::inspect::{self, Finding, InspectReport, Severity, Subject};
use phi3::load_config::LoadConfig;
use phi3::weights::Checkpoint;
use preflight_files::{FileSource, Model};
use serde_json::{Map, Value};

/// What `model` says, means and implies. A file beside the config that cannot be read is a finding, not a failure.
///
/// # Errors
/// A config or weights that are refused.
pub fn inspect(model: &Model) -> Result<InspectReport, ErrorObject> {
    let fields = model.fields()?;
    let mut beside = Vec::new();
    let mut note = |error: String| beside.push(Finding::new("companion_unreadable", Severity::Error, error));
    let generation = generation(model).unwrap_or_else(|error| {
        note(error);
        None
    });
    let tokenizer_vocab = tokenizer_vocab(model).unwrap_or_else(|error| {
        note(error);
        None
    });
    let mut stored = None;
    if let Some(checkpoint) = &model.checkpoint {
        for finding in checkpoint.findings() {
            beside.push(Finding::new(finding.code(), Severity::Info, finding.to_string()));
        }
        // Tensors can be held against a config only where it is understood.
        stored = Some(match Decoder::from_fields(&fields) {
            Ok(decoder) => {
                if decoder.family.runs() {
                    model.checked_weights(&decoder)?;
                } else {
                    beside.extend(differences(checkpoint, &decoder));
                }
                checkpoint.language_model(&decoder)
            }
            Err(_) => checkpoint.tensors().clone(),
        });
    }
    let subject = Subject {
        fields: &fields,
        generation: generation.as_ref(),
        tokenizer_vocab,
        stored: stored.as_ref(),
    };
    let mut report = inspect::inspect(subject).map_err(|error| model.refuse(error))?;
    report.findings.extend(beside);
    report.findings.sort_by_key(|finding| finding.severity);
    Ok(report)
}

/// What a checkpoint of a family that is only sized here holds beside or instead of its config's tensors.
fn differences(checkpoint: &Checkpoint<FileSource>, decoder: &Decoder) -> Option<Finding> {
    // Packed formats and GGUF have names of their own: their bytes are counted, their names not held against the list.
    if decoder.quantization.is_some() || checkpoint.name().ends_with(".gguf") {
        return None;
    }
    let lines = checkpoint.differences(decoder, false);
    (!lines.is_empty()).then(|| Finding::new("tensors_differ", Severity::Error, lines.join("; ")))
}

fn generation(model: &Model) -> Result<Option<GenerationConfig>, String> {
    let file = "generation_config.json";
    let Some(json) = model.companion(file).map_err(|error| error.to_string())? else { return Ok(None) };
    GenerationConfig::parse(&json).map(Some).map_err(|error| format!("{file}: {error}"))
}

fn tokenizer_vocab(model: &Model) -> Result<Option<usize>, String> {
    let file = "tokenizer.json";
    let Some(json) = model.companion(file).map_err(|error| error.to_string())? else { return Ok(None) };
    tokenizer_vocab_size(&json).map(Some).ok_or_else(|| format!("{file}: is no tokenizer"))
}

/// What a load of `model` needs. Where it has weights, their headers are counted and held against the config.
///
/// # Errors
/// A config, weights, option or override that is refused.
pub fn estimate(
    model: &Model,
    options: &estimate::Options,
    overrides: &Map<String, Value>,
) -> Result<estimate::Report, ErrorObject> {
    let (decoder, load_config) = overridden(model, overrides)?;
    let stored = match &model.checkpoint {
        Some(_) if decoder.family.runs() => Some(model.checked_weights(&decoder)?.language_model(&decoder)),
        Some(checkpoint) => Some(checkpoint.language_model(&decoder)),
        None => None,
    };
    estimate::estimate(&decoder, stored.as_ref(), &load_config.options(options))
        .map_err(|error| ErrorObject::new("invalid_option", error.to_string()).at(error.option))
}

/// The config as a load sees it, and the overrides.
fn overridden(model: &Model, overrides: &Map<String, Value>) -> Result<(Decoder, LoadConfig), ErrorObject> {
    let load_config = LoadConfig::from_map(overrides).map_err(|error| ErrorObject::from(&error))?;
    let fields = load_config.overridden(&model.fields()?);
    let decoder = Decoder::from_fields(&fields).map_err(|error| model.refuse(error))?;
    Ok((decoder, load_config))
}
