//! The model on the page: a config that was understood, and where it came from.

use phi3::config::{ConfigError, Fields, GenerationConfig, Preset};
use phi3::decoder::Decoder;
use phi3::estimate::StoredTensors;
use phi3::inspect::{self, Finding, Subject, Support};
use phi3::weights::as_stored;
use serde::{Deserialize, Serialize};

use super::weights::Weights;
use crate::text;

/// Where a config came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The embedded family; holds the preset's name.
    Preset(&'static str),
    /// Pasted, chosen or dropped.
    Own,
}

/// The files of a model that a person gave: kept for the tab, so that a reload has them still.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OwnFiles {
    /// Name of the file or folder; empty where text was pasted.
    pub name: String,
    /// `config.json`.
    pub config: String,
    /// `generation_config.json`, where it was there.
    pub generation: Option<String>,
    /// Ids that the tokenizer knows, where that was there.
    #[serde(default)]
    pub tokenizer_vocab: Option<usize>,
    /// Headers of the weights, where those were there.
    #[serde(default)]
    pub weights: Option<Weights>,
}

impl OwnFiles {
    /// A config alone.
    #[must_use]
    pub fn config_only(config: String) -> Self {
        Self { config, ..Self::default() }
    }

    /// Headers of weights that no config came with.
    #[must_use]
    pub fn weights_alone(&self) -> Option<&Weights> {
        self.weights.as_ref().filter(|_| self.config.is_empty())
    }
}

/// A config that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Name for people.
    pub title: String,
    /// Where it came from.
    pub origin: Origin,
    /// The validated model; its architecture is known.
    pub decoder: Decoder,
    /// What this build can do with it.
    pub support: Support,
    /// What the reader should know.
    pub findings: Vec<Finding>,
    /// Positions that it was trained on before they were scaled, where its config says.
    pub original_positions: Option<u64>,
    /// Headers of its weights, where they were given too.
    pub weights: Option<Weights>,
    stored: Option<StoredTensors>,
}

impl Model {
    /// Tensors of its weights, where they were given.
    #[must_use]
    pub fn stored(&self) -> Option<&StoredTensors> {
        self.stored.as_ref()
    }
}

/// A config of an architecture that this build does not know, or weights without one: what is there can be read, what a
/// load takes cannot be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Stranger {
    /// Name for people.
    pub title: String,
    /// `model_type` of the config; empty where there is none.
    pub model_type: String,
    /// What says so.
    pub findings: Vec<Finding>,
}

/// What a config turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Opened {
    /// An architecture that is known.
    Known(Box<Model>),
    /// Any other.
    Unknown(Box<Stranger>),
}

/// Why something that a person did was refused, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What failed.
    pub what: String,
    /// Why, in the words of whoever found it.
    pub why: String,
    /// JSON path it is about.
    pub path: Option<String>,
    /// What to do now.
    pub next: String,
}

impl Problem {
    /// A refused config.
    #[must_use]
    pub fn config(file: &str, error: &ConfigError) -> Self {
        let next = match error {
            ConfigError::NotJson(_) | ConfigError::NotAnObject | ConfigError::Empty => {
                text::problem::NEXT_JSON
            }
            ConfigError::TooLarge { .. } => text::problem::NEXT_TOO_LARGE,
            _ => text::problem::NEXT_FIELD,
        };
        Self {
            what: text::problem::refused(file),
            why: error.to_string(),
            path: error.field().map(str::to_owned),
            next: next.to_owned(),
        }
    }
}

impl Model {
    /// A stock config.
    ///
    /// # Errors
    /// None of the embedded files is refused; a test holds that.
    pub fn preset(preset: &Preset) -> Result<Self, Problem> {
        let file = format!("{}.json", preset.name);
        let refused = |e| Problem::config(&file, &e);
        let fields = Fields::parse(preset.config.as_bytes()).map_err(refused)?;
        let (support, findings) = inspect::find(Subject::config_only(&fields)).map_err(refused)?;
        Ok(Self {
            title: preset.title.to_owned(),
            origin: Origin::Preset(preset.name),
            decoder: Decoder::from_fields(&fields).map_err(refused)?,
            support,
            findings,
            original_positions: original_positions(&fields),
            weights: None,
            stored: None,
        })
    }
}

/// What is inspected of the files that a person gave, parsed.
pub struct Parsed {
    fields: Fields,
    generation: Option<GenerationConfig>,
    tokenizer_vocab: Option<usize>,
    stored: Option<StoredTensors>,
}

