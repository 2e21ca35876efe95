//! Parameters, counted from the list of tensors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::StoredTensors;
use crate::decoder::{Decoder, Mlp};
use crate::tensors::{self, Group};
use crate::weights::is_correction;

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
pub fn params(decoder: &Decoder) -> Params {
    let mut counts: BTreeMap<Group, u64> = BTreeMap::new();
    for part in tensors::parts(decoder) {
        let count = counts.entry(part.role.group()).or_default();
        *count = count.saturating_add(part.count());
    }
    in_order(&counts)
}

fn in_order(counts: &BTreeMap<Group, u64>) -> Params {
    let count = |name| GroupCount { name, count: counts.get(&name).copied().unwrap_or(0) };
    Params {
        total: counts.values().fold(0, |sum, count| sum.saturating_add(*count)),
        groups: Group::ALL.into_iter().map(count).collect(),
    }
}

/// Counts the parameters that a checkpoint has of a model, which may be others than its config says. A tensor that the
/// config does not have is of the group that its name speaks of, an MLP's where it speaks of none.
#[must_use]
pub fn params_stored(decoder: &Decoder, stored: &StoredTensors) -> Params {
    let known: BTreeMap<String, Group> =
        tensors::list(decoder).map(|spec| (spec.name, spec.role.group())).collect();
    let mut counts: BTreeMap<Group, u64> = BTreeMap::new();
    for (name, tensor) in stored.iter().filter(|(name, _)| !is_correction(name)) {
        let group = known.get(name).copied().unwrap_or_else(|| Group::named(name));
        let count = counts.entry(group).or_default();
        *count = count.saturating_add(tensor.count());
    }
    in_order(&counts)
}

/// Parameters that one token goes through: all but the experts it is not sent to.
#[must_use]
pub fn active_params(decoder: &Decoder) -> u64 {
    tensors::parts(decoder).fold(0, |sum: u64, part| {
        let share = match part.layer.map(|layer| decoder.layers[layer].mlp) {
            Some(Mlp::Experts { count, active, .. }) if part.role.is_routed() => {
                (part.count() / count as u64).saturating_mul(active as u64)
            }
            _ => part.count(),
        };
        sum.saturating_add(share)
    })
}

/// Parameters of the layers that only predict further ahead, the embedding and head they share not counted again.
#[must_use]
pub fn predictor_params(decoder: &Decoder) -> u64 {
    tensors::predictor_parts(decoder).fold(0, |sum: u64, part| sum.saturating_add(part.count()))
}

/// The rule of thumb that teams use: `hidden × intermediate × layers × 2`. Wrong by more than half for Phi-3-mini.
#[must_use]
pub fn rule_of_thumb(decoder: &Decoder) -> u64 {
    let width = match decoder.first().mlp {
        Mlp::Dense { width } | Mlp::Experts { width, .. } => width,
    };
    let factors = [2, decoder.hidden_size, width, decoder.layers.len()];
    factors.iter().fold(1, |product: u64, factor| product.saturating_mul(*factor as u64))
}
