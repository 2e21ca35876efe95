//! What the CLI and HTTP answer alike, from an opened model.

use phi3::api::ErrorObject;
use phi3::config::{ConfigError, Fields, GenerationConfig, ModelConfig, tokenizer_vocab_size};
use phi3::decoder::Decoder;
use phi3::estimate::{self, Assumption};
use phi3::inspect::card::{Card, CardSubject};
use phi3::inspect::{self, Finding, InspectReport, Severity, Subject};
use phi3::load_config::{self, EstimateError, Estimated as Sized, LoadConfig};
use phi3::placement::{Placement, PlacementError};
use phi3::tensors::{self, Role};
use phi3::units::{format_bytes, format_count};
use phi3::weights::{Checkpoint, WeightSource, WeightsFinding, no_json};
use preflight_files::hub::Endpoint;
use preflight_files::{FilesError, Model, NoWeights, Source, WeightFile, of_override};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::launcher;

/// Of how many parameters one may be missing before a checkpoint is not that of its config: a norm, but no layer.
const NEARLY_ALL: u64 = 1000;

/// What was found of a model, and what keeps it from being loaded.
#[derive(Debug, Serialize)]
pub struct Inspected {
    /// What it is of, as the user named it.
    #[serde(skip)]
    pub name: String,
    /// The report; its findings name every difference between config and weights.
    #[serde(flatten)]
    pub report: InspectReport,
    /// Why the model cannot be used as it is: its weights are not those of its config. For one member of a report
    /// to say so is enough for CLI and HTTP alike: an exit code or a status beside the whole report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorObject>,
    /// The config as it stands in the file; of weights alone nothing.
    #[serde(skip)]
    pub config: Map<String, Value>,
    /// A file beside the config that no load could read, or a tokenizer of another model.
    #[serde(skip)]
    pub unusable: Option<ErrorObject>,
}

/// What `model` says, means and implies. A file beside the config that cannot be read is a finding, and weights that
/// differ from the config are findings and an error beside the report.
///
/// # Errors
/// A config or weights that are refused.
pub fn inspect(model: &Model) -> Result<Inspected, ErrorObject> {
    let fields = model.fields()?;
    let Beside { generation, tokenizer_vocab, template, unreadable } = beside(model);
    let of_file = |error: &ErrorObject| Finding::new("companion_unreadable", Severity::Error, &error.message);
    let mut beside: Vec<Finding> = unreadable.iter().map(of_file).collect();
    beside.extend(template.as_deref().and_then(template_finding));
    // No load reads it.
    let readme = text(model, "README.md").unwrap_or_else(|error| {
        beside.push(Finding::new("companion_unreadable", Severity::Warning, error.to_string()));
        None
    });
    let mut mismatch = None;
    let mut stored = None;
    if let Some(checkpoint) = &model.checkpoint {
        // Tensors can be held against a config only where it is understood.
        stored = Some(match Decoder::from_fields(&fields).map(|decoder| as_stored(decoder, checkpoint)) {
            Ok(decoder) => {
                beside.extend(checkpoint.findings_of(&decoder).iter().map(Finding::from));
                if decoder.runs() {
                    match model.described_weights(&decoder) {
                        Ok(_) => beside.extend(unread_head(model, &decoder)),
                        Err(error) => {
                            let lines = error.differences().map(<[String]>::to_vec);
                            let error = ErrorObject::from(error);
                            let Some(lines) = lines else { return Err(error) };
                            beside.push(differ(&lines));
                            mismatch = Some(error);
                        }
                    }
                } else {
                    let lines = checkpoint.named_differences(&decoder);
                    beside.extend((!lines.is_empty()).then(|| differ(&lines)));
                }
                checkpoint.language_model(&decoder)
            }
            Err(_) => {
                beside.extend(checkpoint.findings().iter().map(Finding::from));
                checkpoint.tensors().clone()
            }
        });
    }
    let unused = model.unused_weights();
    beside.extend(unused.map(|which| Finding::new("weights_not_used", Severity::Warning, which)));
    beside.extend(model.no_weights().map(|why| Finding::new(why.code, Severity::Warning, why.message())));
    let card = card(model, readme.as_deref(), generation.as_ref());
    let subject = Subject {
        fields: &fields,
        generation: generation.as_ref(),
        tokenizer_vocab,
        stored: stored.as_ref(),
    };
    let mut report = inspect::inspect(subject).map_err(|error| model.refuse(error))?;
    report.findings.extend(beside);
    report.findings.extend(card.iter().flat_map(Card::findings));
    report.card = card;
    report.findings.sort_by_key(|finding| finding.severity);
    let of_another = report.findings.iter().find(|finding| finding.code == "tokenizer_larger_than_vocab");
    let of_another = of_another.map(|finding| ErrorObject::new("tokenizer_invalid", &finding.message));
    let unusable = unreadable.into_iter().next().or(of_another);
    let config = fields.map().clone();
    Ok(Inspected { name: model.name.clone(), report, error: mismatch, config, unusable })
}

