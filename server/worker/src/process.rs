//! What a worker does to its own process before anything else.

use std::fs::File;
use std::io::{self, Write as _};
use std::process::ExitCode;

use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};

/// Makes the process harmless, and hands out the one stream that carries messages.
///
/// From here on, whatever a library prints goes to the log. No core is dumped: it would hold the model.
pub(super) fn harden() -> io::Result<File> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    // Should the parent be gone already, the end of stdin tells.
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    // A thread that panics would leave the others waiting for it.
    std::panic::set_hook(Box::new(|panic| {
        writeln!(io::stderr(), "{panic}").ok();
        std::process::exit(101);
    }));
    let messages = nix::unistd::dup(io::stdout())?;
    nix::unistd::dup2_stdout(io::stderr())?;
    Ok(File::from(messages))
}

/// Most memory that this process ever held, in bytes; 0 where the system does not tell.
pub(super) fn peak_bytes() -> u64 {
    // Kilobytes everywhere but on macOS.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.max_rss().unsigned_abs() * unit)
}

/// Tells why in the log and ends.
pub(super) fn fail(message: &str) -> ExitCode {
    writeln!(io::stderr(), "preflight-worker {message}").ok();
    ExitCode::FAILURE
}
