//! What an engine knows of the device that it computed on.

use serde::{Deserialize, Serialize};

/// A device, what it grants, and what it was seen to do: evidence for whoever asks whether it was used at all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeviceFacts {
    /// What its driver or its browser calls it; empty where they tell nothing.
    pub name: String,
    /// A processor that plays a GPU.
    pub is_software: bool,
    /// What kernels use beyond what every such device has, in words.
    pub features: Vec<String>,
    /// Limits, and what the loaded model takes of each.
    pub limits: Vec<LimitFact>,
    /// Batches of commands that the device was given. 0 where the host itself computes.
    pub submissions: u64,
    /// Bytes of buffers that it holds for the model.
    pub buffer_bytes: u64,
}

/// One limit of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitFact {
    /// Its name in the device's own terms: `maxStorageBufferBindingSize`.
    pub name: String,
    /// What the device grants.
    pub granted: u64,
    /// What the loaded model takes; `None` where nobody counts it.
    pub needed: Option<u64>,
}

impl LimitFact {
    /// A limit and what is taken of it.
    pub fn new(name: impl Into<String>, granted: u64, needed: Option<u64>) -> Self {
        Self { name: name.into(), granted, needed }
    }
}
