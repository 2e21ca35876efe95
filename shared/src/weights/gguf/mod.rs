//! GGUF: the header of a file, its tensors by their Hugging Face names, and dequantisation.
//!
//! Format: ggml's `docs/gguf.md`, versions 2 and 3, little-endian. Everything in the header is checked against
//! the file's length before it is allocated.

mod check;
mod config;
mod dequantize;
mod header;
mod metadata;
mod names;
mod reader;
mod split;
#[cfg(test)]
pub(crate) mod test_file;

pub(super) use check::differences;
pub use config::config_of;
pub use dequantize::{can_dequantize, dequantize};
pub use header::Gguf;
pub use metadata::{Array, Metadata, Strings, Value};
pub use names::module;
pub(super) use names::{is_correction, is_recomputed};
pub use split::{Split, part_names};

use super::{Checkpoint, WeightSource, WeightsError, WeightsFinding};

impl<S: WeightSource> Checkpoint<S> {
    /// Opens a GGUF file as a checkpoint: its config in Hugging Face's words, its tensors.
    ///
    /// Tensors of `phi3` have Hugging Face's names, and what Hugging Face keeps in the config (longrope factors) is moved
    /// there; of other architectures the names are kept and the config has the sizes only.
    ///
    /// # Errors
    /// As [`Checkpoint::from_gguf_parts`].
    pub async fn from_gguf(
        file: &str,
        source: S,
    ) -> Result<(serde_json::Map<String, serde_json::Value>, Self), WeightsError> {
        Self::from_gguf_parts(file, vec![(file.to_owned(), source)]).await
    }

    /// The same of a model that was split into several files; those that are not given are a finding. `name` is what
    /// the user named.
    ///
    /// # Errors
    /// A header that is refused, parts of different models, no first part, metadata that leave a size of a known
    /// architecture open, or a failed read.
    pub async fn from_gguf_parts(
        name: &str,
        files: Vec<(String, S)>,
    ) -> Result<(serde_json::Map<String, serde_json::Value>, Self), WeightsError> {
        let mut headers = Vec::with_capacity(files.len());
        for (file, source) in &files {
            headers.push(Gguf::read(file, source).await?);
        }
        let (first, missing) = split::held(name, &headers)?;
        let parts: Vec<config::Part<'_, S>> = (files.iter().zip(&headers))
            .map(|((file, source), header)| config::Part { file, source, header })
            .collect();
        let config = config::of_parts(&parts, first).await?;
        let refuse = |problem| WeightsError::new(&files[first].0, problem);
        if missing.is_none() {
            config::complete(&headers[first], &config).map_err(refuse)?;
        }
        let architecture = headers[first].architecture.clone();
        let tensors = headers.into_iter().map(|header| {
            let mut tensors = header.tensors;
            tensors.retain(|tensor| !names::is_rope_factor(&tensor.name));
            for tensor in &mut tensors {
                if let Some(name) = names::to_hugging_face(&architecture, &tensor.name) {
                    tensor.name = name;
                }
            }
            tensors
        });
        let tensors = tensors.collect();
        let mut checkpoint = Self::assemble(name.to_owned(), files, tensors)?;
        checkpoint.is_gguf = true;
        checkpoint.findings.extend(missing.map(WeightsFinding::MissingParts));
        Ok((config, checkpoint))
    }
}

#[cfg(test)]
mod family_tests;
