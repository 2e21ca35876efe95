//! Small files (configs, tokenizers, indexes), read whole but never beyond a limit.

use std::path::Path;

use phi3::weights::WeightSource as _;

use crate::{FileSource, FilesError};

/// Reads a whole file of at most `limit` bytes; a larger one is refused by its length alone.
///
/// # Errors
/// As [`FileSource::open`], too large, or a failed read.
pub fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>, FilesError> {
    let source = FileSource::open(path)?;
    let bytes = source.len();
    if bytes > limit {
        return Err(FilesError::TooLarge { path: path.to_owned(), bytes, limit });
    }
    let mut buffer = vec![0; bytes as usize];
    pollster::block_on(source.read_into(0, &mut buffer)).map_err(|error| FilesError::io(path, error))?;
    Ok(buffer)
}

/// Reads a file that may be absent.
///
/// # Errors
/// As [`read_small`], except absence.
pub(crate) fn read_optional(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FilesError> {
    match read_small(path, limit) {
        Err(FilesError::NotFound { .. }) => Ok(None),
        read => read.map(Some),
    }
}
