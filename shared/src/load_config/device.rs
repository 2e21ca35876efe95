//! Devices and maps of modules to them, in Hugging Face's spellings.

use std::fmt;

use serde_json::{Map, Value};

use super::LoadConfigError;

/// A place that layers can lie on. Ordered as budgets are printed: GPUs by index, then the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Device {
    /// An NVIDIA GPU (on ROCm builds of PyTorch an AMD one), by index.
    Cuda(u16),
    /// A GPU through WebGPU, Vulkan or Metal, by index.
    Wgpu(u16),
    /// The host.
    Cpu,
}

impl Device {
    /// Spellings that are understood, for messages.
    pub const SPELLINGS: &str = "cpu, cuda:0, wgpu:0 or the index of a GPU";

    /// Reads `cpu`, `cuda:1`, `cuda`, `wgpu:0`, or the bare index that Hugging Face gives a GPU.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let index = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        match text {
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            "wgpu" => Some(Self::Wgpu(0)),
            _ => match text.split_once(':') {
                Some(("cuda", number)) => index(number).map(Self::Cuda),
                Some(("wgpu", number)) => index(number).map(Self::Wgpu),
                Some(_) => None,
                None => index(text).map(Self::Cuda),
            },
        }
    }

    /// Reads a device from JSON: a text or a number.
    pub(super) fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::parse(text),
            Value::Number(number) => number.as_u64().and_then(|n| u16::try_from(n).ok()).map(Self::Cuda),
            _ => None,
        }
    }

    /// The key of this device in `max_memory`: Hugging Face names CUDA devices by bare index there.
    #[must_use]
    pub fn budget_key(self) -> String {
        match self {
            Self::Cuda(index) => index.to_string(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Wgpu(index) => write!(f, "wgpu:{index}"),
            Self::Cpu => f.write_str("cpu"),
        }
    }
}

/// `device_map`: where the layers go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceMap {
    /// Wherever there is room, the fastest device first.
    Auto,
    /// Shared out evenly.
    Balanced,
    /// Shared out evenly, with little on the first GPU.
    BalancedLow0,
    /// Each device filled before the next.
    Sequential,
    /// All on one device.
    Device(Device),
    /// Modules by name, each with its device, in the order given. The empty name is everything not named.
    Map(Vec<(String, Device)>),
}

impl DeviceMap {
    const EXPECTED: &str = "auto, balanced, balanced_low_0, sequential, cpu, cuda:0, wgpu:0, or a map of module names to devices";

    /// Reads a `device_map`; `errors` gets every entry that is no device.
    pub(super) fn parse(key: &str, value: &Value, errors: &mut Vec<LoadConfigError>) -> Option<Self> {
        match value {
            Value::Object(map) => Self::parse_map(key, map, errors),
            Value::String(name) if strategy(name).is_some() => strategy(name),
            _ => match Device::from_json(value) {
                Some(device) => Some(Self::Device(device)),
                None => {
                    errors.push(not_a_device(key, value, Self::EXPECTED));
                    None
                }
            },
        }
    }

    fn parse_map(key: &str, map: &Map<String, Value>, errors: &mut Vec<LoadConfigError>) -> Option<Self> {
        if map.is_empty() {
            errors.push(LoadConfigError::invalid(key, &Value::Object(map.clone()), Self::EXPECTED));
            return None;
        }
        let mut modules = Vec::with_capacity(map.len());
        let before = errors.len();
        for (module, value) in map {
            match Device::from_json(value) {
                Some(device) => modules.push((module.clone(), device)),
                None => errors.push(not_a_device(&format!("{key}.{module}"), value, Device::SPELLINGS)),
            }
        }
        if errors.len() > before {
            return None;
        }
        match modules.as_slice() {
            [(module, device)] if module.is_empty() => Some(Self::Device(*device)),
            _ => Some(Self::Map(modules)),
        }
    }

    /// In Hugging Face's spelling.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Auto => "auto".into(),
            Self::Balanced => "balanced".into(),
            Self::BalancedLow0 => "balanced_low_0".into(),
            Self::Sequential => "sequential".into(),
            Self::Device(device) => device.to_string().into(),
            Self::Map(modules) => {
                let entry = |(module, device): &(String, Device)| (module.clone(), device.to_string().into());
                Value::Object(modules.iter().map(entry).collect())
            }
        }
    }

    /// Every device that is named, each once, in order; none where the loader chooses.
    #[must_use]
    pub fn devices(&self) -> Vec<Device> {
        let mut devices = match self {
            Self::Device(device) => vec![*device],
            Self::Map(modules) => modules.iter().map(|(_, device)| *device).collect(),
            _ => Vec::new(),
        };
        devices.sort_unstable();
        devices.dedup();
        devices
    }
}

fn strategy(name: &str) -> Option<DeviceMap> {
    Some(match name {
        "auto" => DeviceMap::Auto,
        "balanced" => DeviceMap::Balanced,
        "balanced_low_0" => DeviceMap::BalancedLow0,
        "sequential" => DeviceMap::Sequential,
        _ => return None,
    })
}

fn not_a_device(path: &str, value: &Value, expected: &str) -> LoadConfigError {
    if value == "disk" {
        return LoadConfigError::refused(path, "no layer is offloaded to disk; name a GPU or cpu");
    }
    LoadConfigError::invalid(path, value, expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_in_every_spelling() {
        for (text, device) in [
            ("cpu", Device::Cpu),
            ("0", Device::Cuda(0)),
            ("cuda", Device::Cuda(0)),
            ("cuda:3", Device::Cuda(3)),
            ("wgpu:1", Device::Wgpu(1)),
        ] {
            assert_eq!(Device::parse(text), Some(device), "{text}");
            assert_eq!(Device::parse(&device.to_string()), Some(device));
            assert_eq!(Device::parse(&device.budget_key()), Some(device));
        }
        for text in ["", "-1", "+1", "gpu", "cuda:", "cuda:x", "cuda:99999", "CPU ", "disk", ":0"] {
            assert_eq!(Device::parse(text), None, "{text}");
        }
    }
}
