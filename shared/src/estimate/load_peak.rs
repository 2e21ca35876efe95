//! What a load takes at its worst moment, beside what is held afterwards.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::weights::part_bytes;
use super::{Backend, Format, Resolved, StoredTensors, cuda_workspace, held_as, wgpu_workspace};
use crate::decoder::Decoder;
use crate::dtype::DType;
use crate::tensors;
use crate::weights::PIECE_BYTES;

/// The highest memory while weights are loaded, with the runtime; cache and activations come after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadPeak {
    /// True: one tensor at a time; false: the whole checkpoint first.
    pub low_cpu_mem_usage: bool,
    /// Host memory where the model stays on the CPU.
    pub host_bytes: u64,
    /// Host memory where it goes to a GPU, with what a placement leaves on the host; the backend's own way there, where
    /// that is no CPU, else CUDA's.
    pub host_bytes_beside_gpu: u64,
    /// Memory of that GPU; of several the fullest one's.
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
    resolved: &Resolved,
) -> Vec<LoadPeak> {
    let format = resolved.format;
    let on_disk = super::stored_format(decoder);
    let language_model = stored
        .map_or_else(|| super::weights_bytes(decoder, on_disk), |stored| super::stored_bytes(stored, None));
    let [file_bytes, weights_bytes] =
        [language_model, weights_bytes].map(|bytes| bytes.saturating_add(resolved.other_bytes()));
    let held = |format: Format, shape: &[usize]| format.plain().map(|dtype| held_as(dtype, shape));
    let found = stored.map(StoredTensors::values).into_iter().flatten();
    // Shapes of what is held in another format than it is stored in.
    let others: BTreeSet<&[usize]> = (found.clone())
        .filter(|tensor| held(format, &tensor.shape) != Some(tensor.dtype))
        .map(|tensor| tensor.shape.as_slice())
        .collect();
    // A mixture that no engine here computes with stays what it is.
    let stays = resolved.convert_to.is_none() && !(decoder.runs() && format.runs());
    let converts = |shape: &[usize]| match stored {
        Some(_) if stays => false,
        // Packed numbers are words: all weights are made of them anew.
        Some(_) if decoder.is_packed() => true,
        Some(_) => others.contains(shape),
        None if on_disk == format => false,
        None => held(format, shape).is_none_or(|dtype| held(on_disk, shape) != Some(dtype)),
    };
    // Tensor after tensor, in the order of computation; read in pieces, which go into f32 at once, into anything
    // narrower by way of an f32 copy.
    let (mut so_far, mut most, mut largest) = (0u64, 0u64, Largest::default());
    for part in tensors::parts(decoder) {
        let values = part.count() / part.copies as u64;
        let wide = values.saturating_mul(4);
        so_far = so_far.saturating_add(part_bytes(decoder, &part, format));
        largest.values = largest.values.max(values);
        if converts(&part.shape) {
            let copy = if held(format, &part.shape) == Some(DType::F32) { 0 } else { wide };
            most = most.max(so_far.saturating_add(copy).saturating_add(wide.min(PIECE_BYTES)));
            largest.converted = largest.converted.max(wide);
        }
    }
    let conversion = most.saturating_sub(so_far);
    largest.in_blocks = (found.filter(|tensor| tensor.dtype.is_quantized()))
        .fold(0, |most, tensor| most.max(tensor.count().saturating_mul(4)));
    let [staged, on_gpu] = largest.on_the_way(resolved.backend);
    let gpu = if resolved.backend == Backend::Cpu { Backend::Cuda } else { resolved.backend };
    let [runtime, gpu_runtime] = [Backend::Cpu, gpu].map(|backend| resolved.overhead_of(backend));
    [true, false]
        .into_iter()
        .map(|low_cpu_mem_usage| {
            let (read, said) = match low_cpu_mem_usage {
                true => (0, "one tensor at a time"),
                false => (file_bytes, "the whole checkpoint first"),
            };
            LoadPeak {
                low_cpu_mem_usage,
                host_bytes: sum(&[runtime, weights_bytes, read, conversion]),
                host_bytes_beside_gpu: sum(&[runtime, staged, read]),
                gpu_bytes: sum(&[gpu_runtime, weights_bytes, on_gpu]),
                formula: format!(
                    "{said}: runtime {runtime} + weights {weights_bytes} + read {read} + conversion {conversion}; \
                     beside a GPU runtime + read {read} + staged {staged}, on it runtime {gpu_runtime} + weights + \
                     staged {on_gpu}"
                ),
            }
        })
        .collect()
}

fn sum(terms: &[u64]) -> u64 {
    terms.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes))
}

