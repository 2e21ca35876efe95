//! The model on the page: a config that was understood, and where it came from.

use phi3::config::{ConfigError, Fields, GenerationConfig, Preset};
use phi3::decoder::Decoder;
use phi3::inspect::{self, InspectReport, Subject, Support};
use serde::{Deserialize, Serialize};

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnFiles {
    /// Name of the file or folder; empty where text was pasted.
    pub name: String,
    /// `config.json`.
    pub config: String,
    /// `generation_config.json`, where it was there.
    pub generation: Option<String>,
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
    /// Every key explained, and the findings.
    pub inspection: InspectReport,
}

/// A config of an architecture that this build does not know: its keys can be read, its bytes cannot be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Stranger {
    /// Name for people.
    pub title: String,
    /// Its keys, and the finding that says so.
    pub inspection: InspectReport,
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
        Ok(Self {
            title: preset.title.to_owned(),
            origin: Origin::Preset(preset.name),
            decoder: Decoder::from_fields(&fields).map_err(refused)?,
            inspection: inspect::inspect(Subject::config_only(&fields)).map_err(refused)?,
        })
    }
}

impl Opened {
    /// A config that a person gave.
    ///
    /// # Errors
    /// What is wrong with which file, with the JSON path.
    pub fn own(files: &OwnFiles) -> Result<Self, Problem> {
        let refused = |e| Problem::config("config.json", &e);
        let fields = Fields::parse(files.config.as_bytes()).map_err(refused)?;
        let generation = match &files.generation {
            None => None,
            Some(json) => {
                let refused = |e| Problem::config("generation_config.json", &e);
                Some(GenerationConfig::parse(json.as_bytes()).map_err(refused)?)
            }
        };
        let subject = Subject { generation: generation.as_ref(), ..Subject::config_only(&fields) };
        let inspection = inspect::inspect(subject).map_err(refused)?;
        let named = fields.text("_name_or_path").ok().flatten().map(last_part).unwrap_or_default();
        let title = [named, &files.name, text::OWN_CONFIG].into_iter().find(|name| !name.is_empty());
        let title = title.unwrap_or_default().chars().take(80).collect();
        if inspection.support == Support::Unknown {
            return Ok(Self::Unknown(Box::new(Stranger { title, inspection })));
        }
        let decoder = Decoder::from_fields(&fields).map_err(refused)?;
        Ok(Self::Known(Box::new(Model { title, origin: Origin::Own, decoder, inspection })))
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

/// `microsoft/phi-4` → `phi-4`.
fn last_part(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

/// Which of these paths is the config, and which the generation config beside it.
///
/// A file named `config.json` nearest to the top; else the only file, whatever its name.
#[must_use]
pub fn choose(paths: &[&str]) -> Option<(usize, Option<usize>)> {
    let folder_of = |path: &str| path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    let is = |path: &str, name: &str| path.rsplit('/').next() == Some(name);
    let config = (0..paths.len())
        .filter(|i| is(paths[*i], "config.json"))
        .min_by_key(|i| paths[*i].matches('/').count())
        .or_else(|| (paths.len() == 1).then_some(0))?;
    let folder = folder_of(paths[config]);
    let beside = |i: &usize| is(paths[*i], "generation_config.json") && folder_of(paths[*i]) == folder;
    Some((config, (0..paths.len()).filter(|i| *i != config).find(beside)))
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
        let own = |config: &str| {
            Opened::own(&OwnFiles { name: String::new(), config: config.to_owned(), generation: None })
        };
        let title = |config: &str| own(config).map(|m| m.title().to_owned());
        assert_eq!(title(r#"{"model_type":"phi3","_name_or_path":"a/b/"}"#), Ok("b".to_owned()));
        assert_eq!(title(r#"{"model_type":"phi3"}"#), Ok(text::OWN_CONFIG.to_owned()));
        let refused = own(r#"{"model_type":"phi3","num_key_value_heads":7}"#);
        assert_eq!(refused.map_err(|p| p.path), Err(Some("num_key_value_heads".to_owned())));
        assert_eq!(own("{").map_err(|p| p.next), Err(text::problem::NEXT_JSON.to_owned()));
        assert!(matches!(own(r#"{"model_type":"mamba"}"#), Ok(Opened::Unknown(_))));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_config_nearest_to_the_top_is_chosen() {
        assert_eq!(
            choose(&["m/sub/config.json", "m/generation_config.json", "m/config.json"]),
            Some((2, Some(1)))
        );
        assert_eq!(choose(&["m/config.json", "m/sub/generation_config.json"]), Some((0, None)));
        assert_eq!(choose(&["phi-4.json"]), Some((0, None)));
        assert_eq!(choose(&["a.json", "b.json"]), None);
        assert_eq!(choose(&[]), None);
    }
}
