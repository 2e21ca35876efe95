//! `device_map` in one spelling: what [`crate::placement`] is asked for.

use serde_json::{Map, Value};

use super::LoadConfigError;
use crate::placement::{DeviceId, Strategy};

const EXPECTED: &str =
    "auto, balanced, balanced_low_0, sequential, cpu, cuda:0, wgpu:0, or a map of module names to devices";

/// Reads a `device_map`; `errors` gets every entry that is no device.
pub(super) fn parse(key: &str, value: &Value, errors: &mut Vec<LoadConfigError>) -> Option<Strategy> {
    let Value::Object(map) = value else {
        let strategy = Strategy::parse(value).ok();
        if strategy.is_none() {
            errors.push(not_a_device(key, value, EXPECTED));
        }
        return strategy;
    };
    if map.is_empty() {
        errors.push(LoadConfigError::invalid(key, value, EXPECTED));
        return None;
    }
    let before = errors.len();
    let mut modules = Vec::with_capacity(map.len());
    for (module, value) in map {
        match DeviceId::from_value(module, value) {
            Ok(device) => modules.push((module.clone(), device)),
            Err(_) => {
                let path = if module.is_empty() { key.to_owned() } else { format!("{key}.{module}") };
                errors.push(not_a_device(&path, value, "cpu, the index of a GPU, or a name such as cuda:0"));
            }
        }
    }
    if errors.len() > before {
        return None;
    }
    match modules.as_slice() {
        // `{"": "cuda:0"}` is how Hugging Face spells one device.
        [(module, device)] if module.is_empty() => Some(Strategy::Single(device.clone())),
        _ => Some(Strategy::Explicit(modules)),
    }
}

fn not_a_device(path: &str, value: &Value, expected: &str) -> LoadConfigError {
    if value == "disk" {
        return LoadConfigError::refused(path, "no layer is offloaded to disk; name a GPU or cpu");
    }
    LoadConfigError::invalid(path, value, expected)
}

/// A `device_map` in Hugging Face's spelling.
pub(super) fn to_json(strategy: &Strategy) -> Value {
    match strategy {
        Strategy::Auto => "auto".into(),
        Strategy::Balanced => "balanced".into(),
        Strategy::BalancedLow0 => "balanced_low_0".into(),
        Strategy::Sequential => "sequential".into(),
        Strategy::Single(device) => device.to_string().into(),
        Strategy::Explicit(modules) => {
            let entry = |(module, device): &(String, DeviceId)| (module.clone(), device.to_string().into());
            Value::Object(modules.iter().map(entry).collect::<Map<_, _>>())
        }
    }
}

/// Every device that is named, each once, in order; none where the loader chooses.
pub(super) fn devices(strategy: &Strategy) -> Vec<&DeviceId> {
    let mut devices: Vec<&DeviceId> = match strategy {
        Strategy::Single(device) => vec![device],
        Strategy::Explicit(modules) => modules.iter().map(|(_, device)| device).collect(),
        _ => Vec::new(),
    };
    devices.sort_unstable();
    devices.dedup();
    devices
}
