//! What an attempt leads to: a plan that goes on from it, or the next attempt at once.

use leptos::prelude::*;
use phi3::api::{Attempt, AttemptKind};
use phi3::config::PRESETS;
use phi3::load_config::{LoadConfig, Proposal, Scope};
use serde_json::{Map, Value};

use super::model::OwnFiles;
use super::{Page, Store};
use crate::api::Run;

/// An attempt of the server, as a parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ancestor {
    /// Its id.
    pub id: u64,
    /// Id of its model.
    pub model: String,
}

/// What a plan is held against.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parent {
    /// The attempt that it is, where it is one.
    pub attempt: Option<Ancestor>,
    /// Its load config; the built-in one where nothing else is meant.
    pub config: LoadConfig,
}

impl Parent {
    /// As an address points at it: `7 tiny {"dtype":"float16"}`, or the load config alone.
    #[must_use]
    pub fn to_text(&self) -> String {
        let map = self.config.to_map();
        match &self.attempt {
            Some(Ancestor { id, model }) => format!("{id} {model} {}", Value::Object(map)),
            None if map.is_empty() => String::new(),
            None => Value::Object(map).to_string(),
        }
    }

    /// The parent that an address points at; the built-in load config where it points at none.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let (attempt, config) = text.split_at(text.find('{').unwrap_or(text.len()));
        let attempt = attempt
            .trim()
            .split_once(' ')
            .and_then(|(id, model)| Some(Ancestor { id: id.parse().ok()?, model: model.to_owned() }));
        let map = serde_json::from_str::<Map<String, Value>>(config).unwrap_or_default();
        Self { attempt, config: LoadConfig::from_map(&map).unwrap_or_default() }
    }

    /// What the page that is shown holds a plan against: only a plan has a parent.
    #[must_use]
    pub fn shown(store: Store) -> Self {
        if store.page.get() == Page::Plan { store.at.with(|at| Self::from_text(at)) } else { Self::default() }
    }
}

/// What is asked of the server to try a change of an attempt; `None` where no request says it.
#[must_use]
pub fn next_run(attempt: &Attempt, change: &Proposal) -> Option<Run> {
    let is_load = attempt.kind == AttemptKind::Load;
    if change.refused.is_some() || !(is_load || attempt.kind == AttemptKind::Validate) {
        return None;
    }
    let run = Run { parent: Some(attempt.id), ..Run::with(attempt.load_config.clone()) };
    match change.scope {
        Scope::LoadConfig => {
            let config =
                LoadConfig::from_map(&run.load_config).ok()?.with(&change.key, &change.value).ok()?;
            Some(Run { load_config: config.to_map(), ..run })
        }
        // A validation takes as much context as its prompts need.
        Scope::Run if is_load && change.key == "context" => {
            Some(Run { context: Some(change.value.as_u64()?), ..run })
        }
        Scope::Run => None,
    }
}

/// Shows the model of a config. False where it is refused.
pub fn show_model(store: Store, name: &str, config: &Map<String, Value>) -> bool {
    let is_told = |preset: &str| {
        let preset: Map<String, Value> = serde_json::from_str(preset).unwrap_or_default();
        // Where a config came from and what wrote it makes no other model of it.
        let counts = |key: &str| !key.starts_with('_') && key != "transformers_version";
        config.iter().all(|(key, value)| !counts(key) || preset.get(key.as_str()) == Some(value))
    };
    if let Some(preset) = PRESETS.iter().find(|preset| is_told(preset.config)) {
        store.open_preset(preset.name);
        return true;
    }
    let config = OwnFiles::config_only(Value::Object(config.clone()).to_string());
    store.open_own(&OwnFiles { name: name.to_owned(), ..config })
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi3::api::AttemptState;
    use serde_json::json;
    use wasm_bindgen_test::wasm_bindgen_test;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_parent_goes_through_the_address() {
        let config = json!({"torch_dtype": "float16", "max_memory": {"0": "9GiB"}});
        let config = LoadConfig::from_map(&map(config)).expect("valid");
        let attempt = Some(Ancestor { id: 7, model: "tiny good".to_owned() });
        for parent in [
            Parent::default(),
            Parent { attempt: None, config: config.clone() },
            Parent { attempt: attempt.clone(), config },
            // Most attempts of a beginner change nothing.
            Parent { attempt, config: LoadConfig::default() },
        ] {
            assert_eq!(Parent::from_text(&parent.to_text()), parent, "{}", parent.to_text());
        }
        assert_eq!(Parent::default().to_text(), "");
        assert_eq!(Parent::from_text("{broken"), Parent::default());
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_next_run_has_one_change_and_a_parent() {
        let failed = |kind| Attempt {
            id: 3,
            state: AttemptState::Failed,
            load_config: map(json!({"low_cpu_mem_usage": false})),
            ..Attempt::queued("tiny", kind, "cpu", 0)
        };
        let change = |scope, key: &str, value: Value| Proposal {
            scope,
            key: key.to_owned(),
            value,
            reason: String::new(),
            refused: None,
        };
        let dtype = change(Scope::LoadConfig, "dtype", "float32".into());
        let run = next_run(&failed(AttemptKind::Validate), &dtype).expect("it can be asked");
        assert_eq!(run.parent, Some(3));
        let wanted = json!({"low_cpu_mem_usage": false, "dtype": "float32"});
        assert_eq!(LoadConfig::from_map(&run.load_config), LoadConfig::from_map(&map(wanted)));
        let context = change(Scope::Run, "context", 512.into());
        assert_eq!(next_run(&failed(AttemptKind::Load), &context).and_then(|run| run.context), Some(512));
        let refused = Proposal { refused: Some("no kernel".to_owned()), ..dtype };
        for (kind, change) in [
            (AttemptKind::Validate, &context),
            (AttemptKind::Load, &change(Scope::Run, "prompt", "shorter".into())),
            (AttemptKind::Validate, &refused),
        ] {
            assert_eq!(next_run(&failed(kind), change), None, "{}", change.key);
        }
    }
}
