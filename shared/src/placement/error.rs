//! Why there is no placement.

use thiserror::Error;

use super::DeviceId;
use crate::units::format_bytes;

/// A device that would be given more than its budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over {
    /// Which.
    pub device: DeviceId,
    /// What would lie on it.
    pub needed_bytes: u64,
    /// What it has.
    pub budget_bytes: u64,
}

impl Over {
    /// By how much.
    #[must_use]
    pub fn excess_bytes(&self) -> u64 {
        self.needed_bytes.saturating_sub(self.budget_bytes)
    }
}

/// Room on a device that was too small for a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Which.
    pub device: DeviceId,
    /// What is left on it.
    pub left_bytes: u64,
    /// What the module needs there.
    pub needed_bytes: u64,
    /// What must stay free beside it: the largest layer still to come, by Hugging Face's rules.
    pub kept_bytes: u64,
}

/// A request that cannot be met.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlacementError {
    /// Nothing to place on.
    #[error("no device to place modules on: name at least cpu with a budget")]
    NoDevice,
    /// A device that stands twice in the list.
    #[error("{device} is listed twice: give each device one budget")]
    DuplicateDevice {
        /// Which.
        device: DeviceId,
    },
    /// A budget that cannot be read.
    #[error("`max_memory{}` is {found}, expected {expected}", dotted(device))]
    Budget {
        /// Its key; empty for the whole map.
        device: String,
        /// The value found.
        found: String,
        /// What would be accepted.
        expected: String,
    },
    /// A `device_map` that is neither a strategy, nor a device, nor a map.
    #[error(
        "`device_map` is {found}, expected auto, balanced, balanced_low_0, sequential, a device, or a map of module names to devices"
    )]
    NotAStrategy {
        /// The value found.
        found: String,
    },
    /// A value that names no device.
    #[error("`{key}` goes to {found}: write cpu, an index such as 0, or a name such as cuda:0")]
    NotADevice {
        /// The module's name in the map.
        key: String,
        /// The value found.
        found: String,
    },
    /// Weights are not run from disk.
    #[error("`{key}` goes to disk: weights are not run from disk; use cpu, or fewer bytes a weight")]
    Disk {
        /// The module's name in the map, or the module that would go there.
        key: String,
    },
    /// A device that is not there.
    #[error("{device} is not among the devices with a budget: {}", joined(known))]
    UnknownDevice {
        /// Which.
        device: DeviceId,
        /// Those that are.
        known: Vec<DeviceId>,
    },
    /// A name that no module has.
    #[error("`device_map` names `{key}`, which is no module of this model; did you mean `{nearest}`?")]
    UnknownModule {
        /// The name.
        key: String,
        /// The module or the group of modules nearest to it.
        nearest: String,
    },
    /// A name inside a module that is placed whole.
    #[error("`device_map` names `{key}`: `{module}` goes to one device as a whole; name it instead")]
    SplitsModule {
        /// The name.
        key: String,
        /// The module around it.
        module: String,
    },
    /// Modules that a map leaves out.
    #[error("`device_map` gives no device for {}", joined(modules))]
    MissingModules {
        /// Their names.
        modules: Vec<String>,
    },
    /// Modules that share weights and would be apart.
    #[error(
        "`{module}` goes to {device} and `{twin}` to {twin_device}: they share weights; give both one device"
    )]
    SplitsTied {
        /// One of them.
        module: String,
        /// Where it would go.
        device: DeviceId,
        /// The other.
        twin: String,
        /// Where that would go.
        twin_device: DeviceId,
    },
    /// Devices that would hold more than they have.
    #[error("over budget: {}", over_budget(devices))]
    OverBudget {
        /// Each of them.
        devices: Vec<Over>,
    },
    /// Modules that are left when every device is full.
    #[error(
        "`{module}`{}, {} in all: {}; weights are not run from disk",
        further(*further_modules),
        format_bytes(*left_over_bytes),
        full(rooms)
    )]
    DoesNotFit {
        /// The first that goes nowhere.
        module: String,
        /// How many after it.
        further_modules: usize,
        /// Weights and KV cache of all of them.
        left_over_bytes: u64,
        /// Every device that was tried for the first, in order.
        rooms: Vec<Room>,
    },
}

impl PlacementError {
    /// Weights and KV cache of what goes nowhere.
    #[must_use]
    pub fn left_over_bytes(&self) -> u64 {
        match self {
            Self::DoesNotFit { left_over_bytes, .. } => *left_over_bytes,
            _ => 0,
        }
    }

    /// A stable name for programs: the `code` of an error object.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoDevice => "no_device",
            Self::DuplicateDevice { .. } => "duplicate_device",
            Self::Budget { .. } => "max_memory_invalid",
            Self::NotAStrategy { .. } | Self::NotADevice { .. } => "device_map_invalid",
            Self::Disk { .. } => "disk_offload",
            Self::UnknownDevice { .. } => "unknown_device",
            Self::UnknownModule { .. } => "unknown_module",
            Self::SplitsModule { .. } => "splits_module",
            Self::MissingModules { .. } => "missing_modules",
            Self::SplitsTied { .. } => "splits_tied",
            Self::OverBudget { .. } => "over_budget",
            Self::DoesNotFit { .. } => "does_not_fit",
        }
    }
}

fn dotted(device: &str) -> String {
    if device.is_empty() { String::new() } else { format!(".{device}") }
}

/// The first few of a list.
fn joined<T: std::fmt::Display>(list: &[T]) -> String {
    const SHOWN: usize = 5;
    let mut text = list.iter().take(SHOWN).map(T::to_string).collect::<Vec<_>>().join(", ");
    if list.len() > SHOWN {
        text.push_str(&format!(" and {} more", list.len() - SHOWN));
    }
    text
}

fn over_budget(devices: &[Over]) -> String {
    let each = |over: &Over| {
        format!(
            "{} would hold {} of {}, {} too much",
            over.device,
            format_bytes(over.needed_bytes),
            format_bytes(over.budget_bytes),
            format_bytes(over.excess_bytes())
        )
    };
    devices.iter().map(each).collect::<Vec<_>>().join("; ")
}

fn further(modules: usize) -> String {
    match modules {
        0 => " fits nowhere".to_owned(),
        1 => " and 1 module after it fit nowhere".to_owned(),
        _ => format!(" and {modules} modules after it fit nowhere"),
    }
}

fn full(rooms: &[Room]) -> String {
    let each = |room: &Room| {
        let kept = if room.kept_bytes == 0 {
            String::new()
        } else {
            format!(" and {} are kept free", format_bytes(room.kept_bytes))
        };
        format!(
            "{} has {} left where it needs {}{kept}",
            room.device,
            format_bytes(room.left_bytes),
            format_bytes(room.needed_bytes)
        )
    };
    rooms.iter().map(each).collect::<Vec<_>>().join("; ")
}