/// What lies at `source` says: a model, or weights without a config.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_source(source: &Source) -> Result<Inspected, ErrorObject> {
    match Model::open(source) {
        Ok(model) => inspect(&model),
        Err(error @ FilesError::Lacks { .. }) => match Model::weights_alone(source)? {
            Some(checkpoint) => Ok(inspect_weights(&checkpoint)),
            None => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// What weights say without a config.
fn inspect_weights<S: WeightSource>(checkpoint: &Checkpoint<S>) -> Inspected {
    let mut report = inspect::weights_alone(checkpoint.tensors());
    report.findings.extend(checkpoint.findings().iter().map(Finding::from));
    Inspected { name: checkpoint.name().to_owned(), report, error: None, config: Map::new(), unusable: None }
}

/// Every tensor that differs, named.
fn differ(lines: &[String]) -> Finding {
    Finding::new("tensors_differ", Severity::Error, lines.join("; "))
}

/// What the files beside a config hold, of those that a load reads.
struct Beside {
    generation: Option<GenerationConfig>,
    tokenizer_vocab: Option<usize>,
    /// The chat template that a load would use.
    template: Option<String>,
    /// Why no load could read one or another.
    unreadable: Vec<ErrorObject>,
}

fn beside(model: &Model) -> Beside {
    let (generation, tokenizer) = (generation(model), tokenizer_vocab(model));
    let [config, special] =
        ["tokenizer_config.json", "special_tokens_map.json"].map(|file| beside_tokenizer(model, file));
    let template = template(model);
    let errors = [generation.as_ref().err(), tokenizer.as_ref().err(), config.as_ref().err()];
    let others = [special.as_ref().err(), template.as_ref().err()];
    let unreadable = errors.into_iter().chain(others).flatten().cloned().collect();
    Beside {
        generation: generation.ok().flatten(),
        tokenizer_vocab: tokenizer.ok().flatten(),
        // As Hugging Face has it, the file of its own wins.
        template: template.ok().flatten().or(config.ok().flatten()),
        unreadable,
    }
}

/// Refuses a model of which a file beside the config is one that no load could read, or a tokenizer of another model.
///
/// # Errors
/// `config_invalid` or `tokenizer_invalid`, naming the file.
pub fn check_beside(model: &Model, config: &ModelConfig) -> Result<(), ErrorObject> {
    let Beside { tokenizer_vocab, unreadable, .. } = beside(model);
    if let Some(error) = unreadable.into_iter().next() {
        return Err(error);
    }
    match tokenizer_vocab.and_then(|ids| inspect::ids_beyond(ids, config.vocab_size)) {
        Some(why) => Err(ErrorObject::new("tokenizer_invalid", why).at("tokenizer.json")),
        None => Ok(()),
    }
}

fn generation(model: &Model) -> Result<Option<GenerationConfig>, ErrorObject> {
    let file = "generation_config.json";
    let Some(json) = model.companion(file)? else { return Ok(None) };
    let parsed = GenerationConfig::parse(&json);
    parsed.map(Some).map_err(|error| unread("config_invalid", file, &json, &error.to_string()))
}

fn tokenizer_vocab(model: &Model) -> Result<Option<usize>, ErrorObject> {
    let file = "tokenizer.json";
    let Some(json) = model.companion(file)? else { return Ok(None) };
    let size = tokenizer_vocab_size(&json);
    size.map(Some).ok_or_else(|| unread("tokenizer_invalid", file, &json, "is no tokenizer"))
}

/// A chat template of its own is text.
fn template(model: &Model) -> Result<Option<String>, ErrorObject> {
    let file = "chat_template.jinja";
    let Some(text) = model.companion(file)? else { return Ok(None) };
    let refused = |error| ErrorObject::new("tokenizer_invalid", format!("{file}: is no UTF-8: {error}"));
    String::from_utf8(text).map(Some).map_err(refused)
}

/// What stands beside the tokenizer: objects, and where there is a chat template, one that can be told. That one is given.
fn beside_tokenizer(model: &Model, file: &str) -> Result<Option<String>, ErrorObject> {
    let Some(json) = model.companion(file)? else { return Ok(None) };
    let refused = |why: String| unread("tokenizer_invalid", file, &json, &why);
    let object = serde_json::from_slice::<Map<String, Value>>(&json);
    let object = object.map_err(|error| refused(format!("no JSON object: {error}")))?;
    match object.get("chat_template") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(template)) => Ok(Some(template.clone())),
        Some(named) => {
            let default =
                named.as_array().and_then(|named| named.iter().find(|one| one["name"] == "default"));
            let default = default.ok_or_else(|| {
                refused("`chat_template` is neither a string nor a list with one named `default`".to_owned())
            })?;
            Ok(default["template"].as_str().map(str::to_owned))
        }
    }
}

