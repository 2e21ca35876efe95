//! What a command is given to read: a file, a pipe, or stdin.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use preflight_files::{FilesError, read_small};

/// The bytes of a small file, of a pipe, or of stdin, which is `-`. A pipe that gives more than `limit` is cut one byte
/// behind it, which whoever parses refuses.
pub(super) fn read(file: &Path, limit: u64) -> Result<Vec<u8>, FilesError> {
    if file.as_os_str() == "-" {
        return drain(Path::new("stdin"), io::stdin().lock(), limit);
    }
    if file.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo()) {
        let pipe = File::open(file).map_err(|error| FilesError::io(file, error))?;
        return drain(file, pipe, limit);
    }
    read_small(file, limit)
}

fn drain(name: &Path, from: impl Read, limit: u64) -> Result<Vec<u8>, FilesError> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes).map_err(|error| FilesError::io(name, error))?;
    Ok(bytes)
}
