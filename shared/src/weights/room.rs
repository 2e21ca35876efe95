//! How many descriptions a file may have: one takes more memory than its shortest text.

use super::WeightsProblem;

/// As many tensors as any file may describe, however short.
const FREE: u64 = 1 << 12;
/// Bytes that a file has for each tensor beyond those, names not counted. What is read of one takes no more than twice
/// that and twice its name, so that no file costs more than twice its length and a constant.
const LEAST_BYTES: u64 = 256;

/// What is left for the tensors of one file.
pub(super) struct Room {
    file_bytes: u64,
    tensors: u64,
    name_bytes: u64,
}

impl Room {
    pub(super) fn of_file(file_bytes: u64) -> Self {
        Self { file_bytes, tensors: 0, name_bytes: 0 }
    }

    /// Takes in one more tensor, or refuses a file of nothing but descriptions.
    pub(super) fn take(&mut self, name: &str) -> Result<(), WeightsProblem> {
        self.tensors += 1;
        self.name_bytes += name.len() as u64;
        let most = FREE + self.file_bytes.saturating_sub(self.name_bytes) / LEAST_BYTES;
        if self.tensors <= most {
            return Ok(());
        }
        Err(WeightsProblem::Corrupt(format!(
            "it describes more tensors than {} bytes explain: beyond {FREE} each has {LEAST_BYTES} bytes at least",
            self.file_bytes
        )))
    }
}
