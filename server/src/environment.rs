//! The machine that attempts run on, as it was when the server started.

use std::sync::OnceLock;

use phi3::api::Environment;

use crate::devices;

/// What is known of this machine; looked at when it is first needed, since drivers take their time.
#[derive(Debug, Default)]
pub struct Host {
    environment: OnceLock<Environment>,
}

impl Host {
    /// Machine, driver and build.
    #[must_use]
    pub fn environment(&self) -> Environment {
        self.environment.get_or_init(devices::environment).clone()
    }

    /// The device whose queue an attempt waits in. `auto` is that of the first GPU, where there is one.
    #[must_use]
    pub fn lane(&self, device: &str) -> String {
        let has_gpu = || !self.environment().gpus.is_empty();
        match device {
            "auto" | "several" | "sequential" | "balanced" if has_gpu() => "cuda:0".to_owned(),
            "auto" | "several" | "sequential" | "balanced" => "cpu".to_owned(),
            device => device.to_owned(),
        }
    }
}
