//! The devices of this machine: names, memory, drivers, and who holds what. No driver of a GPU is loaded for it but
//! NVIDIA's management library, which makes no context; what needs one is asked of a worker.

mod amd;
mod host;
mod memory;
mod nvidia;
pub(crate) mod xid;

pub use host::environment;
pub use memory::{MemoryNow, memory};

use phi3::api::DeviceNow;

/// Every device that can be asked without a driver's context: the host last.
#[must_use]
pub fn now() -> Vec<DeviceNow> {
    let mut devices = gpus();
    devices.push(host::device());
    devices
}

/// Every GPU of [`now`].
#[must_use]
pub fn gpus() -> Vec<DeviceNow> {
    let mut gpus = nvidia::devices();
    gpus.extend(amd::devices(amd::DRM.as_ref()));
    gpus
}
