//! A Llama-architecture GGUF to a genuine `phi3` checkpoint in f32.
//!
//! The two architectures compute the same; only the files differ: `phi3` fuses q, k, v and gate, up, and GGUF
//! stores the rows of q and k in the order of interleaved rotary pairs, which is undone here.
//! Equal input gives equal bytes.

mod config;
mod pre_tokenizer;
mod tokenizer;
mod weights;

pub use tokenizer::{TokenizerFiles, tokenizer_files};

use std::io;

use super::gguf::Gguf;
use super::safetensors::{MAX_SHARD_BYTES, NewTensor, index_json, lay_out, pretty};
use super::sink::{Output, write_file};
use super::{WeightSink, WeightSource, WeightsError, Written, safetensors};
use crate::dtype::DType;
use crate::tensors;

/// Converts `source`, whose name in messages is `file`; `create` opens each output file by its plain name.
///
/// Everything that can be refused is refused before the first file is created. A piece of one tensor is in
/// memory at a time.
///
/// # Errors
/// [`WeightsError`]: no GGUF file, not the `llama` architecture, tensors that `phi3` has no place for (all named),
/// formats without dequantisation, an unknown tokenizer; a failed read or write.
pub async fn convert<S: WeightSource, W: WeightSink>(
    file: &str,
    source: &S,
    mut create: impl FnMut(&str) -> io::Result<W>,
) -> Result<Written, WeightsError> {
    let gguf = Gguf::read(file, source).await?;
    let refuse = |problem| WeightsError::new(file, problem);
    let (json, model) = config::phi3_config(file, source, &gguf).await?;
    let tokenizer = tokenizer_files(&gguf.metadata, &model).map_err(refuse)?;
    let sources = weights::sources(&gguf, &model).map_err(refuse)?;

    let new_tensor =
        |spec: tensors::TensorSpec| NewTensor { name: spec.name, dtype: DType::F32, shape: spec.shape };
    let layouts = lay_out(tensors::list(&model.decoder()).map(new_tensor).collect(), MAX_SHARD_BYTES);

    let generation = config::generation_config(&gguf.metadata).map_err(refuse)?;
    let mut files = vec![
        write_file("config.json", &pretty(&json), &mut create)?,
        write_file("generation_config.json", &pretty(&generation), &mut create)?,
    ];
    for (name, bytes) in tokenizer.files() {
        files.push(write_file(name, &bytes, &mut create)?);
    }
    let mut sources = sources.into_iter();
    for layout in &layouts {
        let mut output = Output::create(&layout.file, &mut create)?;
        output.write(&layout.header)?;
        for parts in sources.by_ref().take(layout.tensors.len()) {
            for part in parts {
                weights::write_part(file, source, &part, &mut output).await?;
            }
        }
        files.push(output.finish()?);
    }
    if let Some(index) = index_json(&layouts) {
        files.push(write_file(safetensors::INDEX_FILE, &index, &mut create)?);
    }
    let params_total = tensors::list(&model.decoder()).map(|spec| spec.count()).sum();
    Ok(Written { files, params_total })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