/// A chat template of the model that does not compile: it loads and completes all the same, and every chat is refused.
fn template_finding(template: &str) -> Option<Finding> {
    let error = launcher::check_template_early(Some(template)).err()?;
    let message = format!("{}: chats are refused, completions are not", error.message);
    Some(Finding::new("chat_template_invalid", Severity::Warning, message))
}

/// A companion that is not what its name says: told by what it is, else by why it cannot be read.
fn unread(code: &str, file: &str, bytes: &[u8], why: &str) -> ErrorObject {
    let instead = no_json(bytes);
    ErrorObject::new(code, format!("{file}: {}", instead.as_deref().unwrap_or(why)))
}

fn text(model: &Model, file: &str) -> Result<Option<String>, FilesError> {
    let bytes = model.companion(file)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// What is known beyond config and weights; nothing of a directory that has no card and is no snapshot.
fn card(model: &Model, readme: Option<&str>, generation: Option<&GenerationConfig>) -> Option<Card> {
    let companions = &model.companions;
    let origin = companions.origin();
    if origin.is_none() && readme.is_none() {
        return None;
    }
    let files: Vec<(String, Option<u64>)> =
        companions.list().into_iter().map(|file| (file.name, file.bytes)).collect();
    // Shards are plain names already; a single file is named as the user reached it.
    let plain = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let weight_files: Vec<String> =
        model.checkpoint.iter().flat_map(|checkpoint| checkpoint.file_names().map(plain)).collect();
    let endpoint = Endpoint::from_env().unwrap_or_default();
    let url = origin.as_ref().map(|(repo, commit)| format!("{endpoint}/{repo}/tree/{commit}"));
    let remote = companions.remote();
    Some(Card::new(CardSubject {
        repo: origin.as_ref().map(|(repo, _)| repo.as_str()),
        url: url.as_deref(),
        revision: companions.revision(),
        commit: origin.as_ref().map(|(_, commit)| commit.as_str()),
        gated: remote.and_then(|repo| repo.gated.as_deref()),
        readme,
        generation,
        files: &files,
        weight_files: &weight_files,
        pipeline_tag: remote.and_then(|repo| repo.pipeline_tag.as_deref()),
    }))
}

/// What was not compared because it would have fetched two matrices.
fn unread_head(model: &Model, decoder: &Decoder) -> Option<Finding> {
    model.companions.remote()?;
    let head = tensors::spec(decoder, Role::LmHead, 0).name;
    let stored = model.checkpoint.as_ref()?.tensors().contains_key(&head);
    let message = format!(
        "`{head}` is stored beside a tied embedding; whether the two are equal is checked once the files are on this machine"
    );
    (stored && decoder.tie_word_embeddings)
        .then(|| Finding::new("tied_head_not_compared", Severity::Info, message))
}

/// What a load needs, and where its parts go.
#[derive(Debug, Clone, Serialize)]
pub struct Estimated {
    /// The need, term by term, and its verdict: that of the placement, where there are budgets.
    #[serde(flatten)]
    pub report: estimate::Report,
    /// Where each module goes, where the overrides give budgets (`max_memory`) or name several devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// Why there is no placement within the budgets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement_error: Option<ErrorObject>,
}

/// What a load of `model` needs. Where it has weights, their headers are counted and held against the config; where
/// the overrides give budgets, its modules are placed.
///
/// # Errors
/// A config, weights, option or override that is refused; a placement that does not work out.
pub fn estimate(
    model: &Model,
    options: &estimate::Options,
    overrides: &Map<String, Value>,
) -> Result<Estimated, ErrorObject> {
    let (decoder, load_config) = overridden(model, overrides)?;
    let stored = match &model.checkpoint {
        Some(_) if decoder.runs() => Some(model.described_weights(&decoder)?.language_model(&decoder)),
        Some(checkpoint) => {
            let stored = checkpoint.language_model(&decoder);
            // Names may be others than ours, and what they hold is then all there.
            let whole = estimate::params(&decoder).total;
            if estimate::params_total(&decoder, Some(&stored)) < whole - whole / NEARLY_ALL {
                checkpoint.check_described(&decoder).map_err(FilesError::from)?;
            }
            Some(stored)
        }
        None => None,
    };
    let other_parts = model.checkpoint.as_ref().and_then(|checkpoint| checkpoint.other_parts(&decoder));
    let options = estimate::Options { other_parts, ..options.clone() };
    let estimated = load_config::estimate(&decoder, stored.as_ref(), &options, &load_config);
    let Sized { mut report, placement, placement_error } = estimated.map_err(|error| match error {
        EstimateError::Options(error) => {
            ErrorObject::new("invalid_option", error.to_string()).at(error.option)
        }
        EstimateError::Placement(error) => placement_object(&error).at("device_map"),
    })?;
    // Sums stop there: no number is better than a wrong one.
    if report.total_bytes == u64::MAX {
        let message = "this needs more than 2^64 bytes: choose a shorter context or a smaller batch";
        return Err(ErrorObject::new("invalid_option", message).at("context"));
    }
    for finding in model.checkpoint.iter().flat_map(|checkpoint| checkpoint.findings_of(&decoder)) {
        report.leave_out(&finding);
        if matches!(finding, WeightsFinding::NotRead(_)) {
            report.fit.warnings.push(finding.to_string());
        }
    }
    if let Some(contradiction) = model.checkpoint.as_ref().and_then(|it| it.contradiction(&decoder)) {
        report.doubt(&contradiction);
    }
    report.fit.warnings.extend(without_effect(&model.fields()?, &decoder, &load_config));
    if let Some(which) = model.unused_weights() {
        let name = "checkpoint".to_owned();
        report.assumptions.push(Assumption { name, value: which, is_default: true });
    }
    if let Some(why) = model.no_weights() {
        report.without_weights(&why.message());
        if why.code == NoWeights::PICKLED {
            // A load is refused, however much there is.
            report.fit.warnings.push(why.why);
        }
    }
    let placement_error = placement_error.map(|error| placement_object(&error).at("max_memory"));
    Ok(Estimated { report, placement, placement_error })
}

/// Overrides that the family of a model that is not run here has no use for.
fn without_effect(own: &Fields, overridden: &Decoder, load_config: &LoadConfig) -> Option<String> {
    let said = load_config.to_map();
    let keys =
        ["sliding_window", "rope_scaling", "use_cache"].into_iter().filter(|key| said.contains_key(*key));
    let keys: Vec<_> = keys.map(|key| format!("`{key}`")).collect();
    let is_same = Decoder::from_fields(own).is_ok_and(|own| own == *overridden);
    (!keys.is_empty() && is_same && !overridden.runs()).then(|| {
        format!("{} of the load config: without effect on what is counted of this model", keys.join(", "))
    })
}

fn placement_object(error: &PlacementError) -> ErrorObject {
    ErrorObject::new(error.code(), error.to_string())
}

/// Holds a load config against the config that a model has, where that is one that is known here.
///
/// # Errors
/// What an estimate with it would be refused for: factors of the wrong number, modules that the model does not have.
pub fn goes_with(model: &Model, load_config: &LoadConfig) -> Result<(), ErrorObject> {
    let is_known = model.fields().is_ok_and(|own| Decoder::from_fields(&own).is_ok());
    if !is_known {
        return Ok(());
    }
    let (decoder, load_config) = overridden(model, &load_config.to_map())?;
    match load_config::estimate(&decoder, None, &estimate::Options::default(), &load_config) {
        Err(EstimateError::Placement(error)) => Err(placement_object(&error).at("device_map")),
        _ => Ok(()),
    }
}

/// The config as a load sees it, and the overrides.
fn overridden(model: &Model, overrides: &Map<String, Value>) -> Result<(Decoder, LoadConfig), ErrorObject> {
    let load_config = LoadConfig::from_map(overrides).map_err(|error| ErrorObject::from(&error))?;
    let own = model.fields()?;
    let decoder = Decoder::from_fields(&load_config.overridden(&own))
        .map_err(|error| of_override(&load_config, &own, &error).unwrap_or_else(|| unknown(model, error)))?;
    let decoder = match &model.checkpoint {
        Some(checkpoint) => as_stored(decoder, checkpoint),
        None => decoder,
    };
    Ok((decoder, load_config))
}

/// The model that a checkpoint holds, whatever its config says of packed numbers.
fn as_stored(decoder: Decoder, checkpoint: &Checkpoint<WeightFile>) -> Decoder {
    if !decoder.is_packed() {
        return decoder;
    }
    let stored = checkpoint.language_model(&decoder);
    phi3::weights::as_stored(decoder, &stored)
}

/// A refusal; of an unknown architecture with what its files still say.
fn unknown(model: &Model, error: ConfigError) -> ErrorObject {
    let held = match (&error, &model.checkpoint) {
        (ConfigError::UnknownArchitecture { .. } | ConfigError::UnknownLayers { .. }, Some(checkpoint)) => {
            let tensors = checkpoint.tensors().values();
            let (count, bytes) = tensors.fold((0u64, 0u64), |(count, bytes), tensor| {
                (count.saturating_add(tensor.count()), bytes.saturating_add(tensor.len))
            });
            format!("; its files hold {} parameters in {}", format_count(count), format_bytes(bytes))
        }
        _ => String::new(),
    };
    let error = ErrorObject::from(model.refuse(error));
    ErrorObject { message: error.message + &held, ..error }
}
