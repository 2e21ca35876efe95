//! Processes by what they are, not by their id alone: an id is used again once its process has ended.

use crate::ledger::WorkerMark;

/// What tells a running process from a later one of the same id.
#[must_use]
pub fn mark(pid: u32) -> Option<WorkerMark> {
    started(pid).map(|started| WorkerMark { pid, started })
}

/// Kills a worker that outlived its server, with its group. Nothing is done where its id is another's by now.
pub fn kill_if_same(worker: WorkerMark) {
    if started(worker.pid) != Some(worker.started) {
        return;
    }
    if let Ok(group) = i32::try_from(worker.pid) {
        let pid = nix::unistd::Pid::from_raw(group);
        nix::sys::signal::killpg(pid, nix::sys::signal::Signal::SIGKILL).ok();
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).ok();
    }
}

/// When a process started, in ticks since the system booted. Where there is no `/proc`, orphans end by themselves:
/// a worker ends with its stdin.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, but ends with the last parenthesis; `starttime` is field 22 of proc(5).
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

/// Bytes resident in a process; `None` where the system does not tell.
#[must_use]
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Bytes that the host could still give, as Linux estimates them.
#[must_use]
pub fn host_available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let me = std::process::id();
        let mark = mark(me).expect("this process runs");
        assert!(mark.started > 0);
        assert_eq!(super::mark(me), Some(mark));
        // Another process of this id: not killed, or this test would end here.
        kill_if_same(WorkerMark { started: mark.started + 1, ..mark });
        assert!(resident_bytes(me).is_some_and(|bytes| bytes > 1 << 20));
        assert!(host_available_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
