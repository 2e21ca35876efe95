//! What is asked for: `device_map`, and by whose rules it is met.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{DeviceId, PlacementError};

/// A request for placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// Whatever is best.
    Auto,
    /// The GPUs share alike.
    Balanced,
    /// As balanced, the first GPU left as free as can be.
    BalancedLow0,
    /// One device filled after the other.
    Sequential,
    /// Everything on one device.
    Single(DeviceId),
    /// Names of modules, or of groups of them (`model.layers`, or all: an empty name), and their devices;
    /// the longest name that fits a module decides.
    Explicit(Vec<(String, DeviceId)>),
}

impl Strategy {
    /// Reads a `device_map`: a strategy's name, a device's name or index, or a map.
    ///
    /// # Errors
    /// Anything else; `disk`.
    pub fn parse(device_map: &Value) -> Result<Self, PlacementError> {
        let not_a_strategy = || PlacementError::NotAStrategy { found: device_map.to_string() };
        match device_map {
            Value::String(name) => Ok(match name.as_str() {
                "auto" => Self::Auto,
                "balanced" => Self::Balanced,
                "balanced_low_0" => Self::BalancedLow0,
                "sequential" => Self::Sequential,
                "disk" => return Err(PlacementError::Disk { key: "device_map".to_owned() }),
                device => Self::Single(device.parse().ok().ok_or_else(not_a_strategy)?),
            }),
            Value::Number(_) => {
                DeviceId::from_value("device_map", device_map).map(Self::Single).or(Err(not_a_strategy()))
            }
            Value::Object(map) => {
                let entry = |(key, value): (&String, &Value)| {
                    DeviceId::from_value(key, value).map(|device| (key.clone(), device))
                };
                Ok(Self::Explicit(map.iter().map(entry).collect::<Result<_, _>>()?))
            }
            _ => Err(not_a_strategy()),
        }
    }
}

/// Whose rules a placement follows; the module's page holds them side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rules {
    /// Everything counted, against budgets as stated.
    #[default]
    Preflight,
    /// accelerate 1.15, and transformers 4 through it: weights alone.
    Accelerate,
    /// transformers 5.23: weights alone.
    Transformers,
}