/// The largest tensors: numbers of one, and bytes as f32 of one that is converted, and of one in blocks.
#[derive(Debug, Clone, Copy, Default)]
struct Largest {
    values: u64,
    converted: u64,
    in_blocks: u64,
}

impl Largest {
    /// Most bytes on the host and on the GPU of what is on its way there.
    fn on_the_way(self, backend: Backend) -> [u64; 2] {
        let wide = self.values.saturating_mul(4);
        match backend {
            Backend::Cpu | Backend::Cuda => {
                let piece = wide.min(cuda_workspace::LOAD_PIECE_BYTES);
                let pieces = piece * cuda_workspace::LOAD_SLOTS * cuda_workspace::LOAD_THREADS;
                // Blocks are widened on the host, everything is narrowed on the GPU.
                let converts = self.converted > 0 || self.in_blocks > 0;
                [pieces.saturating_add(self.in_blocks), if converts { pieces } else { 0 }]
            }
            // Values as they are read, with gate and up mingled, and as they are written.
            Backend::Rocm | Backend::Metal | Backend::Wgpu => {
                [3 * wide.min(4 * wgpu_workspace::LOAD_VALUES), 0]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::{Options, resolved_weights_bytes};
    use crate::weights::StoredTensor;

    const MIB: u64 = 1 << 20;

    /// Phi-3-mini with norms in f32 beside matrices in bf16; the head comes last, unless it is tied.
    fn peaks(tied: bool, dtype: Option<DType>, backend: Backend) -> (u64, [LoadPeak; 2]) {
        let json = format!(r#"{{"model_type":"phi3","dtype":"bfloat16","tie_word_embeddings":{tied}}}"#);
        let decoder = Decoder::parse(json.as_bytes()).expect("class defaults");
        let tensors = tensors::list(&decoder).map(|tensor| {
            let dtype = if tensor.shape.len() == 1 { DType::F32 } else { DType::Bf16 };
            let len = dtype.tensor_bytes(&tensor.shape);
            (tensor.name, StoredTensor { dtype, shape: tensor.shape, file: 0, offset: 0, len })
        });
        let stored: StoredTensors = tensors.collect();
        let options = Options { dtype: dtype.map(Into::into), backend: Some(backend), ..Options::default() };
        let resolved = Resolved::new(&decoder, Some(&stored), &options).expect("in range");
        let weights = resolved_weights_bytes(&decoder, Some(&stored), &resolved);
        let mut peaks = load_peaks(&decoder, Some(&stored), weights, &resolved);
        // Without the runtimes, which are there before.
        let gpu = if backend == Backend::Cpu { Backend::Cuda } else { backend };
        for peak in &mut peaks {
            peak.host_bytes -= resolved.overhead_of(Backend::Cpu);
            peak.host_bytes_beside_gpu -= resolved.overhead_of(Backend::Cpu);
            peak.gpu_bytes -= resolved.overhead_of(gpu);
        }
        (weights, peaks.try_into().expect("both ways"))
    }

    #[test]
    fn what_is_converted_counts_when_it_is() {
        let beside = |tied, dtype| {
            let (weights, [streamed, whole]) = peaks(tied, dtype, Backend::Cpu);
            // The checkpoint that is read first is in bf16, but for 65 norms.
            let norms = 65 * 3072 * 4;
            let file = 2 * (3_821_079_552 - 65 * 3072) + norms - if tied { 2 * 32064 * 3072 } else { 0 };
            assert_eq!(whole.host_bytes - streamed.host_bytes, file);
            streamed.host_bytes - weights
        };
        // Norms alone are; after the last of them there is room for a head, but for a tied one.
        assert_eq!(beside(false, None), 0);
        assert_eq!(beside(true, None), 2 * 4 * 3072);
        assert_eq!(beside(false, Some(DType::F16)), 4 * 32064 * 3072 + MIB);
        assert_eq!(beside(false, Some(DType::F32)), MIB);
    }

    #[test]
    fn each_backend_stages_in_its_own_way() {
        let beside = |dtype, backend| {
            let (weights, [streamed, _]) = peaks(false, dtype, backend);
            [streamed.host_bytes_beside_gpu, streamed.gpu_bytes - weights]
        };
        // Twelve threads with two pieces each; on the GPU as many, where norms or all are converted there.
        let pieces = 12 * 2 * 4 * MIB;
        for backend in [Backend::Cpu, Backend::Cuda] {
            assert_eq!(beside(None, backend), [pieces, pieces]);
            assert_eq!(beside(Some(DType::Q8_0), backend), [pieces, pieces]);
        }
        assert_eq!(beside(None, Backend::Wgpu), [3 * 16 * MIB, 0]);
    }
}
