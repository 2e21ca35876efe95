//! Bytes of weights in a format, from the list of tensors or from a checkpoint's headers.

use std::collections::BTreeMap;

use crate::config::ModelConfig;
use crate::dtype::DType;
use crate::tensors;
use crate::weights::StoredTensor;

/// The tensors of a checkpoint by name, as its headers have them.
pub type StoredTensors = BTreeMap<String, StoredTensor>;

/// Format that a tensor is held in when the weights are planned in `dtype`.
///
/// Quantised formats take matrices whose rows are whole blocks; other matrices stay in f16 and
/// vectors (norms) in f32, as llama.cpp writes them.
#[must_use]
pub fn held_as(dtype: DType, shape: &[usize]) -> DType {
    match shape {
        _ if !dtype.is_quantized() => dtype,
        [_, columns] if (*columns as u64).is_multiple_of(dtype.block_len()) => dtype,
        [_, _] => DType::F16,
        _ => DType::F32,
    }
}

/// Bytes of all weights in `dtype`.
#[must_use]
pub fn weights_bytes(config: &ModelConfig, dtype: DType) -> u64 {
    shapes_bytes(tensors::list(config).map(|tensor| tensor.shape), dtype)
}

/// Bytes of a checkpoint's tensors: as stored, or converted to `dtype`.
#[must_use]
pub fn stored_bytes(stored: &StoredTensors, dtype: Option<DType>) -> u64 {
    match dtype {
        None => stored.values().map(|tensor| tensor.len).sum(),
        Some(dtype) => shapes_bytes(stored.values().map(|tensor| tensor.shape.clone()), dtype),
    }
}

fn shapes_bytes(shapes: impl Iterator<Item = Vec<usize>>, dtype: DType) -> u64 {
    shapes.map(|shape| held_as(dtype, &shape).tensor_bytes(&shape)).fold(0, u64::saturating_add)
}

/// Parameters of a checkpoint: the product of each shape, summed.
#[must_use]
pub fn stored_count(stored: &StoredTensors) -> u64 {
    let count = |tensor: &StoredTensor| tensor.shape.iter().map(|d| *d as u64).product::<u64>();
    stored.values().map(count).sum()
}

/// The format that most of a checkpoint's bytes are in.
#[must_use]
pub fn stored_dtype(stored: &StoredTensors) -> Option<DType> {
    let mut bytes: BTreeMap<DType, u64> = BTreeMap::new();
    for tensor in stored.values() {
        *bytes.entry(tensor.dtype).or_default() += tensor.len;
    }
    bytes.into_iter().max_by_key(|(_, bytes)| *bytes).map(|(dtype, _)| dtype)
}
