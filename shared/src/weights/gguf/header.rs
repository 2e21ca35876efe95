//! The header of a GGUF file, checked in full against the file's length.

use super::metadata::{Metadata, Value};
use super::reader::Reader;
use crate::dtype::DType;
use crate::weights::room::Room;
use crate::weights::safetensors::TensorEntry;
use crate::weights::text::check_name;
use crate::weights::{WeightSource, WeightsError, WeightsProblem, sniff};

const MAGIC: [u8; 4] = *b"GGUF";
const DEFAULT_ALIGNMENT: u64 = 32;
/// As many dimensions as ggml has.
const MAX_RANK: u32 = 4;
/// A large mixture of experts has some thousand.
const MAX_TENSORS: u64 = 1 << 16;
/// An empty name, no dimension, type and offset.
const MIN_TENSOR_BYTES: u64 = 8 + 4 + 4 + 8;

/// A checked header.
#[derive(Debug, Clone, PartialEq)]
pub struct Gguf {
    /// Version of the format: 2 or 3.
    pub version: u32,
    /// `general.architecture`: `llama`, `phi3`, …; empty if the file does not say.
    pub architecture: String,
    /// Keys and values.
    pub metadata: Metadata,
    /// Tensors under GGUF's names, in the order of their data; shapes row-major, unlike in the file.
    pub tensors: Vec<TensorEntry>,
}

impl Gguf {
    /// Reads and checks a header.
    ///
    /// # Errors
    /// Not a GGUF file, another version, a header that lies, a failed read.
    pub async fn read<S: WeightSource>(file: &str, source: &S) -> Result<Self, WeightsError> {
        let refuse = |problem| WeightsError::new(file, problem);
        let head = sniff::read_head(file, source).await?;
        if !head.starts_with(&MAGIC) {
            let start = head.iter().take(4).map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
            return Err(refuse(WeightsProblem::NotWeights(format!("it starts with {start}, not with GGUF"))));
        }
        let mut reader = Reader::new(file, source);
        reader.bytes(4).await?;
        let version = reader.u32().await?;
        if !(2..=3).contains(&version) {
            let what = if version & 0xffff == 0 && version != 0 {
                "it is big-endian GGUF".to_owned()
            } else {
                format!("GGUF version {version}; 2 and 3 are read")
            };
            return Err(refuse(WeightsProblem::Unsupported(what)));
        }
        let tensor_count = reader.u64().await?;
        let key_count = reader.u64().await?;
        let metadata = Metadata::read(&mut reader, key_count).await?;
        let alignment = alignment(&metadata).map_err(refuse)?;
        let tensors = read_tensors(&mut reader, tensor_count, alignment).await?;
        let architecture =
            metadata.text("general.architecture").map_err(refuse)?.unwrap_or_default().to_owned();
        Ok(Self { version, architecture, metadata, tensors })
    }

    /// The tensor of this name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorEntry> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }
}

fn alignment(metadata: &Metadata) -> Result<u64, WeightsProblem> {
    let key = "general.alignment";
    match metadata.get(key) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(Value::Unsigned(alignment)) if alignment.is_power_of_two() && *alignment <= 1 << 20 => {
            Ok(*alignment)
        }
        Some(Value::Unsigned(other)) => {
            Err(WeightsProblem::Corrupt(format!("`{key}` is {other}, not a power of two up to 2^20")))
        }
        Some(_) => Err(WeightsProblem::Corrupt(format!("`{key}` is not a whole number"))),
    }
}

async fn read_tensors<S: WeightSource>(
    reader: &mut Reader<'_, S>,
    count: u64,
    alignment: u64,
) -> Result<Vec<TensorEntry>, WeightsError> {
    if count > MAX_TENSORS || count.saturating_mul(MIN_TENSOR_BYTES) > reader.remaining() {
        return Err(reader.corrupt(format!(
            "its header claims {count} tensors, at most {MAX_TENSORS} are read and {} bytes follow",
            reader.remaining()
        )));
    }
    let mut tensors: Vec<TensorEntry> = Vec::new();
    // Data follows the header, padded; offsets count from there, without holes but for padding.
    let mut end = 0u64;
    let mut room = Room::of_file(reader.position() + reader.remaining());
    for _ in 0..count {
        let tensor = read_tensor(reader).await?;
        room.take(&tensor.name).map_err(|problem| reader.refuse(problem))?;
        let padded = end.checked_next_multiple_of(alignment);
        if Some(tensor.offset) != padded {
            return Err(reader.corrupt(format!(
                "tensor `{}` starts at byte {} of the data, expected {end} padded to {alignment}",
                tensor.name, tensor.offset
            )));
        }
        end =
            tensor.offset.checked_add(tensor.len).filter(|end| *end <= i64::MAX as u64).ok_or_else(|| {
                reader.corrupt(format!("tensor `{}` ends past the file's end", tensor.name))
            })?;
        tensors.push(tensor);
    }
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    if let Some([twice, ..]) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(reader.corrupt(format!("tensor `{twice}` stands twice")));
    }
    let data_start = reader.position().next_multiple_of(alignment);
    let data_len = (reader.position() + reader.remaining()).saturating_sub(data_start);
    if end > data_len {
        return Err(reader.corrupt(format!(
            "it is cut: its tensors take {end} bytes, {data_len} are there; download it again"
        )));
    }
    for tensor in &mut tensors {
        tensor.offset += data_start;
    }
    Ok(tensors)
}

