//! The host: processor, memory, kernel, and whether it is a container or WSL.

use std::path::Path;

use phi3::api::{DeviceNow, Environment, Holder};
use phi3::units::format_bytes;
use preflight_files::{HostMemory, host_memory};

use super::nvidia;
use crate::kernel_log::KernelLog;
use crate::processes;

/// Machine and build; GPUs and their driver where they tell.
#[must_use]
pub fn environment() -> Environment {
    let kernel = read("/proc/sys/kernel/osrelease");
    let is_container = ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists());
    let mut notes = notes(&kernel, is_container);
    let memory = host_memory();
    if let Some(limit) = memory.limit_bytes {
        notes.push(format!("memory is limited to {} by a control group", format_bytes(limit)));
    }
    if !KernelLog::is_readable() {
        notes.push(
            "the kernel's log cannot be read by this user: what drivers say (Xid) is in no attempt's log"
                .to_owned(),
        );
    }
    Environment {
        build: env!("CARGO_PKG_VERSION").to_owned(),
        worker_build: None,
        os: os_name(),
        kernel,
        cpu: cpu_name(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: memory.total_bytes.unwrap_or_default(),
        gpus: super::gpus().into_iter().map(|gpu| gpu.name).collect(),
        driver: nvidia::driver(),
        notes,
    }
}

/// What a kernel's name and a container mean for what is measured.
fn notes(kernel: &str, is_container: bool) -> Vec<String> {
    let wsl = "WSL: the GPU's driver is that of Windows; memory is what .wslconfig grants";
    let container = "container: memory and devices are what it was given";
    let is_wsl = kernel.to_ascii_lowercase().contains("microsoft");
    let notes = [(is_wsl, wsl), (is_container, container)].into_iter().filter(|(is_so, _)| *is_so);
    notes.map(|(_, words)| words.to_owned()).collect()
}

/// The host as a device.
pub(super) fn device() -> DeviceNow {
    let HostMemory { total_bytes, free_bytes, .. } = host_memory();
    DeviceNow {
        device: "cpu".to_owned(),
        name: cpu_name(),
        driver: None,
        total_bytes,
        free_bytes,
        used_bytes: total_bytes.zip(free_bytes).map(|(total, free)| total.saturating_sub(free)),
        holders: holders(),
        source: "system".to_owned(),
        fault: None,
    }
}

/// This process and those that it started, workers among them, the largest first; all else that runs here is nobody's
/// business of ours.
fn holders() -> Vec<Holder> {
    let holder = |pid| {
        let bytes = processes::resident_bytes(pid);
        Holder { pid, name: process_name(pid), bytes }
    };
    let mut holders: Vec<Holder> = processes::family(std::process::id()).into_iter().map(holder).collect();
    holders.sort_by_key(|holder| (std::cmp::Reverse(holder.bytes), holder.pid));
    holders
}

/// The name of a process; empty where the system does not tell.
pub(super) fn process_name(pid: u32) -> String {
    // The kernel's own name for it ends after 15 bytes; its file says all of it, where it may be asked.
    let file = std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    let file = file.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let name = read(&format!("/proc/{pid}/comm"));
    file.filter(|file| file.starts_with(&name)).unwrap_or(name)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn os_name() -> String {
    let text = read("/etc/os-release");
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| std::env::consts::OS.to_owned(), |name| name.trim_matches('"').to_owned())
}

fn cpu_name() -> String {
    let text = read("/proc/cpuinfo");
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_is_stands_in_its_notes() {
        assert_eq!(notes("6.1.0-28-amd64", false), [""; 0]);
        let wsl = notes("5.15.167.4-Microsoft-standard-WSL2", true);
        assert!(wsl.len() == 2 && wsl[0].starts_with("WSL") && wsl[1].starts_with("container"), "{wsl:?}");
    }
}
