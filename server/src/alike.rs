//! When two attempts are alike: in what they load, and in all that decides how they end.

use std::path::Path;

use phi3::config::Fields;
use phi3::estimate::{Options, Resolved};
use phi3::load_config::{LoadConfig, diff};
use phi3::placement::Strategy;
use preflight_files::{Model, Source};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::evidence::{hex, identity};

/// What an attempt has in common with those that are like it.
#[derive(Debug)]
pub(crate) struct Alike {
    /// The same files, loaded as the same load config says; a default that is written out says nothing more.
    pub(crate) loads: String,
    /// The same in effect: also what a model is or does anyway says nothing more.
    pub(crate) settled: String,
}

impl Alike {
    /// Of a load config for the files at `path`. `device_is_chosen_anyway` where it goes to the same devices without its
    /// `device_map`: a map of modules may be wrong all the same, and a strategy places in its own way. Reads headers.
    pub(crate) fn new(
        path: &Path,
        said: LoadConfig,
        context: Option<usize>,
        device_is_chosen_anyway: bool,
    ) -> Self {
        let files = identity(path);
        let of = |config: &LoadConfig, context: Option<usize>| {
            // The kind of a scaling is no change beside its parameters, and decides all the same.
            let scaling = config.to_map().remove("rope_scaling");
            fingerprint(&json!([files, diff(&LoadConfig::default(), config), scaling, context]))
        };
        let loads = of(&said, context);
        // The files of a revision are looked at before; remote code is never run.
        let mut config = LoadConfig { revision: None, cache_dir: None, trust_remote_code: None, ..said };
        if device_is_chosen_anyway && matches!(config.device_map, Some(Strategy::Single(_))) {
            config.device_map = None;
        }
        // Files that cannot be read leave it at what was said.
        let (config, context) = settle(path, &config, context).unwrap_or((config, context));
        Self { loads, settled: of(&config, context) }
    }
}

/// A load config and a context without what the model is anyway; `None` where that is not known.
fn settle(path: &Path, said: &LoadConfig, context: Option<usize>) -> Option<(LoadConfig, Option<usize>)> {
    let model = Model::open(&Source::resolve(path.to_str()?).ok()?).ok()?;
    let fields = model.fields().ok()?;
    let decoder = said.apply(&fields).ok()?.decoder();
    let stored = model.checkpoint.as_ref().map(|checkpoint| checkpoint.tensors());
    let options = said.options(&Options::default());
    let Resolved { convert_to, context: default, .. } = Resolved::new(&decoder, stored, &options).ok()?;
    let mut config = said.clone();
    if convert_to.is_none() && config.quantization.is_none() {
        config.dtype = None;
    }
    let is_same =
        |less: &LoadConfig, fields: &Fields| less.overridden(fields).map() == said.overridden(fields).map();
    let less = LoadConfig { sliding_window: None, ..config.clone() };
    if is_same(&less, &fields) {
        config.sliding_window = None;
    }
    let less = LoadConfig { rope_scaling: None, ..config.clone() };
    if is_same(&less, &fields) {
        config.rope_scaling = None;
    }
    Some((config, context.filter(|tokens| *tokens as u64 != default)))
}

/// A short name of a value, the same for the same value.
pub(crate) fn fingerprint(value: &Value) -> String {
    hex(&Sha256::digest(value.to_string()))
}
