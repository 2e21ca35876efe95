//! One device of a load: what may be held there, what is, and the memory that is computed in.

use super::workspace::{Roles, Workspace};
use crate::engine::{EngineError, LoadPlan};
use crate::placement::DeviceId;

/// A device. On a CPU several of them are one memory with separate accounts, so that what a split does can be seen
/// without a GPU.
pub(super) struct Arena {
    pub(super) device: DeviceId,
    pub(super) budget: Budget,
    pub(super) space: Workspace,
}

impl Arena {
    /// A device with what is computed in on it. Before the weights: a workspace that does not fit should not cost a load.
    pub(super) fn new(plan: &LoadPlan, device: &DeviceId, roles: Roles) -> Result<Self, EngineError> {
        let mut budget = Budget::new(plan.budgets.get(device).copied());
        budget.take("activation", Workspace::bytes_of(plan, roles))?;
        Ok(Self { device: device.clone(), budget, space: Workspace::new(plan, roles)? })
    }
}

/// What may be held on a device, and what is.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget {
    limit: Option<u64>,
    used: u64,
}

impl Budget {
    fn new(limit: Option<u64>) -> Self {
        Self { limit, used: 0 }
    }

    /// Notes that `bytes` are about to be held.
    pub(super) fn take(&mut self, phase: &'static str, bytes: u64) -> Result<(), EngineError> {
        let free_bytes = self.limit.map(|limit| limit.saturating_sub(self.used));
        if let Some(free_bytes) = free_bytes.filter(|free| bytes > *free) {
            return Err(EngineError::OutOfMemory { phase, requested_bytes: bytes, free_bytes });
        }
        self.used += bytes;
        Ok(())
    }

    /// Notes that they are no more.
    pub(super) fn give_back(&mut self, bytes: u64) {
        self.used -= bytes;
    }
}

/// Which arena each part is on, by index.
pub(super) struct Places {
    pub(super) embedding: usize,
    pub(super) layers: Vec<usize>,
    pub(super) norm: usize,
    pub(super) head: usize,
}

/// The arenas of a plan with their workspaces, and what is on each.
pub(super) fn arenas(plan: &LoadPlan) -> Result<(Vec<Arena>, Places), EngineError> {
    let split = plan.places();
    let mut devices: Vec<&DeviceId> = Vec::new();
    let mut place = |device| match devices.iter().position(|known| *known == device) {
        Some(place) => place,
        None => {
            devices.push(device);
            devices.len() - 1
        }
    };
    let places = Places {
        embedding: place(&split.embedding),
        layers: split.layers.iter().map(&mut place).collect(),
        norm: place(&split.norm),
        head: place(&split.head),
    };
    let arena = |(index, device): (usize, &&DeviceId)| {
        let has_layers = places.layers.contains(&index);
        let roles = Roles {
            stream: has_layers || [places.embedding, places.norm].contains(&index),
            layers: has_layers,
            head: places.head == index,
        };
        Arena::new(plan, device, roles)
    };
    let arenas = devices.iter().enumerate().map(arena).collect::<Result<_, EngineError>>()?;
    Ok((arenas, places))
}
