//! Room on a disk.

use std::path::Path;

/// Bytes that this user may still write to the disk of a folder; `None` where the system does not tell.
#[cfg(unix)]
#[must_use]
pub fn free_bytes(folder: &Path) -> Option<u64> {
    // Systems count in 32 or in 64 bits.
    fn wide(count: impl Into<u64>) -> u64 {
        count.into()
    }
    let found = nix::sys::statvfs::statvfs(folder).ok()?;
    Some(wide(found.blocks_available()).saturating_mul(wide(found.fragment_size())))
}

/// Bytes that this user may still write to the disk of a folder; `None` where the system does not tell.
#[cfg(not(unix))]
#[must_use]
pub fn free_bytes(_folder: &Path) -> Option<u64> {
    None
}
