//! A checkpoint: one or more checked files, and where each tensor lies in them.

use std::collections::{BTreeMap, BTreeSet};
use std::{fmt, io};

use serde::{Deserialize, Serialize};

use super::differences::Differences;
use super::safetensors::{ShardIndex, TensorEntry, read_header};
use super::{
    BytesSource, ConcurrentRead, WeightSource, WeightsError, WeightsFinding, WeightsProblem, floats,
};
use crate::decoder::Decoder;
use crate::dtype::DType;
use crate::units::{format_bytes, format_counted};

/// Bytes read at a time where a tensor is converted while it is read.
pub(crate) const PIECE_BYTES: u64 = 1 << 20;

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
    /// Number of bytes: `dtype.tensor_bytes(shape)`, or less where values of less than a byte are packed over rows.
    pub len: u64,
}

impl StoredTensor {
    /// Number of elements.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.shape.iter().map(|d| *d as u64).product()
    }
}

/// Stored tensors that are loaded beside those of the language model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherParts {
    /// How many.
    pub tensors: usize,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl fmt::Display for OtherParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = format_counted(self.tensors as u64, "tensor");
        write!(f, "{count} ({})", format_bytes(self.bytes))
    }
}

/// Checked files and the tensors in them, by name.
#[derive(Debug)]
pub struct Checkpoint<S> {
    /// What the user named: the file, or the index of several.
    pub(super) name: String,
    pub(super) files: Vec<(String, S)>,
    pub(super) tensors: BTreeMap<String, StoredTensor>,
    pub(super) findings: Vec<WeightsFinding>,
    /// Whether the files are GGUF; then the tensors of most architectures have its names.
    pub(super) is_gguf: bool,
}

impl<S: WeightSource> Checkpoint<S> {
    /// Opens one safetensors file, or several that together hold each tensor once.
    ///
    /// # Errors
    /// The first file that is refused, or every tensor that stands in two files.
    pub async fn from_safetensors(files: Vec<(String, S)>) -> Result<Self, WeightsError> {
        let name = files.first().map_or_else(|| "checkpoint".to_owned(), |(name, _)| name.clone());
        let mut headers = Vec::with_capacity(files.len());
        for (file, source) in &files {
            headers.push(read_header(file, source).await?);
        }
        Self::assemble(name, files, headers)
    }

    /// Opens the shards of an index and holds them against it.
    ///
    /// `files` are the shards that could be opened, by the names in [`ShardIndex::shards`].
    ///
    /// # Errors
    /// Every shard that is missing; the first file that is refused; every tensor that is not where the index says.
    pub async fn from_shards(index: &ShardIndex, files: Vec<(String, S)>) -> Result<Self, WeightsError> {
        let refuse = |problem| WeightsError::new(&index.file, problem);
        let mut missing = index.shards();
        missing.retain(|shard| files.iter().all(|(name, _)| name != shard));
        if !missing.is_empty() {
            return Err(refuse(WeightsProblem::MissingShards(missing)));
        }
        let mut checkpoint = Self::from_safetensors(files).await?;
        checkpoint.name.clone_from(&index.file);

        let mut differences = Differences::default();
        for (tensor, shard) in index.tensors() {
            match checkpoint.tensors.get(tensor).map(|stored| &checkpoint.files[stored.file].0) {
                Some(file) if file == shard => {}
                Some(file) => differences.push(tensor, format!("is in {file}, not in {shard}")),
                None => differences.push(tensor, format!("is not in {shard}")),
            }
        }
        for (tensor, stored) in &checkpoint.tensors {
            if !index.lists(tensor) {
                let file = &checkpoint.files[stored.file].0;
                differences.push(tensor, format!("of {file} is not in the index"));
            }
        }
        let differences = differences.lines();
        if !differences.is_empty() {
            let what = format!("the index and the shards differ: {}", differences.join("; "));
            return Err(refuse(WeightsProblem::Corrupt(what)));
        }
        let stored = checkpoint.stored_bytes();
        if let Some(claimed) = index.total_size.filter(|claimed| *claimed != stored) {
            checkpoint.findings.push(WeightsFinding::TotalSize { claimed, stored });
        }
        Ok(checkpoint)
    }

