//! `--load-config FILE`.

use std::path::Path;

use phi3::api::ErrorObject;
use phi3::config::{Fields, MAX_CONFIG_BYTES};
use phi3::load_config::{LoadConfig, LoadConfigError};
use serde_json::{Map, Value};

use super::input;
use crate::error::CliError;
use crate::launcher;

/// The overrides of a file that shall be sized; none without one. They are checked here, before anything is opened.
pub(super) fn read(file: Option<&Path>) -> Result<Map<String, Value>, CliError> {
    let (map, config) = parse(file)?;
    match (file, launcher::check_template_early(config.chat_template.as_deref())) {
        (Some(file), Err(error)) => Err(of_file(file, error)),
        _ => Ok(map),
    }
}

/// The overrides of a file that shall be loaded: also what this build cannot run is refused.
pub(super) fn read_to_run(file: Option<&Path>) -> Result<Map<String, Value>, CliError> {
    let (map, config) = parse(file)?;
    match (file, config.refusals().first()) {
        (Some(file), Some(error)) => Err(at_file(file, error)),
        _ => Ok(map),
    }
}

/// The object in a file, as it stands. Of a certificate it is the load config that was certified.
pub(super) fn read_object(file: &Path) -> Result<Map<String, Value>, CliError> {
    let fields = Fields::parse(&input::read(file, MAX_CONFIG_BYTES)?);
    let fields = fields.map_err(|error| at_file(file, &LoadConfigError::Json(error)))?;
    match fields.get("load_config") {
        Some(Value::Object(certified)) if fields.get("preflight_certificate").is_some() => {
            Ok(certified.clone())
        }
        _ => Ok(fields.map().clone()),
    }
}

/// The load config in a file, and as it stands.
pub(super) fn parse(file: Option<&Path>) -> Result<(Map<String, Value>, LoadConfig), CliError> {
    let Some(file) = file else { return Ok((Map::new(), LoadConfig::default())) };
    let map = read_object(file)?;
    let config = LoadConfig::from_map(&map).map_err(|error| at_file(file, &error))?;
    Ok((map, config))
}

fn at_file(file: &Path, error: &LoadConfigError) -> CliError {
    of_file(file, error.into())
}

fn of_file(file: &Path, error: ErrorObject) -> CliError {
    let message = format!("{}: {}", file.display(), error.message);
    ErrorObject { message, ..error }.into()
}
