//! Seeded random weights for any `phi3` config: in memory, as a file that is computed where it is read, or written.
//!
//! Each value depends on the seed, the tensor's name and its position alone, so that any part of any tensor can be
//! had by itself and models of different depth share their layers. The three formats hold the same values, rounded.

use std::io;

use half::{bf16, f16};
use serde_json::{Value, json};
use thiserror::Error;

use super::safetensors::{INDEX_FILE, Layout, MAX_SHARD_BYTES, NewTensor, index_json, lay_out, pretty};
use super::sink::{Output, write_file};
use super::{Checkpoint, ConcurrentRead, WeightSink, WeightSource, WeightsError, WeightsProblem, Written};
use crate::config::{ConfigError, Fields, ModelConfig};
use crate::dtype::DType;
use crate::tensors::{self, TensorSpec};

/// Standard deviation of every tensor: Hugging Face's `initializer_range` of this family.
const DEVIATION: f32 = 0.02;
/// Bytes computed at a time while writing.
const PIECE_BYTES: u64 = 1 << 20;

/// Why no checkpoint was made.
#[derive(Debug, Error)]
pub enum SynthError {
    /// The config cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Another format than f32, bf16 or f16, or a failed write.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

impl SynthError {
    /// A stable name for programs: the `code` of an error object.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config(error) => error.code(),
            Self::Weights(error) => error.code(),
        }
    }
}

/// A safetensors file of random weights that exists only while it is read.
#[derive(Debug, Clone)]
pub struct SyntheticFile {
    layout: Layout,
    seed: u64,
    /// First byte of each tensor in the file.
    starts: Vec<u64>,
}

/// The files of a model: one, or shards of at most 5 GB with the names that Hugging Face gives them.
///
/// # Errors
/// Another format than f32, bf16 or f16.
pub fn synthetic_files(
    config: &ModelConfig,
    seed: u64,
    dtype: DType,
) -> Result<Vec<(String, SyntheticFile)>, WeightsError> {
    let files = layouts(config, dtype, MAX_SHARD_BYTES)?;
    Ok(files.into_iter().map(|layout| (layout.file.clone(), SyntheticFile::new(layout, seed))).collect())
}

/// A model of random weights, ready to be loaded.
///
/// # Errors
/// Another format than f32, bf16 or f16.
pub async fn synthetic_checkpoint(
    config: &ModelConfig,
    seed: u64,
    dtype: DType,
) -> Result<Checkpoint<SyntheticFile>, WeightsError> {
    Checkpoint::from_safetensors(synthetic_files(config, seed, dtype)?).await
}

/// Writes a checkpoint that Hugging Face reads: the config with its dtype set, a generation config, weights.
/// `create` opens each file by its plain name.
///
/// # Errors
/// [`SynthError`].
pub async fn synth<W: WeightSink>(
    config_json: &[u8],
    seed: u64,
    dtype: DType,
    mut create: impl FnMut(&str) -> io::Result<W>,
) -> Result<Written, SynthError> {
    let fields = Fields::parse(config_json)?;
    let config = ModelConfig::from_fields(&fields)?;
    let layouts = layouts(&config, dtype, MAX_SHARD_BYTES)?;
    let mut files = vec![
        write_file("config.json", &pretty(&with_dtype(&fields, dtype)), &mut create)?,
        write_file("generation_config.json", &pretty(&generation_config(&config)), &mut create)?,
    ];
    let index = index_json(&layouts);
    for layout in layouts {
        let mut output = Output::create(&layout.file.clone(), &mut create)?;
        let source = SyntheticFile::new(layout, seed);
        let mut piece = vec![0; PIECE_BYTES.min(source.len()) as usize];
        let mut offset = 0;
        while offset < source.len() {
            let piece = &mut piece[..PIECE_BYTES.min(source.len() - offset) as usize];
            source.fill(offset, piece);
            output.write(piece)?;
            offset += piece.len() as u64;
        }
        files.push(output.finish()?);
    }
    if let Some(index) = index {
        files.push(write_file(INDEX_FILE, &index, &mut create)?);
    }
    let params_total = tensors::list(&config.decoder()).map(|spec| spec.count()).sum();
    Ok(Written { files, params_total })
}

fn layouts(config: &ModelConfig, dtype: DType, max_bytes: u64) -> Result<Vec<Layout>, WeightsError> {
    if ![DType::F32, DType::Bf16, DType::F16].contains(&dtype) {
        let what = format!("synthetic weights in {dtype}: use f32, bf16 or f16");
        return Err(WeightsError::new("model.safetensors", WeightsProblem::Unsupported(what)));
    }
    let new_tensor = |TensorSpec { name, shape, .. }| NewTensor { name, dtype, shape };
    Ok(lay_out(tensors::list(&config.decoder()).map(new_tensor).collect(), max_bytes))
}