    /// Joins checked headers; `headers[i]` belongs to `files[i]`.
    pub(super) fn assemble(
        name: String,
        files: Vec<(String, S)>,
        headers: Vec<Vec<TensorEntry>>,
    ) -> Result<Self, WeightsError> {
        let mut tensors: BTreeMap<String, StoredTensor> = BTreeMap::new();
        let mut twice = Differences::default();
        for (file, entries) in headers.into_iter().enumerate() {
            for TensorEntry { name, dtype, shape, offset, len } in entries {
                if let Some(first) = tensors.get(&name) {
                    twice.push(&name, format!("is in {} and in {}", files[first.file].0, files[file].0));
                } else {
                    tensors.insert(name, StoredTensor { dtype, shape, file, offset, len });
                }
            }
        }
        let twice = twice.lines();
        if !twice.is_empty() {
            return Err(WeightsError::new(name, WeightsProblem::Corrupt(twice.join("; "))));
        }
        let findings = super::finding::of_tensors(&tensors);
        Ok(Self { name, files, tensors, findings, is_gguf: false })
    }

    /// The file that the user named: the weight file itself, or the index of several.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The files that hold the tensors.
    pub fn file_names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(name, _)| name.as_str())
    }

    /// Every tensor by name.
    #[must_use]
    pub fn tensors(&self) -> &BTreeMap<String, StoredTensor> {
        &self.tensors
    }

    /// What is odd about the files but does not stop them from being used.
    #[must_use]
    pub fn findings(&self) -> &[WeightsFinding] {
        &self.findings
    }

    /// Tensors that are parameters: all but leftover buffers.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &StoredTensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).filter(|(name, _)| !is_buffer(name))
    }

    /// Tensors that a load of the language model holds, by name: without encoders, adapters, predictors, what is
    /// computed anew, and a head that is the embedding again ([`Checkpoint::tied_head`]).
    #[must_use]
    pub fn language_model(&self, decoder: &Decoder) -> BTreeMap<String, StoredTensor> {
        let again = tied_head(decoder);
        let belongs = |name: &str| {
            !is_recomputed(name) && !crate::tensors::is_apart(decoder, name) && again.as_deref() != Some(name)
        };
        let chosen = self.tensors.iter().filter(|(name, _)| belongs(name));
        chosen.map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
    }

    /// A head that is stored beside the embedding it is tied to: it may be read and is not held.
    #[must_use]
    pub fn tied_head(&self, decoder: &Decoder) -> Option<WeightsFinding> {
        let head = tied_head(decoder).filter(|name| self.tensors.contains_key(name))?;
        Some(WeightsFinding::TiedHead(head))
    }

    /// Tensors that the class of the model leaves where they are ([`crate::tensors::is_not_loaded`]).
    #[must_use]
    pub fn not_loaded(&self, decoder: &Decoder) -> Option<WeightsFinding> {
        self.sum(|name| crate::tensors::is_not_loaded(decoder, name)).map(WeightsFinding::NotLoaded)
    }

    /// Tensors that the class of the model loads beside the language model: encoders, adapters.
    #[must_use]
    pub fn other_parts(&self, decoder: &Decoder) -> Option<OtherParts> {
        self.sum(|name| {
            crate::tensors::is_beside(decoder, name) && !crate::tensors::is_not_loaded(decoder, name)
        })
    }

    /// Buffers that are loaded as they are stored and are no parameters: corrections of a router's scores.
    fn held_buffers(&self, decoder: &Decoder) -> Option<OtherParts> {
        self.sum(|name| is_correction(name) && !crate::tensors::is_apart(decoder, name))
    }

    /// What is odd about the files, what of them a model of this config does not hold, and what it holds that is no
    /// parameter of its language model.
    #[must_use]
    pub fn findings_of(&self, decoder: &Decoder) -> Vec<WeightsFinding> {
        let mut names: Vec<&str> = decoder.apart.iter().map(|part| part.name).collect();
        names.dedup();
        let others = self.other_parts(decoder);
        let unread: BTreeSet<DType> = (self.tensors.values().map(|tensor| tensor.dtype))
            .filter(|dtype| self.is_gguf && decoder.family.runs() && !floats::is_convertible(*dtype))
            .collect();
        let of_config = [
            self.tied_head(decoder),
            self.not_loaded(decoder),
            others.map(|parts| WeightsFinding::OtherParts { parts, names: names.join(", ") }),
            self.held_buffers(decoder).map(WeightsFinding::HeldBuffers),
            (!unread.is_empty()).then(|| WeightsFinding::NotRead(unread.into_iter().collect())),
        ];
        self.findings.iter().cloned().chain(of_config.into_iter().flatten()).collect()
    }

    /// The tensors of these names; none where there are none.
    fn sum(&self, is_it: impl Fn(&str) -> bool) -> Option<OtherParts> {
        let found = self.tensors.iter().filter(|(name, _)| is_it(name));
        let sum = found.fold(OtherParts::default(), |sum, (_, tensor)| OtherParts {
            tensors: sum.tensors + 1,
            bytes: sum.bytes.saturating_add(tensor.len),
        });
        (sum.tensors > 0).then_some(sum)
    }

    /// Number of parameters.
    #[must_use]
    pub fn parameter_count(&self) -> u64 {
        self.parameters().map(|(_, tensor)| tensor.count()).sum()
    }

    /// Bytes of all tensors as stored, headers not counted.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.tensors.values().map(|tensor| tensor.len).sum()
    }

    /// The format that most parameters are stored in; `None` if there are none.
    #[must_use]
    pub fn stored_dtype(&self) -> Option<DType> {
        let mut counts: BTreeMap<DType, u64> = BTreeMap::new();
        for (_, tensor) in self.parameters() {
            *counts.entry(tensor.dtype).or_default() += tensor.count();
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(dtype, _)| dtype)
    }

    /// Reads a tensor's bytes as stored into `buffer`, which must have the tensor's length.
    ///
    /// # Errors
    /// Unknown name or failed read.
    pub async fn read(&self, name: &str, buffer: &mut [u8]) -> Result<(), WeightsError> {
        let tensor = self.tensor(name)?;
        if tensor.len != buffer.len() as u64 {
            let what = format!("tensor `{name}` has {} bytes, the buffer {}", tensor.len, buffer.len());
            return Err(WeightsError::new(&self.files[tensor.file].0, WeightsProblem::Corrupt(what)));
        }
        self.read_at(tensor, 0, buffer).await
    }

    /// Reads a part of a tensor's bytes as stored, from `offset` within it.
    ///
    /// # Errors
    /// Unknown name, a part that goes beyond the tensor, failed read.
    pub async fn read_part(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<(), WeightsError> {
        let tensor = self.tensor(name)?;
        let end = offset.saturating_add(buffer.len() as u64);
        if end > tensor.len {
            let what = format!("tensor `{name}` has {} bytes, a read ends at {end}", tensor.len);
            return Err(WeightsError::new(&self.files[tensor.file].0, WeightsProblem::Corrupt(what)));
        }
        self.read_at(tensor, offset, buffer).await
    }

    /// A file by its index, with its name, for several threads at once; `None` where its medium has one reader.
    #[must_use]
    pub fn concurrent(&self, file: usize) -> Option<(&str, &dyn ConcurrentRead)> {
        let (name, source) = self.files.get(file)?;
        Some((name, source.concurrent()?))
    }

    /// Reads a tensor and converts it to f32, block formats included; a megabyte of the file at a time.
    ///
    /// # Errors
    /// Unknown name, a format that has no conversion, failed read.
    pub async fn read_as_f32(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
        let tensor = self.tensor(name)?;
        // More than this machine has or can address is an error, not an abort.
        let count = usize::try_from(tensor.count()).unwrap_or(usize::MAX);
        let too_large = |error| {
            let error = io::Error::new(io::ErrorKind::OutOfMemory, error);
            WeightsError::new(&self.files[tensor.file].0, error)
        };
        let mut values = Vec::new();
        values.try_reserve_exact(count).map_err(too_large)?;
        values.resize(count, 0.0);
        self.read_f32_into(name, &mut values).await?;
        Ok(values)
    }

    /// As [`Checkpoint::read_as_f32`], into `values`, which must have the tensor's number of elements.
    ///
    /// # Errors
    /// Unknown name, another number of elements, a format that has no conversion, failed read.
    pub async fn read_f32_into(&self, name: &str, values: &mut [f32]) -> Result<(), WeightsError> {
        let tensor = self.tensor(name)?;
        if tensor.count() != values.len() as u64 {
            let what =
                format!("tensor `{name}` has {} elements, the buffer {}", tensor.count(), values.len());
            return Err(WeightsError::new(&self.files[tensor.file].0, WeightsProblem::Corrupt(what)));
        }
        self.read_part_as_f32(name, 0, values).await
    }

    /// As [`Checkpoint::read_as_f32`], the elements from `first` on, as many as `values` holds. In block formats both
    /// are whole blocks.
    ///
    /// # Errors
    /// Unknown name, elements beyond the tensor or within a block, a format that has no conversion, failed read.
    pub async fn read_part_as_f32(
        &self,
        name: &str,
        first: u64,
        values: &mut [f32],
    ) -> Result<(), WeightsError> {
        let tensor = self.tensor(name)?;
        let refuse = |problem| WeightsError::new(&self.files[tensor.file].0, problem);
        let (block_len, block_bytes) = (tensor.dtype.block_len(), tensor.dtype.block_bytes());
        let end = first.saturating_add(values.len() as u64);
        if end > tensor.count() || !first.is_multiple_of(block_len) || !end.is_multiple_of(block_len) {
            let what = format!(
                "elements {first} to {end} of `{name}` were asked for; it has {} in blocks of {block_len}",
                tensor.count()
            );
            return Err(refuse(WeightsProblem::Corrupt(what)));
        }
        if !floats::is_convertible(tensor.dtype) {
            let what = format!("tensor `{name}` is {}, which has no conversion to f32", tensor.dtype);
            return Err(refuse(WeightsProblem::Unsupported(what)));
        }
        let blocks = PIECE_BYTES / block_bytes;
        let all_bytes = values.len() as u64 / block_len * block_bytes;
        let mut piece = vec![0; (blocks * block_bytes).min(all_bytes) as usize];
        let mut offset = first / block_len * block_bytes;
        for part in values.chunks_mut((blocks * block_len) as usize) {
            let bytes = part.len() as u64 / block_len * block_bytes;
            let piece = &mut piece[..bytes as usize];
            self.read_at(tensor, offset, piece).await?;
            floats::convert(tensor.dtype, piece, part);
            offset += bytes;
        }
        Ok(())
    }

    /// The same checkpoint with every file read into memory.
    ///
    /// # Errors
    /// Failed read, or not enough memory.
    pub async fn buffered(&self) -> Result<Checkpoint<BytesSource<Vec<u8>>>, WeightsError> {
        let mut files = Vec::with_capacity(self.files.len());
        for (name, source) in &self.files {
            let short = || WeightsError::new(name, io::Error::from(io::ErrorKind::OutOfMemory));
            let len = usize::try_from(source.len()).map_err(|_too_long| short())?;
            let mut bytes = bytemuck::try_zeroed_vec(len).map_err(|()| short())?;
            source.read_into(0, &mut bytes).await.map_err(|error| WeightsError::new(name, error))?;
            files.push((name.clone(), BytesSource(bytes)));
        }
        let (name, tensors, findings) = (self.name.clone(), self.tensors.clone(), self.findings.clone());
        Ok(Checkpoint { name, files, tensors, findings, is_gguf: self.is_gguf })
    }

    /// Reads bytes of a tensor from `offset` within it.
    pub(super) async fn read_at(
        &self,
        tensor: &StoredTensor,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), WeightsError> {
        let (file, source) = &self.files[tensor.file];
        source.read_into(tensor.offset + offset, buffer).await.map_err(|error| WeightsError::new(file, error))
    }

    fn tensor(&self, name: &str) -> Result<&StoredTensor, WeightsError> {
        let missing = || WeightsProblem::Mismatch(vec![format!("`{name}` is missing")]);
        self.tensors.get(name).ok_or_else(|| WeightsError::new(&self.name, missing()))
    }
}

/// The name of a head that the config ties to the embedding.
fn tied_head(decoder: &Decoder) -> Option<String> {
    use crate::tensors::{Role, spec};
    decoder.tie_word_embeddings.then(|| spec(decoder, Role::LmHead, 0).name)
}

/// What checkpoints carry along that is no parameter.
pub(crate) fn is_buffer(name: &str) -> bool {
    is_recomputed(name) || is_correction(name)
}

/// Rotary frequencies, computed anew by everyone: not held as they are stored.
pub(super) fn is_recomputed(name: &str) -> bool {
    name.ends_with("rotary_emb.inv_freq") || super::gguf::is_recomputed(name)
}

/// The correction of a router's scores, which is not trained by gradients: loaded as it is stored, and no parameter.
pub(crate) fn is_correction(name: &str) -> bool {
    name.ends_with("gate.e_score_correction_bias") || super::gguf::is_correction(name)
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
