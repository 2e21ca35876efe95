//! Whose fault it is that a config under overrides is refused.

use phi3::api::ErrorObject;
use phi3::config::{ConfigError, Fields};
use phi3::decoder::Decoder;
use phi3::load_config::LoadConfig;

/// A config that is refused for an override, at the override: none where its own keys are at fault.
#[must_use]
pub fn of_override(load_config: &LoadConfig, own: &Fields, error: &ConfigError) -> Option<ErrorObject> {
    place_among(load_config, own, error).map(|path| of_overrides(error).at(path))
}

/// The override that makes a config what it refuses to be: the one that the error names, or that came to a config which
/// is good without it.
fn place_among(load_config: &LoadConfig, own: &Fields, error: &ConfigError) -> Option<String> {
    let changed = [
        ("rope_scaling", load_config.rope_scaling.is_some()),
        ("sliding_window", load_config.sliding_window.is_some()),
    ];
    let mut changed = changed.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key);
    let field = error.field().unwrap_or_default();
    let named = changed.clone().find(|key| field.split('.').next() == Some(*key));
    let place = match named {
        Some(_) => Some(field),
        None if Decoder::from_fields(own).is_ok() => changed.next(),
        None => None,
    };
    place.map(|place| format!("load_config.{place}"))
}

/// An error of the config in the words of the load config that leads to it.
fn of_overrides(error: &ConfigError) -> ErrorObject {
    let code = match error {
        ConfigError::Unsupported { .. } => "unsupported_load_config",
        _ => "load_config_invalid",
    };
    ErrorObject::new(code, format!("load config: {error}"))
}
