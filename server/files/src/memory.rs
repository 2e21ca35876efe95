//! Memory that this process may have: what the machine has, or less in a container or under a service manager.

use std::path::{Component, Path};

/// Bytes of the host's memory; `None` where the system does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostMemory {
    /// What the machine has, or a control group lets this process have of it.
    pub total_bytes: Option<u64>,
    /// What could be had now without swapping.
    pub free_bytes: Option<u64>,
    /// What a control group allows, where that is less than the machine has.
    pub limit_bytes: Option<u64>,
}

/// The host's memory as it is now.
#[must_use]
pub fn host_memory() -> HostMemory {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    of(&read("/proc/meminfo"), &groups(Path::new("/sys/fs/cgroup"), &read("/proc/self/cgroup")))
}

/// A control group that limits memory.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    limit_bytes: u64,
    free_bytes: u64,
}

/// Where a version of control groups tells what: the limit, what is used, and of that what the kernel would drop.
struct Names {
    limit: &'static str,
    used: &'static str,
    cache: &'static str,
}

const V1: Names =
    Names { limit: "memory.limit_in_bytes", used: "memory.usage_in_bytes", cache: "total_inactive_file" };
const V2: Names = Names { limit: "memory.max", used: "memory.current", cache: "inactive_file" };

fn of(meminfo: &str, groups: &[Group]) -> HostMemory {
    let bytes = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    };
    let total = bytes("MemTotal:");
    // Version 1 writes a number for "none" that no machine has.
    let limits = || groups.iter().filter(|group| total.is_none_or(|total| group.limit_bytes < total));
    let limit = limits().map(|group| group.limit_bytes).min();
    let free = bytes("MemAvailable:").into_iter().chain(limits().map(|group| group.free_bytes)).min();
    HostMemory { total_bytes: limit.or(total), free_bytes: free, limit_bytes: limit }
}

/// The groups around a process with `own`, the text of its `/proc/…/cgroup`, mounted at `root`.
fn groups(root: &Path, own: &str) -> Vec<Group> {
    let mut found = Vec::new();
    for line in own.lines() {
        // `0::/path` of version 2, `4:memory:/path` of version 1.
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, names) = match controllers {
            "" => (root.to_owned(), V2),
            list if list.split(',').any(|name| name == "memory") => (root.join("memory"), V1),
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        // In a container its own group may be the root of what it sees, whatever it is called outside.
        let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        let path = if is_plain { path } else { Path::new("") };
        found.extend(path.ancestors().filter_map(|part| group(&root.join(part), &names)));
    }
    found
}

fn group(folder: &Path, names: &Names) -> Option<Group> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let limit_bytes = number(names.limit)?;
    let stat = read("memory.stat").unwrap_or_default();
    let cache = stat.lines().find_map(|line| line.strip_prefix(names.cache)?.trim().parse::<u64>().ok());
    let used = number(names.used)?.saturating_sub(cache.unwrap_or(0));
    Some(Group { limit_bytes, free_bytes: limit_bytes.saturating_sub(used) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       16000 kB\nMemFree:         100 kB\nMemAvailable:    9000 kB\n";

    /// A folder with these files.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        dir
    }

    #[test]
    fn a_machine_without_groups_has_what_it_has() {
        let machine =
            HostMemory { total_bytes: Some(16_000 << 10), free_bytes: Some(9000 << 10), limit_bytes: None };
        let none = tree(&[]);
        assert_eq!(of(MEMINFO, &groups(none.path(), "0::/user.slice\n")), machine);
        let unlimited = tree(&[
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/memory.usage_in_bytes", "5\n"),
            ("user.slice/memory.max", "max\n"),
            ("user.slice/memory.current", "5\n"),
        ]);
        let own = "9:name=systemd:/\n4:memory:/a\n0::/user.slice\n";
        assert_eq!(of(MEMINFO, &groups(unlimited.path(), own)), machine);
        assert_eq!(of("", &[]), HostMemory::default());
    }

    /// What is used counts without what the kernel would drop, and the tightest group counts.
    #[test]
    fn a_group_leaves_what_it_allows() {
        let tight = tree(&[
            ("memory.max", "8192000\n"),
            ("memory.current", "3000000\n"),
            ("memory.stat", "anon 1\ninactive_file 1000000\n"),
            ("a/b/memory.max", "max\n"),
            ("a/memory.max", "4096000\n"),
            ("a/memory.current", "96000\n"),
        ]);
        for (own, limit, free) in [
            ("0::/\n", 8_192_000, 6_192_000),
            ("0::/a/b\n", 4_096_000, 4_000_000),
            // Not below what is mounted here.
            ("0::/../../x\n", 8_192_000, 6_192_000),
        ] {
            let found = of(MEMINFO, &groups(tight.path(), own));
            let expected =
                HostMemory { total_bytes: Some(limit), free_bytes: Some(free), limit_bytes: Some(limit) };
            assert_eq!(found, expected, "{own}");
        }
        let old = tree(&[
            ("memory/memory.limit_in_bytes", "8192000\n"),
            ("memory/memory.usage_in_bytes", "8192000\n"),
            ("memory/memory.stat", "total_inactive_file 2000\ninactive_file 9\n"),
        ]);
        let found = of(MEMINFO, &groups(old.path(), "4:memory,cpu:/docker/0123\n"));
        assert_eq!((found.limit_bytes, found.free_bytes), (Some(8_192_000), Some(2000)));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_has_memory() {
        let found = host_memory();
        assert!(found.free_bytes > Some(1 << 20) && found.free_bytes <= found.total_bytes, "{found:?}");
    }
}
