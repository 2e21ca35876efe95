//! Devices as they are now.

use serde::{Deserialize, Serialize};

use super::Environment;

/// The devices of the server's machine, and the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Devices {
    /// GPUs first, the host last.
    pub devices: Vec<DeviceNow>,
    /// The machine; its notes say what else matters: WSL, a container.
    pub environment: Environment,
}

/// A device as it is now; null is what nobody tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceNow {
    /// How it is asked for: `cpu`, `cuda:0`; for an AMD GPU its place among them, which no engine takes.
    pub device: String,
    /// What its maker calls it.
    pub name: String,
    /// Its driver and the driver's version.
    pub driver: Option<String>,
    /// Memory in all.
    pub total_bytes: Option<u64>,
    /// Memory that can be had now.
    pub free_bytes: Option<u64>,
    /// Memory that is used.
    pub used_bytes: Option<u64>,
    /// Processes that hold memory of it.
    pub holders: Vec<Holder>,
    /// Who told: `nvml`, `amdgpu sysfs`, `system`, `worker`.
    pub source: String,
    /// Why it computes nothing, where its driver says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// A process that holds memory of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// What it holds; null where the driver does not tell.
    pub bytes: Option<u64>,
}
