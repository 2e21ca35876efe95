//! `config.json`: raw JSON in, a validated [`ModelConfig`] out; each derived number has one home.

mod error;
mod fields;
mod generation;
mod json;
pub(crate) mod limits;
mod model;
mod other_layers;
mod presets;
mod rope_scaling;
mod vocab;

pub use error::ConfigError;
pub use fields::{Fields, MAX_CONFIG_BYTES};
pub use generation::GenerationConfig;
pub use json::{JsonError, JsonLimits, parse_json};
pub use model::{Defaulted, ModelConfig};
pub(crate) use other_layers::{FULL, LINEAR, OtherLayers, SLIDING, refuse_other_heads, refuse_other_layers};
pub use presets::{PRESETS, Preset};
pub use rope_scaling::RopeScaling;
pub use vocab::tokenizer_vocab_size;
