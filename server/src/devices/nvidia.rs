//! NVIDIA's GPUs, by the management library that comes with their driver. It is looked for when the program runs.

use std::ffi::OsStr;
use std::sync::OnceLock;

use nvml_wrapper::Nvml;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use phi3::api::{DeviceNow, Holder};

use super::{host, xid};

/// Its name where only the driver is installed, as in containers; the plain name comes with the toolkit.
const LIBRARY: &str = "libnvidia-ml.so.1";

pub(super) fn library() -> Option<&'static Nvml> {
    static NVML: OnceLock<Option<Nvml>> = OnceLock::new();
    let found = NVML.get_or_init(|| match Nvml::builder().lib_path(OsStr::new(LIBRARY)).init() {
        Ok(nvml) => Some(nvml),
        Err(error) => {
            tracing::debug!(%error, "no NVIDIA management library");
            None
        }
    });
    found.as_ref()
}

/// Version of the driver, and of the CUDA that it has.
pub(super) fn driver() -> Option<String> {
    let nvml = library()?;
    let driver = nvml.sys_driver_version().ok()?;
    let cuda = nvml.sys_cuda_driver_version().ok();
    let cuda = cuda.map(|version| format!(", CUDA {}.{}", version / 1000, version % 1000 / 10));
    Some(format!("NVIDIA {driver}{}", cuda.unwrap_or_default()))
}

/// Every GPU as it is now. What one does not tell is unknown; it does not hide the others.
pub(super) fn devices() -> Vec<DeviceNow> {
    let Some(nvml) = library() else { return Vec::new() };
    let driver = driver();
    let count = nvml.device_count().unwrap_or(0);
    let device = |index| {
        let name = format!("cuda:{index}");
        let gpu = match nvml.device_by_index(index) {
            Ok(gpu) => gpu,
            Err(NvmlError::GpuLost) => return Some(lost(name, driver.clone())),
            Err(_unknown) => return None,
        };
        let memory = match gpu.memory_info() {
            Ok(memory) => Some(memory),
            Err(NvmlError::GpuLost) => return Some(lost(name, driver.clone())),
            Err(_unknown) => None,
        };
        let processes = gpu.running_compute_processes().unwrap_or_default();
        let holders = processes.into_iter().map(|process| Holder {
            pid: process.pid,
            name: host::process_name(process.pid),
            bytes: match process.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Some(bytes),
                UsedGpuMemory::Unavailable => None,
            },
        });
        Some(DeviceNow {
            fault: xid::fault(&name),
            device: name,
            name: gpu.name().unwrap_or_else(|_unknown| "NVIDIA GPU".to_owned()),
            driver: driver.clone(),
            total_bytes: memory.as_ref().map(|memory| memory.total),
            free_bytes: memory.as_ref().map(|memory| memory.free),
            used_bytes: memory.as_ref().map(|memory| memory.used),
            holders: holders.collect(),
            source: "nvml".to_owned(),
        })
    };
    (0..count).filter_map(device).collect()
}

/// A GPU that is there no more: all that is known of it is that it was.
fn lost(device: String, driver: Option<String>) -> DeviceNow {
    DeviceNow {
        fault: Some(xid::fault(&device).unwrap_or_else(xid::lost)),
        device,
        name: "NVIDIA GPU".to_owned(),
        driver,
        total_bytes: None,
        free_bytes: None,
        used_bytes: None,
        holders: Vec::new(),
        source: "nvml".to_owned(),
    }
}
