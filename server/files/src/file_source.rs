//! A file of weights read at positions.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use phi3::weights::{ConcurrentRead, WeightSource};

use crate::FilesError;
#[cfg(target_os = "linux")]
use crate::cold::Cold;

/// An open regular file, read with `pread`.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    #[cfg(target_os = "linux")]
    cold: Option<Cold>,
    len: u64,
}

impl FileSource {
    /// Opens a regular file; its kind is looked at before it is opened, since opening a FIFO waits for a writer.
    ///
    /// # Errors
    /// Absent, no permission, a FIFO, a device, a directory.
    pub fn open(path: &Path) -> Result<Self, FilesError> {
        let io = |error| FilesError::io(path, error);
        check_regular(path, &path.metadata().map_err(io)?)?;
        let file = File::open(path).map_err(io)?;
        // Looked at again: the name may have changed its meaning in between.
        let metadata = file.metadata().map_err(io)?;
        check_regular(path, &metadata)?;
        Ok(Self {
            #[cfg(target_os = "linux")]
            cold: Cold::open(path, &file),
            file,
            len: metadata.len(),
        })
    }

    #[cfg(target_os = "linux")]
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.cold {
            Some(cold) => cold.read_exact_at(&self.file, buffer, offset),
            None => self.file.read_exact_at(buffer, offset),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

impl WeightSource for FileSource {
    fn len(&self) -> u64 {
        self.len
    }

    async fn read_into(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, buffer)
    }

    fn concurrent(&self) -> Option<&dyn ConcurrentRead> {
        Some(self)
    }
}

impl ConcurrentRead for FileSource {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                let end = offset + buffer.len() as u64;
                io::Error::new(
                    error.kind(),
                    format!("it ends before byte {end}: it was cut, or is still being written"),
                )
            }
            _ => error,
        })
    }
}

fn check_regular(path: &Path, metadata: &std::fs::Metadata) -> Result<(), FilesError> {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = metadata.file_type();
    let found = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(FilesError::NotAFile { path: path.to_owned(), found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_files_are_refused_without_waiting() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let fifo = dir.path().join("model.safetensors");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).expect("a FIFO");
        for (path, found) in [
            (fifo.as_path(), "a named pipe"),
            (dir.path(), "a directory"),
            (Path::new("/dev/zero"), "a device"),
        ] {
            let error = FileSource::open(path).expect_err("no regular file");
            assert_eq!(error.code(), "not_a_file");
            assert!(error.to_string().contains(found), "{error}");
        }
        let absent = FileSource::open(&dir.path().join("absent")).expect_err("absent");
        assert_eq!(absent.code(), "not_found");
    }

    #[test]
    fn a_symlink_loop_ends() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let a = dir.path().join("a");
        std::os::unix::fs::symlink(&a, &a).expect("a link to itself");
        assert_eq!(FileSource::open(&a).expect_err("a loop").code(), "io_error");
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("weights");
        std::fs::write(&path, [7; 100]).expect("written");
        let source = FileSource::open(&path).expect("regular");
        assert_eq!(source.len(), 100);
        std::fs::write(&path, [7; 10]).expect("written shorter");
        let mut buffer = [0; 20];
        let error = pollster::block_on(source.read_into(0, &mut buffer)).expect_err("shorter now");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