impl Parsed {
    /// Parses the files.
    ///
    /// # Errors
    /// What is wrong with which file, with the JSON path.
    pub fn new(files: &OwnFiles) -> Result<Self, Problem> {
        let fields =
            Fields::parse(files.config.as_bytes()).map_err(|e| Problem::config("config.json", &e))?;
        let generation = match &files.generation {
            None => None,
            Some(json) => {
                let refused = |e| Problem::config("generation_config.json", &e);
                Some(GenerationConfig::parse(json.as_bytes()).map_err(refused)?)
            }
        };
        let stored = files.weights.as_ref().map(Weights::stored);
        Ok(Self { fields, generation, tokenizer_vocab: files.tokenizer_vocab, stored })
    }

    /// What an inspection is of.
    #[must_use]
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            fields: &self.fields,
            generation: self.generation.as_ref(),
            tokenizer_vocab: self.tokenizer_vocab,
            stored: self.stored.as_ref(),
        }
    }
}

impl Opened {
    /// A model that a person gave.
    ///
    /// # Errors
    /// What is wrong with which file, with the JSON path.
    pub fn own(files: &OwnFiles) -> Result<Self, Problem> {
        if let Some(weights) = files.weights_alone() {
            let (title, findings) = (files.name.clone(), weights.findings.clone());
            return Ok(Self::Unknown(Box::new(Stranger { title, model_type: String::new(), findings })));
        }
        let refused = |e| Problem::config("config.json", &e);
        let parsed = Parsed::new(files)?;
        let (support, mut findings) = inspect::find(parsed.subject()).map_err(refused)?;
        findings.extend(files.weights.iter().flat_map(|weights| weights.findings.iter().cloned()));
        let Parsed { fields, stored, .. } = parsed;
        let text_of = |key| fields.text(key).ok().flatten().unwrap_or_default();
        // Files are named by what is best known of them; what was pasted has no other name than its own.
        let title = [&files.name, last_part(text_of("_name_or_path")), text::OWN_CONFIG];
        let title = title.into_iter().find(|name| !name.is_empty());
        let title = title.unwrap_or_default().chars().take(80).collect();
        if support == Support::Unknown {
            let model_type = text_of("model_type").to_owned();
            return Ok(Self::Unknown(Box::new(Stranger { title, model_type, findings })));
        }
        let mut decoder = Decoder::from_fields(&fields).map_err(refused)?;
        if let Some(stored) = &stored {
            decoder = as_stored(decoder, stored);
        }
        let weights = files.weights.clone();
        Ok(Self::Known(Box::new(Model {
            title,
            origin: Origin::Own,
            decoder,
            support,
            findings,
            original_positions: original_positions(&fields),
            weights,
            stored,
        })))
    }

    /// Name for people.
    #[must_use]
    pub fn title(&self) -> &str {
        match self {
            Self::Known(model) => &model.title,
            Self::Unknown(stranger) => &stranger.title,
        }
    }
}

fn original_positions(fields: &Fields) -> Option<u64> {
    fields.get("original_max_position_embeddings")?.as_u64()
}

/// `microsoft/phi-4` → `phi-4`.
pub(super) fn last_part(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi3::config::PRESETS;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn every_preset_is_understood() {
        for preset in PRESETS {
            let model = Model::preset(preset).map_err(|p| p.why);
            assert!(model.is_ok(), "{}: {model:?}", preset.name);
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn own_configs_get_a_name_and_a_path_when_refused() {
        let own = |config: &str| Opened::own(&OwnFiles::config_only(config.to_owned()));
        let title = |config: &str| own(config).map(|m| m.title().to_owned());
        assert_eq!(title(r#"{"model_type":"phi3","_name_or_path":"a/b/"}"#), Ok("b".to_owned()));
        assert_eq!(title(r#"{"model_type":"phi3"}"#), Ok(text::OWN_CONFIG.to_owned()));
        let refused = own(r#"{"model_type":"phi3","num_key_value_heads":7}"#);
        assert_eq!(refused.map_err(|p| p.path), Err(Some("num_key_value_heads".to_owned())));
        assert_eq!(own("{").map_err(|p| p.next), Err(text::problem::NEXT_JSON.to_owned()));
        assert!(matches!(own(r#"{"model_type":"mamba"}"#), Ok(Opened::Unknown(_))));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn weights_without_a_config_are_shown_and_an_empty_config_is_refused() {
        let weights = Weights::new(&StoredTensors::new(), 1, 0);
        let alone =
            OwnFiles { name: "a.safetensors".to_owned(), weights: Some(weights), ..OwnFiles::default() };
        let shown = Opened::own(&alone).map(|opened| opened.title().to_owned());
        assert_eq!(shown, Ok("a.safetensors".to_owned()));
        assert!(Opened::own(&OwnFiles::config_only(String::new())).is_err());
    }
}
