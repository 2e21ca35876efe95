//! What a worker does to its own process before anything else.

use std::fs::File;
use std::io::{self, Write as _};
use std::process::ExitCode;

use nix::sys::resource::{Resource, setrlimit};
use preflight_files::HostMemory;

/// Makes the process harmless, and hands out the one stream that carries messages.
///
/// From here on, whatever a library prints goes to the log. No core is dumped: it would hold the model.
pub(crate) fn harden() -> io::Result<File> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    // A thread that panics would leave the others waiting for it.
    std::panic::set_hook(Box::new(|panic| {
        writeln!(io::stderr(), "{panic}").ok();
        std::process::exit(101);
    }));
    let messages = nix::unistd::dup(io::stdout())?;
    nix::unistd::dup2_stdout(io::stderr())?;
    Ok(File::from(messages))
}

/// Nobody outlives who started it, where the system sees to that.
pub(crate) fn end_with_parent() -> io::Result<()> {
    // Should the parent be gone already, the end of stdin tells.
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    Ok(())
}

/// Memory of this process that is resident: now, and at most since [`forget_peak`]. In bytes, 0 where the system does
/// not tell.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Resident {
    pub(crate) now_bytes: u64,
    pub(crate) peak_bytes: u64,
}

/// What is resident.
#[cfg(target_os = "linux")]
pub(crate) fn resident() -> Resident {
    // Not `getrusage`: its peak is inherited from whoever started this process, and was the server's then.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Resident { now_bytes: bytes("VmRSS:").unwrap_or(0), peak_bytes: bytes("VmHWM:").unwrap_or(0) }
}

/// What is resident; the system tells the peak alone.
#[cfg(not(target_os = "linux"))]
pub(crate) fn resident() -> Resident {
    use nix::sys::resource::{UsageWho, getrusage};
    // Kilobytes everywhere but on macOS.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    let peak_bytes =
        getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.max_rss().unsigned_abs() * unit);
    Resident { now_bytes: peak_bytes, peak_bytes }
}

/// The machine that this runs on, as far as the system tells.
#[derive(Debug, Clone, Default)]
pub(crate) struct Host {
    /// What its processor is called.
    pub(crate) processor: Option<String>,
    pub(crate) total_bytes: Option<u64>,
    /// What could be had now without swapping.
    pub(crate) free_bytes: Option<u64>,
}

/// What the system tells of the host.
pub(crate) fn host() -> Host {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    let processor = line.map(|rest| rest.trim_start_matches([' ', '\t', ':']).trim().to_owned());
    let HostMemory { total_bytes, free_bytes, .. } = preflight_files::host_memory();
    Host { processor, total_bytes, free_bytes }
}

/// Lets the peak begin anew, where the system can: what was here before is no part of what comes.
pub(crate) fn forget_peak() {
    #[cfg(target_os = "linux")]
    std::fs::write("/proc/self/clear_refs", "5").ok();
}

/// A line for the log.
pub(crate) fn note(message: &str) {
    writeln!(io::stderr(), "preflight-worker {message}").ok();
}

/// Tells why in the log and ends.
pub(crate) fn fail(message: &str) -> ExitCode {
    note(message);
    ExitCode::FAILURE
}
