//! `max_memory`: what a load may take of each device.

use std::collections::BTreeMap;

use serde_json::Value;

use super::LoadConfigError;
use crate::placement::DeviceId;
use crate::units::{nearest, one_line, parse_size};

/// Bytes allowed on each device that is named.
pub type Budgets = BTreeMap<DeviceId, u64>;

/// Reads a `max_memory`; `errors` gets every entry that is refused.
pub(super) fn parse(key: &str, value: &Value, errors: &mut Vec<LoadConfigError>) -> Option<Budgets> {
    let Some(map) = value.as_object() else {
        errors.push(LoadConfigError::invalid(key, value, r#"a map of devices to sizes: {"0": "12GiB"}"#));
        return None;
    };
    let mut budgets = Budgets::new();
    for (name, size) in map {
        let path = format!("{key}.{name}");
        let device = match name.parse::<DeviceId>() {
            Ok(device) => device,
            Err(_) if name == "disk" => {
                errors.push(LoadConfigError::refused(&path, "no layer is offloaded to disk; remove it"));
                continue;
            }
            Err(_) => {
                let known = vec!["0", "cpu", "wgpu:0"];
                let nearest = nearest(name, known.iter().copied());
                // The first GPU is meant, and its key is a number.
                let nearest = if name == "gpu" || name == "cuda" { Some("0") } else { nearest };
                errors.push(LoadConfigError::UnknownKey { key: one_line(&path), nearest, known });
                continue;
            }
        };
        match bytes(&path, size) {
            Err(error) => errors.push(error),
            Ok(bytes) => {
                if let Some(other) = budgets.insert(device.clone(), bytes).filter(|other| *other != bytes) {
                    let rule = format!("is {bytes} bytes, but another spelling of {device} says {other}");
                    errors.push(LoadConfigError::contradiction(&path, rule));
                }
            }
        }
    }
    Some(budgets)
}

/// The key of a device in `max_memory`: Hugging Face names CUDA devices by bare index there.
#[must_use]
pub fn budget_key(device: &DeviceId) -> String {
    match device {
        DeviceId::Gpu { backend, index } if backend == "cuda" => index.to_string(),
        other => other.to_string(),
    }
}

fn bytes(path: &str, size: &Value) -> Result<u64, LoadConfigError> {
    const EXPECTED: &str = "bytes, or a size such as 12GiB";
    match size {
        Value::Number(_) => super::whole(size)
            .filter(|bytes| *bytes <= 1 << 63)
            .ok_or_else(|| LoadConfigError::invalid(path, size, EXPECTED)),
        Value::String(text) => {
            parse_size(text).map_err(|error| LoadConfigError::invalid(path, size, error.expected()))
        }
        _ => Err(LoadConfigError::invalid(path, size, EXPECTED)),
    }
}
