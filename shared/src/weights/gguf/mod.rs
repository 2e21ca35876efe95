//! GGUF: the header of a file, its tensors by their Hugging Face names, and dequantisation.
//!
//! Format: ggml's `docs/gguf.md`, versions 2 and 3, little-endian. Everything in the header is checked against
//! the file's length before it is allocated.

mod config;
mod dequantize;
mod header;
mod metadata;
mod names;
mod reader;
#[cfg(test)]
pub(crate) mod test_file;

pub use config::config_of;
pub use dequantize::{can_dequantize, dequantize};
pub use header::Gguf;
pub use metadata::{Array, Metadata, Strings, Value};

use super::{Checkpoint, WeightSource, WeightsError};

impl<S: WeightSource> Checkpoint<S> {
    /// Opens a GGUF file as a checkpoint: its config in Hugging Face's words, its tensors under Hugging Face's names.
    ///
    /// Tensors that Hugging Face keeps in the config (longrope factors) are moved there. A name without a
    /// counterpart is kept as it is. Of architectures other than `phi3` and `llama` the config has the sizes only.
    ///
    /// # Errors
    /// A header that is refused, or a failed read.
    pub async fn from_gguf(
        file: &str,
        source: S,
    ) -> Result<(serde_json::Map<String, serde_json::Value>, Self), WeightsError> {
        let gguf = Gguf::read(file, &source).await?;
        let config = config_of(file, &source, &gguf).await?;
        let mut tensors = gguf.tensors;
        tensors.retain(|tensor| !names::is_rope_factor(&tensor.name));
        for tensor in &mut tensors {
            if let Some(name) = names::to_hugging_face(&gguf.architecture, &tensor.name) {
                tensor.name = name;
            }
        }
        let checkpoint = Self::assemble(file.to_owned(), vec![(file.to_owned(), source)], vec![tensors])?;
        Ok((config, checkpoint))
    }
}
