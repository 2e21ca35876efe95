//! The machine that attempts run on, as it was when the server started.

use std::sync::{Mutex, OnceLock, PoisonError};

use phi3::api::{DeviceNow, Environment};
use phi3::engine::DeviceInfo;
use phi3::estimate::Backend;
use phi3::load_config::LoadConfig;
use phi3::placement::DeviceId;

use crate::{devices, launcher};

/// What is known of this machine; looked at when it is first needed, since drivers take their time.
#[derive(Debug, Default)]
pub struct Host {
    environment: OnceLock<Environment>,
    /// What a worker's drivers told. That it could not be asked is not kept.
    probed: Mutex<Option<Vec<DeviceInfo>>>,
}

impl Host {
    /// Machine, driver and build.
    #[must_use]
    pub fn environment(&self) -> Environment {
        self.environment.get_or_init(devices::environment).clone()
    }

    /// Every device as it is now: what the system tells, and what else a worker can use. Blocks while drivers start.
    #[must_use]
    pub fn devices(&self) -> Vec<DeviceNow> {
        let mut devices = devices::now();
        for info in self.probed() {
            let device = info.device.to_string();
            if devices.iter().all(|known| known.device != device) {
                let software = if info.is_software { " (software)" } else { "" };
                let used =
                    info.total_bytes.zip(info.free_bytes).map(|(total, free)| total.saturating_sub(free));
                let host_is_last = devices.len().saturating_sub(1);
                devices.insert(
                    host_is_last,
                    DeviceNow {
                        device,
                        name: format!("{}{software}", info.name),
                        driver: info.driver,
                        total_bytes: info.total_bytes,
                        free_bytes: info.free_bytes,
                        used_bytes: used,
                        holders: Vec::new(),
                        source: "worker".to_owned(),
                        fault: None,
                    },
                );
            }
        }
        devices
    }

    fn probed(&self) -> Vec<DeviceInfo> {
        let mut probed = self.probed.lock().unwrap_or_else(PoisonError::into_inner);
        if probed.is_none() {
            match launcher::devices() {
                Ok(found) => *probed = Some(found),
                Err(error) => tracing::warn!(%error, "no worker tells its devices"),
            }
        }
        probed.clone().unwrap_or_default()
    }

    /// The devices in whose queues an attempt waits, GPUs first: those that its load config names, else what a worker
    /// will choose among. Never none. Blocks while NVIDIA's library is asked.
    #[must_use]
    pub fn lanes(&self, config: &LoadConfig) -> Vec<String> {
        // Another maker's GPU has no engine that is chosen by itself.
        let is_cuda = |gpu: &DeviceNow| gpu.device.starts_with("cuda:");
        let gpus = if launcher::drives_cuda() {
            devices::gpus().iter().filter(|gpu| is_cuda(gpu)).count()
        } else {
            0
        };
        let mut named: Vec<&DeviceId> = config.devices();
        if named.is_empty() {
            named.extend(config.max_memory.keys());
        }
        let is_named = !named.is_empty();
        // A share of the host is no other machine.
        let (on_cpu, on_gpu): (Vec<&DeviceId>, Vec<&DeviceId>) =
            named.into_iter().partition(|id| id.backend() == Backend::Cpu);
        let cpu_last =
            |gpus: Vec<String>, cpu: bool| gpus.into_iter().chain(cpu.then(|| "cpu".to_owned())).collect();
        match (&config.device_map, is_named) {
            (_, true) => cpu_last(on_gpu.iter().map(ToString::to_string).collect(), !on_cpu.is_empty()),
            // Asked to spread the layers, a worker takes all that there are.
            (Some(_spread), false) => {
                cpu_last((0..gpus).map(|index| format!("cuda:{index}")).collect(), true)
            }
            (None, false) => {
                cpu_last((0..gpus.min(1)).map(|index| format!("cuda:{index}")).collect(), gpus == 0)
            }
        }
    }
}
