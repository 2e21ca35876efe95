//! What the CLI and HTTP answer alike, from an opened model.

use phi3::api::ErrorObject;
use phi3::estimate;
use preflight_files::Model;

/// What a load of `model` needs. Where it has weights, their headers are counted and held against the config.
///
/// # Errors
/// A config, weights or option that is refused.
pub fn estimate(model: &Model, options: &estimate::Options) -> Result<estimate::Report, ErrorObject> {
    let config = model.config()?;
    let stored = match &model.checkpoint {
        Some(_) => Some(model.checked_weights(&config)?.tensors()),
        None => None,
    };
    estimate::estimate(&config, stored, options)
        .map_err(|error| ErrorObject::new("invalid_option", error.to_string()).at(error.option))
}
