//! The load config that is being planned, and what it is held against.

use leptos::prelude::*;
use phi3::config::{Fields, ModelConfig, Preset};
use phi3::decoder::Decoder;
use phi3::estimate::Options;
use phi3::fit::Verdict;
use phi3::load_config::{self, Change, Knob, Layer, LoadConfig, LoadConfigError, Origin, Preview, Subject};
use serde_json::{Map, Value};

use super::Store;
use super::lineage::Parent;

/// Handle to the plan.
#[derive(Clone, Copy)]
pub struct Plan {
    store: Store,
    /// The overrides, as they were written.
    pub overrides: Memo<Map<String, Value>>,
    /// The same, parsed; else everything that is wrong with them.
    pub config: Memo<Result<LoadConfig, Vec<LoadConfigError>>>,
    /// What the plan is held against: an attempt, an earlier load config, or the built-in one.
    pub parent: Memo<Parent>,
    /// Whether several changes are meant.
    pub branch: RwSignal<bool>,
    /// What differs from the parent.
    pub changes: Memo<Vec<Change>>,
    /// The model's config, where it parses.
    fields: Memo<Option<Fields>>,
}

impl Plan {
    /// The plan of this page.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let overrides = Memo::new(move |_| store.rest.with(|rest| rest.load_config.clone()));
        let config = Memo::new(move |_| overrides.with(LoadConfig::from_map_all));
        let parent = Memo::new(move |_| Parent::shown(store));
        let changes = Memo::new(move |_| {
            config.with(|config| {
                config.as_ref().map(|c| parent.with(|p| load_config::diff(&p.config, c))).unwrap_or_default()
            })
        });
        let json = Memo::new(move |_| match store.preset_shown().and_then(Preset::find) {
            Some(preset) => Some(preset.config.to_owned()),
            None => store.own_files().map(|files| files.config),
        });
        let fields = Memo::new_with_compare(
            move |_| json.with(|json| Fields::parse(json.as_ref()?.as_bytes()).ok()),
            // It is run anew only where its text has changed.
            |_, _| true,
        );
        Self { store, overrides, config, parent, branch: RwSignal::new(false), changes, fields }
    }

    /// The plan of this page, from the context.
    #[must_use]
    pub fn here() -> Self {
        expect_context()
    }

    /// Takes overrides as a whole. What they say of formats and attention takes the place of what was chosen for
    /// the estimate, which would stand above them.
    pub fn replace(self, overrides: Map<String, Value>) {
        let says = |keys: &[&str]| {
            keys.iter()
                .any(|key| Knob::find(key).is_some_and(|k| k.names().any(|n| overrides.contains_key(n))))
        };
        let (dtype, attn) = (
            says(&["dtype", "quantization", "load_in_8bit", "load_in_4bit", "quantization_config"]),
            says(&["attn_implementation"]),
        );
        batch(move || {
            self.store.options.maybe_update(|options| {
                let before = (options.dtype, options.attn);
                options.dtype = options.dtype.filter(|_| !dtype);
                options.attn = options.attn.filter(|_| !attn);
                before != (options.dtype, options.attn)
            });
            self.store.rest.update(|rest| rest.load_config = overrides);
        });
    }

    /// Sets one knob, or leaves it to what is below.
    pub fn set(self, knob: &'static Knob, value: Option<Value>) {
        let mut map = self.overrides.get_untracked();
        set_knob(&mut map, knob, value);
        self.replace(map);
    }

    /// Puts one changed value back to the parent's.
    pub fn undo(self, change: &Change) {
        let Ok(config) = self.config.get_untracked() else { return };
        let back = change.from.clone().unwrap_or(Value::Null);
        if let Ok(config) = config.with(&change.path, &back) {
            self.replace(config.to_map());
        }
    }

    /// Holds further changes against the plan as it is now.
    pub fn become_parent(self) {
        if let Ok(config) = self.config.get_untracked() {
            self.store.at.set(Parent { attempt: None, config }.to_text());
            self.branch.set(false);
        }
    }

    /// Holds changes against nothing again.
    pub fn forget_parent(self) {
        self.store.at.set(String::new());
    }

    /// The value of a knob and the layer that says it.
    #[must_use]
    pub fn value(self, knob: &Knob) -> (Option<Value>, Origin) {
        let own = self.overrides.with(|map| knob.names().find_map(|name| map.get(name).cloned()));
        match own {
            Some(value) => (Some(value), Origin::Attempt),
            None => (knob.default.and_then(|json| serde_json::from_str(json).ok()), Origin::BuiltIn),
        }
    }

    /// Why a load with this plan is refused by this build, though it can be sized.
    #[must_use]
    pub fn refusals(self) -> Vec<String> {
        self.config.with(|c| {
            c.as_ref().map(|c| c.refusals().iter().map(ToString::to_string).collect()).unwrap_or_default()
        })
    }

    /// What the plan as a whole does to memory against the parent, term by term; or why it cannot be sized.
    #[must_use]
    pub fn effect(self) -> Option<Result<Preview, String>> {
        let config = self.config.get().ok()?;
        let (fields, options) = (self.fields.get()?, self.options());
        let subject = Subject { fields: &fields, stored: None, options: &options };
        Some(self.parent.with(|parent| between(&subject, &parent.config, &config)))
    }

    /// Whether the plan fits, with the reason: into its budgets, else into the device that was chosen. `None` where it is
    /// held against neither.
    #[must_use]
    pub fn verdict(self) -> Option<(Verdict, String)> {
        let config = self.config.get().ok()?;
        let decoder = Decoder::from_fields(&config.overridden(&self.fields.get()?)).ok()?;
        let estimated = load_config::estimate(&decoder, None, &self.options(), &config).ok()?;
        let why = estimated.placement_error.map(|error| error.to_string());
        let fit = estimated.report.fit;
        Some((fit.verdict?, why.unwrap_or(fit.reason)))
    }

    /// The choices of the estimate that no knob stands for: what a knob says is to be seen.
    fn options(self) -> Options {
        Options { dtype: None, attn: None, ..self.store.chosen.get() }
    }

    /// What each single change from here would do.
    #[must_use]
    pub fn candidates(self) -> Vec<Preview> {
        let (Ok(config), Some(fields)) = (self.config.get(), self.fields.get()) else { return Vec::new() };
        let options = self.options();
        let subject = Subject { fields: &fields, stored: None, options: &options };
        load_config::preview_candidates(&subject, &config).unwrap_or_default()
    }

    /// The model's config with the overrides in it, for exports that need it.
    #[must_use]
    pub fn model_config(self) -> Option<ModelConfig> {
        self.fields.with(|fields| ModelConfig::from_fields(fields.as_ref()?).ok())
    }

    /// Repository on the Hub that the config names, if it names one.
    #[must_use]
    pub fn hub_name(self) -> Option<String> {
        let name =
            self.fields.with(|f| f.as_ref()?.text("_name_or_path").ok().flatten().map(str::to_owned))?;
        let is_plain = !name.starts_with(['/', '.', '~']) && !name.contains(['\\', ' ', ':']);
        match name.split('/').collect::<Vec<_>>().as_slice() {
            [org, repo] if is_plain && !org.is_empty() && !repo.is_empty() => Some(name),
            // The presets' own configs leave the organisation out.
            [repo] if is_plain && self.store.preset_shown().is_some() => Some(format!("microsoft/{repo}")),
            _ => None,
        }
    }

    /// The layers that stand behind the plan.
    #[must_use]
    pub fn layers(self) -> Vec<Layer> {
        vec![Layer { origin: Origin::Attempt, overrides: self.overrides.get() }]
    }
}

