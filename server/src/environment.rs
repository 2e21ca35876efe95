//! The machine that attempts run on, as it was when the server started.

use std::sync::{Mutex, OnceLock, PoisonError};

use phi3::api::{DeviceNow, Environment};
use phi3::engine::DeviceInfo;

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

    /// The device whose queue an attempt waits in. `auto` is that of the first GPU, where there is one.
    #[must_use]
    pub fn lane(&self, device: &str) -> String {
        // An AMD GPU has no engine that is chosen by itself.
        let has_gpu = || self.environment().driver.is_some();
        match device {
            "auto" | launcher::SEVERAL | "sequential" | "balanced" if has_gpu() => "cuda:0".to_owned(),
            "auto" | launcher::SEVERAL | "sequential" | "balanced" => "cpu".to_owned(),
            // A share of the host is no other machine.
            share if share.starts_with("cpu:") => "cpu".to_owned(),
            device => device.to_owned(),
        }
    }
}
