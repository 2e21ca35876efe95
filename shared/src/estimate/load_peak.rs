//! What a load takes at its worst moment, beside what is held afterwards.

use serde::{Deserialize, Serialize};

use super::weights::part_bytes;
use super::{Format, StoredTensors};
use crate::decoder::Decoder;
use crate::dtype::DType;
use crate::tensors;

/// Bytes of a file that are converted at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// The highest memory while weights are loaded; cache and activations come after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadPeak {
    /// True: one tensor at a time; false: the whole checkpoint first.
    pub low_cpu_mem_usage: bool,
    /// Host memory where the model stays on the CPU.
    pub host_bytes: u64,
    /// Host memory where it goes to a GPU.
    pub host_bytes_beside_gpu: u64,
    /// Memory of that GPU.
    pub gpu_bytes: u64,
    /// How these come about.
    pub formula: String,
}

/// The peaks of both ways to load, of a checkpoint or of one imagined in the config's format.
#[must_use]
pub fn load_peaks(
    decoder: &Decoder,
    stored: Option<&StoredTensors>,
    weights_bytes: u64,
    format: Format,
) -> Vec<LoadPeak> {
    let on_disk = super::stored_format(decoder);
    let listed = || {
        let sizes = tensors::parts(decoder).map(|part| {
            let one = tensors::Part { copies: 1, ..part };
            (part_bytes(decoder, &one, on_disk), one.count())
        });
        sizes.max().unwrap_or((0, 0))
    };
    let (file_bytes, largest, converts) = match stored {
        // The tensors' numbers are words: weights are as many as the list says.
        Some(stored) if decoder.is_packed() => {
            let file_bytes = super::stored_bytes(stored, None);
            let largest = stored.values().map(|tensor| tensor.len).max().unwrap_or(0);
            (file_bytes, (largest, listed().1), file_bytes != weights_bytes)
        }
        Some(stored) => (
            super::stored_bytes(stored, None),
            stored.values().map(|tensor| (tensor.len, tensor.count())).max().unwrap_or((0, 0)),
            stored.values().any(|tensor| Format::Plain(tensor.dtype) != format),
        ),
        None => (super::weights_bytes(decoder, on_disk), listed(), on_disk != format),
    };
    // Into f32 a piece at a time; into anything narrower by way of an f32 copy of the tensor.
    let conversion = match (converts, format) {
        (false, _) => 0,
        (true, Format::Plain(DType::F32)) => PIECE_BYTES,
        (true, _) => largest.1.saturating_mul(4),
    };
    [true, false]
        .into_iter()
        .map(|low_cpu_mem_usage| {
            let (read, said) = match low_cpu_mem_usage {
                true => (0, "one tensor at a time"),
                false => (file_bytes, "the whole checkpoint first"),
            };
            let staged = if low_cpu_mem_usage { largest.0 } else { file_bytes };
            LoadPeak {
                low_cpu_mem_usage,
                host_bytes: weights_bytes.saturating_add(read).saturating_add(conversion),
                host_bytes_beside_gpu: staged.saturating_add(conversion),
                gpu_bytes: weights_bytes,
                formula: format!(
                    "{said}: weights {weights_bytes} + read {read} + conversion {conversion}; \
                     beside a GPU {staged} staged + conversion"
                ),
            }
        })
        .collect()
}
