//! Devices and their budgets.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::PlacementError;
use crate::estimate::{Backend, Resolved};
use crate::units::parse_size;

/// Names that go before the index of a GPU: PyTorch's, and our own. `cpu:1` and so on are shares of the host that
/// play a GPU each: a split can be tried where there is none.
const BACKENDS: [&str; 8] = ["cpu", "cuda", "hpu", "mps", "npu", "webgpu", "wgpu", "xpu"];

/// A device by name. GPUs come first, by backend and index; the CPU comes last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceId {
    /// A GPU: `cuda:0`.
    Gpu {
        /// `cuda`, `xpu`, …
        backend: String,
        /// Its index among the GPUs of the backend.
        index: u32,
    },
    /// The host.
    Cpu,
}

impl DeviceId {
    /// What drives it, as far as its name tells.
    #[must_use]
    pub fn backend(&self) -> Backend {
        match self {
            Self::Cpu => Backend::Cpu,
            Self::Gpu { backend, .. } => match backend.as_str() {
                "cpu" => Backend::Cpu,
                "mps" => Backend::Metal,
                "wgpu" | "webgpu" | "xpu" => Backend::Wgpu,
                // PyTorch calls AMD's GPUs `cuda` too; whoever knows better says so.
                _ => Backend::Cuda,
            },
        }
    }

    /// As Hugging Face's `device_map` has it: CUDA devices by index, others by name.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Self::Gpu { backend, index } if backend == "cuda" => Value::from(*index),
            other => Value::String(other.to_string()),
        }
    }

    /// Reads a value of a `device_map`: an index or a name.
    ///
    /// # Errors
    /// `disk`, or anything that names no device; `key` says where it stood.
    pub fn from_value(key: &str, value: &Value) -> Result<Self, PlacementError> {
        let bad = || PlacementError::NotADevice { key: key.to_owned(), found: value.to_string() };
        match value {
            Value::Number(_) => value
                .as_u64()
                .and_then(|index| u32::try_from(index).ok())
                .map(|index| Self::Gpu { backend: "cuda".to_owned(), index })
                .ok_or_else(bad),
            Value::String(name) if name == "disk" => Err(PlacementError::Disk { key: key.to_owned() }),
            Value::String(name) => name.parse().ok().ok_or_else(bad),
            _ => Err(bad()),
        }
    }
}

/// A text that names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no device: write cpu, an index such as 0, or a backend and an index such as cuda:0")]
pub struct UnknownDeviceName(pub String);

impl std::str::FromStr for DeviceId {
    type Err = UnknownDeviceName;

    /// `cpu`, `cuda:1`, `cuda` (its first) or `1` (of CUDA).
    fn from_str(text: &str) -> Result<Self, UnknownDeviceName> {
        let unknown = || UnknownDeviceName(text.to_owned());
        if text == "cpu" || text == "cpu:0" {
            return Ok(Self::Cpu);
        }
        let (backend, index) = match text.split_once(':') {
            Some(parts) => parts,
            None if text.bytes().all(|b| b.is_ascii_digit()) => ("cuda", text),
            None => (text, "0"),
        };
        if !BACKENDS.contains(&backend) || !index.bytes().all(|b| b.is_ascii_digit()) {
            return Err(unknown());
        }
        let index = index.parse().ok().ok_or_else(unknown)?;
        Ok(Self::Gpu { backend: backend.to_owned(), index })
    }
}

impl TryFrom<String> for DeviceId {
    type Error = UnknownDeviceName;

    fn try_from(text: String) -> Result<Self, UnknownDeviceName> {
        text.parse()
    }
}

impl From<DeviceId> for String {
    fn from(id: DeviceId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gpu { backend, index } => write!(f, "{backend}:{index}"),
            Self::Cpu => f.write_str("cpu"),
        }
    }
}

/// A device and the bytes that may be used on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Which.
    pub id: DeviceId,
    /// Bytes.
    pub budget_bytes: u64,
    /// What computes there: its name tells, unless somebody knows better.
    pub backend: Backend,
    /// What a runtime takes of them as soon as anything lies there.
    pub overhead_bytes: u64,
}

impl Device {
    /// A device with its budget and the assumed runtime of its kind, without a tokenizer.
    #[must_use]
    pub fn new(id: DeviceId, budget_bytes: u64) -> Self {
        let backend = id.backend();
        Self { id, budget_bytes, backend, overhead_bytes: backend.assumed_overhead(0).0 }
    }