/// Sets a knob in overrides, in the spelling that stands there.
pub fn set_knob(map: &mut Map<String, Value>, knob: &Knob, value: Option<Value>) {
    let spelling = knob.names().find(|name| map.contains_key(*name)).unwrap_or(knob.key);
    match value {
        Some(value) => {
            map.insert(spelling.to_owned(), value);
        }
        None => {
            for name in knob.names() {
                map.shift_remove(name);
            }
        }
    }
}

/// Memory with one load config and with another.
fn between(subject: &Subject<'_>, before: &LoadConfig, after: &LoadConfig) -> Result<Preview, String> {
    // A preview sizes one key on top of a config; setting a key to what it is sizes the config itself.
    let same = |config: &LoadConfig| {
        let value = config.low_cpu_mem_usage.unwrap_or(true).into();
        load_config::preview(subject, config, "low_cpu_mem_usage", &value).map_err(|e| e.to_string())
    };
    let (before, mut after) = (same(before)?, same(after)?);
    for term in &mut after.terms {
        let then = before.terms.iter().find(|t| t.name == term.name);
        term.then_bytes = term.now_bytes;
        term.now_bytes = then.map_or(0, |t| t.now_bytes);
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    fn map(json: &str) -> Map<String, Value> {
        serde_json::from_str(json).expect("an object")
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_knob_keeps_the_spelling_that_was_written() {
        let knob = Knob::find("dtype").expect("known");
        let mut overrides = map(r#"{"torch_dtype":"float32","use_cache":true}"#);
        set_knob(&mut overrides, knob, Some("float16".into()));
        assert_eq!(overrides, map(r#"{"torch_dtype":"float16","use_cache":true}"#));
        set_knob(&mut overrides, knob, None);
        assert_eq!(overrides, map(r#"{"use_cache":true}"#));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_effect_is_the_difference_of_two_estimates() {
        let fields = Fields::parse(br#"{"model_type":"phi3","dtype":"bfloat16"}"#).expect("a config");
        let options = Options::default();
        let subject = Subject { fields: &fields, stored: None, options: &options };
        let wide = LoadConfig::from_map(&map(r#"{"dtype":"float32"}"#)).expect("valid");
        let effect = between(&subject, &LoadConfig::default(), &wide).expect("sized");
        let weights = effect.terms.iter().find(|t| t.name == "weights").expect("a term");
        assert_eq!((weights.now_bytes, weights.then_bytes), (7_642_159_104, 2 * 7_642_159_104));
    }
}
