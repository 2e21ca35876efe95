//! Parameters, counted from the list of tensors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::ModelConfig;
use crate::tensors::{self, Group};

/// Parameters of one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCount {
    /// The group.
    pub name: Group,
    /// Parameters in it.
    pub count: u64,
}

/// Parameters of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Params {
    /// All of them; tied weights once.
    pub total: u64,
    /// By group, in a fixed order, empty groups included; they add up to `total`.
    pub groups: Vec<GroupCount>,
}

/// Counts the parameters of a model.
#[must_use]
pub fn params(config: &ModelConfig) -> Params {
    let mut counts: BTreeMap<Group, u64> = BTreeMap::new();
    for tensor in tensors::list(config) {
        *counts.entry(tensor.group()).or_default() += tensor.count();
    }
    let count = |name| GroupCount { name, count: counts.get(&name).copied().unwrap_or(0) };
    Params { total: counts.values().sum(), groups: Group::ALL.into_iter().map(count).collect() }
}

/// The rule of thumb that teams use: `hidden × intermediate × layers × 2`. Wrong by more than half for Phi-3-mini.
#[must_use]
pub fn rule_of_thumb(config: &ModelConfig) -> u64 {
    2 * config.hidden_size as u64 * config.intermediate_size as u64 * config.num_hidden_layers as u64
}
