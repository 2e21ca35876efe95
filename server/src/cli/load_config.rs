//! `--load-config FILE`.

use std::path::Path;

use phi3::config::{Fields, MAX_CONFIG_BYTES};
use phi3::load_config::{LoadConfig, LoadConfigError};
use preflight_files::read_small;
use serde_json::{Map, Value};

use crate::error::CliError;
use crate::reports;

/// The overrides of a file; none without one. They are checked here, before anything is started.
pub(super) fn read(file: Option<&Path>) -> Result<Map<String, Value>, CliError> {
    let Some(file) = file else { return Ok(Map::new()) };
    let at_file = |error: LoadConfigError| {
        let mut object = reports::load_config_error(&error);
        object.message = format!("{}: {}", file.display(), object.message);
        CliError::from(object)
    };
    let fields = Fields::parse(&read_small(file, MAX_CONFIG_BYTES)?);
    let fields = fields.map_err(|error| at_file(LoadConfigError::Json(error)))?;
    LoadConfig::from_map(fields.map()).map_err(at_file)?;
    Ok(fields.map().clone())
}