/// The user's config with nothing changed but the dtype, under the key that it uses.
fn with_dtype(fields: &Fields, dtype: DType) -> Value {
    let mut map = fields.map().clone();
    let name = match dtype {
        DType::Bf16 => "bfloat16",
        DType::F16 => "float16",
        _ => "float32",
    };
    let keys: Vec<&str> = ["torch_dtype", "dtype"].into_iter().filter(|key| map.contains_key(*key)).collect();
    for key in if keys.is_empty() { vec!["torch_dtype"] } else { keys } {
        map.insert(key.to_owned(), json!(name));
    }
    Value::Object(map)
}

fn generation_config(config: &ModelConfig) -> Value {
    json!({
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_ids,
        "pad_token_id": config.pad_token_id,
    })
}

impl SyntheticFile {
    fn new(layout: Layout, seed: u64) -> Self {
        let mut next = layout.header.len() as u64;
        let starts = layout
            .tensors
            .iter()
            .map(|tensor| {
                let start = next;
                next += tensor.len();
                start
            })
            .collect();
        Self { layout, seed, starts }
    }

    /// Fills `buffer` with the bytes from `offset` on; both within the file.
    fn fill(&self, mut offset: u64, mut buffer: &mut [u8]) {
        let header = self.layout.header.get(offset as usize..).unwrap_or_default();
        let count = header.len().min(buffer.len());
        buffer[..count].copy_from_slice(&header[..count]);
        buffer = &mut buffer[count..];
        offset += count as u64;

        let mut index = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        while !buffer.is_empty() {
            let (tensor, start) = (&self.layout.tensors[index], self.starts[index]);
            let within = offset - start;
            let count = (tensor.len() - within).min(buffer.len() as u64) as usize;
            let (part, rest) = buffer.split_at_mut(count);
            Values::new(self.seed, tensor).fill(tensor.dtype, within, part);
            buffer = rest;
            offset += count as u64;
            index += 1;
        }
    }
}

impl WeightSource for SyntheticFile {
    fn len(&self) -> u64 {
        self.layout.file_bytes()
    }

    async fn read_into(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, buffer)
    }

    fn concurrent(&self) -> Option<&dyn ConcurrentRead> {
        Some(self)
    }
}

impl ConcurrentRead for SyntheticFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.fill(offset, buffer);
        Ok(())
    }
}

/// The values of one tensor.
#[derive(Clone, Copy)]
struct Values {
    key: u64,
    mean: f32,
}

impl Values {
    fn new(seed: u64, tensor: &NewTensor) -> Self {
        // FNV-1a spreads the name, the mixer the seed.
        let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let name = tensor.name.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
        // The only vectors are norms, which scale by about one.
        let mean = if tensor.shape.len() == 1 { 1.0 } else { 0.0 };
        Self { key: mix(mix(seed) ^ name), mean }
    }

    /// The value at a position: a sum of four uniform numbers, near enough to a normal one, within 3.5 deviations.
    fn at(self, position: u64) -> f32 {
        /// 2^16 / sqrt(3): the deviation of a sum of four uniform numbers below 2^16.
        const UNIT: f32 = 37_837.227;
        let bits = mix(self.key.wrapping_add(position.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        // Two sums of two, side by side, then one of four.
        let pairs = (bits & 0x0000_ffff_0000_ffff) + (bits >> 16 & 0x0000_ffff_0000_ffff);
        let sum = (pairs as u32) + (pairs >> 32) as u32;
        self.mean + (sum as f32 - 131_070.0) * (DEVIATION / UNIT)
    }

    /// Bytes of the tensor from `start` on.
    fn fill(self, dtype: DType, start: u64, out: &mut [u8]) {
        match dtype {
            DType::Bf16 => self.fill_as(start, out, |value| bf16::from_f32(value).to_le_bytes()),
            DType::F16 => self.fill_as(start, out, |value| f16::from_f32(value).to_le_bytes()),
            _ => self.fill_as(start, out, f32::to_le_bytes),
        }
    }

    fn fill_as<const N: usize>(self, start: u64, out: &mut [u8], encode: impl Fn(f32) -> [u8; N]) {
        let (mut position, skipped) = (start / N as u64, (start % N as u64) as usize);
        let mut out = out;
        if skipped > 0 {
            let value = encode(self.at(position));
            let count = (N - skipped).min(out.len());
            out[..count].copy_from_slice(&value[skipped..skipped + count]);
            out = &mut out[count..];
            position += 1;
        }
        let (whole, rest) = out.as_chunks_mut::<N>();
        for value in whole {
            *value = encode(self.at(position));
            position += 1;
        }
        let last = encode(self.at(position));
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// SplitMix64's output function (Steele, Lea, Flood 2014).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
#[path = "synthetic_tests.rs"]
mod tests;
