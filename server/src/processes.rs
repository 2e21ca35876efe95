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
    field(pid, STARTED)?.parse().ok()
}

/// `state`, `ppid` and `starttime` of proc(5) (its fields 3, 4 and 22), counted from what follows the name.
#[cfg(test)]
const STATE: usize = 0;
const PARENT: usize = 4 - 3;
const STARTED: usize = 22 - 3;

fn field(pid: u32, number: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, but ends with the last parenthesis.
    stat.rsplit_once(") ")?.1.split(' ').nth(number).map(str::to_owned)
}

/// A process and all that it started, and what those did, as far as they still run. Where there is no `/proc`, itself.
#[must_use]
pub fn family(pid: u32) -> Vec<u32> {
    let running = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let running = running.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> =
        running.filter_map(|pid| Some((pid, field(pid, PARENT)?.parse().ok()?))).collect();
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(parent) = all.get(next).copied() {
        next += 1;
        all.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
    }
    all
}

/// Bytes resident in a process; `None` where the system does not tell.
#[must_use]
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
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
        let mut child =
            std::process::Command::new("sleep").arg("60").spawn().expect("a child of this process");
        let found = family(me);
        child.kill().expect("it runs");
        child.wait().expect("it ended");
        assert!(found[0] == me && found.contains(&child.id()), "{found:?}");
        assert!(resident_bytes(me).is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn an_orphan_is_killed_with_its_group() {
        use std::os::unix::process::CommandExt as _;
        use std::os::unix::process::ExitStatusExt as _;

        let mut orphan = std::process::Command::new("sh")
            .args(["-c", "sleep 60 & sleep 60"])
            .process_group(0)
            .spawn()
            .expect("a child of this process");
        let begun = std::time::Instant::now();
        let family = loop {
            let family = family(orphan.id());
            assert!(begun.elapsed().as_secs() < 10, "{family:?}");
            if family.len() == 3 {
                break family;
            }
        };
        kill_if_same(mark(orphan.id()).expect("it runs"));
        assert_eq!(orphan.wait().expect("it ended").signal(), Some(9));
        while family[1..].iter().any(|pid| field(*pid, STATE).is_some_and(|state| state != "Z")) {
            assert!(begun.elapsed().as_secs() < 10, "its children go on");
        }
    }
}
