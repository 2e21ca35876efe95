//! What a plan answers.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{DeviceId, Rules};

/// One module and its device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedModule {
    /// Its name: `model.layers.14`.
    pub name: String,
    /// Where it goes.
    pub device: DeviceId,
    /// Why, with the numbers.
    pub reason: String,
}

impl std::fmt::Display for PlacedModule {
    /// `model.layers.14 goes to cpu: cuda:0 has …`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} goes to {}: {}", self.name, self.device, self.reason)
    }
}

/// What lies on one device, term by term; everything counted, by whatever rules the map was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceUse {
    /// Which.
    pub device: DeviceId,
    /// Modules on it.
    pub modules: usize,
    /// Weights, tied ones once.
    pub weights_bytes: u64,
    /// Its layers' share of the KV cache.
    pub kv_cache_bytes: u64,
    /// Workspaces of what computes on it.
    pub activation_bytes: u64,
    /// Runtime; none where nothing lies.
    pub overhead_bytes: u64,
    /// Sum of the terms.
    pub total_bytes: u64,
    /// What may be used.
    pub budget_bytes: u64,
    /// What is left of the budget.
    pub free_bytes: u64,
    /// What goes beyond the budget: only where Hugging Face's rules made the map.
    pub over_bytes: u64,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// By whose rules.
    pub rules: Rules,
    /// Every module once, in the order of computation.
    pub modules: Vec<PlacedModule>,
    /// The same as a `device_map` of Hugging Face, groups together.
    pub device_map: Map<String, Value>,
    /// Every device that was given, used or not.
    pub devices: Vec<DeviceUse>,
    /// Modules on the CPU although there are GPUs.
    pub offloaded: Vec<String>,
    /// What is to be said about the plan as a whole.
    pub notes: Vec<String>,
}
