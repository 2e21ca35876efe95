//! Critical errors (Xid) of NVIDIA's GPUs, as their management library reports them. The kernel's log has them too, but few
//! users may read it, and fewer containers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::log_ring::LogRing;

/// What Xids mean, and whether the GPU needs a reset before it computes again. Source: NVIDIA's catalogue of Xid errors.
const KNOWN: [(u64, &str, bool); 14] = [
    (13, "graphics engine exception", false),
    (31, "GPU memory page fault", false),
    (32, "invalid or corrupted push buffer stream", false),
    (43, "GPU stopped processing", false),
    (45, "preemptive cleanup, due to previous errors", false),
    (48, "double bit ECC error", true),
    (62, "internal micro-controller halt", true),
    (64, "row remapping failed", true),
    (74, "NVLink error", true),
    (79, "GPU has fallen off the bus", true),
    (94, "contained ECC error", false),
    (95, "uncontained ECC error", true),
    (119, "GSP RPC timeout", true),
    (120, "GSP error", true),
];

/// What to do about a GPU that needs it.
const RESET: &str = "reset the GPU or restart the machine, then restart this server";

/// Longest time from an error to its line in a log, where the library wakes nobody.
#[cfg(target_os = "linux")]
const TICK_MS: u32 = 1000;

/// How long an attempt waits for the last words of a driver, once its worker has died.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// Who hears of errors, and the last one of each GPU that needs a reset.
#[derive(Debug, Default)]
struct Xids {
    watched: bool,
    listeners: Vec<(String, Weak<LogRing>)>,
    faults: BTreeMap<String, String>,
}

/// Drivers have one state for all of a process.
static XIDS: Mutex<Xids> =
    Mutex::new(Xids { watched: false, listeners: Vec::new(), faults: BTreeMap::new() });

impl Xids {
    fn listen(&mut self, device: &str, log: &Arc<LogRing>) {
        self.listeners.retain(|(_, log)| log.strong_count() > 0);
        self.listeners.push((device.to_owned(), Arc::downgrade(log)));
    }

    /// A GPU has reported an error.
    fn heard(&mut self, device: &str, xid: u64) {
        let known = KNOWN.iter().find(|(number, ..)| *number == xid);
        let words = match known {
            Some((_, meaning, _)) => format!("Xid {xid}: {meaning}"),
            None => format!("Xid {xid}"),
        };
        tracing::error!(device, words, "the driver reports a critical error");
        for (_, log) in self.listeners.iter().filter(|(listens, _)| listens == device) {
            if let Some(log) = log.upgrade() {
                log.add(&format!("driver: {device}: {words}"));
            }
        }
        if known.is_some_and(|(.., needs_reset)| *needs_reset) {
            self.faults.insert(device.to_owned(), format!("{words}; {RESET}"));
        }
    }
}

fn xids() -> std::sync::MutexGuard<'static, Xids> {
    // Every change is complete before anything in here can panic.
    XIDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the critical errors of GPUs written to a log, for as long as that is kept.
pub(crate) fn listen(devices: &[String], log: &Arc<LogRing>) {
    for device in devices {
        xids().listen(device, log);
    }
}

/// Waits for what the driver may still have to say of a worker that has died.
pub(crate) async fn last_words(devices: &[String]) {
    if devices.iter().any(|device| device.starts_with("cuda")) && xids().watched {
        tokio::time::sleep(LAST_WORDS).await;
    }
}

/// Why a GPU computes nothing any more.
pub(super) fn fault(device: &str) -> Option<String> {
    xids().faults.get(device).cloned()
}

/// Why a GPU computes nothing whose driver has lost it.
pub(super) fn lost() -> String {
    format!("the driver has lost this GPU; {RESET}")
}

/// Listens to the drivers of all GPUs from now on; once in a process.
#[cfg(target_os = "linux")]
pub(crate) fn watch() {
    let Some(nvml) = super::nvidia::library() else { return };
    if std::mem::replace(&mut xids().watched, true) {
        return;
    }
    for index in 0..nvml.device_count().unwrap_or(0) {
        let started = std::thread::Builder::new().name("xid".to_owned()).spawn(move || {
            if let Err(error) = hear(nvml, index) {
                tracing::info!(gpu = index, %error, "critical errors of a GPU are not reported any more");
            }
        });
        if let Err(error) = started {
            tracing::warn!(%error, "nobody listens to the driver of a GPU");
        }
    }
}

/// No other system's library reports them.
#[cfg(not(target_os = "linux"))]
pub(crate) fn watch() {}

/// Hands on what one GPU reports, until it reports no more.
#[cfg(target_os = "linux")]
fn hear(
    nvml: &'static nvml_wrapper::Nvml,
    index: u32,
) -> Result<(), nvml_wrapper::error::NvmlErrorWithSource> {
    use nvml_wrapper::bitmasks::event::EventTypes;
    use nvml_wrapper::enums::event::XidError;
    use nvml_wrapper::error::NvmlError;

    let device = format!("cuda:{index}");
    let events = nvml.create_event_set()?;
    let events = nvml.device_by_index(index)?.register_events(EventTypes::CRITICAL_XID_ERROR, events)?;
    loop {
        match events.wait(TICK_MS) {
            Ok(event) => {
                if let Some(XidError::Value(xid)) = event.event_data {
                    xids().heard(&device, xid);
                }
            }
            Err(NvmlError::Timeout) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_goes_to_the_logs_of_its_gpu_and_marks_it_where_it_needs_a_reset() {
        let mut xids = Xids::default();
        let (mine, others, gone) = (Arc::default(), Arc::default(), Arc::default());
        xids.listen("cuda:0", &mine);
        xids.listen("cuda:1", &others);
        xids.listen("cuda:0", &gone);
        drop(gone);
        xids.heard("cuda:0", 31);
        xids.heard("cuda:0", 9999);
        assert_eq!(xids.faults, BTreeMap::new(), "a program of its own that failed");
        xids.heard("cuda:0", 79);
        assert_eq!(
            mine.lines(),
            [
                "driver: cuda:0: Xid 31: GPU memory page fault",
                "driver: cuda:0: Xid 9999",
                "driver: cuda:0: Xid 79: GPU has fallen off the bus"
            ]
        );
        assert!(others.lines().is_empty());
        assert!(xids.faults["cuda:0"].starts_with("Xid 79: GPU has fallen off the bus; reset the GPU"));
        assert!(!xids.faults.contains_key("cuda:1"));
        xids.listen("cuda:1", &mine);
        assert_eq!(xids.listeners.len(), 3, "logs that are gone are forgotten");
    }
}
