//! What the kernel and its drivers say while an attempt goes on: a GPU's Xid, a reset, who was ended for lack of memory.
//! It is read where this user may read it, and belongs to the attempt's log.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use crate::log_ring::LogRing;

/// Where Linux gives its messages, one for each read.
const KMSG: &str = "/dev/kmsg";

/// Words of messages that may tell why a model was not loaded; in lower case.
const WORDS: [&str; 9] =
    ["nvrm", "nvidia", "amdgpu", "kfd", "dxgkrnl", "out of memory", "oom-kill", "oom_reaper", "preflight"];

/// Most messages that one attempt is given.
const MOST: usize = 50;

/// Longest message of the kernel, with its continuation.
const MESSAGE_BYTES: usize = 8192;

/// The kernel's messages from one moment on.
#[derive(Debug)]
pub(crate) struct KernelLog(Option<File>);

impl KernelLog {
    /// From now on; empty where it cannot be read.
    pub(crate) fn from_now_on() -> Self {
        Self(open(Path::new(KMSG)))
    }

    /// Whether this user may read it.
    pub(crate) fn is_readable() -> bool {
        open(Path::new(KMSG)).is_some()
    }

    /// Adds what has been said since, as far as it concerns a worker or its devices.
    pub(crate) fn tell(mut self, log: &LogRing) {
        let Some(file) = &mut self.0 else { return };
        for line in concerning(&read(file)) {
            log.add(&format!("kernel: {line}"));
        }
    }
}

#[cfg(target_os = "linux")]
fn open(path: &Path) -> Option<File> {
    use std::io::{Seek as _, SeekFrom};
    use std::os::unix::fs::OpenOptionsExt as _;

    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let mut file = File::options().read(true).custom_flags(flags).open(path).ok()?;
    file.seek(SeekFrom::End(0)).ok()?;
    Some(file)
}

#[cfg(not(target_os = "linux"))]
fn open(_path: &Path) -> Option<File> {
    None
}

/// All that there is to read.
fn read(file: &mut File) -> String {
    let mut text = Vec::new();
    let mut message = [0; MESSAGE_BYTES];
    // Messages that were written over are an error each, and end nothing; so many of them, though, end it.
    for _ in 0..100_000 {
        match file.read(&mut message) {
            Ok(0) => break,
            Ok(read) => text.extend_from_slice(&message[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::Interrupted) => {}
            Err(_nothing_more) => break,
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The messages that may matter, oldest first, without the numbers before them.
fn concerning(text: &str) -> Vec<String> {
    // What a message continues with is indented.
    let lines = text.lines().filter(|line| !line.starts_with(' '));
    let messages = lines.filter_map(|line| Some(line.split_once(';')?.1));
    let matters = |message: &&str| {
        let message = message.to_lowercase();
        WORDS.iter().any(|word| message.contains(word))
    };
    let mut found: Vec<String> = messages.filter(matters).map(str::to_owned).collect();
    found.drain(..found.len().saturating_sub(MOST));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn what_was_said_since_is_told_where_it_matters() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("kmsg");
        let before = "4,1,100,-;NVRM: Xid (PCI:0000:01:00): 31, an earlier one\n";
        std::fs::write(&path, before).expect("written");
        let kernel = KernelLog(open(&path));
        let since = "6,2,200,-;usb 1-1: new high-speed USB device\n SUBSYSTEM=usb\n\
                     4,3,300,-;NVRM: Xid (PCI:0000:01:00): 79, pid=77, GPU has fallen off the bus.\n\
                     3,4,400,-;Out of memory: Killed process 77 (preflight-worke) total-vm:9kB\n";
        let mut file = File::options().append(true).open(&path).expect("opened");
        file.write_all(since.as_bytes()).expect("written");
        let log = LogRing::default();
        kernel.tell(&log);
        assert_eq!(
            log.lines(),
            [
                "kernel: NVRM: Xid (PCI:0000:01:00): 79, pid=77, GPU has fallen off the bus.",
                "kernel: Out of memory: Killed process 77 (preflight-worke) total-vm:9kB",
            ]
        );
        let many: String = (0..200).map(|i| format!("3,{i},1,-;amdgpu: reset {i}\n")).collect();
        let kept = concerning(&many);
        assert_eq!((kept.len(), kept[MOST - 1].as_str()), (MOST, "amdgpu: reset 199"));
        KernelLog(open(&dir.path().join("absent"))).tell(&log);
        assert_eq!(log.lines().len(), 2);
    }
}