    /// A device with its budget and the runtime that a load counts there: measured where it was measured, else
    /// assumed. What a plan counts and what an engine may hold are told apart by it, so all ask it here.
    #[must_use]
    pub fn of(id: DeviceId, budget_bytes: u64, resolved: &Resolved) -> Self {
        let backend = id.backend();
        Self::new(id, budget_bytes).driven_by(backend, resolved)
    }

    /// The same where it is known what drives it.
    #[must_use]
    pub fn driven_by(self, backend: Backend, resolved: &Resolved) -> Self {
        Self { backend, overhead_bytes: resolved.overhead_of(backend), ..self }
    }

    /// The same with another runtime.
    #[must_use]
    pub fn with_overhead(self, overhead_bytes: u64) -> Self {
        Self { overhead_bytes, ..self }
    }
}

/// The devices of a plan, GPUs first; each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devices {
    list: Vec<Device>,
    stated: bool,
}

impl Devices {
    /// Devices with what is free on them.
    ///
    /// # Errors
    /// No device, or one named twice.
    pub fn free(list: Vec<Device>) -> Result<Self, PlacementError> {
        Self::new(list, false)
    }

    /// Devices with budgets that somebody set (`max_memory`).
    ///
    /// # Errors
    /// No device, or one named twice.
    pub fn stated(list: Vec<Device>) -> Result<Self, PlacementError> {
        Self::new(list, true)
    }

    /// Reads a `max_memory` map: `{"0": "12GiB", "cpu": 34359738368}`. As for Hugging Face, only devices with an
    /// entry are used. Of a device whose free memory is known, no more than that is planned with.
    ///
    /// # Errors
    /// Not a map, a key that names no device, `disk`, a size that cannot be read, or no entry at all.
    pub fn from_max_memory(max_memory: &Value, free: &[Device]) -> Result<Self, PlacementError> {
        let map = max_memory.as_object().ok_or_else(|| PlacementError::Budget {
            device: String::new(),
            found: max_memory.to_string(),
            expected: r#"a map of devices to sizes: {"0": "12GiB", "cpu": "32GiB"}"#.to_owned(),
        })?;
        let read = |(key, size): (&String, &Value)| {
            let id = DeviceId::from_value(key, &Value::String(key.clone()))?;
            let bad = |expected: String| PlacementError::Budget {
                device: key.clone(),
                found: size.to_string(),
                expected,
            };
            let stated = match size {
                Value::String(text) => parse_size(text).map_err(|error| bad(error.expected()))?,
                other => other.as_u64().ok_or_else(|| bad("bytes or a size such as 12GiB".to_owned()))?,
            };
            let known =
                free.iter().find(|device| device.id == id).map_or(u64::MAX, |device| device.budget_bytes);
            Ok(Device::new(id, stated.min(known)))
        };
        Self::stated(map.iter().map(read).collect::<Result<_, PlacementError>>()?)
    }

    fn new(mut list: Vec<Device>, stated: bool) -> Result<Self, PlacementError> {
        list.sort_by(|a, b| a.id.cmp(&b.id));
        let mut seen = BTreeSet::new();
        match list.iter().find(|device| !seen.insert(&device.id)) {
            Some(twice) => Err(PlacementError::DuplicateDevice { device: twice.id.clone() }),
            None if list.is_empty() => Err(PlacementError::NoDevice),
            None => Ok(Self { list, stated }),
        }
    }

    /// The devices, GPUs first.
    #[must_use]
    pub fn list(&self) -> &[Device] {
        &self.list
    }

    /// Whether the budgets were set by somebody, not read from the machine.
    #[must_use]
    pub fn are_stated(&self) -> bool {
        self.stated
    }

    /// How many of them are GPUs: the first ones of the list.
    pub(super) fn gpus(&self) -> usize {
        self.list.iter().filter(|device| device.id != DeviceId::Cpu).count()
    }

    pub(super) fn position(&self, id: &DeviceId) -> Result<usize, PlacementError> {
        self.list.iter().position(|device| device.id == *id).ok_or_else(|| PlacementError::UnknownDevice {
            device: id.clone(),
            known: self.list.iter().map(|device| device.id.clone()).collect(),
        })
    }
}
