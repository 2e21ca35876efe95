//! Memory of the server's devices as it is now, asked for again and again while somebody looks.

use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;
use phi3::api::{DeviceNow, Devices};

use super::Problem;
use crate::api;
use crate::platform::page;
use crate::text;

/// Pause between two questions.
const PAUSE: Duration = Duration::from_secs(2);
/// Answers that are kept to be drawn.
pub const KEPT: usize = 60;

/// What was used of a device, oldest first; `None` where nobody told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Past {
    /// The device.
    pub device: String,
    /// Bytes, one an answer.
    pub used_bytes: Vec<Option<u64>>,
}

/// Handle to the devices.
#[derive(Clone, Copy)]
pub struct Memory {
    /// The last answer.
    pub now: RwSignal<Option<Devices>>,
    /// What was used before.
    pub past: RwSignal<Vec<Past>>,
    /// Why there is no newer one.
    pub problem: RwSignal<Option<Problem>>,
}

impl Memory {
    /// Asks while its owner lives and the page is to be seen.
    #[must_use]
    pub fn watch() -> Self {
        let memory =
            Self { now: RwSignal::new(None), past: RwSignal::new(Vec::new()), problem: RwSignal::new(None) };
        memory.look();
        memory
    }

    /// Asks once more.
    pub fn ask(self) {
        spawn_local(self.answered());
    }

    async fn answered(self) {
        let answer = api::devices().await;
        if self.now.is_disposed() {
            return;
        }
        match answer {
            Ok(devices) => {
                self.problem.set(None);
                self.past.update(|past| remember(past, &devices.devices));
                self.now.set(Some(devices));
            }
            Err(error) => self.problem.set(Some(text::problem::server(&error))),
        }
    }

    fn look(self) {
        spawn_local(async move {
            if !page::is_hidden() {
                self.answered().await;
            }
            set_timeout(
                move || {
                    if !self.now.is_disposed() {
                        self.look()
                    }
                },
                PAUSE,
            );
        });
    }
}

/// Adds an answer; a device that is gone is forgotten.
fn remember(past: &mut Vec<Past>, devices: &[DeviceNow]) {
    let before = std::mem::take(past);
    *past = devices
        .iter()
        .map(|now| {
            let found = before.iter().find(|past| past.device == now.device).cloned();
            let mut past = found.unwrap_or_else(|| Past { device: now.device.clone(), ..Past::default() });
            past.used_bytes.push(now.used_bytes);
            let surplus = past.used_bytes.len().saturating_sub(KEPT);
            past.used_bytes.drain(..surplus);
            past
        })
        .collect();
}

/// How a device's memory is shared out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    /// Memory in all.
    pub total_bytes: u64,
    /// What each process holds, in the order of the device's list; 0 where nobody tells.
    pub holders: Vec<u64>,
    /// What is used and is no listed process's.
    pub others_bytes: u64,
}

/// The shares of a device; `None` where its memory or what is used of it is not known.
#[must_use]
pub fn shares(device: &DeviceNow) -> Option<Shares> {
    let total_bytes = device.total_bytes.filter(|total| *total > 0)?;
    let used = device.used_bytes.or_else(|| Some(total_bytes.saturating_sub(device.free_bytes?)))?;
    let mut left = used.min(total_bytes);
    // Pages that processes share count for each of them: the bar never grows beyond what is used.
    let mut take = |bytes: Option<u64>| {
        let taken = bytes.unwrap_or(0).min(left);
        left -= taken;
        taken
    };
    let holders = device.holders.iter().map(|holder| take(holder.bytes)).collect();
    Some(Shares { total_bytes, holders, others_bytes: left })
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi3::api::Holder;
    use wasm_bindgen_test::wasm_bindgen_test;

    fn device(total: Option<u64>, used: Option<u64>, holders: &[Option<u64>]) -> DeviceNow {
        let holder = |bytes: &Option<u64>| Holder { pid: 1, name: "w".to_owned(), bytes: *bytes };
        DeviceNow {
            device: "cuda:0".to_owned(),
            name: "GPU".to_owned(),
            driver: None,
            total_bytes: total,
            free_bytes: None,
            used_bytes: used,
            holders: holders.iter().map(holder).collect(),
            source: "nvml".to_owned(),
            fault: None,
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn shares_add_up_to_what_is_used() {
        let all = shares(&device(Some(100), Some(60), &[Some(30), None, Some(10)])).expect("known");
        assert_eq!(all, Shares { total_bytes: 100, holders: vec![30, 0, 10], others_bytes: 20 });
        let shared = shares(&device(Some(100), Some(60), &[Some(50), Some(50)])).expect("known");
        assert_eq!(shared, Shares { total_bytes: 100, holders: vec![50, 10], others_bytes: 0 });
        assert_eq!(shares(&device(None, Some(60), &[])), None);
        assert_eq!(shares(&device(Some(100), None, &[])), None);
        let free_only = DeviceNow { free_bytes: Some(30), ..device(Some(100), None, &[]) };
        assert_eq!(shares(&free_only).map(|s| s.others_bytes), Some(70));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_past_has_an_end() {
        let mut past = Vec::new();
        for used in 0..100 {
            remember(&mut past, &[device(Some(100), Some(used), &[])]);
        }
        assert_eq!(past[0].used_bytes.len(), KEPT);
        assert_eq!(past[0].used_bytes.last(), Some(&Some(99)));
        remember(&mut past, &[]);
        assert!(past.is_empty());
    }
}