/// One tensor; its offset still counts from the start of the data.
async fn read_tensor<S: WeightSource>(reader: &mut Reader<'_, S>) -> Result<TensorEntry, WeightsError> {
    let name = reader.string().await?;
    check_name(&name).map_err(|problem| reader.refuse(problem))?;
    let rank = reader.u32().await?;
    if rank > MAX_RANK {
        return Err(
            reader.corrupt(format!("tensor `{name}` has {rank} dimensions, at most {MAX_RANK} exist"))
        );
    }
    // The file starts with the fastest dimension.
    let mut dims = Vec::with_capacity(rank as usize);
    for _ in 0..rank {
        dims.insert(0, reader.u64().await?);
    }
    let number = reader.u32().await?;
    let offset = reader.u64().await?;
    let Some(dtype) = dtype_of(number) else {
        return Err(match number {
            // Q4_0_4_4 and its like, the blocks interleaved for one processor.
            31..=33 | 36..=38 => reader.refuse(WeightsProblem::Unsupported(format!(
                "tensor `{name}` is of type {number}, which llama.cpp has given up: quantise the model anew, as Q4_0"
            ))),
            _ => reader.corrupt(format!("tensor `{name}` has the unknown type {number}")),
        });
    };
    let shape: Option<Vec<usize>> =
        dims.iter().map(|d| usize::try_from(*d).ok().filter(|d| *d > 0)).collect();
    let bytes = dims
        .iter()
        .try_fold(1u64, |product, d| product.checked_mul(*d))
        .and_then(|count| count.checked_mul(dtype.block_bytes()))
        .filter(|bytes| *bytes <= i64::MAX as u64);
    let (Some(shape), Some(bytes)) = (shape, bytes) else {
        return Err(reader.corrupt(format!("tensor `{name}` has the impossible shape {dims:?}")));
    };
    let columns = dims.last().copied().unwrap_or(1);
    if !columns.is_multiple_of(dtype.block_len()) {
        return Err(reader.corrupt(format!(
            "tensor `{name}` has rows of {columns} values, but blocks of {dtype} have {}",
            dtype.block_len()
        )));
    }
    Ok(TensorEntry { name, dtype, shape, offset, len: bytes / dtype.block_len() })
}

/// Formats by their numbers in `ggml.h`.
fn dtype_of(number: u32) -> Option<DType> {
    Some(match number {
        0 => DType::F32,
        1 => DType::F16,
        2 => DType::Q4_0,
        3 => DType::Q4_1,
        6 => DType::Q5_0,
        7 => DType::Q5_1,
        8 => DType::Q8_0,
        9 => DType::Q8_1,
        10 => DType::Q2K,
        11 => DType::Q3K,
        12 => DType::Q4K,
        13 => DType::Q5K,
        14 => DType::Q6K,
        15 => DType::Q8K,
        16 => DType::Iq2Xxs,
        17 => DType::Iq2Xs,
        18 => DType::Iq3Xxs,
        19 => DType::Iq1S,
        20 => DType::Iq4Nl,
        21 => DType::Iq3S,
        22 => DType::Iq2S,
        23 => DType::Iq4Xs,
        24 => DType::I8,
        25 => DType::I16,
        26 => DType::I32,
        27 => DType::I64,
        28 => DType::F64,
        29 => DType::Iq1M,
        30 => DType::Bf16,
        34 => DType::Tq1_0,
        35 => DType::Tq2_0,
        39 => DType::MxFp4,
        40 => DType::NvFp4,
        41 => DType::Q1_0,
        _ => return None,
    })
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
